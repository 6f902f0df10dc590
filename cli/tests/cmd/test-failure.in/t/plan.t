use Test::Nginx::Socket::Lua;

plan tests => repeat_each() * 3;
run_tests();

__DATA__

=== TEST 1: two assertions
--- config
    location = /t { return 200 "x"; }
--- request
GET /t
--- response_body: x
