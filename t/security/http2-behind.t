use Test::Nginx::Socket;

# A frame: its kind, flags, stream and payload.
sub frame {
    my ($kind, $flags, $stream, $payload) = @_;
    return substr(pack("N", length $payload), 1) . pack("CCN", $kind, $flags, $stream) . $payload;
}

run_tests();

__DATA__

=== a head without end is given up
--- config
    location = /t { proxy_http_version 2; proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_no_close
--- tcp_reply eval
main::frame(4, 0, 0, "") . main::frame(1, 0, 1, "\x88") . main::frame(9, 0, 1, "\x00\x01a\x01b") x 10000
--- request
GET /t
--- error_code: 502
--- response_body_like: Bad Gateway
--- error_log
upstream sent too big header

=== one byte for each of many fields does not make a large head
--- config
    location = /t { grpc_pass 127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_no_close
--- tcp_reply eval
main::frame(4, 0, 0, "") . main::frame(1, 4, 1, "\x88" . "\x90" x 3000)
--- request
GET /t
--- error_code: 502
--- response_body_like: Bad Gateway
--- error_log
upstream sent too large http2 header

=== windows do not overflow
--- config
    location = /t { proxy_http_version 2; proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_no_close
--- tcp_reply eval
main::frame(4, 0, 0, "") . main::frame(8, 0, 0, "\x7f\xff\xff\xff")
--- request
GET /t
--- error_code: 502
--- response_body_like: Bad Gateway
--- error_log
upstream sent too large window update

=== streams that nobody opened are not served
--- config
    location = /t { proxy_http_version 2; proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_no_close
--- tcp_reply eval
main::frame(4, 0, 0, "") . main::frame(1, 4, 3, "\x88")
--- request
GET /t
--- error_code: 502
--- response_body_like: Bad Gateway
--- error_log
upstream sent frame for unknown stream 3

=== pings that say nothing else come to an end
--- config
    location = /t { proxy_http_version 2; proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_no_close
--- tcp_reply eval
main::frame(4, 0, 0, "") . main::frame(1, 4, 1, "\x88\x00\x01a\x01b") . main::frame(6, 0, 0, "flooding") x 600000
--- request
GET /t
--- ignore_response
--- error_log eval
qr/upstream sent too many (ping|http2) frames/
--- timeout: 30
