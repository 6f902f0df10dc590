=== a response is asked for once, and not when somebody says so
--- http_config
    proxy_cache_path cache levels=1:2 keys_zone=kept:64k;
    lua_shared_dict counts 64k;
--- config
    location = /origin {
        content_by_lua_block {
            ngx.header["Cache-Control"] = ngx.var.arg_control
            ngx.header["Set-Cookie"] = ngx.var.arg_cookie
            ngx.say("number ", (ngx.shared.counts:incr("n", 1, 0)))
        }
    }
    location = /front {
        proxy_cache kept;
        proxy_cache_key $arg_key;
        proxy_cache_valid 200 1m;
        proxy_cache_bypass $arg_bypass;
        proxy_no_cache $arg_never;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin$is_args$args;
        header_filter_by_lua_block { ngx.header["X-Cache"] = ngx.var.upstream_cache_status }
    }
    location = /t {
        content_by_lua_block {
            for _, args in ipairs {
                "key=a", "key=a", "key=b", "key=a&bypass=1", "key=a", "key=c&never=1", "key=c",
                "key=d&control=no-store", "key=d&control=no-store", "key=e&cookie=x", "key=e",
            } do
                local res = ngx.location.capture("/front", { args = args })
                ngx.print(args, ": ", res.header["X-Cache"], " ", res.body)
            end
        }
    }
--- request
GET /t
--- response_body
key=a: MISS number 1
key=a: HIT number 1
key=b: MISS number 2
key=a&bypass=1: BYPASS number 3
key=a: HIT number 3
key=c&never=1: MISS number 4
key=c: MISS number 5
key=d&control=no-store: MISS number 6
key=d&control=no-store: MISS number 7
key=e&cookie=x: MISS number 8
key=e: MISS number 9
--- no_error_log
[error]
[crit]

=== a response is for those who ask alike
--- http_config
    proxy_cache_path cache keys_zone=kept:64k;
--- config
    location = /origin {
        add_header Vary Accept-Language;
        add_header Cache-Control max-age=60;
        return 200 "$http_accept_language\n";
    }
    location = /front {
        proxy_cache kept;
        proxy_set_header Accept-Language $http_accept_language;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
        header_filter_by_lua_block { ngx.header["X-Cache"] = ngx.var.upstream_cache_status }
    }
    location = /t {
        content_by_lua_block {
            for _, language in ipairs { "de", "en", "de", "en" } do
                ngx.req.set_header("Accept-Language", language)
                local res = ngx.location.capture("/front")
                ngx.print(res.header["X-Cache"], " ", res.body)
            end
        }
    }
--- request
GET /t
--- response_body
MISS de
MISS en
HIT de
HIT en

=== what has expired serves when the server fails, and is renewed when it agrees
--- http_config
    proxy_cache_path cache keys_zone=kept:64k;
    lua_shared_dict state 64k;
--- config
    location = /origin {
        content_by_lua_block {
            local mode = ngx.shared.state:get("mode")
            if mode == "broken" then
                return ngx.exit(503)
            end
            ngx.header["Cache-Control"] = "max-age=1"
            ngx.header["ETag"] = '"tag"'
            if ngx.var.http_if_none_match == '"tag"' then
                return ngx.exit(304)
            end
            ngx.say("fine")
        }
    }
    location = /front {
        proxy_cache kept;
        proxy_cache_use_stale http_503;
        proxy_cache_revalidate on;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
        header_filter_by_lua_block { ngx.header["X-Cache"] = ngx.var.upstream_cache_status }
    }
    location = /t {
        content_by_lua_block {
            local function ask()
                local res = ngx.location.capture("/front")
                ngx.print(res.status, " ", res.header["X-Cache"], " ", res.body)
            end
            ask()
            ngx.sleep(1.1)
            ngx.shared.state:set("mode", "broken")
            ask()
            ngx.shared.state:set("mode", "fine")
            ask()
            ask()
        }
    }
--- request
GET /t
--- response_body
200 MISS fine
200 STALE fine
200 REVALIDATED fine
200 HIT fine
--- timeout: 5

