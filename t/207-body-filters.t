=== TEST 1: gzip compresses for those who take it
--- config
    location /t {
        gzip on;
        gzip_min_length 1;
        gzip_types text/plain;
        gzip_vary on;
        echo_duplicate 1000 x;
    }
--- request
GET /t
--- more_headers
Accept-Encoding: gzip
--- response_headers
Content-Encoding: gzip
Vary: Accept-Encoding
--- no_error_log
[error]



=== TEST 2: texts are replaced
--- config
    location /t {
        sub_filter_types text/plain;
        sub_filter Hello Bye;
        sub_filter_once off;
        echo "hello, HELLO";
    }
--- request
GET /t
--- response_body
Bye, Bye
--- no_error_log
[error]



=== TEST 3: other answers stand before and after
--- config
    location /t {
        addition_types text/plain;
        add_before_body /before;
        add_after_body /after;
        echo body;
    }
    location /before {
        echo before;
    }
    location /after {
        echo after;
    }
--- request
GET /t
--- response_body
before
body
after
--- no_error_log
[error]



=== TEST 4: the charset is named
--- config
    location /t {
        charset utf-8;
        echo body;
    }
--- request
GET /t
--- response_body
body
--- response_headers
Content-Type: text/plain; charset=utf-8
--- no_error_log
[error]
