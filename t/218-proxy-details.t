=== what was rewritten on the spot is asked for as it is now
--- config
    location /back { return 200 "$request_uri\n"; }
    location /front/ {
        rewrite ^/front/(.*)$ /back/$1;
        break;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/elsewhere/;
    }
--- request
GET /front/x
--- response_body
/back/x

=== a body that came with its head can be looked at though it is passed on at once
--- config
    location /back { return 200 "fine\n"; }
    location = /t {
        proxy_request_buffering off;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/back;
        add_header X-Body $request_body;
    }
--- request
POST /t
some words
--- response_headers
X-Body: some words
--- response_body
fine

=== settings inside limit_except still ask the server
--- config
    location /back { return 200 "$request_method\n"; }
    location = /t {
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/back;
        limit_except POST { allow all; }
    }
--- request
GET /t
--- response_body
GET

=== of fields that come once the first one counts
--- config
    location = /origin {
        content_by_lua_block {
            local sock = ngx.req.socket(true)
            sock:send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n"
                .. "Expires: now\r\nExpires: later\r\nX-Any: 1\r\nX-Any: 2\r\n\r\nok\n")
        }
    }
    location = /t { proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin; }
--- request
GET /t
--- raw_response_headers_like chomp
Expires: now\r\nX-Any: 1\r\nX-Any: 2
--- response_body
ok
--- error_log
upstream sent duplicate header line: "Expires: later", previous value: "Expires: now", ignored

=== a dot before a cookie's domain stays
--- config
    location /back { add_header Set-Cookie "id=1; Domain=$arg_d"; return 204; }
    location = /t {
        proxy_cookie_domain .inner.test .outer.test;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/back;
    }
--- request eval
["GET /t?d=.inner.test", "GET /t?d=inner.test"]
--- error_code eval
[204, 204]
--- response_headers eval
["Set-Cookie: id=1; Domain=.outer.test", "Set-Cookie: id=1; Domain=outer.test"]

=== a failure is kept as long as the configuration says
--- http_config
    proxy_cache_path cache keys_zone=kept:64k;
    lua_shared_dict counts 64k;
--- config
    location = /origin {
        content_by_lua_block { ngx.shared.counts:incr("n", 1, 0) ngx.exit(403) }
    }
    location = /front {
        proxy_cache kept;
        proxy_cache_valid 403 502 1m;
        proxy_intercept_errors on;
        error_page 403 =200 /refused;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
    }
    location = /dead {
        proxy_cache kept;
        proxy_cache_valid 502 1m;
        proxy_pass http://127.0.0.1:1;
        add_header X-Cache $upstream_cache_status always;
    }
    location = /refused { echo "refused"; }

    location = /count { content_by_lua_block { ngx.say(ngx.shared.counts:get("n")) } }
--- request eval
["GET /front", "GET /front", "GET /count", "GET /dead", "GET /dead"]
--- error_code eval
[200, 200, 200, 502, 502]
--- response_body_like eval
["^refused\n", "^refused\n", "^1\n", "Bad Gateway", "Bad Gateway"]

=== ranges that begin far behind are not reason enough to fetch everything
--- http_config
    proxy_cache_path cache keys_zone=kept:64k;
--- config
    location = /origin { return 200 "$http_range\n"; }
    location = /t {
        proxy_cache kept;
        proxy_cache_valid 200 1m;
        proxy_cache_key $http_range;
        proxy_cache_max_range_offset 10;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
        proxy_force_ranges off;
    }
--- request
GET /t
--- more_headers
Range: bytes=10-
--- response_body
bytes=10-

=== spaces in lists of headers make no other variant, and what a response goes by may change
--- http_config
    proxy_cache_path cache keys_zone=kept:64k;
--- config
    location = /origin {
        add_header Vary $http_x_vary;
        add_header Cache-Control max-age=60;
        return 200 "$http_accept_language $http_x_a\n";
    }
    location = /front {
        proxy_cache kept;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
        header_filter_by_lua_block { ngx.header["X-Cache"] = ngx.var.upstream_cache_status }
    }
    location = /t {
        content_by_lua_block {
            local function ask(vary, language, a)
                ngx.req.set_header("X-Vary", vary)
                ngx.req.set_header("Accept-Language", language)
                ngx.req.set_header("X-A", a)
                local res = ngx.location.capture("/front")
                ngx.print(res.header["X-Cache"], " ", res.body)
            end
            ask("Accept-Language", "de, en", "1")
            ask("Accept-Language", "de,,en ,", "1")
            ask("X-A, Accept-Language", "fr", "2")
            ask("X-A, Accept-Language", "fr", "2")
        }
    }
--- request
GET /t
--- response_body
MISS de, en 1
HIT de, en 1
MISS fr 2
HIT fr 2

=== a copy of a request knows what its location's pattern found
--- http_config
    proxy_cache_path cache keys_zone=kept:64k;
--- config
    location /origin/ {
        content_by_lua_block {
            ngx.header["X-Accel-Expires"] = "@1"
            ngx.header["Cache-Control"] = "stale-while-revalidate=3000000000"
            ngx.say(ngx.var.uri)
        }
    }
    location ~ ^/front/(?<name>\w+)/(\w+)$ {
        proxy_cache kept;
        proxy_cache_background_update on;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/$name/$2;
        add_header X-Cache $upstream_cache_status;
    }
--- request eval
["GET /front/a/b", "GET /front/a/b", "GET /front/a/b"]
--- response_headers eval
["X-Cache: MISS", "X-Cache: STALE", "X-Cache: STALE"]
--- response_body eval
["/origin/a/b\n", "/origin/a/b\n", "/origin/a/b\n"]
--- no_error_log
[error]

=== hints come early when somebody wants them
--- config
    location = /origin {
        content_by_lua_block {
            ngx.req.socket(true):send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Accel-Expires: 5\r\n\r\n"
                .. "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
        }
    }
    location = /front {
        early_hints $arg_wanted;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
    }
    location = /t {
        content_by_lua_block {
            for _, args in ipairs { "", "?wanted=1" } do
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
                sock:send("GET /front" .. args .. " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                local all = sock:receive("*a")
                ngx.say(all:match("^(.-\r\n)Server") or all:match("^(.-\r\n\r\n)HTTP/1.1 200"))
            end
        }
    }
--- request
GET /t
--- response_body eval
"HTTP/1.1 200 OK\r\n\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n\n"
