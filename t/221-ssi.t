=== TEST 1: variables, with a default and in several encodings
--- config
    location /a.txt {
        ssi on;
        ssi_types text/plain;
    }
--- user_files
>>> a.txt
<!--#set var="a" value="<$arg_x>" --><!--#set var="b" value="${a}\$" -->
<!--# echo var="a" --> <!--#echo var="b" encoding="none"--> <!--#echo var="a" encoding="url" -->
<!--#echo var="none" --> <!--#echo var="none" default="" -->.<!--#echo var="none" default="d" -->
--- request
GET /a.txt?x=1
--- response_body eval
"\n&lt;1&gt; <1>\$ %3C1%3E\n(none) .d\n"
--- no_error_log
[error]



=== TEST 2: other pages, in their order
--- config
    location /t {
        ssi on;
        ssi_types text/plain;
        echo -n 'a<!--#include virtual="/slow?x=1" -->b<!--#include file="quick" -->c';
    }
    location /slow {
        echo_sleep 0.02;
        echo -n "(slow $arg_x)";
    }
    location /quick {
        echo -n "(quick)";
    }
--- request
GET /t
--- response_body: a(slow 1)b(quick)c
--- no_error_log
[error]



=== TEST 3: a page waits for what it asks about
--- config
    location /t {
        ssi on;
        ssi_types text/plain;
        echo '<!--#include virtual="/value" set="v" -->got <!--#echo var="v" -->';
        echo '<!--#include virtual="/sets" wait="yes" --><!--#echo var="w" -->';
    }
    location /value {
        echo_sleep 0.01;
        echo -n "one";
    }
    location /sets {
        ssi on;
        ssi_types text/plain;
        echo_sleep 0.01;
        echo -n '<!--#set var="w" value="two" -->';
    }
--- request
GET /t
--- response_body
got one
two
--- no_error_log
[error]



=== TEST 4: conditions
--- config
    location /a.txt {
        ssi on;
        ssi_types text/plain;
    }
--- user_files
>>> a.txt
<!--#if expr="$arg_x" -->x<!--#else -->no x<!--#endif -->
<!--#if expr="$arg_x = b" -->b<!--#elif expr="$arg_x != a" -->other<!--#else -->a<!--#endif -->
<!--#if expr="$arg_x = /^(?P<first>.)(.*)/" --><!--#echo var="first" -->-<!--#echo var="2" --><!--#endif -->
--- pipelined_requests eval
["GET /a.txt?x=a", "GET /a.txt?x=b", "GET /a.txt?x=cde", "GET /a.txt"]
--- response_body eval
["x\na\na-\n", "x\nb\nb-\n", "x\nother\nc-de\n", "no x\nother\n\n"]
--- no_error_log
[error]



=== TEST 5: a block stands in for a page that says nothing
--- config
    location /t {
        ssi on;
        ssi_types text/plain;
        echo -n '<!--#block name="b" -->stub<!--#endblock -->';
        echo -n '[<!--#include virtual="/silent" stub="b" -->]';
        echo '[<!--#include virtual="/loud" stub="b" -->]';
    }
    location /silent {
        content_by_lua_block { ngx.exit(200) }
    }
    location /loud {
        echo -n loud;
    }
--- request
GET /t
--- response_body
[stub][loud]
--- no_error_log
[error]



=== TEST 6: what is wrong is told in its place
--- config
    location /t {
        ssi on;
        ssi_types text/plain;
        echo 'a <!--#config errmsg="(oops)" --><!--#what is="it" --> b <!--#echo --> c <!--#set var=x -->';
    }
--- request
GET /t
--- response_body
a (oops) b (oops) c (oops)
--- error_log
invalid SSI command: "what"
mandatory "var" parameter is absent in "echo" SSI command
unexpected "x" symbol before value of "var" parameter in "set" SSI command



=== TEST 7: or not at all
--- config
    location /t {
        ssi on;
        ssi_silent_errors on;
        ssi_types text/plain;
        echo 'a <!--#what is="it" -->b';
    }
--- request
GET /t
--- response_body
a b
--- error_log
invalid SSI command: "what"



=== TEST 8: commands in pieces, and files
--- config
    location /t {
        ssi on;
        ssi_types text/plain;
        content_by_lua_block {
            for piece in ('a<!--#echo var="arg_x" -->b<!-- c -->'):gmatch(".") do
                ngx.print(piece)
                ngx.flush()
            end
        }
    }
    location /page.html {
        ssi on;
    }
--- user_files
>>> page.html
<p><!--#echo var="arg_x" --></p>
--- pipelined_requests eval
["GET /t?x=1", "GET /page.html?x=2"]
--- response_body eval
["a1b<!-- c -->", "<p>2</p>\n"]
--- response_headers eval
["!Content-Length", "!Last-Modified"]
--- no_error_log
[error]



=== TEST 9: pages within pages that wait
--- config
    location /t {
        ssi on;
        ssi_types text/plain;
        echo -n '1<!--#include virtual="/in" wait="yes" -->4';
    }
    location /in {
        ssi on;
        ssi_types text/plain;
        echo -n '2<!--#include virtual="/slow" wait="yes" -->3';
    }
    location /slow {
        echo_sleep 0.02;
        echo -n "slow";
    }
--- request
GET /t
--- response_body: 12slow34
--- no_error_log
[error]

=== TEST 10: an included response without body ends nothing of a packed page
--- config
    ssi on;
    gzip on;
    gzip_min_length 1;
    location = /none { return 204; }
    location = /empty { proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/none; }
    location = /more { return 200 "more"; }
    location = /page { default_type text/html; return 200 '[<!--#include virtual="/empty" --><!--#include virtual="/more" -->]'; }
    location = /t {
        gunzip on;
        ssi off;
        gzip off;
        proxy_set_header Accept-Encoding gzip;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/page;
    }
--- request
GET /t
--- response_body chomp
[more]
--- no_error_log
[error]
