# Every section of the spec language that no other spec here uses. The original harness runs this file as well.
use Test::Nginx::Socket::Lua;

no_shuffle();
repeat_each(1);

plan 'no_plan';

run_tests();

__DATA__

=== TEST 1: lines wanted and unwanted in the access log
--- config
    location = /seen {
        return 204;
    }
--- request
GET /seen?mark=here
--- error_code: 204
--- wait: 0.1
--- access_log
GET /seen?mark=here HTTP/1.1
" 204 0
--- no_access_log
mark=elsewhere



=== TEST 2: the expected body is written in UTF-8 and sent in another charset
--- config
    location = /t {
        content_by_lua_block { ngx.print("gr\252n\n") }
    }
--- request
GET /t
--- charset: iso-8859-1
--- response_body
grün



=== TEST 3: an error of curl is only asked for where curl is
--- config
    location = /t { return 200 "fine\n"; }
--- request
GET /t
--- curl_error: refused
--- curl_options: --verbose
--- curl_protocol: http
--- response_body
fine



=== TEST 4: a reply without status line and headers
--- config
    location = /t {
        content_by_lua_block {
            local sock = assert(ngx.req.socket(true))
            sock:send("only a body\n")
        }
    }
--- raw_request eval
"GET /t HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
--- http09
--- response_body
only a body



=== TEST 5: text behind the http block
--- config
    location = /t { return 200 "$hostname" ; }
--- post_main_config
    env BEHIND_HTTP;
--- request
GET /t
--- response_body_like: \A\S+\z



=== TEST 6: code before the files are written
--- config
    location = /t {
        content_by_lua_block {
            local file = assert(io.open(ngx.config.prefix() .. "made.txt"))
            ngx.print(file:read("*a"))
            file:close()
        }
    }
--- post_setup_server_root
open my $made, '>', "$ServRoot/made.txt" or die $!;
print $made "made by the spec\n";
close $made;
--- request
GET /t
--- response_body
made by the spec



=== TEST 7: a request made by code
--- config
    location /t { return 200 "$request_uri\n"; }
--- request_eval
"GET /t?" . join '&', map { "a=$_" } 1 .. 3
--- response_body
/t?a=1&a=2&a=3



=== TEST 8: a body made by code
--- config
    location = /t { return 200 "abcabcabc\n"; }
--- request
GET /t
--- response_body_eval
"abc" x 3 . "\n"



=== TEST 9: a client that comes to another address
--- config
    location = /t { return 200 "$server_addr\n"; }
--- server_addr_for_client: 127.0.0.2
--- request
GET /t
--- response_body
127.0.0.2



=== TEST 10: the server's name, and its first line for a stranger
--- config
    location = /t { return 200 "$server_name $host\n"; }
--- server_name: first.test
--- more_headers
Host: other.test
--- request
GET /t
--- response_body
first.test other.test



=== TEST 11: a client that closes its sending side
--- config
    location = /t {
        content_by_lua_block {
            local sock = assert(ngx.req.socket(true))
            local data, err = sock:receive("*a")
            sock:send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" .. (err or data) .. "\n")
        }
    }
--- raw_request eval
"GET /t HTTP/1.1\r\nHost: x\r\n\r\neverything"
--- shutdown: 1
--- response_body
everything



=== TEST 12: what a server says when it goes
--- http_config
    exit_worker_by_lua_block { ngx.log(ngx.NOTICE, "the worker leaves") }
--- config
    location = /t { return 204; }
--- request
GET /t
--- error_code: 204
--- shutdown_error_log
the worker leaves
--- no_shutdown_error_log
the worker stays



=== TEST 13: skipped by the server's version
--- config
    location = /t { return 500; }
--- skip_nginx: 2: > 0.1.0: too young
--- request
GET /t



=== TEST 14: not skipped by the server's version
--- config
    location = /t { return 204; }
--- skip_nginx: 1: < 0.1.0
--- request
GET /t
--- error_code: 204



=== TEST 15: skipped by one of two versions
--- config
    location = /t { return 500; }
--- skip_nginx2: 3: < 0.1.0 or > 0.2.0: between
--- request
GET /t



=== TEST 16: skipped by the version of OpenSSL
--- config
    location = /t { return 500; }
--- skip_openssl: 1: > 0.9.8a
--- request
GET /t



=== TEST 17: skipped by a condition
--- config
    location = /t { return 500; }
--- skip_eval: 2: 'b' gt 'a' && defined $ENV{PATH}
--- request
GET /t



=== TEST 18: a probe that nobody asked for is one skipped assertion
--- config
    location = /t { return 204; }
--- stap
F(main) { println("entered") }
--- stap_out
entered
--- request
GET /t
--- error_code: 204



=== TEST 19: not yet
--- config
    location = /t { return 500; }
--- todo: 2: one day
--- request
GET /t



=== TEST 20: a server that dies and whose words nobody shall see
--- config
    no_directive_has_this_name on;
--- must_die
--- suppress_stderr
--- error_log
unknown directive "no_directive_has_this_name"



=== TEST 21: a mock server that waits before it replies
--- config
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
            sock:send("q")
            sock:settimeout(5000)
            local began = ngx.now()
            local reply = sock:receive("*a")
            ngx.update_time()
            ngx.say(reply, " ", ngx.now() - began > 0.2)
        }
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_query: q
--- tcp_reply_delay: 300ms
--- tcp_reply: late
--- request
GET /t
--- response_body
late true



=== TEST 22: a mock server that reads until nothing more comes
--- config
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
            sock:send("one ")
            sock:send("two")
            ngx.say(sock:receive("*a"))
        }
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_query_auto_timeout: 0.5
--- tcp_query: one two
--- tcp_reply: all
--- request
GET /t
--- response_body
all



=== TEST 23: a mock server that only hangs up
--- config
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
            sock:settimeout(3000)
            local data, err = sock:receive(1)
            ngx.say(data, " ", err)
        }
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_shutdown: 1
--- request
GET /t
--- response_body
nil closed



=== TEST 24: a datagram asked for, and a reply that takes its time
--- config
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.udp()
            assert(sock:setpeername("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
            assert(sock:send("ping"))
            sock:settimeout(5000)
            ngx.say(sock:receive())
        }
    }
--- udp_listen: $TEST_NGINX_RAND_PORT_1
--- udp_query: ping
--- udp_reply_delay: 50ms
--- udp_reply: pong
--- request
GET /t
--- response_body
pong



=== TEST 25: a body is kept in a file
--- config
    location = /t { return 200 "kept\n"; }
--- write_resp_body_file eval
"$ENV{TEST_NGINX_SERVER_ROOT}/html/kept.txt"
--- request
GET /t
--- response_body
kept



=== TEST 26: sections for modes that are off change nothing
--- config
    location = /t { return 204; }
--- no_check_leak
--- no_mockeagain
--- no_http2
--- no_http3
--- reload_fails
--- quic_max_idle_timeout: 1
--- request
GET /t
--- error_code: 204



=== TEST 27: the command for curl is only told
--- config
    location = /t { return 204; }
--- curl
--- request
GET /t
--- error_code: 204
