=== a key stays with its server
--- http_config
    server { listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1; return 200 "one\n"; }
    server { listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2; return 200 "two\n"; }
    upstream plain {
        hash $arg_key;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
    }
    upstream ring {
        hash $arg_key consistent;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
    }
    upstream client {
        ip_hash;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
    }
--- config
    location ~ /to/(?<group>.*) { proxy_pass http://$group; }
    location = /t {
        content_by_lua_block {
            for _, group in ipairs { "plain", "ring", "client" } do
                local seen, count = {}, 0
                for key = 1, 20 do
                    local first
                    for _ = 1, 3 do
                        local answer = ngx.location.capture("/to/" .. group, { args = { key = key } }).body
                        first = first or answer
                        assert(answer == first)
                    end
                    if not seen[first] then
                        seen[first], count = true, count + 1
                    end
                end
                ngx.say(group, " ", count)
            end
        }
    }
--- request
GET /t
--- response_body
plain 2
ring 2
client 1

=== workers share what they know of a zone's servers, and scripts see and change it
--- http_config
    server { listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1; return 200 "one\n"; }
    server { listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2; return 200 "two\n"; }
    upstream shared {
        zone shared 64k;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_1 weight=2 max_fails=3 fail_timeout=7s;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_2 backup;
    }
--- config
    location = /to { proxy_pass http://shared; }
    location = /t {
        content_by_lua_block {
            local upstream = require "ngx.upstream"
            ngx.say(table.concat(upstream.get_upstreams(), " "))
            local server = upstream.get_servers("shared")[1]
            ngx.say(server.weight, " ", server.max_fails, " ", server.fail_timeout, " ", server.backup)
            ngx.print(ngx.location.capture("/to").body)
            assert(upstream.set_peer_down("shared", false, 0, true))
            ngx.print(ngx.location.capture("/to").body)
            ngx.say(upstream.get_primary_peers("shared")[1].down, " ", #upstream.get_backup_peers("shared"))
            ngx.say(upstream.set_peer_down("shared", false, 7, true))
            ngx.say(upstream.get_servers("nobody"))
            assert(upstream.set_peer_down("shared", false, 0, false))
            ngx.print(ngx.location.capture("/to").body)
        }
    }
--- request
GET /t
--- response_body
shared
2 3 7 nil
one
two
true 1
nilbad peer id
nilupstream not found
one

=== a full server is passed over
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        location / { echo_sleep 0.2; echo slow; }
    }
    server { listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2; return 200 "free\n"; }
    upstream limited {
        random two;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_1 max_conns=1;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_2 down;
    }
--- config
    location = /to { proxy_pass http://limited; }
    location = /t {
        content_by_lua_block {
            local one, two = ngx.location.capture_multi { { "/to" }, { "/to" } }
            local codes = { one.status, two.status }
            table.sort(codes)
            ngx.say(table.concat(codes, " "))
        }
    }
--- request
GET /t
--- response_body
200 502
--- error_log
no live upstreams

=== backups don't go with hashing
--- http_config
    upstream wrong {
        hash $uri;
        server 127.0.0.1:1 backup;
    }
--- config
--- must_die
--- error_log
balancing method does not support parameter "backup"

=== a method that replaces another is worth a warning
--- http_config
    upstream twice {
        least_conn;
        ip_hash;
        server 127.0.0.1:1;
    }
--- config
    location = /t { echo fine; }
--- request
GET /t
--- response_body
fine
--- error_log
load balancing method redefined

=== the server whose answers take least time is asked, a slow one of them less
--- http_config
    upstream timed {
        least_time last_byte;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        location / { content_by_lua_block { ngx.sleep(0.5) ngx.print("slow ") } }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        location / { return 200 "quick "; }
    }
--- config
    location = /to { proxy_pass http://timed; }
    location = /t {
        content_by_lua_block {
            for _ = 1, 5 do
                ngx.print(ngx.location.capture("/to").body)
            end
            ngx.say("done")
        }
    }
--- request
GET /t
--- response_body
slow quick quick quick quick done
--- no_error_log
[error]

=== least_time knows the points of an answer, and requests under way
--- http_config
    upstream heads {
        least_time header inflight;
        server 127.0.0.1:$TEST_NGINX_SERVER_PORT;
        server 127.0.0.1:$TEST_NGINX_SERVER_PORT backup;
    }
--- config
    location = /end { return 200 "served\n"; }
    location = /t { proxy_pass http://heads/end; }
--- request
GET /t
--- response_body
served
--- no_error_log
[error]

=== least_time of what streams have is not for requests
--- http_config
    upstream wrong {
        least_time first_byte;
        server 127.0.0.1:1;
    }
--- config
--- must_die
--- error_log
invalid value "first_byte"
