# What the start tells of a configuration that works, but perhaps not as meant.
use Test::Nginx::Socket 'no_plan';

no_long_string();
run_tests();

__DATA__

=== TEST 1: a name that two servers of an address have stays with the first
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        server_name Herons.example *.marsh.example reeds.*;
        return 200 "first\n";
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        server_name herons.example *.marsh.example reeds.* bittern.example;
        return 200 "second\n";
    }
--- config
    location = /t {
        content_by_lua_block {
            for _, host in ipairs { "herons.example", "a.marsh.example", "reeds.net", "bittern.example" } do
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
                sock:send("GET / HTTP/1.1\r\nHost: " .. host .. "\r\nConnection: close\r\n\r\n")
                ngx.say((sock:receive("*a"):match("\r\n\r\n(%a+)")))
            end
        }
    }
--- request
GET /t
--- response_body
first
first
first
second
--- grep_error_log eval: qr/conflicting server name "[^"]*" on 127\.0\.0\.1:\d+, ignored/
--- grep_error_log_out eval
qr/\Aconflicting server name "herons\.example" on \S+ ignored
conflicting server name "\*\.marsh\.example" on \S+ ignored
conflicting server name "reeds\.\*" on \S+ ignored
\z/



=== TEST 2: a name with its subdomains is told of once, and so are servers without any name
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        server_name .fen.example;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        server_name .fen.example;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
    }
--- config
    location = /t {
        return 200;
    }
--- request
GET /t
--- grep_error_log eval: qr/conflicting server name "[^"]*"/
--- grep_error_log_out
conflicting server name ".fen.example"
conflicting server name ""



=== TEST 3: nobody minds a name twice where a server is alone
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        server_name moor.example moor.example;
    }
--- config
    location = /t {
        return 200;
    }
--- request
GET /t
--- no_error_log
conflicting server name
[warn]



=== TEST 4: a name with a slash is suspicious, and taken as it is
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        server_name http://bog.example;
        return 200 "it is $server_name\n";
    }
--- config
    location = /t {
        proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
    }
--- request
GET /t
--- response_body
it is http://bog.example
--- error_log
[warn]
server name "http://bog.example" has suspicious symbols in



=== TEST 5: `http2` as a word of `listen` has a successor
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 http2;
    }
--- config
    location = /t {
        return 200;
    }
--- request
GET /t
--- error_log
[warn]
the "listen ... http2" directive is deprecated, use the "http2" directive instead in



=== TEST 6: HTTP/3 is refused, not listened for with TCP
--- config
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 quic;
    location = /t {
        return 200;
    }
--- must_die
--- error_log
[emerg]
the "quic" parameter requires ngx_http_v3_module in
--- request
GET /t



=== TEST 7: an extension that comes twice has the last type
--- config
    location = /t.otter {
        types {
            text/x-holt otter;
            text/x-raft Otter;
        }
        return 200 "";
    }
--- request
GET /t.otter
--- response_headers
Content-Type: text/x-raft
--- error_log
duplicate extension "otter", content type: "text/x-raft", previous content type: "text/x-holt" in



=== TEST 8: a server that claims to be the default one takes no names of the server before it
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        server_name .fen.example;
        return 200 "first\n";
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 default_server;
        server_name "";
        return 200 "default\n";
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    }
--- config
    location = /t {
        content_by_lua_block {
            for _, host in ipairs { "fen.example", "a.fen.example", "b.c.fen.example", "afen.example", "other" } do
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
                sock:send("GET / HTTP/1.1\r\nHost: " .. host .. "\r\nConnection: close\r\n\r\n")
                ngx.say((sock:receive("*a"):match("\r\n\r\n(%a+)")))
            end
        }
    }
--- request
GET /t
--- response_body
first
first
first
default
default
--- error_log
conflicting server name "" on 127.0.0.1:

=== a zone of shared memory has one use
--- http_config
    lua_shared_dict larder 128k;
    proxy_cache_path $TEST_NGINX_SERVER_ROOT/larder keys_zone=larder:128k;
--- config
--- must_die
--- error_log
the shared memory zone "larder" is already declared for a different use

=== limits of different kinds don't share a zone
--- http_config
    limit_conn_zone $uri zone=gate:64k;
    limit_req_zone $uri zone=gate:64k rate=1r/s;
--- config
--- must_die
--- error_log
the shared memory zone "gate" is already declared for a different use

=== a parameter of other systems is told and ignored
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2 accept_filter=dataready;
        return 200 "still here\n";
    }
--- config
    location = /t { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_2/; }
--- request
GET /t
--- response_body
still here
--- error_log
accept filters "accept_filter=dataready" are not supported on this platform, ignored

=== an option of sockets that Linux doesn't have is an error
--- http_config
    server { listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2 setfib=1; }
--- config
--- must_die
--- error_log
invalid parameter "setfib=1"
