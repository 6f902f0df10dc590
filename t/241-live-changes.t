# What changes while the server runs, in all workers at once: servers of an upstream, rates of limits.
use Test::Nginx::Socket::Lua;

workers(4);
master_on();
repeat_each(1);
plan tests => repeat_each() * (blocks() * 2 + 4);

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value("http_config", ($block->http_config // "") . <<'_EOC_');
init_by_lua_block {
    -- One request over a connection of its own, which any worker may accept: status and body.
    function ask(path)
        local socket = ngx.socket.tcp()
        assert(socket:connect("127.0.0.1", ngx.var.server_port))
        assert(socket:send("GET " .. path .. " HTTP/1.0\r\n\r\n"))
        local all = assert(socket:receive("*a"))
        socket:close()
        return tonumber(all:match("^HTTP/1.1 (%d+)")), all:match("\r\n\r\n(.*)$")
    end
    -- How often each answer came.
    function tally(path, count)
        local answers, names = {}, {}
        for _ = 1, count do
            local _, body = ask(path)
            if not answers[body] then
                names[#names + 1] = body
            end
            answers[body] = (answers[body] or 0) + 1
        end
        table.sort(names)
        for i, name in ipairs(names) do
            names[i] = name .. "=" .. answers[name]
        end
        return table.concat(names, " ")
    end
}
server { listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1; return 200 one; }
server { listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2; return 200 two; }
server { listen 127.0.0.1:$TEST_NGINX_RAND_PORT_3; return 200 three; }
_EOC_
});
no_long_string();
run_tests();

__DATA__

=== TEST 1: servers are added, changed and removed for all workers
--- http_config
upstream back { zone back 64k; server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- config
location = /back { proxy_pass http://back; }
location = /t {
    content_by_lua_block {
        local upstream = require "rsty.upstream"
        local two = "127.0.0.1:$TEST_NGINX_RAND_PORT_2"
        ngx.say(tally("/back", 20))
        ngx.say(upstream.add("back", two, { weight = 3 }))
        ngx.say(tally("/back", 40))
        ngx.say(upstream.set("back", two, { weight = 1 }))
        ngx.say(tally("/back", 40))
        ngx.say(upstream.set("back", two, { down = true }))
        ngx.say(tally("/back", 20))
        ngx.say(upstream.set("back", two, { down = false }))
        ngx.say(tally("/back", 20))
        ngx.say(upstream.remove("back", "127.0.0.1:$TEST_NGINX_RAND_PORT_1"))
        ngx.say(tally("/back", 20))
    }
}
--- request
GET /t
--- response_body
one=20
true
one=10 two=30
true
one=20 two=20
true
one=20
true
one=10 two=10
true
two=20
--- no_error_log
[error]



=== TEST 2: a backup is asked when no other is left
--- http_config
upstream back { zone back 64k; server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- config
location = /back { proxy_pass http://back; }
location = /t {
    content_by_lua_block {
        local upstream = require "rsty.upstream"
        ngx.say(upstream.add("back", "127.0.0.1:$TEST_NGINX_RAND_PORT_3", { backup = true, max_conns = 7 }))
        ngx.say(tally("/back", 10))
        ngx.say(upstream.set("back", "127.0.0.1:$TEST_NGINX_RAND_PORT_1", { down = true }))
        ngx.say(tally("/back", 10))
        for _, peer in ipairs(upstream.peers("back")) do
            ngx.say(peer.name == peer.server, " ", peer.weight, " ", peer.max_conns, " ", peer.down, " ", peer.backup)
        end
    }
}
--- request
GET /t
--- response_body
true
one=10
true
three=10
true 1 0 true nil
true 1 7 nil true
--- no_error_log
[error]



=== TEST 3: what does not work says why
--- http_config
upstream local { server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
upstream keyed { zone keyed 64k; hash $uri; server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- config
location = /t {
    content_by_lua_block {
        local upstream = require "rsty.upstream"
        local address = "127.0.0.1:$TEST_NGINX_RAND_PORT_2"
        ngx.say(select(2, upstream.add("none", address)))
        ngx.say(select(2, upstream.add("local", address)))
        ngx.say(select(2, upstream.add("keyed", "some.name:80")))
        ngx.say(select(2, upstream.add("keyed", "127.0.0.1:$TEST_NGINX_RAND_PORT_1")))
        ngx.say(select(2, upstream.add("keyed", address, { backup = true })))
        ngx.say(select(2, upstream.add("keyed", address, { weight = 0 })))
        ngx.say(select(2, upstream.add("keyed", address, { wieght = 1 })))
        ngx.say(select(2, upstream.set("keyed", address, { weight = 2 })))
        ngx.say(select(2, upstream.set("keyed", address, { backup = true })))
        ngx.say(select(2, upstream.remove("keyed", address)))
        ngx.say(select(2, pcall(upstream.add)):match("bad argument.*"))
    }
}
--- request
GET /t
--- response_body
upstream not found
upstream has no zone
invalid address
peer exists
balancing method does not support backup peers
invalid weight
unknown option "wieght"
peer not found
a peer does not become a backup; remove and add it
peer not found
bad argument #1 to 'add' (string expected, got nil)



=== TEST 4: keys find their way on the ring with the servers of the moment
--- http_config
upstream ring { zone ring 64k; hash $arg_key consistent; server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- config
location = /ring { proxy_pass http://ring; }
location = /t {
    content_by_lua_block {
        local upstream = require "rsty.upstream"
        assert(upstream.add("ring", "127.0.0.1:$TEST_NGINX_RAND_PORT_2"))
        assert(upstream.add("ring", "127.0.0.1:$TEST_NGINX_RAND_PORT_3"))
        local seen = {}
        for key = 1, 60 do
            local _, first = ask("/ring?key=" .. key)
            local _, again = ask("/ring?key=" .. key)
            assert(first == again)
            seen[first] = true
        end
        ngx.say(seen.one, " ", seen.two, " ", seen.three)
    }
}
--- request
GET /t
--- response_body
true true true
--- no_error_log
[error]



=== TEST 5: the API that scripts know shows and changes the same servers
--- http_config
upstream back {
    zone back 64k;
    server 127.0.0.1:$TEST_NGINX_RAND_PORT_1 weight=2;
    server 127.0.0.1:$TEST_NGINX_RAND_PORT_2 backup;
}
--- config
location = /back { proxy_pass http://back; header_filter_by_lua_block {
    ngx.header.x_upstream = require("ngx.upstream").current_upstream_name()
} }
location = /t {
    content_by_lua_block {
        local shown = require "ngx.upstream"
        assert(require("rsty.upstream").add("back", "127.0.0.1:$TEST_NGINX_RAND_PORT_3"))
        ngx.say(#shown.get_servers("back"), " ", #shown.get_primary_peers("back"), " ", #shown.get_backup_peers("back"))
        ngx.say(shown.set_peer_down("back", false, 0, true))
        ngx.say(tally("/back", 12))
        ngx.say(ngx.location.capture("/back").header["x-upstream"])
        local known
        for _, name in ipairs(shown.get_upstreams()) do
            known = known or name == "back"
        end
        ngx.say(known)
    }
}
--- request
GET /t
--- response_body
2 2 1
true
three=12
back
true
--- no_error_log
[error]



=== TEST 6: the rate of a zone changes for all workers
--- http_config
limit_req_zone $arg_key zone=few:64k rate=1r/m;
--- config
location = /limited { limit_req zone=few; return 200 ok; }
location = /real { limit_req zone=few; content_by_lua_block { ngx.print("ok") } }
location = /t {
    content_by_lua_block {
        local limits = require "rsty.limits"
        ngx.say(string.format("%.3f", limits.rate("few")))
        local first, second = ask("/real?key=a"), ask("/real?key=a")
        ngx.say(first, " ", second)
        ngx.say(limits.set_rate("few", "100000r/s"), " ", limits.rate("few"))
        local refused = 0
        for _ = 1, 20 do
            refused = refused + (ask("/real?key=b") == 200 and 0 or 1)
            ngx.sleep(0.002)
        end
        ngx.say(refused)
        ngx.say(limits.set_rate("few", "1r/m"))
        first, second = ask("/real?key=c"), ask("/real?key=c")
        ngx.say(first, " ", second)
        ngx.say(limits.set_rate("few", 0))
        ngx.say(limits.set_rate("few", "quick"))
        ngx.say(limits.set_rate("none", 1))
        ngx.say(limits.rate("none"))
    }
}
--- request
GET /t
--- response_body
0.016
200 503
true 100000
0
true
200 503
nilinvalid rate
nilinvalid rate
nilzone not found
nilzone not found



=== TEST 7: the number of connections of a zone changes for all workers
--- http_config
limit_conn_zone $arg_key zone=places:64k;
--- config
location = /held { limit_conn places 1; content_by_lua_block { ngx.sleep(0.3) ngx.print("ok") } }
location = /t {
    content_by_lua_block {
        local limits = require "rsty.limits"
        local function statuses()
            local threads, served = {}, 0
            for i = 1, 6 do
                threads[i] = ngx.thread.spawn(ask, "/held?key=a")
            end
            for i = 1, 6 do
                local _, status = ngx.thread.wait(threads[i])
                served = served + (status == 200 and 1 or 0)
            end
            return served
        end
        ngx.say(limits.connections("places"), " ", statuses())
        ngx.say(limits.set_connections("places", 3), " ", limits.connections("places"), " ", statuses())
        ngx.say(limits.set_connections("places", nil), " ", statuses())
        ngx.say(limits.set_connections("places", 0))
    }
}
--- request
GET /t
--- response_body
nil 1
true 3 3
true 1
nilinvalid number of connections
