=== TEST 1: a question over datagrams that is lost once, asked again on the same socket
--- stream_config
    lua_shared_dict seen 100k;
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 udp;
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            local question = sock:receive()
            -- The first time each question gets lost.
            if ngx.shared.seen:add(question, true) then return end
            sock:send(question:sub(1, 2) .. "a plum")
        }
    }
--- stream_server_config
    return "unused";
--- config
    location = /ask {
        lua_socket_log_errors off;
        content_by_lua_block {
            local udp = ngx.socket.udp()
            assert(udp:setpeername("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
            local question = string.char(math.random(65, 90), math.random(65, 90)) .. ngx.now() .. ngx.worker.pid()
            local answer, err
            for try = 1, 20 do
                udp:settimeout(try == 1 and 100 or 1000)
                assert(udp:send(question))
                answer, err = udp:receive(512)
                ngx.log(ngx.INFO, "try ", try, ": ", answer or err)
                if answer then break end
            end
            ngx.say(answer:sub(1, 2) == question:sub(1, 2), " ", answer:sub(3))
            ngx.say(udp:close())
        }
    }
--- request
GET /ask
--- response_body
true a plum
1
--- error_log
try 1: timeout
--- no_error_log
[error]



=== TEST 2: an answer that does not fit a datagram is asked for again over TCP, with its length before it
--- stream_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 udp;
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            sock:send(sock:receive():sub(1, 2) .. "T")
        }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        content_by_lua_block {
            local sock = assert(ngx.req.socket(true))
            sock:settimeout(5000)
            local high, low = sock:receive(2):byte(1, 2)
            local question = sock:receive(high * 256 + low)
            local answer = question:sub(1, 2) .. "F" .. ("medlar "):rep(900)
            sock:send({ string.char(math.floor(#answer / 256), #answer % 256), answer:sub(1, 100) })
            ngx.sleep(0.01)
            sock:send(answer:sub(101))
        }
    }
--- stream_server_config
    return "unused";
--- config
    location = /ask {
        content_by_lua_block {
            local question = "\1\2what?"
            local udp = ngx.socket.udp()
            udp:settimeout(5000)
            assert(udp:setpeername("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
            assert(udp:send(question))
            local answer = assert(udp:receive(512))
            assert(udp:close())
            ngx.say("truncated: ", answer:sub(3, 3) == "T")
            local tcp = ngx.socket.tcp()
            tcp:settimeout(5000)
            assert(tcp:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
            assert(tcp:send({ string.char(0, #question), question }))
            local high, low = assert(tcp:receive(2)):byte(1, 2)
            answer = assert(tcp:receive(high * 256 + low))
            ngx.say(answer:sub(1, 2) == "\1\2", " ", answer:sub(3, 9), " ", #answer)
            ngx.say(select(2, tcp:receive(1)))
        }
    }
--- request
GET /ask
--- response_body
truncated: true
true Fmedlar 6303
closed
--- no_error_log
[error]



=== TEST 3: a datagram longer than what is asked for is cut, the next one is whole
--- stream_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 udp;
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            sock:receive()
            sock:send("a long answer")
            sock:send("short")
        }
    }
--- stream_server_config
    return "unused";
--- config
    location = /ask {
        content_by_lua_block {
            local udp = ngx.socket.udp()
            udp:settimeout(5000)
            assert(udp:setpeername("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
            assert(udp:send("?"))
            ngx.say(udp:receive(6))
            ngx.say(udp:receive())
        }
    }
--- request
GET /ask
--- response_body
a long
short
--- no_error_log
[error]



=== TEST 4: frames both ways on a connection that changed its protocol
--- http_config
    init_by_lua_block {
        local bit = require "bit"
        local frames = {}

        local function masked(data, key)
            local out = {}
            for i = 1, #data do
                out[i] = string.char(bit.bxor(data:byte(i), key:byte((i - 1) % 4 + 1)))
            end
            return table.concat(out)
        end

        function frames.write(sock, kind, data, key)
            local flag = key and 128 or 0
            local length
            if #data < 126 then
                length = string.char(flag + #data)
            else
                length = string.char(flag + 126, math.floor(#data / 256), #data % 256)
            end
            return sock:send({ string.char(128 + kind), length, key or "", key and masked(data, key) or data })
        end

        function frames.read(sock)
            local head, err = sock:receive(2)
            if not head then return nil, err end
            local first, second = head:byte(1, 2)
            local length = second % 128
            if length == 126 then
                local high, low = assert(sock:receive(2)):byte(1, 2)
                length = high * 256 + low
            end
            local key = second >= 128 and assert(sock:receive(4))
            local data = length == 0 and "" or assert(sock:receive(length))
            return first % 16, key and masked(data, key) or data, key and "masked" or "plain"
        end

        package.loaded.frames = frames
    }
--- config
    location = /chat {
        content_by_lua_block {
            local frames = require "frames"
            ngx.req.read_body()
            ngx.status = 101
            ngx.header["Upgrade"] = "websocket"
            ngx.header["Connection"] = "upgrade"
            ngx.header["Sec-WebSocket-Accept"] = ngx.encode_base64(ngx.sha1_bin(ngx.var.http_sec_websocket_key .. "salt"))
            assert(ngx.send_headers())
            assert(ngx.flush(true))
            local sock = assert(ngx.req.socket(true))
            sock:settimeout(5000)
            while true do
                local kind, data, how = frames.read(sock)
                if not kind then
                    ngx.log(ngx.WARN, "left without a word: ", data)
                    return
                elseif kind == 9 then
                    frames.write(sock, 10, data)
                elseif kind == 8 then
                    frames.write(sock, 8, data)
                    return
                else
                    frames.write(sock, kind, how .. " " .. #data .. " " .. data:sub(1, 5))
                end
            end
        }
    }
    location = /through { proxy_pass http://127.0.0.1:$server_port/chat; proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }
    location = /ask {
        content_by_lua_block {
            local frames = require "frames"
            for _, path in ipairs({ "/chat", "/through" }) do
                local sock = ngx.socket.tcp()
                sock:settimeout(5000)
                assert(sock:connect("127.0.0.1", ngx.var.server_port))
                assert(sock:send({ "GET ", path, " HTTP/1.1\r\nHost: chat\r\nUpgrade: websocket\r\n",
                    "Connection: Upgrade\r\nSec-WebSocket-Key: pit\r\n\r\n" }))
                local head = assert(sock:receiveuntil("\r\n\r\n")())
                ngx.say(head:match("^[^\r]+"))
                ngx.say(head:match("Sec%-WebSocket%-Accept: (%S+)") == ngx.encode_base64(ngx.sha1_bin("pitsalt")))
                -- Two frames in a row, one of them long; answers come in order.
                assert(frames.write(sock, 1, "hello", "\1\2\3\4"))
                assert(frames.write(sock, 2, ("grape"):rep(4000), "\250\0\250\0"))
                ngx.say(frames.read(sock))
                ngx.say(frames.read(sock))
                assert(frames.write(sock, 9, "", "\0\0\0\0"))
                ngx.say(frames.read(sock))
                assert(frames.write(sock, 8, "\3\232", "\9\9\9\9"))
                local kind, data = frames.read(sock)
                ngx.say(kind, " ", data:byte(1) * 256 + data:byte(2))
                ngx.say(select(2, sock:receive(1)))
            end
        }
    }
--- request
GET /ask
--- response_body
HTTP/1.1 101 Switching Protocols
true
1masked 5 helloplain
2masked 20000 grapeplain
10plain
8 1000
closed
HTTP/1.1 101 Switching Protocols
true
1masked 5 helloplain
2masked 20000 grapeplain
10plain
8 1000
closed
--- no_error_log
[error]
left without a word



=== TEST 5: a lock that a sleeping holder gives back, and one that runs out
--- http_config
    lua_shared_dict locks 100k;
--- config
    location = /ask {
        content_by_lua_block {
            local locks = ngx.shared.locks
            local function lock(key, who, lease)
                local waited = 0
                while true do
                    local taken, err = locks:add(key, who, lease)
                    if taken then return waited end
                    assert(err == "exists", err)
                    waited = waited + 1
                    ngx.sleep(0.002)
                end
            end
            local order = {}
            local function worker(name)
                local waited = lock("door", name, 10)
                order[#order + 1] = name .. (waited > 0 and " waited" or " went in")
                ngx.sleep(0.02)
                locks:delete("door")
            end
            local first, second = ngx.thread.spawn(worker, "anna"), ngx.thread.spawn(worker, "bert")
            assert(ngx.thread.wait(first))
            assert(ngx.thread.wait(second))
            ngx.say(table.concat(order, ", "))
            lock("window", "anna", 0.02)
            ngx.say(lock("window", "bert", 10) > 0, " ", locks:get("window"))
            locks:delete("window")
        }
    }
--- request
GET /ask
--- response_body
anna went in, bert waited
true bert
--- no_error_log
[error]



=== TEST 6: a bucket that leaks, counted in shared memory with its time beside it
--- http_config
    lua_shared_dict buckets 100k;
--- config
    location = /ask {
        content_by_lua_block {
            local ffi = require "ffi"
            local state = ffi.typeof("struct { double excess; double last; }")
            local pointer = ffi.typeof("$ const *", state)
            local buckets = ngx.shared.buckets
            buckets:flush_all()
            local function incoming(key, rate, burst, now)
                local kept = buckets:get(key)
                local excess = 0
                if kept then
                    assert(#kept == ffi.sizeof(state))
                    local old = ffi.cast(pointer, kept)
                    excess = math.max(old.excess - rate * (now - old.last) + 1, 0)
                end
                if excess > burst then return "rejected" end
                buckets:set(key, ffi.string(state(excess, now), ffi.sizeof(state)))
                return excess
            end
            -- Times are the script's own, so the figures are exact.
            for _, now in ipairs({ 10, 10, 10, 10, 10.5, 20 }) do
                ngx.say(incoming("peer", 4, 2, now))
            end
        }
    }
--- request
GET /ask
--- response_body
0
1
2
rejected
1
0
--- no_error_log
[error]