=== one asks, the others wait for its response
--- http_config
    proxy_cache_path cache keys_zone=kept:64k;
    lua_shared_dict counts 64k;
--- config
    location = /origin {
        content_by_lua_block {
            local number = ngx.shared.counts:incr("n", 1, 0)
            ngx.sleep(0.2)
            ngx.say("number ", number)
        }
    }
    location = /front {
        proxy_cache kept;
        proxy_cache_valid any 1m;
        proxy_cache_lock on;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
        header_filter_by_lua_block { ngx.header["X-Cache"] = ngx.var.upstream_cache_status }
    }
    location = /t {
        content_by_lua_block {
            local function ask() return ngx.location.capture("/front") end
            local one, two = ngx.location.capture_multi { { "/front" }, { "/front" } }
            ngx.print(one.header["X-Cache"], " ", one.body, two.header["X-Cache"], " ", two.body)
        }
    }
--- request
GET /t
--- response_body
MISS number 1
HIT number 1

=== a newer response is fetched behind the client's back
--- http_config
    proxy_cache_path cache keys_zone=kept:64k;
    lua_shared_dict counts 64k;
--- config
    location = /origin {
        content_by_lua_block {
            ngx.header["Cache-Control"] = "max-age=1"
            ngx.say("number ", (ngx.shared.counts:incr("n", 1, 0)))
        }
    }
    location = /front {
        proxy_cache kept;
        proxy_cache_use_stale updating;
        proxy_cache_background_update on;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
        header_filter_by_lua_block { ngx.header["X-Cache"] = ngx.var.upstream_cache_status }
    }
    location = /t {
        content_by_lua_block {
            local function ask()
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", ngx.var.server_port))
                assert(sock:send("GET /front HTTP/1.0\r\nHost: a\r\n\r\n"))
                local all = sock:receive("*a")
                ngx.print(all:match("X%-Cache: (%w+)"), " ", all:match("number.*"))
            end
            ask()
            ngx.sleep(1.1)
            ask()
            ngx.sleep(0.2)
            ask()
        }
    }
--- request
GET /t
--- response_body
MISS number 1
STALE number 1
HIT number 2
--- timeout: 5

=== what few ask for is not kept, and a whole response serves heads and ranges
--- http_config
    proxy_cache_path cache keys_zone=kept:64k;
--- config
    location = /origin {
        add_header Accept-Ranges bytes;
        return 200 "0123456789";
    }
    location = /front {
        proxy_cache kept;
        proxy_cache_valid 1m;
        proxy_cache_min_uses 2;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
        header_filter_by_lua_block { ngx.header["X-Cache"] = ngx.var.upstream_cache_status }
    }
--- request eval
["HEAD /front", "HEAD /front", "GET /front", "GET /front"]
--- more_headers eval
["", "", "", "Range: bytes=2-4"]
--- response_headers eval
["X-Cache: MISS", "X-Cache: MISS", "X-Cache: HIT", "Content-Range: bytes 2-4/10"]
--- response_body eval
["", "", "0123456789", "234"]
--- error_code eval
[200, 200, 200, 206]

=== a cache must be defined
--- config
    location = /t {
        proxy_cache nowhere;
        proxy_pass http://127.0.0.1:1;
    }
--- must_die
--- error_log
"proxy_cache" zone "nowhere" is unknown

=== a response becomes a plain file
--- config
    location = /origin {
        add_header Last-Modified "Mon, 28 Sep 1970 06:00:00 GMT";
        return 200 "kept\n";
    }
    location = /kept.txt {
        root html;
        proxy_store on;
        proxy_store_access user:rw all:r;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
    }
    location = /t {
        content_by_lua_block {
            ngx.location.capture("/kept.txt")
            local stat = io.popen("stat -c '%a %Y' " .. ngx.config.prefix() .. "html/kept.txt")
            ngx.print(stat:read("*a"))
            ngx.print(assert(io.open(ngx.config.prefix() .. "html/kept.txt")):read("*a"))
        }
    }
--- request
GET /t
--- response_body
604 23349600
kept
