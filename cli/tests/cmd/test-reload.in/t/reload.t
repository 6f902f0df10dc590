# Blocks that share one server, which reloads its configuration between them.

--- use_hup

=== TEST 1: the server starts with the first block
--- http_config
    lua_shared_dict visits 1m;
--- config
    location = /t {
        content_by_lua_block {
            ngx.say("first: ", (ngx.shared.visits:incr("n", 1, 0)))
        }
    }
--- request
GET /t
--- response_body
first: 1
--- no_error_log
[error]



=== TEST 2: the second block finds its own configuration and the first one's shared memory
--- http_config
    lua_shared_dict visits 1m;
--- config
    location = /t {
        content_by_lua_block {
            ngx.say("second: ", (ngx.shared.visits:incr("n", 1, 0)))
        }
    }
--- request
GET /t
--- response_body
second: 2
--- no_error_log
[error]
