=== TEST 1: a request over a socket, read line by line
--- config
    location = /ask {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            sock:settimeout(1000)
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            assert(sock:send({ "GET /answer HTTP/1.0\r\n", { "Host: here\r\n" }, "\r\n" }))
            ngx.say(sock:receive())
            local skip_head = sock:receiveuntil("\r\n\r\n")
            skip_head()
            ngx.say(sock:receive(3), "|", sock:receiveany(100))
            ngx.say(sock:receive())
            ngx.say(sock:close())
            ngx.say(sock:close())
        }
    }
    location = /answer { return 200 "apple tree"; }
--- request
GET /ask
--- response_body
HTTP/1.1 200 OK
app|le tree
nilclosed
1
nilclosed
--- no_error_log
[error]



=== TEST 2: idle connections serve again
--- config
    location = /ask {
        content_by_lua_block {
            for turn = 1, 3 do
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", ngx.var.server_port, { pool = "fruit" }))
                assert(sock:send("GET /answer HTTP/1.1\r\nHost: here\r\n\r\n"))
                local head = assert(sock:receiveuntil("\r\n\r\n"))()
                ngx.say(turn, ": ", sock:getreusedtimes(), " ", sock:receive(5))
                assert(sock:setkeepalive(1000, 2))
            end
        }
    }
    location = /answer { return 200 "apple"; }
--- request
GET /ask
--- response_body_like chomp
\A1: \d+ apple
2: [1-9]\d* apple
3: [1-9]\d* apple
\z
--- no_error_log
[error]



=== TEST 3: a peer that nobody listens on
--- config
    location = /ask {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            ngx.say(sock:connect("127.0.0.1", 1))
            ngx.say(sock:connect("127.0.0.1"))
            ngx.say(sock:connect("127.0.0.1", 70000))
            ngx.say(sock:connect("a.name.example", 80))
        }
    }
--- request
GET /ask
--- response_body
nilconnection refused
nilmissing the port number
nilbad port number: 70000
nilno resolver defined to resolve "a.name.example"
--- error_log
connect() failed (111: Connection refused)



=== TEST 4: a read that takes too long gives what came in time
--- config
    location = /ask {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            sock:settimeouts(1000, 1000, 60)
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            assert(sock:send("GET /slow HTTP/1.0\r\n\r\n"))
            sock:receiveuntil("\r\n\r\n")()
            local data, err, partial = sock:receive(9)
            ngx.say(data, " ", err, " ", partial)
            sock:settimeout(2000)
            ngx.say(sock:receive("*a"))
        }
    }
    location = /slow {
        lua_http10_buffering off;
        content_by_lua_block {
            ngx.print("early")
            ngx.flush(true)
            ngx.sleep(0.3)
            ngx.print("late")
        }
    }
--- request
GET /ask
--- response_body
nil timeout early
late
--- error_log
lua tcp socket read timed out, upstream: 127.0.0.1:



=== TEST 5: options and descriptor
--- config
    location = /ask {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            ngx.say(sock:setoption("keepalive", 1), " ", sock:getoption("keepalive"))
            ngx.say(sock:setoption("colour", 1))
            ngx.say(sock:getfd() > 2)
            sock:close()
            ngx.say(sock:getfd())
            ngx.say(sock:getoption("keepalive"))
        }
    }
--- request
GET /ask
--- response_body
true 1
nilunsupported option colour
true
nilclosed
nilclosed
--- no_error_log
[error]



=== TEST 6: datagrams
--- config
    location = /ask {
        content_by_lua_block {
            local udp = ngx.socket.udp()
            udp:settimeout(1000)
            ngx.say(udp:setpeername("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
            ngx.say(udp:send({ "one ", 2 }))
            ngx.say(udp:receive(4))
            ngx.say(udp:close())
            ngx.say(udp:send("x"))
        }
    }
--- udp_listen: $TEST_NGINX_RAND_PORT_1
--- udp_reply: pears
--- request
GET /ask
--- response_body
1
1
pear
1
nilclosed
--- error_log
attempt to send data on a closed socket



=== TEST 7: the request's body, piece by piece
--- config
    location = /body {
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            ngx.say(ngx.req.socket())
            ngx.say(sock:receiveuntil(",")())
            ngx.say(sock:receive(2))
            local data, err, rest = sock:receive(10)
            ngx.say(data, " ", err, " ", rest)
        }
    }
--- request
POST /body
plum,cherry
--- response_body
nilrequest body already exists
plum
ch
nil closed erry
--- no_error_log
[error]



=== TEST 8: without a body there is nothing to read
--- config
    location = /body {
        content_by_lua_block { ngx.say(ngx.req.socket()) }
    }
--- request
GET /body
--- response_body
nilno body



=== TEST 9: a script that takes the connection over writes the response itself
--- config
    location = /raw {
        content_by_lua_block {
            local sock = assert(ngx.req.socket(true))
            assert(sock:send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nquince"))
            ngx.log(ngx.NOTICE, "say: ", select(2, ngx.say("more")))
            ngx.log(ngx.NOTICE, "again: ", select(2, ngx.req.socket(true)))
        }
    }
--- request
GET /raw
--- response_body chomp
quince
--- error_log
say: raw request socket acquired
again: duplicate call



=== TEST 10: two directions at once, each for one thread
--- config
    location = /ask {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            local reader = ngx.thread.spawn(function() return sock:receive() end)
            ngx.say(sock:receive())
            assert(sock:send("GET /answer HTTP/1.0\r\n\r\n"))
            ngx.say(select(2, ngx.thread.wait(reader)))
        }
    }
    location = /answer { return 200 "apple"; }
--- request
GET /ask
--- response_body
nilsocket busy reading
HTTP/1.1 200 OK
--- no_error_log
[error]



=== TEST 11: who took the connection over may end before the other side has said all
--- config
    location = /ask {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            assert(sock:send("GET /answer HTTP/1.1\r\nHost: pear\r\n\r\n"))
            ngx.say(sock:receive(6))
            ngx.say(select(2, sock:receive(1)))
            local sent = {}
            for i = 1, 3 do
                sent[i] = tostring(sock:send("late"))
            end
            ngx.say(table.concat(sent, " "))
        }
    }
    location = /answer {
        content_by_lua_block {
            assert(ngx.req.socket(true)):send("medlar")
        }
    }
--- request
GET /ask
--- response_body
medlar
closed
4 4 4
--- no_error_log
[error]



=== datagram sockets of requests have no options
--- config
location = /t {
    content_by_lua_block {
        local socket = ngx.socket.udp()
        ngx.say(type(socket.setpeername), " ", type(socket.setoption))
    }
}
--- request
GET /t
--- response_body
function nil



=== TEST 12: a connection whose peer does not read is still there after the timeout
--- config
    lua_socket_log_errors off;
    location /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            sock:settimeouts(1000, 100, 100)
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            assert(sock:send("POST /busy HTTP/1.0\r\nContent-Length: 90000000\r\n\r\n"))
            ngx.say("sent: ", select(2, sock:send(string.rep("x", 80000000))))
            ngx.say("again: ", select(2, sock:send("x")))
            ngx.say("received: ", select(2, sock:receive()))
            ngx.say("closed: ", sock:close())
        }
    }
    location /busy {
        client_max_body_size 0;
        content_by_lua_block {
            ngx.sleep(1)
        }
    }
--- request
GET /t
--- response_body
sent: timeout
again: closed
received: timeout
closed: 1
--- no_error_log
[error]
