BEGIN {
    $ENV{LD_PRELOAD} = "mockeagain.so";
    $ENV{MOCKEAGAIN} = "w";
    $ENV{MOCKEAGAIN_WRITE_TIMEOUT_PATTERN} = "no further";
    $ENV{TEST_NGINX_EVENT_TYPE} = "poll";
    $ENV{TEST_NGINX_POSTPONE_OUTPUT} = 1;
}

use Test::Nginx::Socket::Lua;

repeat_each(1);
plan tests => repeat_each() * 17;

run_tests();

__DATA__

=== TEST 1: a client that takes one byte at a time gets everything
--- config
    location /t {
        content_by_lua_block {
            ngx.say("a line")
            ngx.say(ngx.flush(true))
            ngx.say("the end")
        }
    }
--- request
GET /t
--- response_body
a line
1
the end
--- no_error_log
[error]
[warn]



=== TEST 2: a client that stalls makes a flush time out
--- config
    send_timeout 200ms;
    location /t {
        content_by_lua_block {
            ngx.say("here, and no further for now")
            local ok, err = ngx.flush(true)
            ngx.log(ngx.WARN, "flushed: ", ok, " ", err)
        }
    }
--- request
GET /t
--- ignore_response
--- error_log
flushed: nil timeout
--- no_error_log
[error]



=== TEST 3: a peer that stalls makes a cosocket time out
--- config
    server_tokens off;
    lua_socket_log_errors off;
    location /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            sock:settimeouts(1000, 200, 1000)
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            ngx.log(ngx.WARN, "sent: ", sock:send("GET /t"))
            ngx.log(ngx.WARN, "stalled: ", sock:send("until here no further than this"))
        }
    }
--- request
GET /t
--- ignore_response
--- error_log
sent: 6
stalled: niltimeout
--- no_error_log
[error]



=== TEST 4: a block without slow peers
--- no_mockeagain
--- config
    location /t {
        content_by_lua_block {
            ngx.say("no further than this")
            ngx.say(ngx.flush(true))
        }
    }
--- request
GET /t
--- response_body
no further than this
1
--- no_error_log
peers are made slow



=== TEST 5: what a peer sends can be read after it stalled
--- config
    lua_socket_log_errors off;
    location /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            sock:settimeouts(1000, 100, 1000)
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            sock:send("GET /early HTTP/1.0\r\n\r\nno further ")
            ngx.log(ngx.WARN, "again: ", select(2, sock:send("x")))
            ngx.log(ngx.WARN, "status: ", sock:receive())
            ngx.log(ngx.WARN, "closed: ", sock:close())
        }
    }
    location /early {
        return 204;
    }
--- request
GET /t
--- error_log
again: closed
status: HTTP/1.1 204 No Content
closed: 1
--- no_error_log
[error]
