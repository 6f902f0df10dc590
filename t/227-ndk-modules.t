=== TEST 1: a list is split, changed and joined
--- config
    location /t {
        array_split ";" $arg_who to=$people;
        array_map "<$array_it>" $people;
        array_join " " $people to=$shown;
        echo "$shown|$array_it";
    }
--- request
GET /t?who=ann;;zoe
--- response_body
<ann> <> <zoe>|
--- no_error_log
[error]



=== TEST 2: a second list leaves the first as it was
--- config
    location /t {
        array_split "" $arg_word 3 to=$letters;
        array_map_op set_encode_hex $letters to=$codes;
        array_join - $letters;
        array_join - $codes;
        echo "$letters $codes";
    }
--- request
GET /t?word=abcd
--- response_body
a-b-cd 61-62-6364
--- no_error_log
[error]



=== TEST 3: a text is no list
--- config
    location /t {
        set $text "a,b";
        array_join + $text;
        echo $text;
    }
--- request
GET /t
--- error_code: 500
--- response_body_like: 500 Internal Server Error
--- error_log
array_join: invalid array variable value in the 2nd argument: "a,b"



=== TEST 4: a directive that is no function of one value
--- config
    location /t {
        array_split , $arg_a to=$list;
        array_map_op set_random $list;
        echo no;
    }
--- request
GET /t?a=1,2
--- error_code: 500
--- response_body_like: 500 Internal Server Error
--- error_log
array_map_op: directive "set_random" not found or does not use ndk_set_var_value



=== TEST 5: a word that array_split does not expect
--- config
    location /t {
        array_split , $arg_a to=$list more;
        echo no;
    }
--- must_die
--- error_log
array_split: unexpected argument "more"



=== TEST 6: fields of a form
--- config
    location /t {
        set_form_input $name;
        set_form_input $second Other;
        set_form_input $none;
        echo "$name|$second|$none";
    }
--- request
POST /t
rename=no&NAME=a%20b+c&name=later&other=
--- more_headers
Content-Type: application/x-www-form-urlencoded; charset=utf-8
--- response_body
a%20b+c||
--- no_error_log
[error]



=== TEST 7: all values of a field
--- config
    location /t {
        set_form_input_multi $all pick;
        array_join , $all;
        echo "[$all]";
    }
--- request eval
["POST /t\npick=1&x=2&pick=&pick=3", "PUT /t\nx=1"]
--- more_headers
Content-Type: application/x-www-form-urlencoded
--- response_body eval
["[1,,3]\n", "[]\n"]
--- no_error_log
[error]



=== TEST 8: what is no form has no fields
--- config
    location /t {
        set_form_input $name;
        echo "[$name]";
    }
--- request
POST /t
name=value
--- more_headers
Content-Type: text/plain
--- response_body
[]
--- no_error_log
[error]



=== TEST 9: the body of a form is still there for others
--- config
    location /t {
        set_form_input $name;
        content_by_lua_block {
            ngx.req.read_body()
            ngx.say(ngx.var.name, " of ", ngx.req.get_body_data())
        }
    }
--- request
POST /t
name=value
--- more_headers
Content-Type: application/x-www-form-urlencoded
--- response_body
value of name=value
--- no_error_log
[error]



=== TEST 10: a session can be read with its key
--- http_config
    encrypted_session_key "0123456789ABCDEF0123456789abcdef";
    encrypted_session_expires 2h;
--- config
    location /t {
        set $who "me & you";
        set_encrypt_session $session $who;
        set_decrypt_session $again $session;
        set_encode_base32 $session;
        echo "$again $session";
    }
--- request
GET /t
--- response_body_like
^me & you [0-9a-v]{77}={3}$
--- no_error_log
[error]



=== TEST 11: another key reads nothing
--- config
    encrypted_session_expires 0;
    location = /make {
        encrypted_session_key "0123456789ABCDEF0123456789abcdef";
        set_encrypt_session $session value;
        set_encode_hex $session;
        echo -n $session;
    }
    location = /read {
        encrypted_session_key "another key of thirty-two bytes!";
        set_decode_hex $session $arg_s;
        set_decrypt_session $session;
        echo -n "[$session]";
    }
    location /t {
        content_by_lua_block {
            local session = ngx.location.capture("/make").body
            ngx.say(#session, ngx.location.capture("/read?s=" .. session).body)
        }
    }
--- request
GET /t
--- response_body
64[]
--- no_error_log
[error]



=== TEST 12: a session that expired
--- config
    location /t {
        encrypted_session_key "0123456789ABCDEF0123456789abcdef";
        encrypted_session_iv "short";
        encrypted_session_expires 1s;
        content_by_lua_block {
            local session = ndk.set_var.set_encrypt_session("value")
            ngx.say(ndk.set_var.set_decrypt_session(session))
            repeat
                ngx.sleep(0.2)
                ngx.update_time()
            until ndk.set_var.set_decrypt_session(session) == ""
            ngx.say("over")
        }
    }
--- request
GET /t
--- response_body
value
over
--- error_log
encrypted_session: session expired: 
--- no_error_log
[error]



=== TEST 13: a session needs a key
--- config
    location /t {
        set_encrypt_session $session value;
        echo $session;
    }
--- request
GET /t
--- error_code: 500
--- response_body_like: 500 Internal Server Error
--- error_log
encrypted_session: a key is required to be defined by the encrypted_session_key directive



=== TEST 14: a key of another length
--- config
    encrypted_session_key "too short";
--- must_die
--- error_log
encrypted_session_key: the key must be of 32 bytes long
