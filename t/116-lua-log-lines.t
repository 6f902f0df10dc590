# What the server tells about itself while Lua runs.

=== output buffers that are used again show at the debug level
--- config
    location = /main {
        content_by_lua_block {
            local one = ngx.location.capture("/part")
            local two = ngx.location.capture("/part")
            ngx.print(one.body)
            ngx.flush(true)
            ngx.print(two.body .. "more")
        }
    }
    location = /part {
        content_by_lua_block { ngx.print("12345") }
    }
--- request
GET /main
--- response_body chomp
1234512345more
--- grep_error_log eval: qr/lua (?:reuse free buf|allocate new chainlink)[\w >=]*(?:, but [^,\n]*)?/
--- grep_error_log_out
lua allocate new chainlink and new buf of size 5
lua allocate new chainlink and new buf of size 5
lua allocate new chainlink and new buf of size 5
lua reuse free buf memory 5 >= 5
lua reuse free buf memory 5 >= 5
lua allocate new chainlink and new buf of size 0
lua reuse free buf chain, but reallocate memory because 9 >= 0



=== each interpreter has its own pools of connections
--- http_config
    lua_code_cache off;
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        location / { return 200 "x"; }
    }
--- config
    location = /t {
        content_by_lua_block {
            for _ = 1, 2 do
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_2))
                ngx.print(sock:getreusedtimes())
                assert(sock:setkeepalive(60000))
            end
        }
    }
--- pipelined_requests eval
["GET /t", "GET /t"]
--- response_body eval
["01", "01"]
--- no_error_log
[error]



=== a path ends at a NUL that a script put there
--- config
    location = /t {
        rewrite_by_lua_block { ngx.req.set_uri("/\0folder", true, true) }
    }
--- request
GET /t
--- error_code: 301
--- response_headers_like
Location: .*/%00folder/
--- no_error_log
[error]



=== a name server that is not there shows in the log
--- http_config
    resolver 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ipv6=off;
    resolver_timeout 300ms;
--- config
    location = /t {
        content_by_lua_block {
            ngx.say(select(2, ngx.socket.tcp():connect("name.example", 80)))
        }
    }
--- request
GET /t
--- response_body
name.example could not be resolved (110: Operation timed out)
--- error_log eval
qr/\[error\] [^*]+: recv\(\) failed \(111: Connection refused\) while resolving, resolver: 127\.0\.0\.1:\d+$/



=== errors go to the default log, too, when the only other one is a syslog server
--- config
    location = /t {
        content_by_lua_block {
            ngx.log(ngx.ERR, "a grave matter")
            ngx.log(ngx.WARN, "a lesser one")
            ngx.say("ok")
        }
    }
--- error_log_file: syslog:server=127.0.0.1:$TEST_NGINX_RAND_PORT_1
--- log_level: warn
--- request
GET /t
--- response_body
ok
--- error_log
a grave matter
