=== TEST 1: a regular expression that explodes is stopped
--- config
    location /t {
        content_by_lua_block {
            local subject = ("a"):rep(30) .. "b"
            for _, options in ipairs { "j", "" } do
                local begin = ngx.now()
                local found, problem = ngx.re.match(subject, "(a+)+$", options)
                ngx.update_time()
                ngx.say(found, " ", problem, " ", ngx.now() - begin < 5)
            end
        }
    }
--- request
GET /t
--- response_body
nil pcre_exec() failed: -47 true
nil pcre_exec() failed: -47 true
--- no_error_log
[alert]



=== TEST 2: whatever a script throws ends one request, with a line in the log
--- config
    location /string { content_by_lua_block { error("text") } }
    location /table { content_by_lua_block { error({}) } }
    location /nil { content_by_lua_block { error(nil) } }
    location /object { content_by_lua_block { error(setmetatable({}, { __tostring = function() return "object" end })) } }
    location /filter { header_filter_by_lua_block { error("in a filter") } echo ok; }
    location /log { log_by_lua_block { error("in the log") } echo ok; }
    location /thread {
        content_by_lua_block {
            local co = coroutine.create(function() coroutine.yield(1) error("inside") end)
            coroutine.resume(co)
            ngx.print(coroutine.resume(co))
        }
    }
    location /t {
        content_by_lua_block {
            for name in ("string table nil object log thread filter gc"):gmatch("%a+") do
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", ngx.var.server_port))
                sock:send("GET /" .. name .. " HTTP/1.0\r\nHost: localhost\r\n\r\n")
                local line = sock:receive()
                ngx.say(name, " ", line and line:match("%d%d%d") or "nothing")
                sock:close()
            end
        }
    }
    location /gc {
        content_by_lua_block {
            local proxy = newproxy(true)
            getmetatable(proxy).__gc = function() error("while collecting") end
            proxy = nil
            ngx.say(pcall(collectgarbage))
        }
    }
--- request
GET /t
--- response_body
string 500
table 500
nil 500
object 500
log 200
thread 200
filter nothing
gc 200
--- error_log
runtime error: content_by_lua(nginx.conf
in the log
in a filter
--- no_error_log
[alert]



=== TEST 3: an upstream server that stalls is given up in time
--- config
    location /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            sock:settimeouts(1000, 1000, 100)
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            ngx.update_time()
            local begin = ngx.now()
            local line, problem = sock:receive()
            ngx.update_time()
            local passed = ngx.now() - begin
            ngx.say(line, " ", problem, " ", passed >= 0.09 and passed < 2)
        }
    }
--- request
GET /t
--- response_body
nil timeout true
--- error_log
lua tcp socket read timed out



=== TEST 4: a connection with unread bytes is not kept
--- config
    location /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            sock:send("GET /two HTTP/1.1\r\nHost: localhost\r\n\r\n")
            sock:receive()
            ngx.say(sock:setkeepalive())
        }
    }
    location /two { echo two; }
--- request
GET /t
--- response_body
nilunread data in buffer
--- no_error_log
[error]
