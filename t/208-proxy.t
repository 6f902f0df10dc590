=== the location's prefix gives way to the URI of proxy_pass
--- config
    location /back { echo "$request_method $request_uri"; }
    location /front/ { proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/back/; }
--- request
GET /front/a%20b?x=1
--- response_body
GET /back/a%20b?x=1

=== without a URI the request line is passed on as written
--- config
    location /same {
        if ($http_x_inner) { return 200 "$request_uri $http_connection|$http_x_set|$http_x_gone\n"; }
        proxy_set_header X-Inner yes;
        proxy_set_header X-Set "a-$arg_n";
        proxy_set_header X-Gone "";
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT;
    }
--- request
GET /same/a%2Fb?n=5
--- more_headers
X-Gone: here
--- response_body
/same/a%2Fb?n=5 |a-5|

=== variables name the server and the URI
--- config
    location /target { echo "target $arg_q"; }
    location /t {
        set $where 127.0.0.1:$server_port/target?q=7;
        proxy_pass http://$where;
    }
--- request
GET /t
--- response_body
target 7

=== a server that refuses is passed over
--- http_config
    upstream both {
        server 127.0.0.1:1;
        server 127.0.0.1:$TEST_NGINX_SERVER_PORT backup;
    }
--- config
    location /ok { echo fine; }
    location /t {
        proxy_pass http://both/ok;
        add_header X-Tried $upstream_status;
    }
--- request
GET /t
--- response_body
fine
--- response_headers
X-Tried: 502, 200
--- error_log
connect() failed (111: Connection refused) while connecting to upstream

=== without a living server the client learns it
--- http_config
    upstream dead { server 127.0.0.1:1 down; }
--- config
    location /t { proxy_pass http://dead; }
--- request
GET /t
--- error_code: 502
--- error_log
no live upstreams while connecting to upstream

=== bodies go there and back
--- config
    location /back { echo_read_request_body; echo_request_body; }
    location /t { proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/back; proxy_buffering off; }
--- request
POST /t
some words
--- response_body chomp
some words

=== redirects of the server behind become our own
--- config
    location /back/ { return 302 http://127.0.0.1:$TEST_NGINX_SERVER_PORT/back/next; }
    location /front/ { proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/back/; }
--- request
GET /front/
--- error_code: 302
--- response_headers_like
Location: http://localhost:\d+/front/next

=== errors may be left to an error page
--- config
    location @mine { echo "mine, they said $upstream_status"; }
    location /back { return 404; }
    location /t { proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/back; proxy_intercept_errors on; error_page 404 = @mine; }
--- request
GET /t
--- response_body
mine, they said 404

=== a name needs a resolver when variables hold it
--- config
    location /t { set $name somewhere.invalid; proxy_pass http://$name/; }
--- request
GET /t
--- error_code: 502
--- error_log
no resolver defined to resolve somewhere.invalid

=== a server that is too slow is given up
--- config
    location /back { echo_sleep 2; echo late; }
    location /t { proxy_read_timeout 100ms; proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/back; }
--- request
GET /t
--- error_code: 504
--- error_log
upstream timed out (110: Connection timed out) while reading response header from upstream

=== Lua code names the server
--- http_config
    upstream by_lua {
        server 0.0.0.1;
        balancer_by_lua_block {
            ngx.log(ngx.WARN, "choosing in ", ngx.get_phase())
            return ngx.exit(503)
        }
    }
--- config
    location /t { proxy_pass http://by_lua; }
--- request
GET /t
--- error_code: 503
--- error_log
choosing in balancer

=== a peer that Lua code chose is asked
--- http_config
    upstream by_choice {
        server 0.0.0.1;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            if not balancer.get_last_failure() then
                balancer.set_more_tries(1)
                assert(balancer.set_current_peer("127.0.0.1", 1))
            else
                local how, code = balancer.get_last_failure()
                ngx.log(ngx.WARN, "before: ", how, " ", code)
                assert(balancer.set_current_peer("127.0.0.1", tonumber(ngx.var.server_port)))
                assert(balancer.enable_keepalive())
            end
        }
    }
--- config
    location /ok { echo served; }
    location /t { proxy_pass http://by_choice/ok; }
--- request
GET /t
--- response_body
served
--- error_log
before: failed 502
