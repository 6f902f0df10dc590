# The sections of stream specs that no other spec here uses. The original harness runs this file as well.
use Test::Nginx::Socket::Lua::Stream;

no_shuffle();
repeat_each(1);

plan 'no_plan';

run_tests();

__DATA__

=== TEST 1: three servers, one after the other
--- stream_server_config
    content_by_lua_block {
        local sock = assert(ngx.req.socket())
        ngx.say("first got ", sock:receive(3))
    }
--- stream_server_config2
    content_by_lua_block {
        local sock = assert(ngx.req.socket())
        ngx.say("second got ", sock:receive(3))
    }
--- stream_server_config3
    content_by_lua_block {
        local sock = assert(ngx.req.socket())
        ngx.say("third got ", sock:receive(3))
    }
--- stream_request chomp
one
--- stream_request2 chomp
two
--- stream_request3 chomp
tri
--- stream_response
first got one
second got two
third got tri



=== TEST 2: the reply goes to the log
--- stream_server_config
    content_by_lua_block { ngx.say("to be found in the log") }
--- log_stream_response
--- stream_response
received 23 bytes of response data.
--- error_log
to be found in the log



=== TEST 3: options of the listening socket
--- stream_server_config
    content_by_lua_block { ngx.say("backlog or not") }
--- steam_listen_option: backlog=16
--- stream_response
backlog or not
