=== TEST 1: requests beyond the burst are refused
--- http_config
    limit_req_zone $arg_who zone=calm:64k rate=1r/s;
--- config
    location /t {
        limit_req zone=calm;
        limit_req_status 429;
        echo "$limit_req_status";
    }
--- pipelined_requests eval
["GET /t?who=a", "GET /t?who=a", "GET /t?who=b", "GET /t"]
--- error_code eval
[200, 429, 200, 200]
--- response_body eval
["PASSED\n", qr/429 Too Many Requests/, "PASSED\n", "\n"]



=== TEST 2: a burst waits, or passes at once
--- http_config
    limit_req_zone $arg_who zone=waits:64k rate=20r/s;
    limit_req_zone $arg_who zone=hastes:64k rate=1r/m;
    limit_req_log_level notice;
--- config
    location /wait {
        limit_req zone=waits burst=2;
        echo "$limit_req_status";
    }
    location /haste {
        limit_req zone=hastes burst=1 nodelay;
        echo "$limit_req_status";
    }
--- pipelined_requests eval
["GET /wait?who=a", "GET /wait?who=a", "GET /haste?who=a", "GET /haste?who=a"]
--- response_body eval
["PASSED\n", "DELAYED\n", "PASSED\n", "PASSED\n"]



=== TEST 3: a dry run only tells
--- http_config
    limit_req_zone $arg_who zone=dry:64k rate=1r/m;
    limit_conn_zone $arg_who zone=few:64k;
--- config
    location /t {
        limit_req zone=dry;
        limit_req_dry_run on;
        limit_conn few 1;
        echo "$limit_req_status $limit_conn_status";
    }
--- pipelined_requests eval
["GET /t?who=a", "GET /t?who=a"]
--- response_body eval
["PASSED PASSED\n", "REJECTED_DRY_RUN PASSED\n"]



=== TEST 4: several limits count together, the first that is full decides
--- http_config
    limit_req_zone $arg_who zone=wide:64k rate=100r/s;
    limit_req_zone $arg_all zone=narrow:64k rate=1r/m;
--- config
    location /t {
        limit_req zone=wide burst=10;
        limit_req zone=narrow;
        echo "$limit_req_status";
    }
--- pipelined_requests eval
["GET /t?who=a&all=1", "GET /t?who=b&all=1"]
--- error_code eval
[200, 503]



=== TEST 5: as many requests at once as are allowed, and no more
--- http_config
    limit_conn_zone $server_name zone=one:64k;
--- config
    location /t {
        limit_conn one 1;
        content_by_lua_block {
            local answer = ngx.location.capture("/inner")
            ngx.print(answer.status, " ", answer.body)
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            sock:send("GET /t HTTP/1.0\r\nHost: localhost\r\n\r\n")
            ngx.say(sock:receive())
        }
    }
    location /inner {
        limit_conn one 1;
        echo inner;
    }
--- request
GET /t
--- response_body
200 inner
HTTP/1.1 503 Service Temporarily Unavailable
--- error_log
limiting connections by zone "one"



=== TEST 6: a place is given back with the request
--- http_config
    limit_conn_zone $server_name zone=one:64k;
--- config
    location /t {
        limit_conn one 1;
        echo "$limit_conn_status";
    }
--- pipelined_requests eval
["GET /t", "GET /t", "GET /t"]
--- response_body eval
["PASSED\n", "PASSED\n", "PASSED\n"]
--- no_error_log
[error]



=== TEST 7: a zone that nobody declared
--- config
    location /t {
        limit_req zone=nowhere;
        return 200;
    }
--- must_die
--- error_log
zero size shared memory zone "nowhere"



=== TEST 8: how much there is to do
--- config
    location /t {
        stub_status;
    }
    location /v {
        echo "$connections_active $connections_reading $connections_writing $connections_waiting";
    }
--- pipelined_requests eval
["GET /t", "GET /v"]
--- response_body_like eval
["\\AActive connections: 1 \nserver accepts handled requests\n \\d+ \\d+ \\d+ \nReading: 0 Writing: 1 Waiting: 0 \n\\z", "\\A1 0 1 0\n\\z"]
--- response_headers eval
["Content-Type: text/plain", ""]
--- no_error_log
[error]



=== TEST 9: any file of a folder
--- config
    location /d/ {
        random_index on;
    }
--- user_files
>>> d/.hidden
no
>>> d/one.txt
yes
--- request
GET /d/
--- response_body
yes
--- no_error_log
[error]



=== TEST 10: what the log says of them
--- http_config
    limit_req_zone $arg_zone zone=calm:64k rate=1r/m;
    limit_req_zone $arg_zone zone=waits:64k rate=50r/s;
    limit_req_zone $arg_zone zone=dry:64k rate=1r/m;
--- config
    location /calm {
        limit_req zone=calm;
        echo ok;
    }
    location /waits {
        limit_req zone=waits burst=2;
        limit_req_log_level notice;
        echo ok;
    }
    location /dry {
        limit_req zone=dry;
        limit_req_dry_run on;
        echo ok;
    }
    location /t {
        content_by_lua_block {
            for _, zone in ipairs { "calm", "calm", "waits", "waits", "dry", "dry" } do
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", ngx.var.server_port))
                sock:send("GET /" .. zone .. "?zone=x HTTP/1.0\r\nHost: localhost\r\n\r\n")
                ngx.say(zone, sock:receive():match(" %d+"))
                sock:close()
            end
        }
    }
--- request
GET /t
--- response_body
calm 200
calm 503
waits 200
waits 200
dry 200
dry 200
--- error_log eval
[qr/\[error\] .*limiting requests, excess: (1\.000|0\.9\d\d) by zone "calm", client/,
qr/\[info\] .*delaying request, excess: [01]\.\d{3}, by zone "waits", client/,
qr/\[error\] .*limiting requests, dry run, excess: (1\.000|0\.9\d\d) by zone "dry", client/]



=== TEST 11: scripts read what the server counts
--- config
    location /t {
        content_by_lua_block {
            local ffi = require "ffi"
            ffi.cdef "extern uint64_t *ngx_stat_active; extern uint64_t *ngx_stat_writing;"
            ngx.say(tonumber(ffi.C.ngx_stat_active[0]), " ", tonumber(ffi.C.ngx_stat_writing[0]))
        }
    }
--- request
GET /t
--- response_body
1 1
--- no_error_log
[error]



=== TEST 12: who does not wait for its turn is let go
--- http_config
    limit_req_zone $arg_zone zone=slow:64k rate=1r/s;
--- config
    location /slow {
        limit_req zone=slow burst=5;
        echo ok;
    }
    location /t {
        content_by_lua_block {
            for _ = 1, 2 do
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", ngx.var.server_port))
                sock:send("GET /slow?zone=x HTTP/1.1\r\nHost: localhost\r\n\r\n")
                ngx.sleep(0.05)
                sock:close()
            end
            ngx.sleep(0.05)
            ngx.say("done")
        }
    }
--- request
GET /t
--- response_body
done
--- error_log
client prematurely closed connection
--- no_error_log
[error]
