=== a response comes with what follows it
--- config
    location = /call { grpc_pass grpc://127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            sock:send("POST /call HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTE: trailers\r\nContent-Length: 3\r\n\r\nask")
            local all = sock:receive("*a")
            ngx.say(all:match("^[^\r]+"))
            ngx.say(all:match("x%-a: [^\r]+"))
            ngx.print(all:match("\r\n\r\n(.*)$"))
        }
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x01\x04\x00\x00\x00\x01\x88\x00\x03x-a\x01b\x00\x00\x0a\x00\x00\x00\x00\x00\x01the answer\x00\x00\x0f\x01\x05\x00\x00\x00\x01\x00\x0bgrpc-status\x010"
--- request
GET /t
--- response_body eval
"HTTP/1.1 200 OK
x-a: b
a\r
the answer\r
0\r
grpc-status: 0\r
\r
"
--- no_error_log
[error]

=== a server that speaks something else is no server
--- config
    location = /old { return 200 "old\n"; }
    location = /t { grpc_pass 127.0.0.1:$TEST_NGINX_SERVER_PORT; }
--- request
GET /t
--- error_code: 502
--- response_body_like: Bad Gateway

=== settings are read though nobody asks
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
