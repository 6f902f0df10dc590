=== TEST 1: greets
--- http_config
    lua_package_path "lib/?.lua;;";
--- config
    location = /t { content_by_lua_block { ngx.say(require("greeting").hello("x")) } }
--- request
GET /t
--- response_body
hello, x
