=== TEST 1: says hello
--- config
    location = /t {
        content_by_lua_block { ngx.say("hello, world") }
    }
--- request
GET /t
--- response_body
hello, world



=== TEST 2: expects too much
--- config
    location = /t {
        content_by_lua_block { ngx.say("one") ngx.say("two") }
    }
--- request
GET /t
--- response_body
one
three



=== TEST 3: looks for nothing
--- config
    location = /t { return 204; }
--- request
GET /t
--- error_code: 204
--- reponse_body
never read
