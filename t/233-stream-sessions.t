# vim:set ft= ts=4 sw=4 et:

use Test::Nginx::Socket::Lua::Stream;

$ENV{TEST_NGINX_HTML_DIR} = html_dir();

plan 'no_plan';

run_tests();

__DATA__

=== TEST 1: a trusted proxy tells who the client is
--- stream_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 proxy_protocol;
        set_real_ip_from 127.0.0.0/8;
        allow 192.0.2.7;
        deny all;
        return "$remote_addr:$remote_port via $realip_remote_addr to $proxy_protocol_server_port";
    }
--- stream_server_config
    content_by_lua_block {
        for _, client in ipairs({ "192.0.2.7", "192.0.2.8" }) do
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
            assert(sock:send("PROXY TCP4 " .. client .. " 198.51.100.1 4321 99\r\n"))
            ngx.say(client, ": ", sock:receive("*a"))
        end
    }
--- stream_response
192.0.2.7: 192.0.2.7:4321 via 127.0.0.1 to 99
192.0.2.8: 
--- error_log
access forbidden by rule



=== TEST 2: whom nobody trusts stays who it is
--- stream_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 proxy_protocol;
        set_real_ip_from 10.0.0.0/8;
        return "$remote_addr, not $proxy_protocol_addr";
    }
--- stream_server_config
    content_by_lua_block {
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
        assert(sock:send("PROXY TCP4 192.0.2.7 198.51.100.1 4321 99\r\n"))
        ngx.say(sock:receive("*a"))
    }
--- stream_response
127.0.0.1, not 192.0.2.7
--- no_error_log
[error]



=== TEST 3: a server behind learns who the client is, before the handshake
--- stream_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 proxy_protocol;
        return "$proxy_protocol_addr said hello";
    }
    server {
        listen unix:$TEST_NGINX_HTML_DIR/plain.sock;
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            ngx.log(ngx.NOTICE, "first line: ", sock:receive())
            ngx.exit(ngx.ERROR)
        }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        proxy_pass unix:$TEST_NGINX_HTML_DIR/plain.sock;
        proxy_protocol on;
        proxy_ssl on;
    }
--- stream_server_config
    preread_by_lua_block {
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_2))
        sock:receive("*a")
    }
    proxy_pass 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_protocol on;
--- stream_response: 127.0.0.1 said hello
--- error_log eval
qr/first line: PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 \d+ \d+,/



=== TEST 4: set, map and what is assigned in a script
--- stream_config
    map $server_protocol_name $greeting {
        default  "what?";
        ftp      "220 ready";
    }
    lua_add_variable $unused;
--- stream_server_config
    set $server_protocol_name ftp;
    set $twice "$server_protocol_name-$server_protocol_name";
    preread_by_lua_block { ngx.var.twice = ngx.var.twice .. "!" }
    return "$greeting $twice\n";
--- stream_response
220 ready ftp-ftp!
--- no_error_log
[error]



=== TEST 5: half of a connection may close before the other
--- stream_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            local all = sock:receive("*a")
            ngx.sleep(0.01)
            ngx.say("all of it: ", all)
        }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        proxy_pass 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        proxy_half_close on;
    }
--- stream_server_config
    content_by_lua_block {
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_2))
        assert(sock:send("question"))
        assert(sock:shutdown("send"))
        ngx.say(sock:receive())
    }
--- stream_response
all of it: question
--- error_log
stream proxy upstream socket shutdown
--- no_error_log
[error]



=== TEST 6: bytes go no faster than they may
--- stream_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        content_by_lua_block { ngx.print(string.rep("x", 3000)) }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        proxy_pass 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        proxy_download_rate 2000;
    }
--- stream_server_config
    content_by_lua_block {
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_2))
        ngx.update_time()
        local begin = ngx.now()
        local data = sock:receive("*a")
        ngx.update_time()
        ngx.say(#data, " ", ngx.now() - begin > 0.7 and "slowly" or "at once")
    }
--- stream_response
3000 slowly
--- timeout: 20
--- no_error_log
[error]



