use Test::Nginx::Socket;

# A shared dictionary is the cache: no service is needed.
our $HttpConfig = <<'_EOC_';
    lua_shared_dict kept 1m;
_EOC_

our $Cache = <<'_EOC_';
    location = /cache {
        internal;
        content_by_lua_block {
            local kept, key = ngx.shared.kept, ngx.var.args
            if ngx.req.get_method() == "PUT" then
                ngx.req.read_body()
                kept:set(key, ngx.req.get_body_data())
                return ngx.exit(201)
            end
            local text = kept:get(key)
            if not text then return ngx.exit(404) end
            ngx.print(text)
        }
    }
_EOC_

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value("http_config", $HttpConfig);
    $block->set_value("config", $Cache . $block->config);
});

plan tests => repeat_each() * 63;

no_long_string();
run_tests();

__DATA__

=== TEST 1: the second client gets what was made for the first
--- config
    location = /page {
        srcache_fetch GET /cache $uri;
        srcache_store PUT /cache $uri;
        add_header X-Fetch $srcache_fetch_status;
        add_header X-Store $srcache_store_status;
        add_header X-Expire $srcache_expire;
        content_by_lua_block {
            ngx.header["Content-Type"] = "text/x-made"
            ngx.header["X-Made"] = "once"
            ngx.header["Set-Cookie"] = "secret=1"
            ngx.say("made at request ", (ngx.shared.kept:incr("made", 1, 0)))
        }
    }
--- request eval
["GET /page", "GET /page"]
--- response_body eval
["made at request 1\n", "made at request 1\n"]
--- response_headers eval
["X-Fetch: MISS
X-Store: STORE
X-Expire: 60
X-Made: once
Set-Cookie: secret=1
Content-Type: text/x-made",
"X-Fetch: HIT
X-Store: BYPASS
!X-Expire
X-Made: once
!Set-Cookie
Content-Type: text/x-made
Content-Length: 18"]
--- no_error_log
[error]



=== TEST 2: the text that is kept
--- config
    location = /page {
        srcache_store PUT /cache $uri;
        srcache_store_hide_header X-Own;
        srcache_store_pass_header Set-Cookie;
        content_by_lua_block {
            ngx.status = 200
            ngx.header["X-Own"] = "gone"
            ngx.header["Set-Cookie"] = "a=b"
            ngx.print("body")
        }
    }
    location = /look {
        content_by_lua_block {
            ngx.say((ngx.shared.kept:get("/page") or "nothing"):gsub("\r", "|"))
        }
    }
--- request eval
["GET /page", "GET /look"]
--- response_body_like eval
["^body\$", "^HTTP/1.1 200 OK\\|\nContent-Type: text/plain\\|\nSet-Cookie: a=b\\|\n\\|\nbody"]



=== TEST 3: requests and responses may refuse
--- config
    location = /no-store {
        srcache_store PUT /cache $uri;
        add_header X-Store $srcache_store_status;
        add_header Cache-Control no-store;
        content_by_lua_block { ngx.header["Cache-Control"] = "no-store"; ngx.say("a") }
    }
    location = /short {
        srcache_store PUT /cache $uri;
        srcache_max_expire 7s;
        add_header X-Store $srcache_store_status;
        add_header X-Expire $srcache_expire;
        content_by_lua_block { ngx.header["Cache-Control"] = "max-age=70"; ngx.say("b") }
    }
    location = /skipped {
        srcache_store PUT /cache $uri;
        srcache_store_skip $arg_skip;
        add_header X-Store $srcache_store_status;
        content_by_lua_block { ngx.say("c") }
    }
    location = /status {
        srcache_store PUT /cache $uri;
        add_header X-Store $srcache_store_status always;
        content_by_lua_block { ngx.status = 404; ngx.say("d") }
    }
--- request eval
["GET /no-store", "GET /short", "GET /skipped?skip=1", "GET /skipped?skip=0", "GET /status"]
--- response_headers eval
["X-Store: BYPASS", "X-Store: STORE\nX-Expire: 7", "X-Store: BYPASS", "X-Store: STORE", "X-Store: BYPASS"]
--- error_code eval
[200, 200, 200, 200, 404]



=== TEST 4: a client may want a response that was not kept
--- config
    location = /page {
        srcache_fetch GET /cache $uri;
        srcache_store PUT /cache $uri;
        srcache_request_cache_control on;
        add_header X-Fetch $srcache_fetch_status;
        content_by_lua_block { ngx.say((ngx.shared.kept:incr("count", 1, 0))) }
    }
--- request eval
["GET /page", "GET /page", "GET /page"]
--- more_headers eval
["", "Pragma: no-cache", ""]
--- response_body eval
["1\n", "2\n", "2\n"]
--- response_headers eval
["X-Fetch: MISS", "X-Fetch: BYPASS", "X-Fetch: HIT"]



=== TEST 5: what is no response is told and passed over, a bad status line
--- config
    location = /bad {
        content_by_lua_block { ngx.print(ngx.unescape_uri(ngx.var.args)) }
    }
    location = /page {
        srcache_fetch GET /bad $args;
        add_header X-Fetch $srcache_fetch_status;
        content_by_lua_block { ngx.say("made") }
    }
--- request
GET /page?HTTP%20200
--- response_body
made
--- response_headers
X-Fetch: MISS
--- error_log
srcache_fetch: cache sent invalid status line



=== TEST 6: what is no response is told and passed over, half a head
--- config
    location = /bad {
        content_by_lua_block { ngx.print(ngx.unescape_uri(ngx.var.args)) }
    }
    location = /page {
        srcache_fetch GET /bad $args;
        add_header X-Fetch $srcache_fetch_status;
        content_by_lua_block { ngx.say("made") }
    }
--- request
GET /page?HTTP/1.1%20200%20OK%0D%0AA:%20b
--- response_body
made
--- response_headers
X-Fetch: MISS
--- error_log
srcache_fetch: cache sent truncated status line or headers



=== TEST 7: too large a response is not kept
--- config
    location = /large {
        srcache_store PUT /cache $uri;
        srcache_store_max_size 100;
        content_by_lua_block { ngx.print(("x"):rep(50)) ngx.print(("y"):rep(51)) }
    }
    location = /kept { content_by_lua_block { ngx.say(tostring(ngx.shared.kept:get("/large"))) } }
--- request eval
["GET /large", "GET /kept"]
--- response_body_like eval
["^x{50}y{51}\$", "^nil\n\$"]



=== TEST 8: a failed store is told
--- config
    location = /broken {
        srcache_store PUT /nowhere;
        content_by_lua_block { ngx.say("all the same") }
    }
    location = /nowhere { return 503; }
--- request
GET /broken
--- response_body
all the same
--- error_log
srcache_store subrequest failed: rc=503



=== TEST 9: a method that is none
--- config
    location = /page {
        srcache_fetch LOOK /cache;
        return 200;
    }
--- must_die
--- error_log
srcache_fetch specifies bad HTTP method LOOK



=== TEST 10: a store that dies leaves the response whole
--- config
    location = /page {
        srcache_fetch GET /dies;
        srcache_store PUT /dies;
        content_by_lua_block { ngx.say("whole") }
    }
    location = /dies {
        internal;
        content_by_lua_block { ngx.exit(ngx.ERROR) }
    }
--- request
GET /page
--- response_body
whole
--- error_log
srcache_store subrequest failed: rc=-1
