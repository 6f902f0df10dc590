=== TEST 1: the same on both
--- config
    location = /t {
        return 200 "hello\n";
    }
--- request
GET /t
--- response_body
hello



=== TEST 2: each says its own
--- main_config
env WHO;
--- config
    location = /t {
        content_by_lua_block { ngx.say(os.getenv("WHO") or "first") }
    }
--- request
GET /t
--- response_body_like: .
