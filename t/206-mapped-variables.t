=== TEST 1: map knows texts, patterns and a default
--- http_config
    map $arg_a $mapped {
        default none;
        one 1;
        ~^x(?<rest>.*) "got $rest";
    }
--- config
    location /t {
        echo "$mapped";
    }
--- request
GET /t?a=xyz
--- response_body
got yz
--- no_error_log
[error]



=== TEST 2: map compares texts in any case
--- http_config
    map $arg_a $mapped {
        default none;
        one 1;
    }
--- config
    location /t {
        echo "$mapped";
    }
--- request
GET /t?a=ONE
--- response_body
1
--- no_error_log
[error]



=== TEST 3: map matches host names
--- http_config
    map $arg_a $mapped {
        hostnames;
        default none;
        *.example.com sub;
        example.* top;
    }
--- config
    location /t {
        echo "$mapped";
    }
--- request
GET /t?a=www.example.com
--- response_body
sub
--- no_error_log
[error]



=== TEST 4: geo takes the smallest network
--- http_config
    geo $arg_ip $area {
        default out;
        10.0.0.0/8 outer;
        10.1.0.0/16 inner;
    }
--- config
    location /t {
        echo "$area";
    }
--- request
GET /t?ip=10.1.2.3
--- response_body
inner
--- no_error_log
[error]



=== TEST 5: split_clients covers everybody
--- http_config
    split_clients $remote_addr $variant {
        * all;
    }
--- config
    location /t {
        echo "$variant";
    }
--- request
GET /t
--- response_body
all
--- no_error_log
[error]



=== TEST 6: a referer is checked
--- config
    location /t {
        valid_referers none *.example.com;
        if ($invalid_referer) {
            return 403;
        }
        echo fine;
    }
--- request
GET /t
--- more_headers
Referer: http://evil.test/
--- error_code: 403
--- no_error_log
[error]
