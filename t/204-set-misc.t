=== TEST 1: encodings and digests
--- config
    location /t {
        set_encode_base64 $a "hello";
        set_decode_base64 $b $a;
        set_encode_hex $c "AZ";
        set_md5 $d hello;
        set_hmac_sha1 $e key text;
        set_encode_hex $e;
        echo "$a $b $c $d $e";
    }
--- request
GET /t
--- response_body
aGVsbG8= hello 415a 5d41402abc4b2a76b9719d911017c592 369e2959eb49450338b212748f77d8ded74847bb
--- no_error_log
[error]



=== TEST 2: quoting
--- config
    location /t {
        set $v "it's \"q\"";
        set_quote_sql_str $sql $v;
        set_quote_json_str $json $v;
        set_escape_uri $escaped $v;
        echo $sql;
        echo $json;
        echo $escaped;
    }
--- request
GET /t
--- response_body
'it\'s \"q\"'
"it's \"q\""
it's%20%22q%22
--- no_error_log
[error]



=== TEST 3: bad input is an error
--- config
    location /t {
        set_decode_hex $v "0g";
        echo $v;
    }
--- request
GET /t
--- error_code: 500
--- error_log
set_decode_hex: invalid value



=== TEST 4: a default fills an empty argument
--- config
    location /t {
        set_if_empty $arg_a 1;
        set_if_empty $arg_b 2;
        echo "$arg_a $arg_b";
    }
--- request
GET /t?a=9
--- response_body
9 2
--- no_error_log
[error]



=== TEST 5: a key picks its upstream
--- http_config
    upstream_list universe moon sun earth;
--- config
    location /t {
        set_hashed_upstream $u universe $arg_id;
        echo $u;
    }
--- request
GET /t
--- response_body
moon
--- no_error_log
[error]
