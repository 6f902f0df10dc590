# vim:set ft= ts=4 sw=4 et:

# What clients frame oddly reaches a server behind us in one clear form, or not at all; what a server frames oddly ends
# with its connection.

use Test::Nginx::Socket::Lua;

plan 'no_plan';

run_tests();

__DATA__

=== TEST 1: a server behind us sees requests that are framed one way
--- http_config
    lua_shared_dict seen 64k;
--- config
    location /origin {
        content_by_lua_block {
            ngx.req.read_body()
            local head = ngx.req.raw_header()
            local framing = {}
            for name, value in head:gmatch("([%w-]+): ([^\r]*)\r\n") do
                name = name:lower()
                if name == "content-length" or name == "transfer-encoding" or name == "te" or name == "keep-alive"
                    or name == "upgrade" or name == "proxy-connection" or name == "trailer"
                then
                    framing[#framing + 1] = name .. "=" .. value
                end
            end
            local clean = not head:gsub("\r\n", ""):find("[\r\n%z]")
            ngx.shared.seen:rpush("all", table.concat(framing, ",") .. " body=" .. (ngx.var.request_body or "")
                .. (clean and "" or " DIRTY"))
            ngx.say("ok")
        }
    }
    location /front { proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin; }
    location = /t {
        content_by_lua_block {
            local function try(what, request)
                local sock = ngx.socket.tcp()
                sock:settimeout(3000)
                assert(sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
                sock:send(request)
                local answer = sock:receive("*a") or ""
                local _, answers = answer:gsub("HTTP/1%.1 ", "")
                ngx.print(what, ": ", answer:match("^HTTP/1.1 (%d+)") or "nothing", " x", answers)
                repeat
                    local seen = ngx.shared.seen:lpop("all")
                    if seen then ngx.print(" [", seen, "]") end
                until not seen
                ngx.say()
            end
            local start = "POST /front HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
            local chunks = "2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nX-T: 1\r\n\r\n"
            try("length", start .. "Content-Length: 5\r\n\r\nhello")
            try("chunks", start .. "Transfer-Encoding: chunked\r\n\r\n" .. chunks)
            try("chunks in capitals", start .. "Transfer-Encoding: CHUNKED\r\n\r\n" .. chunks)
            try("both", start .. "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" .. chunks)
            try("two lengths", start .. "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello")
            try("a list of lengths", start .. "Content-Length: 5, 5\r\n\r\nhello")
            try("a length with a sign", start .. "Content-Length: +5\r\n\r\nhello")
            try("another coding", start .. "Transfer-Encoding: identity\r\n\r\nhello")
            try("two codings", start .. "Transfer-Encoding: gzip, chunked\r\n\r\n" .. chunks)
            try("a coding behind a tab", start .. "Transfer-Encoding:\tchunked\r\n\r\n" .. chunks)
            try("a space before the colon", start .. "Transfer-Encoding : chunked\r\n\r\n" .. chunks)
            try("a folded line", start .. "X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n")
            try("a zero byte", start .. "X-A: b\0c\r\nContent-Length: 0\r\n\r\n")
            try("a bare return", start .. "X-A: b\rc\r\nContent-Length: 0\r\n\r\n")
            try("chunks in 1.0", "POST /front HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" .. chunks)
            try("a chunk that is none", start .. "Transfer-Encoding: chunked\r\n\r\nx\r\nhello\r\n0\r\n\r\n")
            try("a size that is too large", start .. "Transfer-Encoding: chunked\r\n\r\n" .. ("f"):rep(17) .. "\r\n")
            try("hop by hop", start .. "TE: trailers\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nUpgrade: h2c\r\n\r\n")
        }
    }
--- request
GET /t
--- response_body
length: 200 x1 [content-length=5 body=hello]
chunks: 200 x1 [content-length=5 body=hello]
chunks in capitals: 200 x1 [content-length=5 body=hello]
both: 400 x1
two lengths: 400 x1
a list of lengths: 400 x1
a length with a sign: 400 x1
another coding: 501 x1
two codings: 501 x1
a coding behind a tab: 501 x1
a space before the colon: 400 x1
a folded line: 400 x1
a zero byte: 400 x1
a bare return: 400 x1
chunks in 1.0: 400 x1
a chunk that is none: 400 x1
a size that is too large: 400 x1
hop by hop: 200 x1 [ body=]
--- timeout: 10



=== TEST 2: what follows a refused switch of protocols is no tunnel
--- http_config
    lua_shared_dict seen 64k;
--- config
    location = /origin {
        content_by_lua_block {
            ngx.shared.seen:incr("requests", 1, 0)
            ngx.say("still HTTP")
        }
    }
    location = /second { return 200 "second\n"; }
    location = /front {
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection upgrade;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
    }
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
            sock:send("GET /front HTTP/1.1\r\nHost: a\r\nUpgrade: any\r\nConnection: upgrade\r\n\r\n"
                .. "GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            local all = sock:receive("*a")
            local _, answers = all:gsub("HTTP/1%.1 200", "")
            ngx.say(answers, " ", all:find("still HTTP", 1, true) ~= nil, " ", all:find("second", 1, true) ~= nil)
            ngx.say("asked ", ngx.shared.seen:get("requests"))
        }
    }
--- request
GET /t
--- response_body
2 true true
asked 1
--- no_error_log
[error]



=== TEST 3: nothing of a bad response is kept, and of one that is too long what was announced
--- http_config
    proxy_cache_path cache keys_zone=kept:64k;
    upstream origin { server 127.0.0.1:$TEST_NGINX_SERVER_PORT; keepalive 4; }
    lua_shared_dict seen 64k;
--- config
    location = /origin {
        content_by_lua_block {
            local sock = ngx.req.socket(true)
            local answers = {
                short = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour",
                long = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfour and more",
                chunk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\nx\r\n",
                both = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n",
            }
            ngx.shared.seen:incr(ngx.var.arg_kind, 1, 0)
            sock:send(answers[ngx.var.arg_kind])
            if ngx.var.arg_kind == "long" then sock:receive("*a") end
        }
    }
    location = /front {
        proxy_cache kept;
        proxy_cache_valid 200 1m;
        proxy_cache_key $arg_kind;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_pass http://origin/origin?kind=$arg_kind;
    }
    location = /t {
        content_by_lua_block {
            for _, kind in ipairs { "short", "long", "chunk", "both" } do
                for _ = 1, 2 do
                    local sock = ngx.socket.tcp()
                    sock:settimeout(3000)
                    assert(sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
                    sock:send("GET /front?kind=" .. kind .. " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    local all = sock:receive("*a") or ""
                    local whole = all:find("\r\n0\r\n\r\n", 1, true)
                    ngx.print(kind, whole and " WHOLE" or "", all:find("more", 1, true) and " MORE; " or "; ")
                end
                ngx.say("asked ", ngx.shared.seen:get(kind))
            end
        }
    }
--- request
GET /t
--- response_body
short; short; asked 2
long; long; asked 1
chunk; chunk; asked 2
both; both; asked 2
--- timeout: 15
