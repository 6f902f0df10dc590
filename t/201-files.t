=== TEST 1: a file has a type, a length and a tag
--- config
    types { text/css css; }
--- request
GET /a.css
--- user_files
>>> a.css
p {}
--- response_body
p {}
--- response_headers
Content-Type: text/css
Content-Length: 5
Accept-Ranges: bytes
--- no_error_log
[error]



=== TEST 2: a missing file is 404 and logged
--- config
    index index.html;
--- request
GET /none
--- error_code: 404
--- error_log
failed (2: No such file or directory)



=== TEST 3: a folder without a slash is redirected
--- config
    index index.html;
--- request
GET /sub?x=1
--- user_files
>>> sub/a.txt
x
--- error_code: 301
--- response_headers_like: Location: http://localhost:\d+/sub/\?x=1
--- no_error_log
[error]



=== TEST 4: a folder without an index is forbidden
--- config
    index index.html;
--- request
GET /sub/
--- user_files
>>> sub/a.txt
x
--- error_code: 403
--- error_log
is forbidden



=== TEST 5: one range is cut out
--- config
    index index.html;
--- request
GET /d.txt
--- user_files
>>> d.txt
0123456789
--- more_headers
Range: bytes=3-5
--- error_code: 206
--- response_body chomp
345
--- response_headers
Content-Range: bytes 3-5/11
Content-Length: 3
--- no_error_log
[error]



=== TEST 6: a range beyond the end is 416
--- config
    index index.html;
--- request
GET /d.txt
--- user_files
>>> d.txt
0123456789
--- more_headers
Range: bytes=20-
--- error_code: 416
--- response_headers
Content-Range: bytes */11
--- no_error_log
[error]



=== TEST 7: try_files takes the first that exists
--- config
    location /t {
        try_files /none /d.txt =404;
    }
--- request
GET /t
--- user_files
>>> d.txt
found
--- response_body
found
--- no_error_log
[error]



=== TEST 8: try_files falls back to a named location
--- config
    location /t {
        try_files /none @other;
    }
    location @other {
        return 200 "other $uri\n";
    }
--- request
GET /t
--- response_body
other /t
--- no_error_log
[error]



=== TEST 9: try_files falls back to a status
--- config
    location /t {
        try_files /none =410;
    }
--- request
GET /t
--- error_code: 410
--- no_error_log
[error]



=== TEST 10: autoindex lists in JSON
--- config
    location /sub/ {
        autoindex on;
        autoindex_format json;
    }
--- request
GET /sub/
--- user_files
>>> sub/a.txt
x
--- response_body_like: \{ "name":"a.txt", "type":"file", "mtime":"[^"]+", "size":2 \}
--- no_error_log
[error]



=== a client that takes fast leaves turns to others
--- config
sendfile_max_chunk 64k;
location = /file { try_files /big.txt =404; }
location = /t {
    content_by_lua_block {
        local turns = 0
        local count = ngx.thread.spawn(function ()
            while true do
                ngx.sleep(0)
                turns = turns + 1
            end
        end)
        local socket = ngx.socket.tcp()
        assert(socket:connect("127.0.0.1", ngx.var.server_port))
        local before = turns
        assert(socket:send("GET /file HTTP/1.0\r\n\r\n"))
        local all = assert(socket:receive("*a"))
        socket:close()
        ngx.say(#all > 2000000, " ", turns - before > 20)
        ngx.thread.kill(count)
    }
}
--- user_files eval
[["big.txt", "y" x 2500000]]
--- request
GET /t
--- response_body
true true
--- no_error_log
[error]
