use Cwd qw(cwd);
use Test::Nginx::Socket 'no_plan';

$ENV{TEST_NGINX_CWD} = cwd();

our $HttpConfig = <<'_EOC_';
    lua_package_path "$TEST_NGINX_CWD/lua/?.lua;;";
    lua_shared_dict visits 1m;
_EOC_

no_long_string();
run_tests();

__DATA__

=== TEST 1: a greeting for everybody
--- http_config eval: $::HttpConfig
--- config
    location = / {
        content_by_lua_block {
            require("app").answer()
        }
    }
--- request
GET /
--- response_body_like: "greeting":"Hello, world!"
--- no_error_log
[error]



=== TEST 2: a greeting for somebody
--- http_config eval: $::HttpConfig
--- config
    location = / {
        content_by_lua_block {
            require("app").answer()
        }
    }
--- request
GET /?name=Ada
--- response_body_like: "greeting":"Hello, Ada!"
--- no_error_log
[error]



=== TEST 3: greetings can be had without a request
--- http_config eval: $::HttpConfig
--- config
    location = /t {
        content_by_lua_block {
            ngx.say(require("app").greeting("Grace"))
        }
    }
--- request
GET /t
--- response_body
Hello, Grace!
--- no_error_log
[error]
