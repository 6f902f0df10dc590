=== TEST 1: deny forbids
--- config
    location /t {
        deny all;
        echo never;
    }
--- request
GET /t
--- error_code: 403
--- error_log
access forbidden by rule



=== TEST 2: the first rule that matches decides
--- config
    location /t {
        allow 127.0.0.0/8;
        deny all;
        echo in;
    }
--- request
GET /t
--- response_body
in
--- no_error_log
[error]



=== TEST 3: a password is demanded
--- config
    location /t {
        auth_basic "the realm";
        auth_basic_user_file ../html/users;
        echo in;
    }
--- request
GET /t
--- user_files
>>> users
me:{PLAIN}secret
--- error_code: 401
--- response_headers
WWW-Authenticate: Basic realm="the realm"
--- no_error_log
[error]



=== TEST 4: a password is accepted
--- config
    location /t {
        auth_basic "the realm";
        auth_basic_user_file ../html/users;
        echo "in as $remote_user";
    }
--- request
GET /t
--- user_files
>>> users
me:{PLAIN}secret
--- more_headers
Authorization: Basic bWU6c2VjcmV0
--- response_body
in as me
--- no_error_log
[error]



=== TEST 5: a subrequest decides
--- config
    location /t {
        auth_request /auth;
        auth_request_set $user $sent_http_x_user;
        echo "in as $user";
    }
    location /auth {
        more_set_headers "X-User: you";
        return 204;
    }
--- request
GET /t
--- response_body
in as you
--- no_error_log
[error]



=== TEST 6: a subrequest refuses
--- config
    location /t {
        auth_request /auth;
        echo never;
    }
    location /auth {
        return 403;
    }
--- request
GET /t
--- error_code: 403
--- no_error_log
[error]



=== TEST 7: a proxy tells the client's address
--- config
    location /t {
        set_real_ip_from 127.0.0.1;
        real_ip_header X-Forwarded-For;
        echo "$remote_addr $realip_remote_addr";
    }
--- request
GET /t
--- more_headers
X-Forwarded-For: 1.2.3.4
--- response_body
1.2.3.4 127.0.0.1
--- no_error_log
[error]
