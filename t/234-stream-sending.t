# vim:set ft= ts=4 sw=4 et:

use Test::Nginx::Socket::Lua::Stream;

$ENV{TEST_NGINX_HTML_DIR} = html_dir();

plan 'no_plan';

run_tests();

__DATA__

=== TEST 1: who flushes waits as long as the socket's setting says
--- stream_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        lua_socket_send_timeout 50ms;
        content_by_lua_block {
            local block = string.rep("x", 1048576)
            for round = 1, 64 do
                ngx.print(block)
                local ok, err = ngx.flush(true)
                if not ok then
                    ngx.log(ngx.NOTICE, "gave up: ", err)
                    return
                end
            end
        }
    }
--- stream_server_config
    content_by_lua_block {
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
        for _ = 1, 400 do
            local log = assert(io.open("$TEST_NGINX_SERVER_ROOT/logs/error.log"))
            local found = log:read("*a"):find("gave up: %a+")
            log:close()
            if found then
                break
            end
            ngx.sleep(0.05)
        end
        ngx.say("read nothing")
    }
--- stream_response
read nothing
--- error_log
gave up: timeout
client timed out (110: 
--- no_error_log
[error]
--- timeout: 25



=== TEST 2: a handshake that takes too long is the next server's turn, and no error
--- stream_config
    server {
        listen unix:$TEST_NGINX_HTML_DIR/mute.sock;
        content_by_lua_block { assert(ngx.req.socket()):receive("*a") }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        proxy_pass unix:$TEST_NGINX_HTML_DIR/mute.sock;
        proxy_ssl on;
        proxy_connect_timeout 50ms;
        log_by_lua_block { ngx.log(ngx.NOTICE, "it ended with ", ngx.var.status) }
    }
--- stream_server_config
    content_by_lua_block {
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
        ngx.say(sock:receive("*a"))
    }
--- stream_response eval
"\n"
--- error_log
it ended with 502
--- no_error_log
[error]



=== TEST 3: the option of foreign addresses is there for connections, too
--- stream_server_config
    content_by_lua_block {
        local sock = ngx.socket.tcp()
        ngx.say("set: ", sock:setoption("ip-transparent", true))
        ngx.say("connected: ", sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
    }
--- stream_response
set: true
connected: 1
--- error_log
lua set TCP upstream with IP_TRANSPARENT
--- no_error_log
[error]



=== TEST 4: reads of limited size count what they hold back
--- stream_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        return "12345=====>rest";
    }
--- stream_server_config
    content_by_lua_block {
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
        local read = sock:receiveuntil("==>")
        for _ = 1, 5 do
            local data, err = read(3)
            ngx.say(data, " ", err)
        end
    }
--- stream_response
123 nil
45= nil
== nil
 nil
nil nil
--- no_error_log
[error]



=== TEST 5: it is told when a connection may be closed for another one, and when not
--- stream_server_config
    content_by_lua_block { ngx.say("plain") }
--- stream_response
plain
--- grep_error_log eval: qr/\breusable connection: \d/
--- grep_error_log_out eval
qr/\Areusable connection: 1\nreusable connection: 0\n(?:reusable connection: 0\n)+\z/
--- no_error_log
[error]
