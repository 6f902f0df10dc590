=== TEST 2: crlf
--- request
GET /


=== TEST: none
