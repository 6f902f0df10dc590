=== a cookie ends at a semicolon and nowhere else
--- config
    location = /t { return 200 "[$cookie_a][$cookie_b][$cookie_c]\n"; }
--- request
GET /t
--- more_headers
Cookie: a=1, b=2; B = 3 ;c
--- response_body
[1, b=2][3 ][]

=== the port of the host that was asked for
--- config
    location = /t { return 200 "$host$is_request_port$request_port\n"; }
--- raw_request eval
["GET /t HTTP/1.0\r\nHost: a.test:8443\r\n\r\n",
 "GET /t HTTP/1.0\r\nHost: a.test\r\n\r\n",
 "GET http://b.test:81/t HTTP/1.0\r\nHost: a.test:8443\r\n\r\n"]
--- response_body eval
["a.test:8443\n", "a.test\n", "b.test:81\n"]

=== a redirect of `return` gets scheme, host and port
--- config
    server_name_in_redirect off;
    location = /t { port_in_redirect off; return 302 /there; }
--- request
GET /t
--- more_headers
Host: some.test
--- error_code: 302
--- response_headers
Location: http://some.test/there

=== locations inside an alias inherit what it stands for
--- user_files
>>> files/a.txt
found
--- config
    location /names/ {
        alias html/files/;
        location ~ txt$ { try_files $uri =404; }
    }
--- request
GET /names/a.txt
--- response_body
found

=== the address of the PROXY protocol takes the client's place
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 proxy_protocol;
        set_real_ip_from 127.0.0.0/8;
        real_ip_header proxy_protocol;
        location / {
            return 200 "$remote_addr $remote_port $realip_remote_addr $proxy_protocol_tlv_authority $proxy_protocol_tlv_0xe1\n";
        }
    }
--- config
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
            local more = "\2\0\4host" .. "\225\0\1x"
            local addresses = "\1\2\3\4" .. "\5\6\7\8" .. "\0\99" .. "\0\80"
            local length = #addresses + #more
            sock:send("\r\n\r\n\0\r\nQUIT\n\33\17" .. string.char(0, length) .. addresses .. more
                .. "GET / HTTP/1.0\r\n\r\n")
            local all = sock:receive("*a")
            ngx.print(all:match("\r\n\r\n(.*)$"))
        }
    }
--- request
GET /t
--- response_body
1.2.3.4 99 127.0.0.1 host x

=== referers without a whole address are blocked ones
--- config
    location = /t {
        valid_referers blocked www.a.test;
        return 200 "[$invalid_referer]\n";
    }
--- request eval
["GET /t", "GET /t", "GET /t", "GET /t"]
--- more_headers eval
["Referer: http://su", "Referer: http://www.a.test/", "Referer: http://b.test/", "Referer: anything"]
--- response_body eval
["[]\n", "[]\n", "[1]\n", "[]\n"]

=== the digest of a secure link may be padded
--- config
    location = /t {
        secure_link $arg_h;
        secure_link_md5 "word$uri";
        return 200 "[$secure_link]\n";
    }
--- request eval
["GET /t?h=O45tHSIT8xeYc3bqx3sfDQ==", "GET /t?h=O45tHSIT8xeYc3bqx3sfDQ", "GET /t?h=O45tHSIT8xeYc3bqx3sfD"]
--- response_body eval
["[1]\n", "[1]\n", "[]\n"]

=== whoever gets an unpacked response is told that it varies
--- config
    location = /packed { gzip on; gzip_min_length 1; gzip_types text/plain; default_type text/plain; return 200 "text"; }
    location = /t {
        gunzip on;
        gzip_vary on;
        proxy_set_header Accept-Encoding gzip;
        proxy_http_version 1.1;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/packed;
    }
--- request
GET /t
--- response_headers
Vary: Accept-Encoding
--- response_body chomp
text

=== one Content-Range is enough
--- config
    location = /t { return 200 "ok\n"; }
--- raw_request eval
"PUT /t HTTP/1.0\r\nHost: a\r\nContent-Range: bytes 0-1/2\r\nContent-Range: bytes 0-1/2\r\n\r\n"
--- error_code: 400

=== a geo variable may be looked up anew each time
--- http_config
    geo $arg_ip $where {
        volatile;
        default none;
        192.0.2.0/24 there;
    }
--- config
    location = /t {
        set $before $where;
        set_by_lua_block $args { return "ip=192.0.2.1" }
        return 200 "$before $where\n";
    }
--- request
GET /t
--- response_body
none there

=== who may not come in waits for that answer
--- config
    location = /t {
        auth_delay 200ms;
        access_by_lua_block { ngx.exit(401) }
    }
--- request
GET /t
--- error_code: 401
--- response_body_like: Authorization Required
--- error_log
delaying unauthorized request

=== a body that is no chunk is told so even when nobody reads it
--- config
    location = /t { return 200 "fine\n"; }
--- raw_request eval
"GET /t HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nSEE-THIS\r\n0\r\n\r\n"
--- error_code: 400

=== a star among types stands for none as well
--- config
    location = /untyped { default_type ""; return 200 "one"; }
    location = /t {
        sub_filter one two;
        sub_filter_types *;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/untyped;
    }
--- request
GET /t
--- response_headers
Content-Type:
--- response_body chomp
two

=== a row of addresses cuts another into pieces that can be taken out
--- http_config
    geo $arg_ip $row {
        ranges;
        default none;
        192.0.2.0-192.0.2.9 row;
        192.0.2.3-192.0.2.5 hole;
        delete 192.0.2.6-192.0.2.9;
    }
--- config
    location = /t { return 200 "$row\n"; }
--- request eval
["GET /t?ip=192.0.2.2", "GET /t?ip=192.0.2.3", "GET /t?ip=192.0.2.5", "GET /t?ip=192.0.2.6"]
--- response_body eval
["row\n", "hole\n", "hole\n", "none\n"]
