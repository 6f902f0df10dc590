=== TEST 1: say joins its arguments and ends the line
--- config
    location = /t {
        content_by_lua_block {
            ngx.say("a", 1, 1.5, nil, true, ngx.null, { "x", { "y", 2 } })
        }
    }
--- request
GET /t
--- response_body
a11.5niltruenullxy2
--- no_error_log
[error]



=== TEST 2: output after eof is refused
--- config
    location = /t {
        content_by_lua_block {
            ngx.say("body")
            ngx.eof()
            local ok, err = ngx.say("more")
            ngx.log(ngx.WARN, "say: ", ok, " ", err)
        }
    }
--- request
GET /t
--- response_body
body
--- error_log
say: nil seen eof



=== TEST 3: a table with named keys is no output
--- config
    location = /t {
        content_by_lua_block {
            ngx.say(select(2, pcall(ngx.say, { a = 1 })))
        }
    }
--- request
GET /t
--- response_body
bad argument #1 to '?' (non-array table found)
--- no_error_log
[error]



=== TEST 4: messages carry the chunk and the line
--- config
    location = /t {
        content_by_lua_block {
            local function f()
                ngx.log(ngx.WARN, "from f")
            end
            f()
            ngx.say("ok")
        }
    }
--- request
GET /t
--- response_body
ok
--- error_log eval
qr/\[lua\] content_by_lua\(nginx.conf:\d+\):3: f\(\): from f/



=== TEST 5: who flushes much lets others have their turn
--- config
    location = /t {
        sendfile_max_chunk 64k;
        content_by_lua_block {
            local others_ran = false
            ngx.thread.spawn(function()
                ngx.sleep(0)
                others_ran = true
            end)
            local piece = ("x"):rep(32768)
            for _ = 1, 4 do
                ngx.print(piece)
                ngx.flush(true)
            end
            ngx.say(others_ran and " others ran" or " nobody else ran")
        }
    }
--- request
GET /t
--- response_body_like: x others ran$
