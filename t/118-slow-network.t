# Sockets that take one byte at a time: what suites preload the library mockeagain for, and rsty does by itself.
BEGIN {
    $ENV{LD_PRELOAD} = 'mockeagain.so';
    $ENV{MOCKEAGAIN} = 'w';
    $ENV{MOCKEAGAIN_WRITE_TIMEOUT_PATTERN} = 'no further';
}

use Test::Nginx::Socket 'no_plan';

no_long_string();
run_tests();

__DATA__

=== TEST 1: a response arrives whole, byte after byte
--- config
    postpone_output 1;
    location = /words {
        content_by_lua_block {
            ngx.say("one")
            local ok, err = ngx.flush(true)
            ngx.say("flushed: ", ok, " ", err)
        }
    }
--- request
GET /words
--- response_body
one
flushed: 1 nil
--- no_error_log
[error]



=== TEST 2: who reads sees bytes come one by one
--- config
    location = /feed {
        content_by_lua_block { ngx.print("abcdefgh") }
    }
    location = /count {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            assert(sock:send("GET /feed HTTP/1.0\r\n\r\n"))
            local pieces, bytes = 0, 0
            while true do
                local some = sock:receiveany(1024)
                if not some then
                    break
                end
                pieces, bytes = pieces + 1, bytes + #some
            end
            ngx.say(bytes > 100 and pieces > bytes / 2)
        }
    }
--- request
GET /count
--- response_body
true
--- no_error_log
[error]



=== TEST 3: a socket that has sent a certain text takes nothing more
--- config
    lua_socket_send_timeout 50ms;
    location = /send {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            ngx.say(sock:send("so far, and no further!"))
            -- Only one direction is over.
            ngx.say(sock:close())
        }
    }
--- request
GET /send
--- response_body
niltimeout
1
--- error_log
lua tcp socket write timed out



=== TEST 4: a client that takes nothing more
--- config
    send_timeout 50ms;
    postpone_output 1;
    location = /flush {
        content_by_lua_block {
            ngx.say("no further than this")
            local ok, err = ngx.flush(true)
            ngx.log(ngx.WARN, "flushed: ", ok, " ", err)
        }
    }
--- request
GET /flush
--- ignore_response
--- error_log
flushed: nil timeout
client timed out



=== TEST 5: a block that does without
--- no_mockeagain
--- config
    location = /far {
        return 200 "no further than this";
    }
--- request
GET /far
--- response_body chomp
no further than this



=== TEST 6: what a server sends can be read behind a write that failed
--- config
    lua_socket_log_errors off;
    location = /ask {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            sock:settimeouts(1000, 50, 5000)
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            ngx.say(sock:send("GET /early HTTP/1.0\r\n\r\nand no further than this"))
            ngx.say(sock:receive())
        }
    }
    location = /early { return 204; }
--- request
GET /ask
--- response_body
niltimeout
HTTP/1.1 204 No Content
--- no_error_log
[error]
