use Test::Nginx::Socket;

our $Behind = <<'_EOC_';
    upstream behind {
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        keepalive 4;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        http2 on;
        location / { return 200 "$request_method $scheme $server_protocol $request_uri $connection_requests\n"; }
        location /fields { return 200 "$host|$http_host|$http_x_client|$http_x_set|$http_connection|$http_te\n"; }
        location /sum {
            client_max_body_size 0;
            content_by_lua_block {
                ngx.req.read_body()
                local body = ngx.req.get_body_data()
                local name = ngx.req.get_body_file()
                if name then
                    local file = assert(io.open(name))
                    body = file:read("*a")
                    file:close()
                end
                ngx.say(ngx.var.http_content_length, " ", #(body or ""), " ", ngx.md5(body or ""))
            }
        }
        location /large { content_by_lua_block { for i = 1, 300 do ngx.print(string.rep(string.char(i % 256), 1000)) end } }
        location /trailers {
        add_trailer X-Sum "$request_method";
        content_by_lua_block { ngx.say("text") }
    }
        location /none { return 204; }
    }
_EOC_

run_tests();

__DATA__

=== requests share a connection, one after the other
--- http_config eval: $::Behind
--- config
    location /through/ { proxy_http_version 2; proxy_pass http://behind/; }
    location /asked {
        content_by_lua_block {
            for _, method in ipairs { ngx.HTTP_GET, ngx.HTTP_PUT, ngx.HTTP_POST } do
                ngx.print(ngx.location.capture("/through/a?b=c", { method = method, body = "" }).body)
            end
            local head = ngx.location.capture("/through/a", { method = ngx.HTTP_HEAD })
            ngx.say(head.status, " ", #head.body)
            ngx.say(ngx.location.capture("/through/none").status)
            ngx.print(ngx.location.capture("/through/").body)
        }
    }
--- request
GET /asked
--- response_body
GET http HTTP/2.0 /a?b=c 1
PUT http HTTP/2.0 /a?b=c 2
POST http HTTP/2.0 /a?b=c 3
200 0
204
GET http HTTP/2.0 / 6
--- no_error_log
[error]

=== calls share a connection as well
--- http_config eval: $::Behind
--- config
    location /through/ { grpc_pass grpc://behind; }
    location /asked {
        content_by_lua_block {
            for _ = 1, 3 do
                ngx.print(ngx.location.capture("/through/a").body)
            end
        }
    }
--- request
GET /asked
--- response_body
GET http HTTP/2.0 /through/a 1
GET http HTTP/2.0 /through/a 2
GET http HTTP/2.0 /through/a 3
--- no_error_log
[error]

=== fields of HTTP/1 stay here, and a host that is set takes the place of the authority
--- http_config eval: $::Behind
--- config
    location = /plain { proxy_http_version 2; proxy_pass http://behind/fields; }
    location = /set {
        proxy_http_version 2;
        proxy_set_header Host some.test;
        proxy_set_header X-Set "$request_method";
        proxy_set_header X-Client "";
        proxy_pass http://behind/fields;
    }
--- pipelined_requests eval: ["GET /plain", "GET /set"]
--- more_headers
X-Client: a
Keep-Alive: 5
TE: gzip
--- response_body eval
["behind|behind|a|||\n", "some.test|some.test||GET||\n"]
--- no_error_log
[error]

=== large bodies go both ways, in whichever way they are held
--- http_config eval: $::Behind
--- config
    client_body_buffer_size 16k;
    location /buffered/ { proxy_http_version 2; proxy_pass http://behind/; }
    location /passed/ {
        proxy_http_version 2;
        proxy_buffering off;
        proxy_request_buffering off;
        proxy_pass http://behind/;
    }
    location = /asked {
        content_by_lua_block {
            local parts = {}
            for i = 1, 300 do
                parts[i] = string.rep(string.char(i % 256), 1000)
            end
            local large = table.concat(parts)
            for _, way in ipairs { "/buffered", "/passed" } do
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", ngx.var.server_port))
                assert(sock:send("POST " .. way .. "/sum HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n"))
                assert(sock:send(large:sub(1, 100000)))
                assert(sock:send(large:sub(100001)))
                local read = sock:receiveuntil("\r\n\r\n")
                assert(read())
                sock:receive("*l")
                ngx.say(sock:receive("*l") == "300000 300000 " .. ngx.md5(large))
                sock:close()
                ngx.say(ngx.location.capture(way .. "/large").body == large)
            end
        }
    }
--- request
GET /asked
--- response_body
true
true
true
true
--- no_error_log
[error]

=== a body can be set, or left behind
--- http_config eval: $::Behind
--- config
    location = /set { proxy_http_version 2; proxy_set_body "<$request_body>"; proxy_pass http://behind/sum; }
    location = /left {
        proxy_http_version 2;
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
        proxy_pass http://behind/sum;
    }
--- pipelined_requests eval: ["POST /set\nabc", "POST /left\nabc"]
--- response_body eval
use Digest::MD5 qw(md5_hex);
["5 5 " . md5_hex("<abc>") . "\n", "nil 0 " . md5_hex("") . "\n"]
--- no_error_log
[error]

=== what follows a body is passed on when that is wanted
--- http_config eval: $::Behind
--- config
    location = /wanted {
        proxy_http_version 2;
        proxy_pass_trailers on;
        proxy_set_header TE trailers;
        proxy_pass http://behind/trailers;
    }
    location = /unwanted { proxy_http_version 2; proxy_set_header TE trailers; proxy_pass http://behind/trailers; }
    location = /t {
        content_by_lua_block {
            for _, path in ipairs { "/wanted", "/unwanted" } do
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", ngx.var.server_port))
                sock:send("GET " .. path .. " HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTE: trailers\r\n\r\n")
                local all = assert(sock:receive("*a"))
                ngx.say(all:lower():match("x%-sum: [^\r]+") or "none")
            end
        }
    }
--- request
GET /t
--- response_body
x-sum: get
none
--- no_error_log
[error]

=== a response is kept in a cache
--- http_config eval
$::Behind . "proxy_cache_path \$TEST_NGINX_SERVER_ROOT/kept keys_zone=kept:1m;"
--- config
    location /kept/ {
        proxy_http_version 2;
        proxy_cache kept;
        proxy_cache_valid 1m;
        add_header X-Kept $upstream_cache_status;
        proxy_pass http://behind/;
    }
--- pipelined_requests eval: ["GET /kept/a", "GET /kept/a"]
--- response_headers eval: ["X-Kept: MISS", "X-Kept: HIT"]
--- response_body eval: ["GET http HTTP/2.0 /a 1\n", "GET http HTTP/2.0 /a 1\n"]
--- no_error_log
[error]

=== what a server says first is passed on, and frames may be padded
--- config
    location = /call {
        proxy_http_version 2;
        early_hints $http_x_wants;
        proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    }
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            sock:send("GET /call HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Wants: 1\r\n\r\n")
            local all = sock:receive("*a")
            ngx.say(all:match("^[^\r]+"))
            ngx.say(all:match("link: [^\r]+"))
            ngx.say(all:match("HTTP/1.1 200 OK"))
            ngx.print(all:match("\r\n\r\n%x+\r\n(.-)\r\n"))
        }
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
. "\x00\x00\x0d\x01\x04\x00\x00\x00\x01\x08\x03103\x00\x04link\x01a"
. "\x00\x00\x09\x01\x2c\x00\x00\x00\x01\x02\x00\x00\x00\x00\x07\x88\x00\x00"
. "\x00\x00\x08\x06\x00\x00\x00\x00\x00abcdefgh"
. "\x00\x00\x09\x00\x09\x00\x00\x00\x01\x03hello\x00\x00\x00"
. "\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x00"
--- request
GET /t
--- response_body chop
HTTP/1.1 103 Early Hints
link: a
HTTP/1.1 200 OK
hello
--- no_error_log
[error]

=== who does not serve the stream is not the last to be asked
--- http_config
    upstream both {
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_2 backup;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        http2 on;
        location / { return 200 "here\n"; }
    }
--- config
    location /t {
        proxy_http_version 2;
        proxy_next_upstream invalid_header;
        proxy_pass http://both;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02"
--- request
GET /t
--- response_body
here
--- error_log
upstream sent goaway with error 2

=== a response without body ends with its head
--- config
    location = /call { grpc_pass grpc://127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x11\x01\x05\x00\x00\x00\x01\x88\x00\x0bgrpc-status\x0212"
--- request
POST /call
--- response_headers
grpc-status: 12
Content-Length: 0
--- response_body chomp
--- no_error_log
[error]

=== a server of HTTP/1 is none of HTTP/2
--- config
    location = /old { return 200 "old\n"; }
    location = /t { proxy_http_version 2; proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT; }
--- request
GET /t
--- error_code: 502
--- response_body_like: Bad Gateway
--- error_log
upstream sent too large http2 frame: 4740180

=== a connection that speaks one version is not taken for the other
--- http_config eval: $::Behind
--- config
    location = /old { proxy_http_version 1.1; proxy_pass http://behind/; }
    location = /new { proxy_http_version 2; proxy_pass http://behind/; }
    location = /t {
        content_by_lua_block {
            for _, path in ipairs { "/old", "/new", "/old", "/new" } do
                local res = ngx.location.capture(path)
                ngx.say(res.status, " ", res.body:match "HTTP/%S+", " ", res.body:match "(%d+)\n")
            end
        }
    }
--- request
GET /t
--- response_body
200 HTTP/1.1 1
200 HTTP/2.0 1
200 HTTP/1.1 2
200 HTTP/2.0 2
--- no_error_log
[error]
