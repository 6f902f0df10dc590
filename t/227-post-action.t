=== a location is asked when the client has its answer, and its output is nobody's
--- config
    location = /t {
        post_action /count;
        return 200 "answer\n";
    }
    location = /count {
        content_by_lua_block {
            ngx.say("for nobody")
            ngx.log(ngx.WARN, "counted in ", ngx.var.uri, " after ", ngx.var.request_uri)
        }
    }
--- request
GET /t?one
--- response_body
answer
--- error_log
counted in /count after /t?one

=== the location may be a named one, and the connection lives on
--- config
    location /t {
        post_action @after;
        return 200 "$connection_requests\n";
    }
    location @after {
        content_by_lua_block { ngx.log(ngx.WARN, "named, for ", ngx.var.uri) }
    }
--- raw_request eval
"GET /t1 HTTP/1.1\r\nHost: a.test\r\n\r\nGET /t2 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
--- response_body_like: ^1\n
--- error_log
named, for /t1
named, for /t2
