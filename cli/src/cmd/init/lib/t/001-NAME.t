use Cwd qw(cwd);
use Test::Nginx::Socket 'no_plan';

$ENV{TEST_NGINX_CWD} = cwd();

our $HttpConfig = <<'_EOC_';
    lua_package_path "$TEST_NGINX_CWD/lib/?.lua;;";
_EOC_

no_long_string();
run_tests();

__DATA__

=== TEST 1: a counter counts
--- http_config eval: $::HttpConfig
--- config
    location = /t {
        content_by_lua_block {
            local counter = require("NAME").new(40)
            ngx.say(counter:add())
            ngx.say(counter:add(1))
        }
    }
--- request
GET /t
--- response_body
41
42
--- no_error_log
[error]



=== TEST 2: only numbers can be added
--- http_config eval: $::HttpConfig
--- config
    location = /t {
        content_by_lua_block {
            local sum, err = require("NAME").new():add("x")
            ngx.say(sum, ": ", err)
        }
    }
--- request
GET /t
--- response_body
nil: the amount must be a number
--- no_error_log
[error]
