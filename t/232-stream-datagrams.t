# vim:set ft= ts=4 sw=4 et:

use Test::Nginx::Socket::Lua::Dgram;

$ENV{TEST_NGINX_HTML_DIR} = html_dir();

plan 'no_plan';

run_tests();

__DATA__

=== TEST 1: a script reads the datagram in parts and answers with one
--- dgram_server_config
    content_by_lua_block {
        local sock = assert(ngx.req.socket())
        local first, rest = sock:receive(4), sock:receive()
        local nothing, err = sock:receive()
        assert(sock:send({first, "|", rest, "|", tostring(nothing), " ", err, "|", ngx.var.protocol}))
    }
--- dgram_request chomp
moonlight
--- dgram_response chomp
moon|light|nil no more data|UDP
--- error_log eval
qr/sendto: fd:\d+ 31 of 31 to "127\.0\.0\.1"/
--- no_error_log
[error]



=== TEST 2: output that does not say where a datagram ends is refused
--- dgram_server_config
    content_by_lua_block {
        local sock = assert(ngx.req.socket())
        local said, reason = pcall(ngx.say, "x")
        local flushed, flush_reason = pcall(ngx.flush)
        local again, twice = ngx.req.socket()
        sock:send(tostring(said) .. " " .. reason .. "; " .. flush_reason .. "; " .. twice)
    }
--- dgram_request chomp
x
--- dgram_response chomp
false API disabled in the current context; API disabled in the current context; duplicate call
--- no_error_log
[error]



=== TEST 3: a fixed answer is one datagram, and the log tells about the client
--- dgram_server_config
    return "$protocol $bytes_received from $remote_addr";
    log_by_lua_block { ngx.log(ngx.NOTICE, "sent ", ngx.var.bytes_sent) }
--- dgram_request chomp
hello
--- dgram_response chomp
UDP 5 from 127.0.0.1
--- error_log eval
[
qr/udp client 127\.0\.0\.1:\d+ connected to 0\.0\.0\.0:\d+/,
qr/sent 20 while logging request, udp client: 127\.0\.0\.1, server: 0\.0\.0\.0:\d+/,
]
--- no_error_log
[error]



=== TEST 4: datagrams go to a server and back, after one answer the session ends
--- dgram_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 udp;
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            sock:send("behind: " .. sock:receive())
        }
    }
--- dgram_server_config
    proxy_pass 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_responses 1;
--- dgram_request chomp
ping
--- dgram_response chomp
behind: ping
--- error_log eval
[
qr/udp proxy 127\.0\.0\.1:\d+ connected to 127\.0\.0\.1:\d+/,
qr{udp done, packets from/to client:1/1, bytes from/to client:4/12, bytes from/to upstream:12/4},
]
--- no_error_log
[error]



=== TEST 5: several datagrams of one client make one session, each is passed on by itself
--- dgram_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 udp;
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            sock:send("<" .. sock:receive() .. ">")
        }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2 udp;
        proxy_pass 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        proxy_requests 3;
        proxy_responses 1;
    }
--- dgram_server_config
    content_by_lua_block {
        local client = ngx.socket.udp()
        client:settimeout(5000)
        assert(client:setpeername("127.0.0.1", $TEST_NGINX_RAND_PORT_2))
        local got = {}
        for _, text in ipairs({"a", "bb", "ccc"}) do
            assert(client:send(text))
            got[#got + 1] = assert(client:receive())
        end
        assert(ngx.req.socket()):send(table.concat(got))
    }
--- dgram_request chomp
go
--- dgram_response chomp
<a><bb><ccc>
--- error_log
packets from/to client:3/3, bytes from/to client:6/12, bytes from/to upstream:12/6
--- no_error_log
[error]



=== TEST 6: a server that is not there
--- dgram_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2 udp;
        proxy_pass 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        proxy_responses 1;
        proxy_timeout 100ms;
        log_by_lua_block {
            ngx.log(ngx.NOTICE, "status ", ngx.var.status)
            ngx.shared.ended:set("now", true)
        }
    }
    lua_shared_dict ended 64k;
--- dgram_server_config
    content_by_lua_block {
        local client = ngx.socket.udp()
        assert(client:setpeername("127.0.0.1", $TEST_NGINX_RAND_PORT_2))
        assert(client:send("ping"))
        while not ngx.shared.ended:get("now") do
            ngx.sleep(0.01)
        end
        assert(ngx.req.socket()):send("nobody")
    }
--- dgram_request chomp
x
--- dgram_response chomp
nobody
--- error_log
recv() failed (111: Connection refused)
upstream timed out (110: Connection timed out)
status 502



=== TEST 7: preread handlers see the whole datagram and no more
--- dgram_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 udp;
        return "passed on";
    }
--- dgram_server_config
    preread_by_lua_block {
        local sock = assert(ngx.req.socket())
        ngx.log(ngx.NOTICE, "before: ", sock:receive(3))
    }
    proxy_pass 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_responses 1;
--- dgram_request chomp
abcdef
--- dgram_response chomp
passed on
--- error_log
before: abc
bytes from/to upstream:9/3
--- no_error_log
[error]



=== TEST 8: what only streams have is refused
--- dgram_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 udp ssl;
        return "x";
    }
--- dgram_server_config
    return "x";
--- must_die
--- error_log
"ssl" parameter is incompatible with "udp" in
