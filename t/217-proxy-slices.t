=== a response comes in parts, each asked for by itself
--- http_config
    lua_shared_dict asked 64k;
--- config
    location = /origin {
        content_by_lua_block {
            local text = "0123456789abcdefghij"
            local from, to = (ngx.var.http_range or ""):match("^bytes=(%d+)%-(%d+)$")
            ngx.shared.asked:rpush("ranges", ngx.var.http_range or "none")
            to = math.min(to, #text - 1)
            ngx.status = 206
            ngx.header["Content-Range"] = ("bytes %d-%d/%d"):format(from, to, #text)
            ngx.header.ETag = '"one"'
            ngx.print(text:sub(from + 1, to + 1))
        }
    }
    location = /front {
        slice 8;
        proxy_set_header Range $slice_range;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
    }
    location = /asked {
        content_by_lua_block {
            repeat
                local range = ngx.shared.asked:lpop("ranges")
                if range then ngx.say(range) end
            until not range
        }
    }
--- request eval
["GET /front", "GET /asked", "GET /front", "GET /asked"]
--- more_headers eval
["", "", "Range: bytes=9-17", ""]
--- error_code eval
[200, 200, 206, 200]
--- response_body eval
["0123456789abcdefghij", "bytes=0-7\nbytes=8-15\nbytes=16-23\n", "9abcdefgh", "bytes=8-15\nbytes=16-23\n"]
--- no_error_log
[error]
[alert]

=== parts of two versions are not put together
--- config
    location = /origin {
        content_by_lua_block {
            local from, to = ngx.var.http_range:match("^bytes=(%d+)%-(%d+)$")
            ngx.status = 206
            ngx.header["Content-Range"] = ("bytes %d-%d/8"):format(from, to)
            ngx.header.ETag = '"' .. from .. '"'
            ngx.print("abcd")
        }
    }
    location = /t {
        slice 4;
        proxy_set_header Range $slice_range;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
    }
--- request
GET /t
--- ignore_response
--- error_log
etag mismatch in slice response

=== a server that knows no ranges answers as always
--- config
    location = /origin { return 200 "all of it\n"; }
    location = /t {
        slice 4;
        proxy_set_header Range $slice_range;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
    }
--- request
GET /t
--- response_body
all of it
--- no_error_log
[error]

=== a wrong part ends a response of which nothing has left yet
--- config
    location = /origin {
        content_by_lua_block {
            if ngx.var.http_range ~= "bytes=0-3" then
                return ngx.exit(404)
            end
            ngx.status = 206
            ngx.header["Content-Range"] = "bytes 0-3/8"
            ngx.header["Content-Length"] = 4
            ngx.print("abcd")
        }
    }
    location = /sliced {
        slice 4;
        proxy_set_header Range $slice_range;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
    }
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
            assert(sock:send("GET /sliced HTTP/1.0\r\nHost: a.test\r\n\r\n"))
            ngx.say("[", sock:receive("*a"), "]")
        }
    }
--- request
GET /t
--- response_body
[]
--- error_log
unexpected status code 404 in slice response
