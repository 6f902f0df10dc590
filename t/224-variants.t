=== TEST 1: a packed file for those who take it
--- config
    location /d/ {
        gzip_static on;
        gzip_vary on;
    }
    location /plain/ {
        gzip_static on;
        alias html/d/;
    }
    location /always/ {
        gzip_static always;
        alias html/d/;
    }
--- user_files
>>> d/f.txt
plain
>>> d/f.txt.gz
packed
--- pipelined_requests eval
["GET /d/f.txt", "GET /d/f.txt", "GET /plain/f.txt", "GET /always/f.txt", "GET /d/f.txt.gz"]
--- more_headers eval
["Accept-Encoding: gzip", "X: y", "X: y", "X: y", "X: y"]
--- response_body eval
["packed\n", "plain\n", "plain\n", "packed\n", "packed\n"]
--- response_headers eval
["Content-Encoding: gzip
Vary: Accept-Encoding
Content-Type: text/plain", "!Content-Encoding
Vary: Accept-Encoding", "!Vary", "Content-Encoding: gzip
!Vary", "!Content-Encoding"]
--- no_error_log
[error]



=== TEST 2: a function around an answer
--- config
    default_type application/json;
    xss_get on;
    xss_callback_arg call;
    location /t {
        echo -n '{"a":1}';
    }
    location /text {
        default_type text/plain;
        echo -n text;
    }
    location /parts {
        echo -n a;
        echo_location /b;
        echo -n c;
    }
    location /b {
        echo -n b;
    }
--- pipelined_requests eval
["GET /t?call=f.g", "GET /t", "GET /t?call=f(", "GET /text?call=f", "GET /parts?call=f"]
--- response_body eval
["f.g({\"a\":1});", "{\"a\":1}", "{\"a\":1}", "text", "f(abc);"]
--- response_headers eval
["Content-Type: application/x-javascript", "Content-Type: application/json", "Content-Type: application/json", "Content-Type: text/plain", "Content-Type: application/x-javascript"]
--- no_error_log
[alert]



=== TEST 3: a subrequest shares the request headers of its parent
--- config
    location /t {
        echo_location /sub;
        echo "main: $http_x_who";
    }
    location /sub {
        more_set_input_headers "X-Who: sub";
        echo "sub: $http_x_who";
    }
--- request
GET /t
--- more_headers
X-Who: main
--- response_body
sub: sub
main: sub
--- no_error_log
[error]



=== TEST 4: a client gets a name and keeps it
--- config
    location /t {
        userid on;
        userid_name who;
        userid_path /t;
        userid_expires max;
        userid_flags secure samesite=lax;
        echo "$uid_got";
    }
    location /client {
        content_by_lua_block {
            local cookie
            for _ = 1, 2 do
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", ngx.var.server_port))
                local head = cookie and "Cookie: " .. cookie .. "\r\n" or ""
                sock:send("GET /t HTTP/1.0\r\nHost: localhost\r\n" .. head .. "\r\n")
                local answer = sock:receive("*a")
                local set = answer:match("Set%-Cookie: ([^\r]+)")
                cookie = set and set:match("^[^;]+")
                ngx.say((((set or "none"):gsub("=[%w+/=]+;", "=ID;", 1))))
                ngx.say((answer:match("\r\n\r\n(.*)\n"):gsub("%x+$", function(hex) return #hex end)))
            end
        }
    }
--- request
GET /client
--- response_body
who=ID; expires=Thu, 31-Dec-37 23:55:55 GMT; path=/t; secure; samesite=lax

none
who=32
--- no_error_log
[error]



=== TEST 5: modern and ancient browsers
--- config
    modern_browser msie 5.5;
    modern_browser gecko 1.0;
    modern_browser_value new;
    ancient_browser Links;
    location /t {
        echo "$modern_browser-$ancient_browser-$msie";
    }
--- pipelined_requests eval
["GET /t", "GET /t", "GET /t"]
--- more_headers eval
["User-Agent: Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)", "User-Agent: Mozilla/4.0 (compatible; MSIE 5.0; X)", "User-Agent: Links (2.1)"]
--- response_body eval
["new--1\n", "-1-1\n", "-1-\n"]
--- no_error_log
[error]
