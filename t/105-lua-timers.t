=== TEST 1: a timer runs without a request
--- config
    location = /t {
        content_by_lua_block {
            ngx.say(ngx.timer.at(0.01, function (premature, a)
                ngx.log(ngx.WARN, "premature: ", premature, ", a: ", a)
                print(select(2, pcall(ngx.say, "x")))
            end, "A"))
        }
    }
--- request
GET /t
--- response_body
1
--- wait: 0.1
--- error_log
premature: false, a: A, context: ngx.timer
API disabled in the context of ngx.timer
--- no_error_log
[error]



=== TEST 2: init_worker code may start timers
--- http_config
    init_worker_by_lua_block {
        ngx.timer.at(0, function () counter = 41 end)
    }
--- config
    location = /t {
        content_by_lua_block {
            ngx.sleep(0.02)
            ngx.say(rawget(_G, "counter"))
        }
    }
--- request
GET /t
--- response_body
41



=== timers of init_worker run in the worker's interpreter when nothing is cached
--- http_config
lua_code_cache off;
lua_shared_dict ticks 128k;
init_worker_by_lua_block {
    ngx.timer.at(0, function () ngx.shared.ticks:incr("count", 1, 0) end)
}
--- config
location = /ticks {
    content_by_lua_block {
        ngx.sleep(0.05)
        ngx.say(ngx.shared.ticks:get("count"))
    }
}
--- request
GET /ticks
--- response_body
1
--- no_error_log
[error]



=== TEST 3: a timer has no client that could go away
--- config
    location = /t {
        content_by_lua_block {
            assert(ngx.timer.at(0, function() ngx.on_abort(print) end))
            ngx.sleep(0.01)
            ngx.say("done")
        }
    }
--- request
GET /t
--- response_body
done
--- error_log
API disabled in the context of ngx.timer



=== TEST 4: scripts that measure memory see only their own
--- config
    location /t {
        content_by_lua_block {
            collectgarbage("collect")
            local start = collectgarbage("count")
            local grown = { 0, 0, 0 }
            for i = 1, 3 do
                ngx.sleep(0.001)
                collectgarbage("collect")
                grown[i] = collectgarbage("count") - start
            end
            ngx.say(grown[2] == grown[3], " ", grown[1] == grown[3])
        }
    }
--- request
GET /t
--- response_body
true true
--- no_error_log
[error]



=== a timer goes before a sleep that began later and ends in the same moment
--- config
location = /order {
    content_by_lua_block {
        local order = {}
        for round = 1, 20 do
            ngx.timer.at(0.005, function () order[#order + 1] = "t" end)
            ngx.sleep(0.005)
            order[#order + 1] = "s"
        end
        ngx.say(table.concat(order))
    }
}
--- request
GET /order
--- response_body
tstststststststststststststststststststs
--- no_error_log
[error]



=== time goes on for a script that only gives way
--- config
    location = /patience {
        content_by_lua_block {
            local start, turns = ngx.now(), 0
            repeat
                ngx.sleep(0)
                turns = turns + 1
            until ngx.now() - start >= 0.02
            ngx.say(turns > 1)
        }
    }
--- request
GET /patience
--- response_body
true
--- no_error_log
[error]



=== timers of init_worker count from the beginning of the worker and go before those without a delay
--- http_config
    init_worker_by_lua_block {
        order = {}
        local function note(_, name)
            order[#order + 1] = name
        end
        local began = os.clock()
        repeat until os.clock() - began > 0.06
        ngx.timer.at(0, note, "prompt")
        ngx.timer.at(0.03, note, "second")
        ngx.timer.at(0.02, note, "first")
    }
--- config
    location = /order {
        content_by_lua_block {
            repeat
                ngx.sleep(0.005)
            until #order == 3
            ngx.say(table.concat(order, " "))
        }
    }
--- request
GET /order
--- response_body
first second prompt
--- no_error_log
[error]
