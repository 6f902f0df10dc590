use Test::Nginx::Socket 'no_plan';

no_long_string();
run_tests();

__DATA__

=== TEST 1: both modules are built in
--- config
    location = /t {
        content_by_lua_block {
            local cjson = require "cjson"
            local safe = require "cjson.safe"
            ngx.say(cjson.encode({ city = "Lyon", null = ngx.null, list = { 1, 2.5, "x/y" } }) ~= nil)
            ngx.say(cjson.encode({ 1, 2.5, "x/y", ngx.null, false }))
            ngx.say(cjson.decode('{"a":{"b":[10,20]}}').a.b[2])
            ngx.say(cjson.null == ngx.null, " ", safe ~= cjson)
            ngx.say(safe.decode("{"))
        }
    }
--- request
GET /t
--- response_body
true
[1,2.5,"x\/y",null,false]
20
true true
nilExpected object key string but found T_END at character 2
--- no_error_log
[error]



=== TEST 2: an error has the place of the caller
--- config
    location = /t {
        content_by_lua_block {
            ngx.say(require("cjson").decode("[1 2]"))
        }
    }
--- request
GET /t
--- error_code: 500
--- error_log eval
qr/content_by_lua\(nginx\.conf:\d+\):2: Expected comma or array end but found T_INTEGER at character 4/



=== TEST 3: settings belong to an instance
--- config
    location = /t {
        content_by_lua_block {
            local one, two = require("cjson").new(), require("cjson.safe").new()
            one.encode_escape_forward_slash(false)
            one.encode_number_precision(3)
            two.encode_empty_table_as_object(false)
            ngx.say(one.encode({ "/", 1.23456, {} }), two.encode({ "/", 1.23456, {} }))
            ngx.say(one.encode(setmetatable({}, two.array_mt)))
        }
    }
--- request
GET /t
--- response_body
["/",1.23,{}]["\/",1.23456,[]]
[]
--- no_error_log
[error]



=== TEST 4: a module of that name on the paths does not take its place
--- main_config
--- http_config
    lua_package_path "$prefix/html/?.lua;;";
--- config
    location = /t {
        content_by_lua_block {
            ngx.say(require("cjson")._VERSION, " ", package.preload["cjson.safe"] ~= nil)
        }
    }
--- user_files
>>> cjson.lua
return { _VERSION = "mine" }
--- request
GET /t
--- response_body
2.1.0.11 true
--- no_error_log
[error]
