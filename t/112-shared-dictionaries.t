=== TEST 1: a finalizer may use the zone whose value is just being made
--- http_config
    lua_shared_dict shelf 1m;
--- config
    location = /t {
        content_by_lua_block {
            local shelf, runs, wrong = ngx.shared.shelf, 0, 0
            local long = ("w"):rep(30000)
            shelf:set("long", long)
            shelf:rpush("queue", long)
            collectgarbage("setpause", 50)
            for i = 1, 3000 do
                local guest = newproxy(true)
                getmetatable(guest).__gc = function()
                    runs = runs + 1
                    shelf:set("short", "guest")
                    if #shelf:get("short") ~= 5 then wrong = wrong + 1 end
                    shelf:incr("visits", 1, 0)
                end
                guest = nil
                if shelf:get("long") ~= long then wrong = wrong + 1 end
                local first = shelf:lpop("queue")
                if first ~= long then wrong = wrong + 1 end
                shelf:rpush("queue", first)
            end
            collectgarbage()
            ngx.say(wrong, " wrong, visits counted: ", shelf:get("visits") == runs)
        }
    }
--- request
    GET /t
--- response_body
0 wrong, visits counted: true
--- no_error_log
[error]



=== TEST 2: arguments that are refused leave the dictionary usable
--- http_config
    lua_shared_dict shelf 1m;
--- config
    location = /t {
        content_by_lua_block {
            local shelf = ngx.shared.shelf
            ngx.say(pcall(shelf.set, shelf, "a", 1, 0, {}) and "taken" or "refused")
            ngx.say(pcall(shelf.incr, shelf, "a", "much") and "taken" or "refused")
            ngx.say(shelf:set("a", 1), " ", shelf:incr("a", 2), " ", shelf:get("a"))
        }
    }
--- request
    GET /t
--- response_body
refused
refused
true 3 3
--- no_error_log
[error]
