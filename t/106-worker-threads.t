# Lua functions on the threads of a `thread_pool`.

=== tables travel to the thread and back
--- main_config
thread_pool sums threads=2;
--- http_config
lua_package_path "$prefix/html/?.lua;;";
--- user_files
>>> sums.lua
return {
    total = function (list, scale)
        local total = 0
        for _, entry in ipairs(list) do
            total = total + entry.value * scale
        end
        return { total = total, count = #list }, nil, "end"
    end,
}
--- config
location = /total {
    content_by_lua_block {
        local ok, answer, nothing, last = ngx.run_worker_thread("sums", "sums", "total",
            { { value = 3 }, { value = 4 } }, 10)
        ngx.say(ok, " ", answer.total, " ", answer.count, " ", nothing, " ", last)
    }
}
--- request
GET /total
--- response_body
true 70 2 nil end
--- no_error_log
[error]



=== the event loop goes on while a thread is busy
--- main_config
thread_pool waiting threads=1;
--- http_config
lua_package_path "$prefix/html/?.lua;;";
--- user_files
>>> waiter.lua
return {
    wait = function ()
        os.execute("sleep 0.2")
        return "late"
    end,
}
--- config
location = /order {
    content_by_lua_block {
        local thread = ngx.thread.spawn(function ()
            local _, word = ngx.run_worker_thread("waiting", "waiter", "wait")
            ngx.say(word)
        end)
        ngx.say("early")
        ngx.thread.wait(thread)
    }
}
--- request
GET /order
--- response_body
early
late



=== an error in the thread is an answer
--- main_config
thread_pool failing threads=1;
--- http_config
lua_package_path "$prefix/html/?.lua;;";
--- user_files
>>> failing.lua
return { fail = function () error("broken on purpose", 0) end, value = 7 }
--- config
location = /fail {
    content_by_lua_block {
        ngx.say(ngx.run_worker_thread("failing", "failing", "fail"))
        ngx.say(ngx.run_worker_thread("failing", "failing", "value"))
        ngx.say(ngx.run_worker_thread("other", "failing", "fail"))
        ngx.say(ngx.run_worker_thread("failing", "failing", "fail", print))
    }
}
--- request
GET /fail
--- response_body
falsebroken on purpose
falseinvalid function
falsethread pool other not found
falseunsupported Lua type: LUA_TFUNCTION in the argument
