=== TEST 1: says hello
--- config
--- request
GET /


=== TEST 2: is left out
--- SKIP
--- config


=== TEST 3: says goodbye
--- config
--- request
GET /
