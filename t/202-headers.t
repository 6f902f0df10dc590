=== TEST 1: add_header adds to good answers only, unless always
--- config
    location /ok {
        add_header X-A a;
        add_header X-B b always;
        return 200;
    }
    location /bad {
        add_header X-A a;
        add_header X-B b always;
        return 404;
    }
--- request
GET /bad
--- error_code: 404
--- response_headers
X-A:
X-B: b
--- no_error_log
[error]



=== TEST 2: expires sets two headers
--- config
    location /t {
        expires 1h;
        return 200 "ok\n";
    }
--- request
GET /t
--- response_body
ok
--- response_headers
Cache-Control: max-age=3600
--- no_error_log
[error]



=== TEST 3: expires epoch forbids caching
--- config
    location /t {
        expires epoch;
        return 200 "ok\n";
    }
--- request
GET /t
--- response_body
ok
--- response_headers
Cache-Control: no-cache
Expires: Thu, 01 Jan 1970 00:00:01 GMT
--- no_error_log
[error]



=== TEST 4: a file that has not changed is 304
--- config
    index index.html;
--- request
GET /d.txt
--- user_files
>>> d.txt 199801171935.33
x
--- more_headers
If-Modified-Since: Sat, 17 Jan 1998 19:35:33 GMT
--- error_code: 304
--- no_error_log
[error]



=== TEST 5: more_set_headers replaces what the server writes
--- config
    location /t {
        more_set_headers "Server: mine" "X-New: $arg_v";
        more_clear_headers Date;
        return 200 "ok\n";
    }
--- request
GET /t?v=1
--- response_body
ok
--- response_headers
Server: mine
X-New: 1
Date:
--- no_error_log
[error]



=== TEST 6: more_set_headers looks at the status
--- config
    location /t {
        more_set_headers -s "404 500" "X-Error: yes";
        more_set_headers -s 200 "X-Good: yes";
        return 404;
    }
--- request
GET /t
--- error_code: 404
--- response_headers
X-Error: yes
X-Good:
--- no_error_log
[error]



=== TEST 7: wildcards clear several headers
--- config
    location /t {
        add_header X-Hidden-A 1;
        add_header X-Hidden-B 1;
        more_clear_headers "X-Hidden-*";
        return 200 "ok\n";
    }
--- request
GET /t
--- response_body
ok
--- response_headers
X-Hidden-A: 1
X-Hidden-B: 1
--- no_error_log
[error]



=== TEST 8: request headers can be set and cleared
--- config
    location /t {
        more_set_input_headers "X-In: set" "Host: other.example";
        more_clear_input_headers X-Out;
        echo "[$http_x_in] [$http_x_out] $host";
    }
--- request
GET /t
--- more_headers
X-Out: here
--- response_body
[set] [] other.example
--- no_error_log
[error]



=== clients of HTTP/1.1 are served where HTTP/2 is on
--- config
http2 on;
location = /fruit { return 200 "damson\n"; }
--- request
GET /fruit
--- response_body
damson
--- no_error_log
[warn]
