=== TEST 1: a request says that it came over HTTP/2
--- http2
--- config
    location = /t {
        content_by_lua_block {
            ngx.say(ngx.req.http_version(), " ", ngx.var.server_protocol, " ", ngx.var.http2)
            ngx.say(ngx.var.request)
            ngx.say(ngx.var.scheme, " ", ngx.var.http_host)
        }
    }
--- request
GET /t?a=1
--- response_body
2 HTTP/2.0 h2c
GET /t?a=1 HTTP/2.0
http localhost
--- no_error_log
[error]



=== TEST 2: a body is read into memory, and a long one into a file
--- http2
--- config
    client_body_buffer_size 1k;
    location = /t {
        content_by_lua_block {
            ngx.req.read_body()
            local data, file = ngx.req.get_body_data(), ngx.req.get_body_file()
            ngx.say(data and #data, " ", file ~= nil, " ", ngx.var.http_content_length)
        }
    }
--- request eval
["POST /t\nshort text", "POST /t\n" . "x" x 5000]
--- response_body eval
["10 false 10\n", "nil true 5000\n"]
--- no_error_log
[error]



=== TEST 3: what belongs to HTTP/1 is refused
--- http2
--- config
    location = /t {
        content_by_lua_block {
            ngx.say(select(2, pcall(ngx.req.raw_header)))
            ngx.say(select(2, pcall(ngx.req.socket)))
            ngx.say(select(2, pcall(ngx.req.socket, true)))
        }
    }
--- request
GET /t
--- response_body
http2 requests not supported yet
http v2 not supported yet
http v2 not supported yet
--- no_error_log
[error]



=== TEST 4: headers keep their values, and lose what HTTP/2 does not have
--- http2
--- config
    location = /t {
        more_set_headers "X-Mixed-Case: Yes";
        content_by_lua_block {
            ngx.header["Set-Cookie"] = { "a=1", "b=2" }
            ngx.say(ngx.req.get_headers()["x-asked"], " ", ngx.var.http_x_asked)
        }
    }
--- more_headers
X-Asked: 12
--- request
GET /t
--- response_headers
X-Mixed-Case: Yes
Set-Cookie: a=1, b=2
!Connection
!Transfer-Encoding
--- response_body
12 12
--- no_error_log
[error]



=== TEST 5: a long response is flow-controlled
--- http2
--- config
    http2_chunk_size 3k;
    location = /t {
        content_by_lua_block {
            for i = 1, 200 do
                ngx.print(string.rep(string.char(96 + i % 26), 1500))
            end
        }
    }
    location = /sum {
        proxy_pass http://127.0.0.1:$server_port/t;
        proxy_buffering off;
    }
--- request eval
["GET /t", "GET /sum"]
--- response_body eval
my $all = join "", map { chr(96 + $_ % 26) x 1500 } 1 .. 200;
[$all, $all]
--- no_error_log
[error]



=== TEST 6: HEAD, an empty response and an error page
--- http2
--- config
    error_page 404 /missing;
    location = /missing { internal; return 404 "not here\n"; }
    location = /none { return 204; }
    location = /t { return 200 "text\n"; }
--- request eval
["HEAD /t", "GET /none", "GET /other"]
--- error_code eval
[200, 204, 404]
--- response_body eval
["", "", "not here\n"]
--- no_error_log
[alert]



=== TEST 7: a body is passed on while it comes
--- http2
--- config
    location = /t {
        proxy_request_buffering off;
        proxy_http_version 1.1;
        proxy_pass http://127.0.0.1:$server_port/back;
    }
    location = /back {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.say(ngx.md5(ngx.req.get_body_data() or ""))
        }
    }
    client_body_buffer_size 1m;
--- request eval
"POST /t\n" . "0123456789" x 20000
--- response_body eval
use Digest::MD5 'md5_hex';
md5_hex("0123456789" x 20000) . "\n"
--- no_error_log
[error]



=== TEST 8: subrequests and an internal redirect
--- http2
--- config
    location = /part { echo "part of $arg_n"; }
    location = /t {
        content_by_lua_block {
            local one, two = ngx.location.capture_multi{{"/part?n=1"}, {"/part?n=2"}}
            ngx.print(one.body, two.body)
        }
    }
    location = /there { rewrite ^ /t; }
    location = /exec { echo_exec /t; }
--- request eval
["GET /there", "GET /exec"]
--- response_body eval
["part of 1\npart of 2\n", "part of 1\npart of 2\n"]
--- no_error_log
[error]



=== TEST 9: the log counts the body without frames
--- http2
--- http_config
    log_format sizes "$request $status $body_bytes_sent $request_length";
--- config
    location = /t {
        access_log logs/sizes.log sizes;
        return 200 "0123456789";
    }
    location = /sizes {
        content_by_lua_block {
            local file = io.open(ngx.config.prefix() .. "logs/sizes.log")
            local line = file:read("*l")
            ngx.say(line:match("^(.*) %d+$"), " ", tonumber(line:match("%d+$")) < 200)
        }
    }
--- request eval
["GET /t", "GET /sizes"]
--- response_body eval
["0123456789", "GET /t HTTP/2.0 200 10 true\n"]
--- no_error_log
[error]



=== TEST 10: one address speaks both
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        http2 on;
        location / { return 200 "$server_protocol\n"; }
    }
--- config
    location = /t {
        content_by_lua_block {
            local function talk(bytes, wanted)
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
                -- Piece by piece: what begins like the other is told apart later.
                for byte in bytes:gmatch(".") do
                    assert(sock:send(byte))
                    ngx.sleep(0.001)
                end
                local answer = ""
                while not answer:find(wanted, 1, true) do
                    answer = answer .. assert(sock:receiveany(4096))
                end
                return true
            end
            ngx.say(talk("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1\n"))
            ngx.say(talk("PROPFIND / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1\n"))
            local get = "\0\0\14\1\5\0\0\0\1\x82\x86\x84\1\9localhost"
            ngx.say(talk("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0" .. get, "HTTP/2.0\n"))
            ngx.say(talk("PRI * HTTP/2.0\r\n\r\nxx\r\n\r\n", "400 Bad Request"))
        }
    }
--- request
GET /t
--- response_body
true
true
true
true
--- no_error_log
[error]

=== TEST 11: a request that comes with its body is asked first how much of it may come
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        http2 on;
        location / { content_by_lua_block { ngx.req.read_body() ngx.print(ngx.var.request_length) } }
    }
--- config
    location = /t {
        content_by_lua_block {
            local function frame(kind, flags, stream, payload)
                local length = #payload
                return string.char(math.floor(length / 65536), math.floor(length / 256) % 256, length % 256, kind, flags,
                                   0, 0, 0, stream) .. payload
            end
            local sock = ngx.socket.tcp()
            sock:settimeout(10000)
            assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
            -- More than the window that was announced, at once: nginx's clients may do so.
            assert(sock:send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" .. frame(4, 0, 0, "")
                             .. frame(1, 4, 1, "\x83\x86\x84\x01\x01a") .. frame(0, 1, 1, string.rep("x", 66000))))
            while true do
                local head = assert(sock:receive(9))
                local l1, l2, l3, kind = head:byte(1, 4)
                local length = l1 * 65536 + l2 * 256 + l3
                local payload = length > 0 and assert(sock:receive(length)) or ""
                if kind == 3 or kind == 7 then
                    return ngx.say("ended by ", kind)
                end
                if kind == 0 then
                    return ngx.say(tonumber(payload) > 66000)
                end
            end
        }
    }
--- request
GET /t
--- response_body
true
--- no_error_log
[error]
