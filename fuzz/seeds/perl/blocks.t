use Test::Nginx::Socket 'no_plan';
our $conf = <<'_EOC_';
    lua_shared_dict d 1m;
_EOC_
run_tests();

__DATA__

=== TEST 1: one
--- http_config eval: $::conf
--- config
    location = /t { return 200 "x"; }
--- request
GET /t
--- response_body chomp
x



=== TEST 7: two
--- user_files
>>> a.lua
x = 1
--- ONLY
