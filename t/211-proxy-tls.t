=== a server behind TLS is told its name and shown a certificate
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
        ssl_certificate ../html/tls.crt;
        ssl_certificate_key ../html/tls.key;
        ssl_verify_client optional_no_ca;
        location / { return 200 "$ssl_protocol $ssl_server_name $ssl_session_reused $ssl_client_s_dn\n"; }
    }
--- config
    location = /t {
        proxy_ssl_server_name on;
        proxy_ssl_name tls.example;
        proxy_ssl_verify on;
        proxy_ssl_trusted_certificate ../html/tls.crt;
        proxy_ssl_certificate ../html/tls.crt;
        proxy_ssl_certificate_key ../html/tls.key;
        proxy_ssl_protocols TLSv1.2;
        proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
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
TLSv1.2 tls.example . CN=tls.example
--- no_error_log
[error]

=== a certificate for another name is refused
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
        ssl_certificate ../html/tls.crt;
        ssl_certificate_key ../html/tls.key;
        ssl_verify_client optional_no_ca;
        location / { return 200 "$ssl_protocol $ssl_server_name $ssl_session_reused $ssl_client_s_dn\n"; }
    }
--- config
    location = /t {
        proxy_ssl_name other.example;
        proxy_ssl_verify on;
        proxy_ssl_trusted_certificate ../html/tls.crt;
        proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
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
--- error_code: 502
--- error_log
upstream SSL certificate does not match "other.example" while SSL handshaking to upstream

=== a certificate that nobody vouches for is refused when it matters
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
        ssl_certificate ../html/tls.crt;
        ssl_certificate_key ../html/tls.key;
        ssl_verify_client optional_no_ca;
        location / { return 200 "$ssl_protocol $ssl_server_name $ssl_session_reused $ssl_client_s_dn\n"; }
    }
--- config
    location = /t {
        proxy_ssl_verify on;
        proxy_ssl_trusted_certificate ../html/other.crt;
        proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
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
>>> other.crt
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
--- request
GET /t
--- error_code: 502
--- error_log
while SSL handshaking to upstream

=== sessions are used again, and variables may name the certificate
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
        ssl_certificate ../html/tls.crt;
        ssl_certificate_key ../html/tls.key;
        ssl_verify_client optional_no_ca;
        location / { return 200 "$ssl_protocol $ssl_server_name $ssl_session_reused $ssl_client_s_dn\n"; }
    }
--- config
    location = /one {
        set $name tls;
        proxy_ssl_protocols TLSv1.2;
        proxy_ssl_certificate ../html/$name.crt;
        proxy_ssl_certificate_key ../html/$name.key;
        proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        proxy_http_version 1.0;
        proxy_set_header Connection close;
    }
    location = /t {
        echo_location /one;
        echo_location /one;
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
TLSv1.2  . CN=tls.example
TLSv1.2  r CN=tls.example

=== scripts of the handshake may wait, choose the certificate and have the last word
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
        ssl_certificate ../html/tls.crt;
        ssl_certificate_key ../html/tls.key;
        ssl_verify_client optional_no_ca;
        location / { return 200 "$ssl_protocol $ssl_server_name $ssl_session_reused $ssl_client_s_dn\n"; }
    }
--- config
    location = /t {
        access_by_lua_block { ngx.ctx.word = "from access" }
        proxy_ssl_certificate_by_lua_block {
            ngx.sleep(0.001)
            local ssl, shown = require "ngx.ssl", require "ngx.ssl.proxysslcert"
            local function read(name)
                local file = assert(io.open(ngx.config.prefix() .. "html/" .. name))
                local text = file:read("*a")
                file:close()
                return text
            end
            assert(shown.clear_certs())
            assert(shown.set_cert(assert(ssl.parse_pem_cert(read "tls.crt"))))
            assert(shown.set_priv_key(assert(ssl.parse_pem_priv_key(read "tls.key"))))
        }
        proxy_ssl_verify_by_lua_block {
            local verify = require "ngx.ssl.proxysslverify"
            ngx.sleep(0.001)
            ngx.log(ngx.INFO, "verified: ", verify.get_verify_result(), " ", type(verify.get_verify_cert()), " ",
                    require("ngx.proxyssl").get_tls1_version_str(), " ", ngx.ctx.word)
        }
        lua_upstream_skip_openssl_default_verify on;
        proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
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
TLSv1.3  . CN=tls.example
--- error_log
verified: 0 cdata TLSv1.3 from access while loading proxy ssl verify by lua
--- no_error_log
[error]

=== a script that says no ends the handshake
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
        ssl_certificate ../html/tls.crt;
        ssl_certificate_key ../html/tls.key;
        ssl_verify_client optional_no_ca;
        location / { return 200 "$ssl_protocol $ssl_server_name $ssl_session_reused $ssl_client_s_dn\n"; }
    }
--- config
    location = /t {
        proxy_ssl_certificate_by_lua_block { ngx.exit(ngx.ERROR) }
        proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
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
--- error_code: 502
--- error_log
SSL_do_handshake() failed

=== TLS is a matter for each attempt when a script chooses
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
        ssl_certificate ../html/tls.crt;
        ssl_certificate_key ../html/tls.key;
        ssl_verify_client optional_no_ca;
        location / { return 200 "$ssl_protocol $ssl_server_name $ssl_session_reused $ssl_client_s_dn\n"; }
    }
    upstream chosen {
        server 0.0.0.1;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            assert(balancer.set_current_peer("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
            assert(balancer.set_upstream_tls(ngx.var.arg_tls == "yes"))
        }
    }
--- config
    location = /t { proxy_pass https://chosen/; }
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
--- request eval
["GET /t?tls=yes", "GET /t?tls=no"]
--- error_code eval
[200, 400]
--- response_body_like eval
["TLSv1.3", "plain HTTP request was sent to HTTPS port"]

=== the log tells when it was that a client spoke the wrong protocol
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
        ssl_certificate ../html/tls.crt;
        ssl_certificate_key ../html/tls.key;
    }
--- config
    location = /t { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
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
--- error_code: 400
--- error_log
client sent plain HTTP request to HTTPS port while reading client request headers



=== a command has the last word about a context
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
        ssl_certificate ../html/tls.crt;
        ssl_certificate_key ../html/tls.key;
        ssl_protocols TLSv1.2;
        ssl_session_tickets off;
        ssl_conf_command Options SessionTicket;
        location / { return 200 "$ssl_session_reused\n"; }
    }
--- config
    location = /front {
        proxy_set_header Connection close;
        proxy_ssl_protocols TLSv1.2;
        proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    }
    location = /t {
        content_by_lua_block {
            for _ = 1, 2 do ngx.print(ngx.location.capture("/front").body) end
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
.
r
