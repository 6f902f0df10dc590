=== TEST 1: a captured response is a table
--- config
    location = /t {
        content_by_lua_block {
            local res = ngx.location.capture("/sub?a=1", { args = { b = 2 } })
            ngx.say(res.status, " ", res.body, res.header["X-Kind"], " ", res.truncated)
        }
    }
    location = /sub {
        content_by_lua_block {
            ngx.header["X-Kind"] = "sub"
            ngx.status = 201
            ngx.print(ngx.var.args, " ")
        }
    }
--- request
GET /t
--- response_body
201 a=1&b=2 sub false
--- no_error_log
[error]



=== TEST 2: captures of one call run together and come back in order
--- config
    location = /t {
        content_by_lua_block {
            local a, b = ngx.location.capture_multi { { "/sub?0.02" }, { "/sub?0.001" } }
            ngx.say(a.body, b.body)
        }
    }
    location = /sub {
        content_by_lua_block {
            ngx.sleep(tonumber(ngx.var.args))
            ngx.print("[", ngx.var.args, "]")
        }
    }
--- request
GET /t
--- response_body
[0.02][0.001]
--- no_error_log
[error]



=== TEST 3: parent directories are refused
--- config
    location = /t {
        content_by_lua_block {
            ngx.say(select(2, pcall(ngx.location.capture, "/a/../b")))
        }
    }
--- request
GET /t
--- response_body_like: unsafe uri in argument #1: /a/../b
--- no_error_log
[error]
