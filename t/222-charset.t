=== TEST 1: bodies are brought into the charset that is named
--- http_config
    charset_map koi8-x utf-8 {
        C1 D0B0;
        C2 D0B1;
    }
    charset_map koi8-x win-x {
        C1 E0;
        C2 E1;
    }
--- config
    default_type text/plain;
    location /to {
        source_charset koi8-x;
        charset utf-8;
        content_by_lua_block { ngx.print("a\xC1", "\xC2") }
    }
    location /from {
        source_charset utf-8;
        charset koi8-x;
        content_by_lua_block { ngx.print("\xD0", "\xB0\xD0\xB1\xE2\x82\xAC") }
    }
    location /bytes {
        source_charset koi8-x;
        charset win-x;
        content_by_lua_block { ngx.print("b\xC1\xC2") }
    }
--- pipelined_requests eval
["GET /to", "GET /from", "GET /bytes"]
--- response_body eval
["a\xD0\xB0\xD0\xB1", "\xC1\xC2&#8364;", "b\xE0\xE1"]
--- response_headers eval
["Content-Type: text/plain; charset=utf-8", "Content-Type: text/plain; charset=koi8-x", "Content-Type: text/plain; charset=win-x"]
--- no_error_log
[error]



=== TEST 2: a charset from a variable to which no map leads
--- config
    default_type text/plain;
    location /t {
        source_charset $arg_from;
        charset two;
        echo text;
    }
--- request
GET /t?from=one
--- response_body
text
--- response_headers
Content-Type: text/plain
--- error_log
no "charset_map" between the charsets "one" and "two"



=== TEST 3: and from a constant one
--- config
    location /t {
        source_charset one;
        charset two;
        echo text;
    }
--- must_die
--- error_log
no "charset_map" between the charsets "one" and "two"
