use Test::Nginx::Socket 'no_plan';
run_tests();
__DATA__
=== TEST 3: first
--- config
    location /t { return 200; }
--- request
GET /t


=== TEST: 3: second
--- config
