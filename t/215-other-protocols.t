=== a value out of memcached
--- config
    location /t {
        set $memcached_key "a key";
        memcached_gzip_flag 2;
        memcached_pass 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_no_close
--- tcp_query eval
"get a%20key\r\n"
--- tcp_query_len: 13
--- tcp_reply eval
"VALUE a%20key 2 5\r\nhello\r\nEND\r\n"
--- request
GET /t
--- response_headers
Content-Encoding: gzip
Content-Length: 5
--- response_body chomp
hello

=== memcached doesn't know the key
--- config
    location /t {
        set $memcached_key absent;
        memcached_pass 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_no_close
--- tcp_reply eval
"END\r\n"
--- request
GET /t
--- error_code: 404
--- error_log
key: "absent" was not found by memcached

=== without a key nobody is asked
--- config
    location /t { memcached_pass 127.0.0.1:1; }
--- request
GET /t
--- error_code: 500
--- error_log
the "$memcached_key" variable is not set

=== a value is stored with a command of memcached
--- config
    location /t {
        set $memc_key k;
        set $memc_flags 7;
        memc_pass 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_no_close
--- tcp_query eval
"set k 7 0 5\r\nvalue\r\n"
--- tcp_query_len: 20
--- tcp_reply eval
"STORED\r\n"
--- request
PUT /t
value
--- error_code: 201
--- response_body eval
"STORED\r\n"

=== commands may be forbidden
--- config
    location /t {
        set $memc_cmd flush_all;
        memc_cmds_allowed get;
        memc_pass 127.0.0.1:1;
    }
--- request
GET /t
--- error_code: 403
--- error_log
memcached command "flush_all" not allowed

=== FastCGI: parameters go, a status and a body come
--- config
    location ~ ^/app/ {
        fastcgi_split_path_info ^(/app/[a-z]+)(/.*)$;
        fastcgi_param SCRIPT_NAME $fastcgi_script_name;
        fastcgi_param PATH_INFO $fastcgi_path_info;
        fastcgi_param EMPTY "" if_not_empty;
        fastcgi_pass_request_headers off;
        fastcgi_pass 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_no_close
--- tcp_query eval
"\1\1\0\1\0\10\0\0\0\1\0\0\0\0\0\0\1\4\0\1\0\43\0\0\13\6SCRIPT_NAME/app/x\11\5PATH_INFO/rest\1\4\0\1\0\0\0\0\1\5\0\1\0\0\0\0"
--- tcp_query_len: 75
--- tcp_reply eval
"\1\6\0\1\0\36\2\0Status: 404 Gone\r\nX-A: b\r\n\r\nha\0\0" . "\1\6\0\1\0\2\0\0lf" . "\1\7\0\1\0\3\0\0oh!" . "\1\3\0\1\0\10\0\0\0\0\0\0\0\0\0\0"
--- request
GET /app/x/rest
--- error_code: 404
--- response_headers
X-A: b
--- response_body chomp
half
--- error_log
FastCGI sent in stderr: "oh!"

=== SCGI
--- config
    location /t {
        scgi_param A b;
        scgi_pass_request_headers off;
        scgi_pass 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_query eval
"21:CONTENT_LENGTH\0001\0A\0b\0,x"
--- tcp_query_len: 26
--- tcp_reply eval
"Content-Type: text/x\r\nLocation: /elsewhere\r\n\r\nmoved"
--- request eval
"POST /t\nx"
--- error_code: 302
--- response_headers
Content-Type: text/x
--- response_body chomp
moved

=== uwsgi
--- config
    location /t {
        uwsgi_param A bc;
        uwsgi_modifier1 5;
        uwsgi_pass_request_headers off;
        uwsgi_pass 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_query eval
"\5\7\0\0\1\0A\2\0bc"
--- tcp_query_len: 11
--- tcp_reply eval
"HTTP/1.1 201 Made\r\nX-A: b\r\n\r\nbody"
--- request
GET /t
--- error_code: 201
--- response_headers
X-A: b
--- response_body chomp
body
