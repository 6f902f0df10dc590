-- What the server gives to scripts by itself, before any library: the parts of `ngx` and `ndk` that are Lua code.

local ffi = require "ffi"
local base = require "rsty.base"
require "rsty.shdict_lists"

local C, ffi_string = ffi.C, ffi.string
local type, tostring, error, select = type, tostring, error, select
local get_size_ptr = base.get_size_ptr

base.declare [[
void rsty_hmac_sha1(const unsigned char *key, size_t key_len, const unsigned char *text, size_t text_len,
                    unsigned char *dst);
char *rsty_quote_sql_str(const unsigned char *src, size_t len, size_t *quoted_len);
]]

local digest = ffi.new("unsigned char[20]")

local function check_string(value, position, name, level)
    local kind = type(value)
    if kind == "string" then
        return value
    elseif kind == "number" then
        return tostring(value)
    end
    if value == nil then
        kind = "nil"
    end
    error("bad argument #" .. position .. " to '" .. name .. "' (string expected, got " .. kind .. ")", level + 1)
end

function ngx.hmac_sha1(...)
    local given = select("#", ...)
    if given ~= 2 then
        error("expecting 2 arguments, but got " .. given, 2)
    end
    local key, text = ...
    key = check_string(key, 1, "hmac_sha1", 2)
    text = check_string(text, 2, "hmac_sha1", 2)
    C.rsty_hmac_sha1(key, #key, text, #text, digest)
    return ffi_string(digest, 20)
end

function ngx.quote_sql_str(...)
    if select("#", ...) ~= 1 then
        error("expecting one argument", 2)
    end
    local s = check_string((...), 1, "quote_sql_str", 2)
    local len = get_size_ptr()
    local quoted = C.rsty_quote_sql_str(s, #s, len)
    if quoted == nil then
        error("no memory", 2)
    end
    local result = ffi_string(quoted, len[0])
    C.free(quoted)
    return result
end

rawset(_G, "ndk", { set_var = {} })
package.loaded.ndk = ndk
