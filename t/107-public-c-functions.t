=== TEST 1: C code finds shared dictionaries by name and reads typed values
--- http_config
lua_shared_dict fruit 256k;
--- config
location /zone {
    content_by_lua_block {
        local ffi = require "ffi"
        ffi.cdef [[
            typedef struct { size_t len; char *data; } spec_text_t;
            typedef struct { uint8_t type; union { int b; double n; spec_text_t s; } value; } spec_value_t;
            void *ngx_http_lua_find_zone(const char *name, size_t len);
            intptr_t ngx_http_lua_shared_dict_get(void *zone, const char *key, size_t len, spec_value_t *value);
        ]]
        local C = ffi.C
        local fruit = ngx.shared.fruit
        fruit:set("weight", 12.5)
        fruit:set("ripe", true)
        fruit:set("name", "pomegranate")

        ngx.say("missing zone: ", C.ngx_http_lua_find_zone("bread", 5) == nil)
        local zone = C.ngx_http_lua_find_zone("fruit", 5)
        local buffer = ffi.new("char[4]")
        local value = ffi.new("spec_value_t")
        local function get(key)
            value.value.s.len, value.value.s.data = 4, buffer
            return tonumber(C.ngx_http_lua_shared_dict_get(zone, key, #key, value))
        end
        ngx.say("weight: ", get("weight"), " ", value.type, " ", value.value.n)
        ngx.say("ripe: ", get("ripe"), " ", value.type, " ", value.value.b)
        ngx.say("name: ", get("name"), " ", value.type, " ", ffi.string(value.value.s.data, value.value.s.len))
        ngx.say("colour: ", get("colour"))
    }
}
--- request
GET /zone
--- response_body
missing zone: true
weight: 0 3 12.5
ripe: 0 1 1
name: 0 4 pome
colour: -5
--- no_error_log
[error]



=== TEST 2: the command line is there for C code
--- config
location /argv {
    content_by_lua_block {
        local ffi = require "ffi"
        ffi.cdef "char **ngx_argv;"
        ngx.say(#ffi.string(ffi.C.ngx_argv[0]) > 0)
    }
}
--- request
GET /argv
--- response_body
true



=== TEST 3: ndk can be required
--- config
location /ndk {
    content_by_lua_block {
        local ndk = require "ndk"
        ngx.say(ndk.set_var.set_escape_uri("a b&c"))
    }
}
--- request
GET /ndk
--- response_body
a%20b%26c



=== TEST 4: a body's file that the script gave away goes with the body
--- config
location /body {
    content_by_lua_block {
        ngx.req.read_body()
        local root = ngx.var.document_root
        ngx.req.set_body_file(root .. "/first.txt", true)
        ngx.req.set_body_data("short")
        local first = io.open(root .. "/first.txt")
        ngx.say(first == nil, " ", ngx.req.get_body_data())
    }
}
--- user_files
>>> first.txt
from a file
--- request
POST /body
sent
--- response_body
true short
--- no_error_log
[error]



=== TEST 5: sleepers of zero milliseconds go on after one turn of the loop
--- config
location /turns {
    content_by_lua_block {
        local function walk(name)
            print("step one of ", name)
            ngx.sleep(0)
            print("step two of ", name)
        end
        ngx.thread.spawn(walk, "a")
        ngx.thread.spawn(walk, "b")
        ngx.say("done")
    }
}
--- request
GET /turns
--- response_body
done
--- grep_error_log eval: qr/step (?:one|two) of \w|worker cycle$|epoll timer: 0$/
--- grep_error_log_out
step one of a
step one of b
worker cycle
epoll timer: 0
step two of a
step two of b
