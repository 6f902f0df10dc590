=== what the client frames oddly reaches the server in one clear form
--- config
    location /t {
        proxy_set_header Host origin;
        proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_query eval
"POST /t HTTP/1.1\r\nHost: origin\r\nContent-Length: 5\r\nX-Kept: yes\r\n\r\nhello"
--- tcp_query_len: 71
--- tcp_reply eval
"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
--- raw_request eval
"POST /t HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nX-Kept: yes\r\nConnection: close\r\n\r\n2;ext=1\r\nhe\r\n3\r\nllo\r\n0\r\nContent-Length: 99\r\n\r\n"
--- response_body chomp
ok

=== a length and chunks at the same time
--- config
    location /t { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
--- request
GET /t
--- error_code: 502
--- error_log
upstream sent "Content-Length" and "Transfer-Encoding" headers at the same time

=== two lengths
--- config
    location /t { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"
--- request
GET /t
--- error_code: 502
--- error_log
upstream sent duplicate header line

=== a coding that nobody knows
--- config
    location /t { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
--- request
GET /t
--- error_code: 502
--- error_log
upstream sent unknown "Transfer-Encoding"

=== an endless row of interim responses
--- config
    location /t { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 102 Processing\r\n\r\n" x 4000
--- request
GET /t
--- error_code: 502
--- error_log
upstream sent too many interim responses

=== a head that is too long
--- config
    location /t {
        proxy_buffer_size 1k;
        proxy_busy_buffers_size 4k;
        proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 200 OK\r\nX-Long: " . "a" x 2000 . "\r\n\r\n"
--- request
GET /t
--- error_code: 502
--- error_log
upstream sent too big header

=== no answer at all
--- config
    location /t { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
""
--- request
GET /t
--- error_code: 502
--- error_log
upstream prematurely closed connection

=== a chunk that is none cuts the response off, and it is not kept
--- http_config
    proxy_cache_path cache keys_zone=kept:64k;
--- config
    location = /front {
        proxy_cache kept;
        proxy_cache_valid 1m;
        proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    }
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            assert(sock:send("GET /front HTTP/1.1\r\nHost: a\r\n\r\n"))
            local all = sock:receive("*a")
            ngx.say(all:match("\r\n\r\n(.*)") == "2\r\nok\r\n")
            local find = io.popen("find " .. ngx.config.prefix() .. "cache -type f | wc -l")
            ngx.say(tonumber(find:read("*a")))
        }
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n"
--- request
GET /t
--- response_body
true
0
--- error_log
upstream sent invalid chunked response
