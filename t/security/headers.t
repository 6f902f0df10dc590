=== TEST 1: scripts can't break out of a header
--- config
    location /t {
        content_by_lua_block {
            ngx.header["X-Value"] = "a\r\nX-Injected: 1"
            ngx.header["X-Name\r\nX-Injected"] = "b\0c"
            ngx.header["Set-Cookie"] = { "k=v\r\nX-Injected: 2", "l=\nw" }
            ngx.say("ok")
        }
    }
--- request
GET /t
--- response_headers
!X-Injected
X-Value: a%0D%0AX-Injected: 1
--- raw_response_headers_unlike: (?m)^X-Injected
--- response_body
ok
--- no_error_log
[error]



=== TEST 2: nor out of a redirect
--- config
    location /t {
        content_by_lua_block {
            ngx.redirect("/there\r\nX-Injected: 1")
        }
    }
--- request
GET /t
--- error_code: 500
--- raw_response_headers_unlike: (?m)^X-Injected
--- error_log
unsafe byte



=== TEST 3: nor out of a request that is passed on
--- config
    location /t {
        rewrite_by_lua_block {
            ngx.req.set_header("X-Value", "a\r\nX-Injected: 1")
        }
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/seen;
    }
    location /seen {
        content_by_lua_block {
            local headers = ngx.req.get_headers()
            ngx.say(headers["X-Injected"], " ", headers["X-Value"])
        }
    }
--- request
GET /t
--- response_body
nil a%0D%0AX-Injected: 1
--- no_error_log
[error]



=== TEST 4: captures of a decoded path in a redirect are encoded again
--- config
    location /t {
        rewrite (?s)^/t/(.*)$ /there?x=$1 redirect;
    }
--- request
GET /t/a%0d%0aX-Injected:%201
--- error_code: 302
--- raw_response_headers_unlike: (?m)^X-Injected
--- raw_response_headers_like: (?i)Location: \S+/there\?x=a%0D%0AX-Injected
--- no_error_log
[error]
