=== TEST 1: arguments are joined and options understood
--- config
    location /t {
        echo a b "c  d";
        echo -n no newline;
        echo;
        echo -- -n;
    }
--- request
GET /t
--- response_body
a b c  d
no newline
-n
--- no_error_log
[error]



=== TEST 2: subrequests come in order, whether waited for or not
--- config
    location /t {
        echo begin;
        echo_location_async /slow;
        echo_location /fast x=1;
        echo end;
    }
    location /slow {
        echo_sleep 0.02;
        echo slow;
    }
    location /fast {
        echo "fast $arg_x";
    }
--- request
GET /t
--- response_body
begin
slow
fast 1
end
--- no_error_log
[error]



=== TEST 3: nested subrequests keep their places
--- config
    location /a {
        echo_location_async /b;
        echo_location /c;
        echo_location_async /b;
    }
    location /b {
        echo_location /leaf;
        echo_location_async /leaf;
        echo b;
    }
    location /c {
        echo_location_async /leaf;
        echo c;
    }
    location /leaf {
        echo_sleep 0.001;
        echo leaf;
    }
--- request
GET /a
--- response_body
leaf
leaf
b
leaf
c
leaf
leaf
b
--- no_error_log
[error]



=== TEST 4: a subrequest has the method and body it was given
--- config
    location /t {
        echo_subrequest POST /show -q a=b -b hello;
    }
    location /show {
        echo "$echo_request_method $args $http_content_length $echo_request_body";
    }
--- request
GET /t
--- response_body
POST a=b 5 hello
--- no_error_log
[error]



=== TEST 5: a body is echoed
--- config
    location /t {
        echo_read_request_body;
        echo_request_body;
    }
--- request
POST /t
hello
--- response_body chomp
hello
--- no_error_log
[error]



=== TEST 6: a loop runs for each piece
--- config
    location /t {
        echo_foreach_split "," $arg_list;
        echo "[$echo_it]";
        echo_end;
    }
--- request
GET /t?list=a,,b
--- response_body
[a]
[b]
--- no_error_log
[error]



=== TEST 7: text stands around a body
--- config
    location /t {
        echo_before_body before;
        echo_after_body after;
        echo_location /in;
    }
    location /in {
        echo in;
    }
--- request
GET /t
--- response_body
before
in
after
--- no_error_log
[error]



=== TEST 8: exec goes elsewhere
--- config
    location /t {
        echo_exec /other?x=1;
    }
    location /other {
        echo "$uri $args";
    }
--- request
GET /t
--- response_body
/other x=1
--- no_error_log
[error]



=== TEST 9: the status is chosen
--- config
    location /t {
        echo_status 503;
        echo sorry;
    }
--- request
GET /t
--- error_code: 503
--- response_body
sorry
--- no_error_log
[error]



=== TEST 10: a bad duration is 400
--- config
    location /t {
        echo_sleep soon;
        echo never;
    }
--- request
GET /t
--- error_code: 400
--- error_log
invalid sleep duration "soon"
