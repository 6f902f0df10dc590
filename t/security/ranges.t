=== TEST 1: ranges that together ask for more than the file are not answered
--- config
    location /d/ { }
--- user_files
>>> d/f.txt
0123456789
--- request
GET /d/f.txt
--- more_headers eval
"Range: bytes=" . join(",", ("0-9") x 1000)
--- response_body
0123456789
--- no_error_log
[alert]



=== TEST 2: more ranges than are allowed
--- config
    location /d/ {
        max_ranges 2;
    }
--- user_files
>>> d/f.txt
0123456789
--- request
GET /d/f.txt
--- more_headers
Range: bytes=0-0,2-2,4-4
--- response_body
0123456789
--- no_error_log
[alert]



=== TEST 3: ranges that are none
--- config
    location /d/ { }
--- user_files
>>> d/f.txt
0123456789
--- pipelined_requests eval
["GET /d/f.txt", "GET /d/f.txt", "GET /d/f.txt", "GET /d/f.txt"]
--- more_headers eval
["Range: bytes=", "Range: bytes=99999999999999999999-", "Range: bytes=50-", "Range: bytes=-3"]
--- error_code eval
[200, 416, 416, 206]
--- no_error_log
[alert]



=== TEST 4: conditions with broken dates and tags
--- config
    location /d/ { }
--- user_files
>>> d/f.txt
0123456789
--- pipelined_requests eval
["GET /d/f.txt", "GET /d/f.txt", "GET /d/f.txt"]
--- more_headers eval
["If-Modified-Since: Thu, 99 Foo 99999999999999 99:99:99 GMT", "If-None-Match: \"\"\"", "If-Match: \"no such\""]
--- error_code eval
[200, 200, 412]
--- no_error_log
[alert]
