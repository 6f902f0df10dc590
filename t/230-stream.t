# vim:set ft= ts=4 sw=4 et:

use Test::Nginx::Socket::Lua::Stream;

$ENV{TEST_NGINX_HTML_DIR} = html_dir();

plan 'no_plan';

run_tests();

__DATA__

=== TEST 1: a script talks to the client
--- stream_config
    lua_shared_dict counts 64k;
--- stream_server_config
    content_by_lua_block {
        local sock = assert(ngx.req.socket())
        local name = sock:receive()
        ngx.ctx.name = name
        ngx.sleep(0.001)
        ngx.say("hello ", ngx.ctx.name, " from ", ngx.config.subsystem)
        ngx.say(ngx.shared.counts:incr("calls", 1, 0), " ", ngx.get_phase(), " ", ngx.var.protocol)
    }
--- stream_request
world
--- stream_response
hello world from stream
1 content TCP
--- error_log
stream lua content handler
finalize stream session: 200
--- no_error_log
[error]



=== TEST 2: what was peeked at stays for the server behind
--- stream_config
    server {
        listen unix:$TEST_NGINX_HTML_DIR/behind.sock;
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            ngx.say("behind got ", sock:receive())
        }
    }
--- stream_server_config
    preread_by_lua_block {
        local sock = assert(ngx.req.socket())
        ngx.log(ngx.NOTICE, "first bytes: ", sock:peek(3))
    }
    proxy_pass unix:$TEST_NGINX_HTML_DIR/behind.sock;
--- stream_request
abcdef
--- stream_response
behind got abcdef
--- error_log
first bytes: abc
upstream disconnected
--- no_error_log
[error]



=== TEST 3: a fixed answer and a log phase
--- stream_server_config
    return "port $server_port\n";
    log_by_lua_block { ngx.log(ngx.NOTICE, "status ", ngx.var.status, " sent ", ngx.var.bytes_sent) }
--- stream_response_like
^port \d+$
--- error_log eval
qr/stream \[lua\] log_by_lua\(nginx\.conf:\d+\):1: status 200 sent \d+ while logging request, client: 127\.0\.0\.1, server: /
--- no_error_log
[error]



=== TEST 4: a script chooses the server
--- stream_config
    upstream behind {
        server 0.0.0.1:1234;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            assert(balancer.set_current_peer("127.0.0.1", tonumber(ngx.var.server_port) + 1))
        }
    }
--- stream_server_config
    proxy_pass behind;
--- stream_server_config2
    return "chosen\n";
--- stream_response
chosen
chosen
--- no_error_log
[error]



=== TEST 5: a server that is not there
--- stream_server_config
    proxy_pass 127.0.0.1:1;
--- stream_response
--- error_log
connect() failed (111: Connection refused) while connecting to upstream, client: 127.0.0.1
bytes from/to client:0/0, bytes from/to upstream:0/0
finalize stream session: 502



=== TEST 6: the end of sending
--- stream_server_config
    content_by_lua_block {
        local sock = assert(ngx.req.socket())
        ngx.say("before")
        ngx.flush(true)
        assert(sock:shutdown("send"))
        local ok, err = ngx.say("after")
        ngx.log(ngx.NOTICE, "after: ", ok, " ", err)
    }
--- stream_response
before
--- error_log
after: nil seen eof
--- no_error_log
[error]



=== TEST 7: addresses may be refused
--- stream_server_config
    deny 127.0.0.1;
    return "never\n";
--- stream_response
--- error_log
access forbidden by rule
finalize stream session: 403
