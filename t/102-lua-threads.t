=== TEST 1: a light thread runs at once, its parent goes on when it yields
--- config
    location = /t {
        content_by_lua_block {
            local thread = ngx.thread.spawn(function (name)
                ngx.say("hello from ", name)
                ngx.sleep(0.001)
                ngx.say("back in ", name)
                return name
            end, "child")
            ngx.say("parent")
            ngx.say(ngx.thread.wait(thread))
        }
    }
--- request
GET /t
--- response_body
hello from child
parent
back in child
truechild
--- no_error_log
[error]



=== TEST 2: a killed thread does not go on
--- config
    location = /t {
        content_by_lua_block {
            local thread = ngx.thread.spawn(function ()
                ngx.sleep(0.001)
                ngx.say("never")
            end)
            ngx.say(ngx.thread.kill(thread))
            ngx.sleep(0.005)
            ngx.say(coroutine.status(thread))
        }
    }
--- request
GET /t
--- response_body
1
dead
--- no_error_log
[error]



=== TEST 3: the request lasts as long as its threads
--- config
    location = /t {
        content_by_lua_block {
            ngx.thread.spawn(function ()
                ngx.sleep(0.01)
                ngx.say("late")
            end)
            ngx.say("early")
        }
    }
--- request
GET /t
--- response_body
early
late
--- no_error_log
[error]



=== TEST 4: sleeping threads wake in the order of their times
--- config
    location = /t {
        content_by_lua_block {
            local threads = {}
            for i = 3, 1, -1 do
                threads[#threads + 1] = ngx.thread.spawn(function ()
                    ngx.sleep(i * 0.01)
                    ngx.say(i)
                end)
            end
            for _, thread in ipairs(threads) do
                ngx.thread.wait(thread)
            end
        }
    }
--- request
GET /t
--- response_body
1
2
3
--- no_error_log
[error]