=== TEST 7: a script begins TLS in the middle of a connection
--- stream_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        ssl_certificate ../html/tls.crt;
        ssl_certificate_key ../html/tls.key;
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            ngx.say("plain ", sock:receive())
            local info = assert(sock:serversslhandshake())
            ngx.say(info.protocol, " ", info.cipher, " ", info.session_reused)
            ngx.say("secret ", sock:receive(), " ", sock:serversslhandshake().protocol == info.protocol)
        }
    }
--- stream_server_config
    content_by_lua_block {
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
        assert(sock:send("one\n"))
        ngx.say(sock:receive())
        assert(sock:sslhandshake())
        ngx.say((sock:receive():gsub(" TLS_[%w_]+ ", " ")))
        assert(sock:send("two\n"))
        ngx.say(sock:receive())
    }
--- user_files
>>> tls.crt
-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUL8Wx6o+e2BCO8q7+e29D6IpNt74wCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLdGxzLmV4YW1wbGUwIBcNMjYxMTIyMTcxOTIwWhgPMjEyNjEw
MjkxNzE5MjBaMBYxFDASBgNVBAMMC3Rscy5leGFtcGxlMFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAESfgdJ3SCxmkdBkViGKKDnzVI56dJWSRMtzAbEYZ7wdy/GoNJ
ZcM0f3YmfS1cfb2irjTrqfYstdcFgycNHKD3laNrMGkwHQYDVR0OBBYEFJTmNzvN
hnBySQx8ZcAzZmhZbb/VMB8GA1UdIwQYMBaAFJTmNzvNhnBySQx8ZcAzZmhZbb/V
MA8GA1UdEwEB/wQFMAMBAf8wFgYDVR0RBA8wDYILdGxzLmV4YW1wbGUwCgYIKoZI
zj0EAwIDSQAwRgIhAP9hT/ljlKblW1KwTMlyC1L44dWqT9508L3wIsgKXTR6AiEA
ohjroAgB8+85+jEn9WwPiSlYHCWLZYpqPe1mtwGR0ZE=
-----END CERTIFICATE-----
>>> tls.key
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgImaLW/k7yYOtogub
dvuqlYllkgYwSJtdYZJFeajP07qhRANCAARJ+B0ndILGaR0GRWIYooOfNUjnp0lZ
JEy3MBsRhnvB3L8ag0llwzR/diZ9LVx9vaKuNOup9iy11wWDJw0coPeV
-----END PRIVATE KEY-----
--- stream_response
plain one
TLSv1.3 false
secret two true
--- no_error_log
[error]



=== TEST 8: without a certificate there is no handshake, and no original destination without a redirection
--- stream_config
    lua_shared_dict known 32k;
--- stream_server_config
    content_by_lua_block {
        local ffi = require "ffi"
        ffi.cdef "void *ngx_stream_lua_find_zone(const char *name, size_t length);"
        local sock = assert(ngx.req.socket())
        ngx.say(select(2, sock:serversslhandshake()))
        ngx.say(select(2, ngx.req.get_original_addr()))
        ngx.say(ffi.C.ngx_stream_lua_find_zone("known", 5) ~= nil, " ", ffi.C.ngx_stream_lua_find_zone("other", 5) ~= nil)
        ngx.say(ngx.ERR, " ", ngx.HTTP_OK)
    }
--- stream_response
ssl not configured for this server
failed to get IPv4 origin addr
true false
4 nil
--- no_error_log
[error]



=== TEST 9: http and stream can't have the same address
--- http_config
    server { listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- stream_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        return "x";
    }
--- stream_server_config
    return "y";
--- must_die
--- error_log eval
qr/bind\(\) to 127\.0\.0\.1:\d+ failed \(98: Address already in use\)/



=== TEST 10: names of servers are checked before they are asked for
--- stream_server_config
    content_by_lua_block {
        local sock = ngx.socket.tcp()
        ngx.say(select(2, sock:connect("/run/app.sock")))
        ngx.say(select(2, sock:connect("app.example")))
    }
--- stream_response
failed to parse host name "/run/app.sock": invalid host
no resolver defined to resolve "app.example"
--- no_error_log
[error]
