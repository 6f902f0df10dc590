=== TEST 1: files come, go and move
--- config
    location /dav/ {
        dav_methods PUT DELETE MKCOL COPY MOVE;
        create_full_put_path on;
        client_body_temp_path html/temp;
    }
    location /t {
        content_by_lua_block {
            local function ask(method, path, body, headers)
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", ngx.var.server_port))
                local head = { method .. " " .. path .. " HTTP/1.0", "Host: localhost" }
                if body then
                    head[#head + 1] = "Content-Length: " .. #body
                end
                for name, value in pairs(headers or {}) do
                    head[#head + 1] = name .. ": " .. value
                end
                sock:send(table.concat(head, "\r\n") .. "\r\n\r\n" .. (body or ""))
                local answer = sock:receive("*a")
                local text = answer:match("\r\n\r\n(.*)")
                ngx.say(method, " ", answer:match("^%S+ (%d+)"), " ", answer:match("Location: http://localhost:%d+(%S+)") or "-", " ",
                    method == "GET" and #text < 20 and text or "")
            end
            ask("PUT", "/dav/a/b.txt", "hello")
            ask("PUT", "/dav/a/b.txt", "again")
            ask("PUT", "/dav/a/", "no")
            ask("COPY", "/dav/a/b.txt", nil, { Destination = "http://localhost/dav/c.txt" })
            ask("GET", "/dav/c.txt")
            ask("COPY", "/dav/a/b.txt", nil, { Destination = "/dav/c.txt", Overwrite = "F" })
            ask("COPY", "/dav/a/b.txt", nil, { Destination = "http://elsewhere/dav/c.txt" })
            ask("MKCOL", "/dav/new/")
            ask("MKCOL", "/dav/new/")
            ask("MOVE", "/dav/a/", nil, { Destination = "/dav/new/" })
            ask("GET", "/dav/new/b.txt")
            ask("MOVE", "/dav/new/", nil, { Destination = "/dav/new/in/" })
            ask("MOVE", "/dav/c.txt", nil, { Destination = "/dav/d.txt" })
            ask("GET", "/dav/d.txt")
            ask("DELETE", "/dav/d.txt")
            ask("DELETE", "/dav/d.txt")
            ask("DELETE", "/dav/new")
            ask("DELETE", "/dav/new/")
            ask("MOVE", "/dav/x")
        }
    }
--- user_files
>>> dav/keep
>>> temp/keep
--- request
GET /t
--- response_body eval
"PUT 201 /dav/a/b.txt 
PUT 204 - 
PUT 409 - 
COPY 204 - 
GET 200 - again
COPY 412 - 
COPY 400 - 
MKCOL 201 /dav/new/ 
MKCOL 405 - 
MOVE 201 - 
GET 200 - again
MOVE 403 - 
MOVE 204 - 
GET 200 - again
DELETE 204 - 
DELETE 404 - 
DELETE 409 - 
DELETE 204 - 
MOVE 400 - 
"
--- no_error_log
[alert]
[crit]
