=== TEST 1: set, if and return run in file order
--- config
    location = /t {
        set $a 1;
        if ($arg_x = "y") {
            set $a "$a-2";
        }
        set $b "$a-3";
        return 200 "$b\n";
    }
--- request
GET /t?x=y
--- response_body
1-2-3
--- no_error_log
[error]



=== TEST 2: a false condition skips its block
--- config
    location = /t {
        set $a 1;
        if ($arg_x = "y") {
            set $a 2;
        }
        return 200 "$a\n";
    }
--- request
GET /t
--- response_body
1
--- no_error_log
[error]



=== TEST 3: rewrite last looks the location up again and keeps arguments
--- config
    location /from {
        rewrite ^/from/(.*)$ /to/$1?n=1 last;
    }
    location /to {
        return 200 "$uri $args\n";
    }
--- request
GET /from/a%20b?m=2
--- response_body
/to/a b n=1&m=2
--- no_error_log
[error]



=== TEST 4: a question mark at the end drops arguments
--- config
    location /from {
        rewrite ^ /to? last;
    }
    location /to {
        return 200 "[$args]\n";
    }
--- request
GET /from?m=2
--- response_body
[]
--- no_error_log
[error]



=== TEST 5: captures that go into arguments are escaped
--- config
    location /from {
        rewrite ^/from/(.*)$ /to?v=$1 last;
    }
    location /to {
        return 200 "$args\n";
    }
--- request
GET /from/a%26b
--- response_body
v=a%26b
--- no_error_log
[error]



=== TEST 6: rewrites that lead in a circle end with 500
--- config
    location /t {
        rewrite ^ /t last;
    }
--- request
GET /t
--- error_code: 500
--- error_log
rewrite or internal redirection cycle while processing "/t"



=== TEST 7: a redirect keeps the arguments
--- config
    location /t {
        rewrite ^/t/(.*) http://example.com/$1 permanent;
    }
--- request
GET /t/x?y=z
--- error_code: 301
--- response_headers
Location: http://example.com/x?y=z
--- no_error_log
[error]



=== TEST 8: named groups become variables
--- config
    location /t {
        if ($uri ~ "^/t/(?<year>\d+)-(?<month>\d+)") {
            return 200 "$year $month $1\n";
        }
    }
--- request
GET /t/2026-11
--- response_body
2026 11 2026
--- no_error_log
[error]



=== TEST 9: file tests see files, folders and nothing
--- config
    location /t {
        set $found "";
        if (-f $document_root/a.txt) {
            set $found "${found}f";
        }
        if (-d $document_root) {
            set $found "${found}d";
        }
        if (!-e $document_root/none) {
            set $found "${found}n";
        }
        return 200 "$found\n";
    }
--- request
GET /t
--- user_files
>>> a.txt
x
--- response_body
fdn
--- no_error_log
[error]



=== TEST 10: a variable without a value is warned about
--- config
    location /t {
        if ($arg_x) {
            set $nothing 1;
        }
        return 200 "[$nothing]\n";
    }
--- request
GET /t
--- response_body
[]
--- error_log
using uninitialized "nothing" variable



=== TEST 11: if inherits the content handler around it
--- config
    location /t {
        if ($arg_a) {
            more_set_headers "X-In: if";
        }
        echo out;
    }
--- request
GET /t?a=1
--- response_body
out
--- response_headers
X-In: if
--- no_error_log
[error]
