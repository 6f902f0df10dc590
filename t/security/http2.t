use Test::Nginx::Socket;

our $Frames = <<'_EOC_';
>>> frames.lua
-- Frames of HTTP/2, byte by byte.
local bit = require "bit"
local M = {}

local function number(value, bytes)
    local out = {}
    for i = bytes, 1, -1 do
        out[i] = string.char(bit.band(value, 255))
        value = bit.rshift(value, 8)
    end
    return table.concat(out)
end
M.number = number

function M.frame(kind, flags, stream, payload)
    return number(#payload, 3) .. string.char(kind, flags) .. number(stream, 4) .. payload
end

function M.text(text)
    assert(#text < 127)
    return string.char(#text) .. text
end

function M.field(name, value)
    return "\0" .. M.text(name) .. M.text(value)
end

-- :method GET, :scheme http, :path and :authority
function M.head(path, more)
    return "\x82\x86\4" .. M.text(path) .. "\1" .. M.text("localhost") .. (more or "")
end

function M.get(stream, path, more)
    return M.frame(1, 5, stream, M.head(path, more))
end

-- A connection whose settings have been exchanged.
function M.connect(port, settings)
    local sock = ngx.socket.tcp()
    sock:settimeouts(5000, 20000, 20000)
    assert(sock:connect("127.0.0.1", port))
    assert(sock:send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" .. M.frame(4, 0, 0, settings or "") .. M.frame(4, 1, 0, "")))
    return sock
end

-- The next frame: kind, flags, stream and payload.
function M.read(sock)
    local head, err = sock:receive(9)
    if not head then
        return nil, err
    end
    local l1, l2, l3, kind, flags, s1, s2, s3, s4 = head:byte(1, 9)
    local length = l1 * 65536 + l2 * 256 + l3
    local payload = length > 0 and assert(sock:receive(length)) or ""
    return kind, flags, ((s1 * 256 + s2) * 256 + s3) * 256 + s4, payload
end

-- Reads up to the first frame of a kind; its stream, its payload and its flags.
function M.await(sock, wanted)
    while true do
        local kind, flags, stream, payload = M.read(sock)
        if not kind then
            return nil, flags
        end
        if kind == wanted then
            return stream, payload, flags
        end
    end
end

-- The code with which the connection ends.
function M.goodbye(sock)
    local stream, payload = M.await(sock, 7)
    return stream and payload:byte(8) or payload
end

return M
_EOC_

our $Server = <<'_EOC_';
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        server_name localhost;
        http2 on;
        keepalive_requests 1000000;
        location / { return 200 "served\n"; }
        location /slow { content_by_lua_block { ngx.sleep(10) } }
        location /large {
            send_timeout 200ms;
            content_by_lua_block { for i = 1, 100 do ngx.print(string.rep("x", 10000)) end }
        }
        location /head { content_by_lua_block { ngx.print(ngx.var.http_x_a) } }
        location /body { content_by_lua_block { ngx.req.read_body() ngx.print(ngx.req.get_body_data()) } }
    }
_EOC_

run_tests();

__DATA__

=== TEST 1: streams that are opened and given up at once end the connection
--- user_files eval: $::Frames
--- http_config eval: "lua_package_path '\$prefix/html/?.lua;;';" . $::Server
--- config
    location = /t {
        content_by_lua_block {
            local h2 = require "frames"
            local sock = h2.connect($TEST_NGINX_RAND_PORT_1)
            local sent = 0
            for i = 0, 1999 do
                local stream = 2 * i + 1
                local reset = h2.frame(3, 0, stream, h2.number(8, 4))
                if not sock:send(h2.get(stream, "/slow") .. reset) then
                    break
                end
                sent = sent + 1
                -- One at a time, as they are read.
                if i % 50 == 0 then
                    ngx.sleep(0.001)
                end
            end
            local code = h2.goodbye(sock)
            -- Too many refused, too many canceled, or cut before that could be read.
            ngx.say(code == 0 or code == 11 or code == "closed" or code == "connection reset by peer" or code)
        }
    }
--- request
GET /t
--- response_body
true
--- timeout: 30
--- no_error_log
[error]



=== TEST 2: headers that never end stop at the limit
--- user_files eval: $::Frames
--- http_config eval: "lua_package_path '\$prefix/html/?.lua;;';" . $::Server
--- config
    location = /t {
        content_by_lua_block {
            local h2 = require "frames"
            local sock = h2.connect($TEST_NGINX_RAND_PORT_1)
            assert(sock:send(h2.frame(1, 0, 1, h2.head("/"))))
            local part = h2.frame(9, 0, 1, h2.field("x-a", string.rep("a", 100)):rep(100))
            for _ = 1, 20 do
                if not sock:send(part) then
                    break
                end
            end
            local code = h2.goodbye(sock)
            ngx.say(code == 11 or code == "closed" or code == "connection reset by peer" or code)
        }
    }
--- request
GET /t
--- response_body
true
--- no_error_log
[error]



=== TEST 3: one entry of the table, named a thousand times, counts a thousand times
--- user_files eval: $::Frames
--- http_config eval: "lua_package_path '\$prefix/html/?.lua;;';" . $::Server
--- config
    location = /t {
        content_by_lua_block {
            local h2 = require "frames"
            local sock = h2.connect($TEST_NGINX_RAND_PORT_1)
            local entry = "\x40" .. h2.text("x-a") .. h2.text(string.rep("a", 100))
            assert(sock:send(h2.get(1, "/", entry .. string.rep("\xbe", 1000))))
            ngx.say(h2.goodbye(sock))
        }
    }
--- request
GET /t
--- response_body
11
--- no_error_log
[error]



=== TEST 4: frames that carry nothing, and questions whose answers nobody takes, have an end
--- user_files eval: $::Frames
--- http_config eval: "lua_package_path '\$prefix/html/?.lua;;';" . $::Server
--- config
    location = /t {
        content_by_lua_block {
            local h2 = require "frames"
            local function flood(frames)
                local sock = h2.connect($TEST_NGINX_RAND_PORT_1)
                sock:settimeouts(5000, 1000, 5000)
                for _ = 1, 1000 do
                    if not sock:send(frames) then
                        return "stopped"
                    end
                end
                return h2.goodbye(sock)
            end
            local unknown = h2.frame(32, 0, 1, string.rep("x", 16000))
            local pings = h2.frame(6, 0, 0, "12345678"):rep(5000)
            local floods = { ngx.thread.spawn(flood, unknown), ngx.thread.spawn(flood, pings) }
            -- Others are served meanwhile.
            local sock = h2.connect($TEST_NGINX_RAND_PORT_1)
            assert(sock:send(h2.get(1, "/")))
            local _, payload = h2.await(sock, 0)
            ngx.print(payload)
            for _, thread in ipairs(floods) do
                local _, ended = ngx.thread.wait(thread)
                ngx.say(ended)
            end
        }
    }
--- request
GET /t
--- response_body
served
11
stopped
--- timeout: 60
--- error_log
http2 flood detected



=== TEST 5: a client that takes nothing loses its stream, and only that
--- user_files eval: $::Frames
--- http_config eval: "lua_package_path '\$prefix/html/?.lua;;';" . $::Server
--- config
    location = /t {
        content_by_lua_block {
            local h2 = require "frames"
            -- No window for bodies.
            local sock = h2.connect($TEST_NGINX_RAND_PORT_1, h2.number(4, 2) .. h2.number(0, 4))
            assert(sock:send(h2.get(1, "/large")))
            local stream, payload = h2.await(sock, 3)
            ngx.say("stream ", stream, " ", payload:byte(4))
            assert(sock:send(h2.get(3, "/")))
            ngx.say("stream ", (h2.await(sock, 1)))
        }
    }
--- request
GET /t
--- response_body
stream 1 1
stream 3
--- timeout: 30
--- no_error_log
[error]



=== TEST 6: nothing gets into a request that HTTP/1 would read otherwise
--- user_files eval: $::Frames
--- http_config eval: "lua_package_path '\$prefix/html/?.lua;;';" . $::Server
--- config
    location = /t {
        content_by_lua_block {
            local h2 = require "frames"
            local sock = h2.connect($TEST_NGINX_RAND_PORT_1)
            local cases = {
                h2.head("/head", h2.field("x-a", "1\r\nx-b: 2")),
                h2.head("/head", h2.field("x a", "1")),
                h2.head("/head", h2.field("X-A", "1")),
                h2.head("/head", h2.field("connection", "close")),
                h2.head("/head", h2.field("transfer-encoding", "chunked")),
                h2.head("/head", h2.field("te", "gzip")),
                h2.head("/head", h2.field("content-length", "1")),
                h2.head("/head", h2.field("host", "other")),
                h2.head("/head", h2.field(":path", "/")),
                h2.head("/a b"),
                h2.head("/head") .. h2.field("x-b", "1") .. h2.field(":scheme", "http"),
                "\x82\x86\4" .. h2.text("/head"),
                "\x82\x84\1" .. h2.text("localhost"),
                "\2\3G T\x86\x84\1" .. h2.text("localhost"),
                h2.head("/head", h2.field("x-a", "fine")),
            }
            for i, block in ipairs(cases) do
                assert(sock:send(h2.frame(1, 5, 2 * i - 1, block)))
                local _, payload = h2.await(sock, 1)
                local status = payload:byte(1)
                -- :status 200 and 400 have entries of their own.
                ngx.say(status == 0x88 and 200 or status == 0x8c and 400 or payload)
            end
        }
    }
--- request
GET /t
--- response_body eval
"400\n" x 14 . "200\n"
--- no_error_log
[error]



=== TEST 7: a body has the length that was declared
--- user_files eval: $::Frames
--- http_config eval: "lua_package_path '\$prefix/html/?.lua;;';" . $::Server
--- config
    location = /t {
        content_by_lua_block {
            local h2 = require "frames"
            local sock = h2.connect($TEST_NGINX_RAND_PORT_1)
            local stream = -1
            local function post(declared, body)
                stream = stream + 2
                local head = "\x83\x86\4" .. h2.text("/body") .. "\1" .. h2.text("localhost")
                head = head .. h2.field("content-length", tostring(declared))
                assert(sock:send(h2.frame(1, 4, stream, head) .. h2.frame(0, 1, stream, body)))
                local _, payload = h2.await(sock, 1)
                return payload:byte(1) == 0x88 and 200 or payload:byte(1) == 0x8c and 400 or payload
            end
            ngx.say(post(4, "1234"), " ", post(4, "123"), " ", post(4, "12345"), " ", post(4, "4321"))
        }
    }
--- request
GET /t
--- response_body
200 400 400 200
--- no_error_log
[error]



=== TEST 8: frames that break the protocol end the connection with their code
--- user_files eval: $::Frames
--- http_config eval: "lua_package_path '\$prefix/html/?.lua;;';" . $::Server
--- config
    location = /t {
        content_by_lua_block {
            local h2 = require "frames"
            local cases = {
                { "a stream with an even number", h2.get(2, "/") },
                { "a stream that is older than another", h2.get(5, "/") .. h2.get(3, "/") },
                { "a body of no stream", h2.frame(0, 0, 0, "x") },
                { "padding without end", h2.frame(0, 8, 1, "\4xxx") },
                { "a ping that is too short", h2.frame(6, 0, 0, "1234") },
                { "settings of a stream", h2.frame(4, 0, 1, "") },
                { "settings that are cut", h2.frame(4, 0, 0, "12345") },
                { "a window of nothing", h2.frame(8, 0, 0, "\0\0\0\0") },
                { "a window that is too large", h2.frame(8, 0, 0, "\x7f\xff\xff\xff") },
                { "a setting that is too large", h2.frame(4, 0, 0, "\0\4\xff\xff\xff\xff") },
                { "a continuation of nothing", h2.frame(9, 4, 1, "x") },
                { "something within headers", h2.frame(1, 0, 1, "\x82") .. h2.frame(6, 0, 0, "12345678") },
                { "an entry that is not there", h2.frame(1, 5, 1, "\xfe") },
                { "a text of no code", h2.frame(1, 5, 1, "\0\x81\0\0") },
                { "headers that are cut", h2.frame(1, 5, 1, "\x82\x86\4\9/") },
                { "a promise", h2.frame(5, 4, 1, "\0\0\0\2") },
            }
            for _, case in ipairs(cases) do
                local sock = h2.connect($TEST_NGINX_RAND_PORT_1)
                assert(sock:send(case[2]))
                ngx.say(case[1], ": ", h2.goodbye(sock))
                sock:close()
            end
        }
    }
--- request
GET /t
--- response_body
a stream with an even number: 1
a stream that is older than another: 1
a body of no stream: 1
padding without end: 1
a ping that is too short: 6
settings of a stream: 1
settings that are cut: 6
a window of nothing: 1
a window that is too large: 3
a setting that is too large: 3
a continuation of nothing: 1
something within headers: 1
an entry that is not there: 9
a text of no code: 9
headers that are cut: 6
a promise: 1
--- no_error_log
[error]
