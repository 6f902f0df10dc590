# vim:set ft= ts=4 sw=4 et:

use Test::Nginx::Socket::Lua::Stream;

plan 'no_plan';

run_tests();

__DATA__

=== TEST 1: scripts of the start are named by their directive alone, others with their place
--- stream_config
    init_by_lua_block {
        where = debug.traceback():match("(init_by_lua[^:]*):")
    }
--- stream_server_config
    content_by_lua_block {
        ngx.say(where)
        ngx.say(debug.traceback():match("(content_by_lua[^:]*):"))
    }
--- stream_response
init_by_lua
content_by_lua(nginx.conf
--- no_error_log
[alert]
