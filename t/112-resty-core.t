=== TEST 1: a library on the package path takes the place of the built-in one
--- http_config
    lua_package_path "$prefix/html/?.lua;;";
--- config
    location /t {
        content_by_lua_block {
            ngx.say(package.loaded["resty.core"] == require "resty.core", " ", require("resty.core").mine)
        }
    }
--- user_files
>>> resty/core.lua
return { mine = "mine" }
--- request
GET /t
--- response_body
true mine
--- no_error_log
[error]



=== TEST 2: so does a single module of it
--- http_config
    lua_package_path "$prefix/html/?.lua;;";
--- config
    location /t {
        content_by_lua_block {
            ngx.say(require("ngx.re").mine, " ", ngx.re.match("abc", "b")[0])
        }
    }
--- user_files
>>> ngx/re.lua
return { mine = "mine" }
--- request
GET /t
--- response_body
mine b
--- no_error_log
[error]



=== TEST 3: the server's own parts are there without any library
--- http_config
    lua_package_path "$prefix/html/?.lua;;";
    lua_shared_dict dogs 64k;
--- config
    location /t {
        content_by_lua_block {
            local dogs = ngx.shared.dogs
            ngx.say(dogs:lpush("list", "a"), " ", dogs:rpop("list"), " ", #dogs:get_keys(), " ", dogs:flush_expired())
            ngx.say(type(ndk.set_var))
        }
    }
--- user_files
>>> resty/core.lua
return {}
--- request
GET /t
--- response_body
1 a 0 0
table
--- no_error_log
[error]



=== TEST 4: a library that does not load stops the server, with the reason
--- http_config
    lua_package_path "$prefix/html/?.lua;;";
--- config
    location /t { content_by_lua_block { ngx.say("ok") } }
--- user_files
>>> resty/core.lua
error("not for you")
--- must_die
--- error_log
failed to load the 'resty.core' module
not for you



=== TEST 5: among them the functions that no library brings
--- http_config
    lua_package_path "$prefix/html/?.lua;;";
--- config
    location /t {
        content_by_lua_block {
            ngx.say(#ngx.hmac_sha1("key", "text"), " ", ngx.quote_sql_str("it's"))
            ngx.say(pcall(ngx.quote_sql_str))
        }
    }
--- user_files
>>> resty/core.lua
return {}
--- request
GET /t
--- response_body
20 'it\'s'
falseexpecting one argument
--- no_error_log
[error]
