=== TEST 1: answers
--- config
    location = /t { return 204; }
--- request
GET /t
--- error_code: 204
