=== TEST 1: one
--- config
    location = /t { return 200 "one\n"; }
--- request
GET /t
--- response_body
one



=== TEST 2: not two
--- config
    location = /t { return 200 "three\n"; }
--- request
GET /t
--- response_body
two
