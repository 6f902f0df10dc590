=== TEST 1: a request over TLS, with the name and the scripts of the handshake
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
        server_name tls.example;
        ssl_certificate ../html/tls.crt;
        ssl_certificate_key ../html/tls.key;
        ssl_client_hello_by_lua_block {
            ngx.sleep(0.001)
            ngx.ctx.hello = require("ngx.ssl.clienthello").get_client_hello_server_name()
        }
        ssl_certificate_by_lua_block {
            ngx.sleep(0.001)
            ngx.ctx.version = require("ngx.ssl").get_tls1_version_str()
        }
        location = / {
            content_by_lua_block {
                ngx.say(ngx.var.https, " ", ngx.var.ssl_server_name, " ", ngx.ctx.hello, " ", ngx.ctx.version)
            }
        }
    }
--- config
    location = /t {
        lua_ssl_trusted_certificate ../html/tls.crt;
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
            local session, err = sock:sslhandshake(nil, "tls.example", true)
            ngx.say("handshake: ", type(session), " ", err)
            assert(sock:send("GET / HTTP/1.0\r\nHost: tls.example\r\n\r\n"))
            ngx.print((assert(sock:receive("*a")):gsub("^.-\r\n\r\n", "")))
            assert(sock:close())
            assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
            ngx.say("without a session: ", sock:sslhandshake(false, "tls.example", true))
        }
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
--- request
GET /t
--- response_body
handshake: cdata nil
on tls.example tls.example TLSv1.3
without a session: true
--- no_error_log
[error]



=== TEST 2: a certificate for another host is refused
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
        ssl_certificate ../html/tls.crt;
        ssl_certificate_key ../html/tls.key;
    }
--- config
    location = /t {
        lua_ssl_trusted_certificate ../html/tls.crt;
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
            ngx.say(select(2, sock:sslhandshake(nil, "other.example", true)))
        }
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
--- request
GET /t
--- response_body
certificate host mismatch
--- error_log
lua ssl certificate does not match host "other.example"



=== what a client offered, and its certificate, as variables
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
        ssl_certificate ../html/tls.crt;
        ssl_certificate_key ../html/tls.key;
        ssl_ecdh_curve secp384r1;
        ssl_verify_client optional_no_ca;
        location / {
            content_by_lua_block {
                local var = ngx.var
                ngx.say(var.ssl_curve, " of ", (":" .. var.ssl_curves .. ":"):match(":secp384r1:"))
                ngx.say((":" .. var.ssl_ciphers .. ":"):match(":(ECDHE%-ECDSA%-AES128%-GCM%-SHA256):"))
                ngx.say(var.ssl_client_raw_cert:sub(-6) == "-----\n")
                ngx.say(ngx.unescape_uri(var.ssl_client_escaped_cert) == var.ssl_client_raw_cert)
                ngx.say(var.ssl_client_cert .. "\n" == var.ssl_client_raw_cert:gsub("\n(.)", "\n\t%1"))
            }
        }
    }
--- config
    location = /t {
        lua_ssl_certificate ../html/tls.crt;
        lua_ssl_certificate_key ../html/tls.key;
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
            assert(sock:sslhandshake(nil, "tls.example", false))
            assert(sock:send("GET / HTTP/1.0\r\n\r\n"))
            ngx.print((sock:receive("*a"):gsub("^.-\r\n\r\n", "")))
        }
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
--- request
GET /t
--- response_body
secp384r1 of :secp384r1:
ECDHE-ECDSA-AES128-GCM-SHA256
true
true
true



=== TEST 3: plain HTTP on a TLS port
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
        ssl_certificate ../html/tls.crt;
        ssl_certificate_key ../html/tls.key;
    }
--- config
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
            assert(sock:send("GET / HTTP/1.0\r\n\r\n"))
            ngx.say(sock:receive())
        }
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
--- request
GET /t
--- response_body
HTTP/1.1 400 Bad Request



=== wrong settings of cosockets' TLS are refused at the start
--- http_config
lua_ssl_ciphers NO-SUCH-CIPHER;
--- config
location = /t { content_by_lua_block { ngx.say("never") } }
--- must_die
--- error_log
SSL_CTX_set_cipher_list("NO-SUCH-CIPHER") failed



=== a certificate for cosockets needs its key
--- http_config
lua_ssl_certificate client.crt;
--- config
location = /t { content_by_lua_block { ngx.say("never") } }
--- must_die
--- error_log
no "lua_ssl_certificate_key" is defined for certificate



=== a dictionary has one size
--- http_config
lua_shared_dict notes 100k;
lua_shared_dict notes 200k;
--- config
location = /t { return 200; }
--- must_die
--- error_log
the size 204800 of shared memory zone "notes" conflicts with already declared size 102400
