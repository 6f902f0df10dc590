=== TEST 1: commands in one go, answers one after the other
--- config
    location = /store {
        content_by_lua_block {
            -- A store that speaks lines: an array of bulk strings in; a status, a number, a bulk string or none out.
            local sock = assert(ngx.req.socket(true))
            sock:settimeout(5000)
            sock:send("HTTP/1.1 200 OK\r\n\r\n")
            local kept = {}
            while true do
                local head = sock:receive()
                if not head then return end
                local words = {}
                for i = 1, tonumber(head:sub(2)) do
                    local length = tonumber(sock:receive():sub(2))
                    words[i] = sock:receive(length)
                    sock:receive(2)
                end
                local name, key, value = words[1], words[2], words[3]
                if name == "put" then
                    kept[key] = value
                    sock:send("+OK\r\n")
                elseif name == "get" and kept[key] then
                    sock:send({ "$", #kept[key], "\r\n", kept[key], "\r\n" })
                elseif name == "get" then
                    sock:send("$-1\r\n")
                elseif name == "size" then
                    sock:send({ ":", #(kept[key] or ""), "\r\n" })
                else
                    sock:send({ "-no command ", name, "\r\n" })
                end
            end
        }
    }
    location = /ask {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            sock:settimeout(5000)
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            assert(sock:send("GET /store HTTP/1.1\r\nHost: store\r\n\r\n"))
            assert(sock:receiveuntil("\r\n\r\n")())

            local commands = {}
            local function queue(...)
                local words = { ... }
                local parts = { "*", #words, "\r\n" }
                for _, word in ipairs(words) do
                    parts[#parts + 1] = { "$", #word, "\r\n", word, "\r\n" }
                end
                commands[#commands + 1] = parts
            end
            local function answer()
                local line = assert(sock:receive())
                local kind, rest = line:sub(1, 1), line:sub(2)
                if kind == "$" then
                    if rest == "-1" then return "none" end
                    local data = assert(sock:receive(tonumber(rest)))
                    assert(sock:receive(2))
                    return data
                elseif kind == ":" then
                    return tonumber(rest)
                end
                return kind .. rest
            end

            local long = ("fig\r\n"):rep(20000)
            queue("put", "fruit", long)
            queue("size", "fruit")
            queue("get", "fruit")
            queue("get", "stone")
            queue("eat", "fruit")
            assert(sock:send(commands))
            ngx.say(answer())
            ngx.say(answer())
            ngx.say(answer() == long)
            ngx.say(answer())
            ngx.say(answer())
            ngx.say(sock:close())
        }
    }
--- request
GET /ask
--- response_body
+OK
100000
true
none
-no command eat
1
--- timeout: 20
--- no_error_log
[error]



=== TEST 2: a subscriber reads in one thread while another goes on sending
--- config
    location = /channel {
        content_by_lua_block {
            local sock = assert(ngx.req.socket(true))
            sock:settimeout(5000)
            sock:send("HTTP/1.1 200 OK\r\n\r\n")
            while true do
                local line = sock:receive()
                if not line or line == "leave" then break end
                sock:send({ "news of ", line, "\n" })
            end
            sock:send("bye\n")
        }
    }
    location = /ask {
        content_by_lua_block {
            local semaphore = require("ngx.semaphore").new()
            local sock = ngx.socket.tcp()
            sock:settimeouts(5000, 5000, 5000)
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            assert(sock:send("GET /channel HTTP/1.1\r\nHost: news\r\n\r\n"))
            assert(sock:receiveuntil("\r\n\r\n")())
            local heard = {}
            local reader = ngx.thread.spawn(function()
                while true do
                    local line, err = sock:receive()
                    if not line then return err end
                    heard[#heard + 1] = line
                    semaphore:post()
                end
            end)
            for _, topic in ipairs({ "plums", "pears" }) do
                assert(sock:send(topic .. "\n"))
                assert(semaphore:wait(5))
            end
            assert(sock:send("leave\n"))
            ngx.say(select(2, ngx.thread.wait(reader)))
            ngx.say(table.concat(heard, ", "))
        }
    }
--- request
GET /ask
--- response_body
closed
news of plums, news of pears, bye
--- no_error_log
[error]



=== TEST 3: a subscriber whom nobody tells anything waits again after a timeout
--- config
    location = /channel {
        content_by_lua_block {
            local sock = assert(ngx.req.socket(true))
            sock:settimeout(5000)
            sock:send("HTTP/1.1 200 OK\r\n\r\n")
            sock:receive()
            sock:send("late news\n")
        }
    }
    location = /ask {
        lua_socket_log_errors off;
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            sock:settimeouts(5000, 5000, 5000)
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            assert(sock:send("GET /channel HTTP/1.1\r\nHost: news\r\n\r\n"))
            assert(sock:receiveuntil("\r\n\r\n")())
            sock:settimeout(20)
            for _ = 1, 3 do
                ngx.say(select(2, sock:receive()))
            end
            sock:settimeout(5000)
            assert(sock:send("now\n"))
            ngx.say(sock:receive())
        }
    }
--- request
GET /ask
--- response_body
timeout
timeout
timeout
late news
--- no_error_log
[error]



=== TEST 4: packets with a length before them, which arrive in crumbs
--- config
    location = /packets {
        content_by_lua_block {
            local sock = assert(ngx.req.socket(true))
            sock:send("HTTP/1.1 200 OK\r\n\r\n")
            local function packet(number, body)
                return string.char(#body % 256, math.floor(#body / 256) % 256, 0, number) .. body
            end
            local stream = packet(0, "greeting") .. packet(1, "") .. packet(2, ("row"):rep(300))
            -- The first bytes come alone, so heads and bodies are cut everywhere.
            for i = 1, 20 do
                sock:send(stream:sub(i, i))
                ngx.sleep(0.001)
            end
            sock:send(stream:sub(21))
        }
    }
    location = /ask {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            sock:settimeout(5000)
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            assert(sock:send("GET /packets HTTP/1.1\r\nHost: rows\r\n\r\n"))
            assert(sock:receiveuntil("\r\n\r\n")())
            for _ = 1, 3 do
                local low, high, _, number = assert(sock:receive(4)):byte(1, 4)
                local length = low + high * 256
                local body = length > 0 and assert(sock:receive(length)) or ""
                ngx.say(number, " ", length, " ", body:sub(1, 9))
            end
            ngx.say(select(2, sock:receive(4)))
        }
    }
--- request
GET /ask
--- response_body
0 8 greeting
1 0 
2 900 rowrowrow
closed
--- no_error_log
[error]



=== TEST 5: a value of known length, a line behind it, and what is left stays readable
--- config
    location = /values {
        content_by_lua_block {
            ngx.req.socket(true):send("HTTP/1.1 200 OK\r\n\r\nVALUE plum 7 5\r\nstone\r\nEND\r\nSTORED\r\n")
        }
    }
    location = /ask {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            sock:settimeout(5000)
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            assert(sock:send("GET /values HTTP/1.1\r\nHost: memory\r\n\r\n"))
            assert(sock:receiveuntil("\r\n\r\n")())
            local flags, length = assert(sock:receive()):match("^VALUE plum (%d+) (%d+)$")
            ngx.say(flags, " ", sock:receive(tonumber(length)))
            ngx.say(#sock:receive(7), " ", sock:receive())
            local data, err, partial = sock:receive()
            ngx.say(data, " ", err, " [", partial, "]")
        }
    }
--- request
GET /ask
--- response_body
7 stone
7 STORED
nil closed []
--- no_error_log
[error]



=== TEST 6: a connection of a pool is set up once, however often it is used
--- config
    location = /account {
        content_by_lua_block {
            local sock = assert(ngx.req.socket(true))
            sock:settimeout(5000)
            sock:send("HTTP/1.1 200 OK\r\n\r\n")
            local user
            while true do
                local line = sock:receive()
                if not line then return end
                local name = line:match("^login (%w+)$")
                if name then
                    user = name
                    sock:send("welcome\n")
                else
                    sock:send({ user or "nobody", " ", line, "\n" })
                end
            end
        }
    }
    location = /ask {
        content_by_lua_block {
            local logins = 0
            local function with(user, what)
                local sock = ngx.socket.tcp()
                sock:settimeout(5000)
                assert(sock:connect("127.0.0.1", ngx.var.server_port, { pool = "as " .. user, pool_size = 2 }))
                if sock:getreusedtimes() == 0 then
                    logins = logins + 1
                    assert(sock:send("GET /account HTTP/1.1\r\nHost: bank\r\n\r\n"))
                    assert(sock:receiveuntil("\r\n\r\n")())
                    assert(sock:send("login " .. user .. "\n"))
                    assert(sock:receive())
                end
                assert(sock:send(what .. "\n"))
                local answer = sock:receive()
                assert(sock:setkeepalive(10000, 2))
                return answer, sock:getreusedtimes()
            end
            -- Pools outlive requests, and a test may be run more than once in a worker.
            local turn = tostring(ngx.now()):gsub("%.", "")
            for _, step in ipairs({ "anna", "bert", "anna", "anna", "bert" }) do
                local answer = with(step .. turn, "asks")
                ngx.say((answer:gsub(turn, "")))
            end
            ngx.say(logins, " logins")
        }
    }
--- request
GET /ask
--- response_body
anna asks
bert asks
anna asks
anna asks
bert asks
2 logins
--- no_error_log
[error]



=== TEST 7: TLS begins in the middle of a conversation
--- stream_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        content_by_lua_block {
            local front = assert(ngx.req.socket(true))
            front:settimeout(5000)
            front:send("ready\n")
            if front:receive() ~= "tls" then return end
            front:send("go\n")
            -- What follows is between the client and the server that speaks TLS.
            local back = ngx.socket.tcp()
            back:settimeout(5000)
            assert(back:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_2))
            local function carry(from, to)
                while true do
                    local data = from:receiveany(4096)
                    if not data or not to:send(data) then return end
                end
            end
            local there = ngx.thread.spawn(carry, front, back)
            local here = ngx.thread.spawn(carry, back, front)
            ngx.thread.wait(there, here)
        }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2 ssl;
        ssl_certificate ../html/tls.crt;
        ssl_certificate_key ../html/tls.key;
        content_by_lua_block {
            local sock = assert(ngx.req.socket(true))
            sock:settimeout(5000)
            sock:send({ "secretly: ", sock:receive(), "\n" })
        }
    }
--- stream_server_config
    return "unused";
--- config
    location = /ask {
        lua_ssl_trusted_certificate ../html/tls.crt;
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            sock:settimeout(5000)
            assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
            ngx.say(sock:receive())
            assert(sock:send("tls\n"))
            ngx.say(sock:receive())
            ngx.say(sock:sslhandshake(false, "tls.example", true))
            assert(sock:send("damson\n"))
            ngx.say(sock:receive())
            ngx.say(select(2, sock:receive()))
        }
    }
--- user_files
>>> tls.crt
-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUL8Wx6o+e2BCO8q7+e29D6IpNt74wCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLdGxzLmV4YW1wbGUwIBcNMjYxMTIyMTcxOTIwWhgPMjEyNjEw
MjkxNzE5MjBaMBYxFDASBgNVBAMMC3Rscy5leGFtcGxlMFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAESfgdJ3SCxmkdBkViGKKDnzVI56dJWSRMtzAbEYZ7wdy/GoNJ
ZcM0f3YmfS1cfb2irjTrqfYstdcFgycNHKD3laNrMGkwHQYDVR0OBBYEFJTmNzvN
hnBySQx8ZcAzZmhZbb/VMB8GA1UdIwQYMBaAFJTmNzvNhnBySQx8ZcAzZmhZbb/V
MA8GA1UdEwEB/wQFMAMBAf8wFgYDVR0RBA8wDYILdGxzLmV4YW1wbGUwCgYIKoZI
zj0EAwIDSQAwRgIhAP9hT/ljlKblW1KwTMlyC1L44dWqT9508L3wIsgKXTR6AiEA
ohjroAgB8+85+jEn9WwPiSlYHCWLZYpqPe1mtwGR0ZE=
-----END CERTIFICATE-----
>>> tls.key
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgImaLW/k7yYOtogub
dvuqlYllkgYwSJtdYZJFeajP07qhRANCAARJ+B0ndILGaR0GRWIYooOfNUjnp0lZ
JEy3MBsRhnvB3L8ag0llwzR/diZ9LVx9vaKuNOup9iy11wWDJw0coPeV
-----END PRIVATE KEY-----
--- request
GET /ask
--- response_body
ready
go
true
secretly: damson
closed
--- no_error_log
[error]



=== TEST 8: an upload is read up to its boundary, in pieces of a bounded size
--- config
    location = /upload {
        client_body_buffer_size 1k;
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            sock:settimeout(5000)
            local first = sock:receiveuntil("--cut")
            assert(first(64) == "")
            ngx.say("before: ", (first(64)))
            local until_cut = sock:receiveuntil("\r\n--cut")
            while true do
                local tail = sock:receive(2)
                if tail ~= "\r\n" then
                    ngx.say("behind: ", tail)
                    break
                end
                local head = assert(sock:receive())
                assert(sock:receive() == "")
                local pieces, size = 0, 0
                while true do
                    local data, err = until_cut(100)
                    if err then
                        ngx.say("failed: ", err)
                        return
                    end
                    if not data then break end
                    pieces = pieces + 1
                    size = size + #data
                end
                ngx.say(head, ": ", size, " bytes, ", pieces > 1 and "in pieces" or "at once")
            end
        }
    }
--- more_headers
Content-Type: multipart/form-data; boundary=cut
--- request eval
"POST /upload\r\n" . "--cut\r\nname: note\r\n\r\nshort\r\n--cut\r\nname: file\r\n\r\n"
    . ("\r\n--cu" x 500) . "\r\n--cut--\r\n"
--- response_body
before: nil
name: note: 5 bytes, at once
name: file: 3000 bytes, in pieces
behind: --
--- no_error_log
[error]
