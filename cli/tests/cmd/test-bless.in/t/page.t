=== TEST 1: another greeting, and another status
--- config
    location = /t {
        content_by_lua_block { ngx.status = 201 ngx.header["X-Kind"] = "new" ngx.say("good evening") }
    }
--- request
GET /t
--- response_headers
X-Kind: old
--- response_body
good morning
--- error_code: 200



=== TEST 2: a pattern is for its author to change
--- config
    location = /t { content_by_lua_block { ngx.say("b") } }
--- request
GET /t
--- response_body_like: ^a



=== TEST 3: fine
--- config
    location = /t { content_by_lua_block { ngx.say("c") } }
--- request
GET /t
--- response_body
c
