# Scripts that take too much: memory, or time without giving way.

=== what exceeds lua_max_memory is an error of the script, and the worker goes on
--- http_config
lua_max_memory 32m;
--- config
location = /hog {
    content_by_lua_block {
        local held = {}
        while true do
            held[#held + 1] = string.rep("x", 1000) .. #held
        end
    }
}
location = /next {
    content_by_lua_block {
        local text = string.rep("y", 4 * 1024 * 1024)
        ngx.say(#text, " ", collectgarbage("count") < 16 * 1024)
    }
}
--- request eval
["GET /hog", "GET /next", "GET /hog", "GET /next"]
--- error_code eval
[500, 200, 500, 200]
--- response_body_like eval
["500 Internal", "^4194304 true\$", "500 Internal", "^4194304 true\$"]
--- no_error_log
[alert]



=== the log tells where memory ran out
--- http_config
lua_max_memory 32m;
--- config
location = /t {
    content_by_lua_block {
        local function fill(held)
            for i = 1, 1e9 do
                held[i] = { i }
            end
        end
        fill({})
    }
}
--- request
GET /t
--- error_code: 500
--- error_log eval
[
    "lua entry thread aborted: memory allocation error: not enough memory",
    qr/^\tcontent_by_lua\(nginx\.conf:\d+\):(?:\d+:)? in function 'fill'$/,
]



=== a script can catch it and go on with less
--- http_config
lua_max_memory 32m;
--- config
location = /t {
    content_by_lua_block {
        local ok, problem = pcall(string.rep, "x", 1024 * 1024 * 1024)
        ngx.say(ok, " ", problem)
        ngx.say(#string.rep("x", 1024 * 1024))
    }
}
--- request
GET /t
--- response_body
false not enough memory
1048576
--- no_error_log
[error]



=== memory runs out in a filter and in a timer, too
--- http_config
lua_max_memory 32m;
--- config
location = /t {
    content_by_lua_block {
        assert(ngx.timer.at(0, function ()
            local held = {}
            for i = 1, 1e9 do
                held[i] = { i }
            end
        end))
        ngx.sleep(0.01)
        ngx.say("ok")
    }
    log_by_lua_block {
        local held = {}
        for i = 1, 1e9 do
            held[i] = { i }
        end
    }
}
--- request
GET /t
--- response_body
ok
--- wait: 1
--- error_log
failed to run log_by_lua*: not enough memory
lua entry thread aborted: memory allocation error: not enough memory



=== what is too little to start with is refused
--- http_config
lua_max_memory 1m;
--- config
location = /t { return 200; }
--- must_die
--- error_log
"lua_max_memory" must be at least 8m



=== the watchdog tells where code is that does not give way
--- http_config
lua_watchdog 100ms;
--- config
location = /t {
    content_by_lua_block {
        local function spin(till)
            local n = 0
            while ngx.now() < till do
                n = n + 1
                ngx.update_time()
            end
            return n
        end
        ngx.say(spin(ngx.now() + 2) > 0)
        ngx.sleep(0.3)
    }
}
--- request
GET /t
--- response_body
true
--- error_log eval
[
    qr/\[alert\] .*?\*\d+ Lua code has not given way for [\d.]+ s; stack traceback:$/,
    qr/^\tcontent_by_lua\(nginx\.conf:\d+\):\d+: in function 'spin'$/,
]
--- timeout: 10



=== the watchdog leaves code alone that sleeps
--- http_config
lua_watchdog 100ms;
--- config
location = /t {
    content_by_lua_block {
        ngx.sleep(1)
        ngx.say("ok")
    }
}
--- request
GET /t
--- response_body
ok
--- no_error_log
[alert]



=== the watchdog tells about functions that block
--- http_config
lua_watchdog 100ms;
--- config
location = /t {
    content_by_lua_block {
        os.execute("sleep 2")
        ngx.say("ok")
    }
}
--- request
GET /t
--- response_body
ok
--- error_log
s; no place is known: a C function blocks, or compiled code runs
--- timeout: 10
