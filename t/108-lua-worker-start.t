# What `init_worker_by_lua*` sets up.

=== timers of the start run before the first request
--- http_config
init_worker_by_lua_block {
    local steps = {}
    package.loaded.steps = steps
    ngx.timer.at(0, function ()
        steps[#steps + 1] = "timer"
    end)
}
--- config
location = /steps {
    content_by_lua_block {
        ngx.say(table.concat(package.loaded.steps, ","))
    }
}
--- request
GET /steps
--- response_body
timer



=== the worker's script has the worker's VM when requests have their own
--- http_config
lua_code_cache off;
init_worker_by_lua_block {
    ngx.timer.at(0, function ()
        local thread = ngx.thread.spawn(function () return "spawned" end)
        ngx.log(ngx.WARN, select(2, ngx.thread.wait(thread)))
    end)
}
--- config
location = /alone {
    content_by_lua_block {
        ngx.say("served")
    }
}
--- request
GET /alone
--- response_body
served
--- error_log
spawned, context: ngx.timer
--- no_error_log
[error]



=== an option whose metatable fails raises like any other error
--- config
location = /options {
    content_by_lua_block {
        local options = setmetatable({}, { __index = function (_, name) error("no " .. name, 0) end })
        ngx.say(pcall(function ()
            return ngx.socket.tcp():connect("127.0.0.1", 1, options)
        end))
    }
}
--- request
GET /options
--- response_body
falseno pool_size
