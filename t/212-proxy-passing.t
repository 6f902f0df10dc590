=== cookies get the domain, the path and the flags that clients shall see
--- config
    location = /origin {
        add_header Set-Cookie "id=1; Domain=.inner.example; Path=/app/x; HttpOnly";
        add_header Set-Cookie "other=2; path=/elsewhere";
        return 200 "";
    }
    location = /t {
        proxy_cookie_domain inner.example outer.example;
        proxy_cookie_path /app/ /;
        proxy_cookie_path ~^/else(\w+) /$1;
        proxy_cookie_flags id secure nohttponly samesite=lax;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
    }
--- request
GET /t
--- raw_response_headers_like chomp
Set-Cookie: id=1; Domain=\.outer\.example; Path=/x; Secure; SameSite=Lax\r
Set-Cookie: other=2; path=/where

=== trailers are passed on when that is wanted, and variables know them anyway
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        location / {
            add_trailer X-Sum "17";
            echo "body";
        }
    }
--- config
    location = /front {
        proxy_pass_trailers on;
        proxy_set_header TE trailers;
        proxy_set_header Connection TE;
        proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        log_by_lua_block { ngx.log(ngx.INFO, "trailer: ", ngx.var.upstream_trailer_x_sum) }
    }
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            assert(sock:send("GET /front HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n"))
            local all = assert(sock:receive("*a"))
            ngx.print((all:gsub("^.-\r\n\r\n", ""):gsub("\r", "")))
        }
    }
--- request
GET /t
--- response_body eval
"5\nbody\n\n0\nX-Sum: 17\n\n"
--- error_log
trailer: 17

=== a body is passed on while it is read
--- config
    location = /origin {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.say(ngx.var.http_transfer_encoding, " ", ngx.req.get_body_data())
        }
    }
    location = /t {
        proxy_request_buffering off;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
    }
--- raw_request eval
["POST /t HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhel", "lo\r\n6\r\n world\r\n0\r\n\r\n"]
--- raw_request_middle_delay: 0.1
--- response_body
chunked hello world

=== a response that the buffers don't hold waits in a file
--- config
    location = /origin {
        content_by_lua_block { ngx.print(("0123456789abcdef"):rep(65536)) }
    }
    location = /front {
        proxy_buffers 4 4k;
        proxy_temp_path proxy_temp 1 2;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
    }
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            assert(sock:send("GET /front HTTP/1.0\r\nHost: a\r\n\r\n"))
            ngx.sleep(0.3)
            local all = assert(sock:receive("*a"))
            local body = all:gsub("^.-\r\n\r\n", "")
            ngx.say(#body, " ", ngx.md5(body) == ngx.md5(("0123456789abcdef"):rep(65536)))
        }
    }
--- request
GET /t
--- response_body
1048576 true

=== reading may have a limit
--- config
    location = /origin { content_by_lua_block { ngx.print(("x"):rep(3000)) } }
    location = /t {
        proxy_limit_rate 1000;
        proxy_buffer_size 1k;
        proxy_buffers 2 1k;
        proxy_busy_buffers_size 1k;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
        log_by_lua_block { ngx.log(ngx.INFO, "slow: ", tonumber(ngx.var.upstream_response_time) > 0.9) }
    }
--- request
GET /t
--- response_body eval
"x" x 3000
--- error_log
slow: true

=== protocols are switched when the client asked for it
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        location / {
            content_by_lua_block {
                local sock = assert(ngx.req.socket(true))
                sock:send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
                local line = sock:receive()
                sock:send("got " .. tostring(line) .. "\n")
            }
        }
    }
--- config
    location = /t {
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection upgrade;
        proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    }
--- raw_request eval
"GET /t HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nhello\n"
--- error_code: 101
--- raw_response_headers_like: Upgrade: echo
--- response_body
got hello

=== nobody switches protocols unasked
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        location / {
            content_by_lua_block {
                local sock = assert(ngx.req.socket(true))
                sock:send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
            }
        }
    }
--- config
    location = /t { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- request
GET /t
--- error_code: 502
--- response_headers
! Upgrade
--- error_log
upstream switched protocols though nobody asked for it

=== a server names the protocols that it would like
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        location / {
            more_set_headers "Upgrade: newer/2";
            return 426 "not like this\n";
        }
    }
--- config
    location = /t { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- request
GET /t
--- error_code: 426
--- response_headers
Upgrade: newer/2
--- response_body
not like this

=== a client that asks gets the switch that the server makes
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        location / {
            content_by_lua_block {
                local sock = assert(ngx.req.socket(true))
                sock:send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\r\n")
                sock:send(tostring(sock:receive()) .. " came\n")
            }
        }
    }
--- config
    location = /t { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- raw_request eval
"GET /t HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nmail\n"
--- error_code: 101
--- response_body
mail came
