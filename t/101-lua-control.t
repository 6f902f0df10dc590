=== TEST 1: exit with a status before output gives the standard page
--- config
    location = /t {
        content_by_lua_block {
            ngx.exit(403)
        }
    }
--- request
GET /t
--- error_code: 403
--- response_body_like: 403 Forbidden
--- no_error_log
[error]



=== TEST 2: exec goes on in another location
--- config
    location = /t {
        content_by_lua_block {
            ngx.exec("/u", { a = "1 2" })
        }
    }
    location = /u {
        internal;
        content_by_lua_block {
            ngx.say(ngx.var.uri, "?", ngx.var.args)
        }
    }
--- request
GET /t
--- response_body
/u?a=1%202
--- no_error_log
[error]



=== TEST 3: redirect keeps relative locations
--- config
    location = /t {
        content_by_lua_block {
            ngx.redirect("/there", 301)
        }
    }
--- request
GET /t
--- error_code: 301
--- response_headers
Location: /there
--- no_error_log
[error]



=== TEST 4: control bytes do not get into a redirect
--- config
    location = /t {
        content_by_lua_block {
            ngx.say(select(2, pcall(ngx.redirect, "/a\nb")))
        }
    }
--- request
GET /t
--- response_body_like: unsafe byte "0x0a" in redirect uri "/a\\x0Ab"
--- no_error_log
[error]



=== TEST 5: an error in the entry thread gives 500 and a traceback
--- config
    location = /t {
        content_by_lua_block {
            error("boom")
        }
    }
--- request
GET /t
--- error_code: 500
--- response_body_like: 500 Internal Server Error
--- error_log
lua entry thread aborted: runtime error: content_by_lua(nginx.conf
boom
stack traceback:
coroutine 0:
