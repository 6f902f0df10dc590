=== TEST 1: each phase knows its name
--- config
    location = /t {
        set_by_lua_block $phase { return ngx.get_phase() }
        rewrite_by_lua_block { ngx.ctx.seen = ngx.var.phase .. " " .. ngx.get_phase() }
        access_by_lua_block { ngx.ctx.seen = ngx.ctx.seen .. " " .. ngx.get_phase() }
        content_by_lua_block { ngx.say(ngx.ctx.seen, " ", ngx.get_phase()) }
        log_by_lua_block { ngx.log(ngx.WARN, "in ", ngx.get_phase()) }
    }
--- request
GET /t
--- response_body
set rewrite access content
--- error_log
in log
--- no_error_log
[error]



=== TEST 2: filters change head and body
--- config
    location = /t {
        content_by_lua_block { ngx.say("hello") }
        header_filter_by_lua_block { ngx.header["X-Filter"] = "yes" }
        body_filter_by_lua_block { ngx.arg[1] = string.upper(ngx.arg[1]) }
    }
--- request
GET /t
--- response_headers
X-Filter: yes
--- response_body
HELLO
--- no_error_log
[error]



=== TEST 3: an API names the phase in which it is disabled
--- config
    location = /t {
        content_by_lua_block { ngx.say("x") }
        header_filter_by_lua_block {
            ngx.header["X-Error"] = select(2, pcall(ngx.say, "x"))
        }
    }
--- request
GET /t
--- raw_response_headers_like: X-Error: API disabled in the context of header_filter_by_lua\*
--- response_body
x
--- no_error_log
[error]



=== TEST 4: a rewrite with a jump looks up the location again
--- config
    location = /t {
        rewrite_by_lua_block { ngx.req.set_uri("/u", true) }
        content_by_lua_block { ngx.say("old") }
    }
    location = /u {
        content_by_lua_block { ngx.say("new") }
    }
--- request
GET /t
--- response_body
new
--- no_error_log
[error]



=== TEST 5: output in the access phase is the response
--- config
    location = /t {
        access_by_lua_block { ngx.say("from access") }
        content_by_lua_block { ngx.say("from content") }
    }
--- request
GET /t
--- response_body
from access
--- no_error_log
[error]



=== TEST 6: a light thread is not started where nothing may wait
--- config
    location = /t {
        content_by_lua_block { ngx.say("x") }
        header_filter_by_lua_block {
            ngx.header["X-Error"] = select(2, pcall(ngx.thread.spawn, function() end))
        }
    }
--- request
GET /t
--- raw_response_headers_like: X-Error: API disabled in the context of header_filter_by_lua\*
--- response_body
x
--- no_error_log
[error]
