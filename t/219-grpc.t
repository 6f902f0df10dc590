# vim:set ft= ts=4 sw=4 et:

use Test::Nginx::Socket::Lua::Stream;

plan 'no_plan';

run_tests();

__DATA__

=== TEST 1: a response comes with what follows it
--- stream_server_config
    content_by_lua_block { ngx.say("not asked") }
--- stream_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        content_by_lua_block {
            local sock = assert(ngx.req.socket(true))
            local preface = sock:receive(24)
            local path, body
            repeat
                local head = sock:receive(9)
                local length = head:byte(2) * 256 + head:byte(3)
                local payload = length > 0 and sock:receive(length) or ""
                if head:byte(4) == 0 then body = payload end
            until head:byte(4) < 2 and head:byte(5) % 2 == 1
            local function frame(kind, flags, stream, payload)
                return string.char(0, 0, #payload, kind, flags, 0, 0, 0, stream) .. payload
            end
            local field = function(name, value)
                return "\0" .. string.char(#name) .. name .. string.char(#value) .. value
            end
            sock:send(frame(4, 0, 0, "") .. frame(1, 4, 1, "\136" .. field("x-length", tostring(#body)))
                .. frame(0, 0, 1, "answer to " .. body) .. frame(1, 5, 1, field("grpc-status", "0")))
            sock:receive("*a")
        }
    }
--- config
    location = /t { grpc_pass grpc://127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
    location = /show {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            sock:send("POST /t HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTE: trailers\r\nContent-Length: 3\r\n\r\nask")
            local all = sock:receive("*a")
            ngx.say(all:match("^[^\r]+"))
            ngx.say(all:match("x%-length: [^\r]+"))
            ngx.print(all:match("\r\n\r\n(.*)$"))
        }
    }
--- request
GET /show
--- response_body eval
"HTTP/1.1 200 OK
x-length: 3
d\r
answer to ask\r
0\r
grpc-status: 0\r
\r
"
--- no_error_log
[error]



=== TEST 2: a server that speaks something else is no server
--- config
    location = /old { return 200 "old\n"; }
    location = /t { grpc_pass 127.0.0.1:$TEST_NGINX_SERVER_PORT; }
--- request
GET /t
--- error_code: 502
--- response_body_like: Bad Gateway



=== TEST 3: settings are read though nobody asks
--- config
    location /t {
        grpc_pass grpcs://127.0.0.1:1;
        grpc_connect_timeout 1s;
        grpc_read_timeout 1s;
        grpc_send_timeout 1s;
        grpc_set_header Host some.test;
        grpc_pass_header Date;
        grpc_hide_header X-A;
        grpc_socket_keepalive on;
        grpc_next_upstream error timeout;
        grpc_next_upstream_tries 2;
        grpc_intercept_errors on;
        grpc_ignore_headers X-Accel-Redirect;
        grpc_buffer_size 8k;
        grpc_ssl_name some.test;
        grpc_ssl_server_name on;
        grpc_ssl_conf_command MinProtocol TLSv1.2;
        grpc_ssl_session_reuse off;
        grpc_ssl_protocols TLSv1.2 TLSv1.3;
    }
--- request
GET /t
--- error_code: 502
--- response_body_like: Bad Gateway
--- error_log
connect() failed (111: Connection refused) while connecting to upstream
upstream: "grpcs://127.0.0.1:1
