# The sections of datagram specs that no other spec here uses. The original harness runs this file as well.
use Test::Nginx::Socket::Lua::Dgram;

no_shuffle();
repeat_each(1);

plan 'no_plan';

run_tests();

__DATA__

=== TEST 1: a reply by a pattern
--- dgram_server_config
    content_by_lua_block {
        local sock = assert(ngx.req.socket())
        local data = sock:receive()
        sock:send("got " .. data)
    }
--- dgram_request chomp
abc
--- dgram_response_like chop
^got \w+$



=== TEST 2: the reply goes to the log
--- dgram_server_config
    content_by_lua_block {
        local sock = assert(ngx.req.socket())
        sock:receive()
        sock:send("to be found in the log")
    }
--- log_dgram_response
--- dgram_response
received 22 bytes of response data.
--- error_log
to be found in the log
