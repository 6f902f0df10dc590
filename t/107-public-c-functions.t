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



=== TEST 3: functions of the server's core are there for libraries
--- config
location /core {
    content_by_lua_block {
        local ffi = require "ffi"
        ffi.cdef [[
            typedef struct { size_t len; const char *data; } spec_line_t;
            intptr_t ngx_hextoi(const char *line, size_t n);
            intptr_t ngx_parse_size(const spec_line_t *line);
            int64_t ngx_parse_offset(const spec_line_t *line);
            long ngx_parse_http_time(const char *value, size_t len);
            uint32_t ngx_inet_addr(const char *text, size_t len);
            uint32_t ngx_murmur_hash2(const char *data, size_t len);
            size_t ngx_hash_key(const char *data, size_t len);
            size_t ngx_hash_key_lc(const char *data, size_t len);
            intptr_t ngx_strcasecmp(const char *a, const char *b);
            intptr_t ngx_strncasecmp(const char *a, const char *b, size_t n);
            void ngx_encode_base64(spec_line_t *dst, const spec_line_t *src);
            intptr_t ngx_decode_base64(spec_line_t *dst, const spec_line_t *src);
        ]]
        local C = ffi.C
        local function line(text) return ffi.new("spec_line_t", #text, text) end
        local function say(name, ...)
            local parts = {}
            for i = 1, select("#", ...) do parts[i] = tostring(tonumber((select(i, ...)))) end
            ngx.say(name, ": ", table.concat(parts, " "))
        end
        say("hextoi", C.ngx_hextoi("c0FFee", 6), C.ngx_hextoi("fig", 3), C.ngx_hextoi("", 0))
        say("size", C.ngx_parse_size(line "3k"), C.ngx_parse_size(line "2M"), C.ngx_parse_size(line "1g"))
        say("offset", C.ngx_parse_offset(line "4g"), C.ngx_parse_offset(line "k"))
        local date = "Sun, 06 Nov 1994 08:49:37 GMT"
        say("date", C.ngx_parse_http_time(date, #date), C.ngx_parse_http_time("soon", 4))
        say("address", C.ngx_inet_addr("127.0.0.1", 9), C.ngx_inet_addr("127.0.0", 7))
        say("murmur", C.ngx_murmur_hash2("quince", 6), C.ngx_murmur_hash2("", 0))
        say("hash", C.ngx_hash_key("ab", 2), C.ngx_hash_key("AB", 2), C.ngx_hash_key_lc("AB", 2))
        say("case", C.ngx_strcasecmp("Plum", "pLUM"), C.ngx_strncasecmp("plum", "plug", 3), C.ngx_strcasecmp("a", "C"))
        local room = ffi.new("char[16]")
        local encoded = ffi.new("spec_line_t", 0, room)
        C.ngx_encode_base64(encoded, line "plum")
        ngx.say(ffi.string(encoded.data, encoded.len))
        local decoded = ffi.new("spec_line_t", 0, ffi.new("char[16]"))
        say("good", C.ngx_decode_base64(decoded, encoded), decoded.len)
        say("bad", C.ngx_decode_base64(decoded, line "pl*m"))
    }
}
--- request
GET /core
--- response_body
hextoi: 12648430 -1 -1
size: 3072 2097152 -1
offset: 4294967296 -1
date: 784111777 -1
address: 16777343 4294967295
murmur: 3770899165 0
hash: 3105 2081 3105
case: 0 0 -2
cGx1bQ==
good: 0 4
bad: -1
--- no_error_log
[error]
