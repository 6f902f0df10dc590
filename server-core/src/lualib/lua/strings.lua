-- Escapes, encodings, digests, query strings.

local ffi = require "ffi"
local base = require "rsty.base"

local C = ffi.C
local ffi_string = ffi.string
local type, tostring, error = type, tostring, error
local floor = math.floor
local ngx = ngx
local get_string_buf = base.get_string_buf
local get_size_ptr = base.get_size_ptr

base.declare [[
size_t @uri_escaped_length(const unsigned char *src, size_t len, int type);
void @escape_uri(const unsigned char *src, size_t len, unsigned char *dst, int type);
size_t @unescape_uri(const unsigned char *src, size_t len, unsigned char *dst);
size_t @encode_base64(const unsigned char *src, size_t len, unsigned char *dst, int no_padding);
int @decode_base64(const unsigned char *src, size_t len, unsigned char *dst, size_t *dlen);
int ngx_http_lua_ffi_decode_base64mime(const unsigned char *src, size_t len, unsigned char *dst, size_t *dlen);
void @md5_bin(const unsigned char *src, size_t len, unsigned char *dst);
void @md5(const unsigned char *src, size_t len, unsigned char *dst);
int @sha1_bin(const unsigned char *src, size_t len, unsigned char *dst);
unsigned int @crc32_long(const unsigned char *src, size_t len);
unsigned int @crc32_short(const unsigned char *src, size_t len);
]]

local uri_escaped_length = base.symbol "uri_escaped_length"
local escape_uri = base.symbol "escape_uri"
local unescape_uri = base.symbol "unescape_uri"
local encode_base64 = base.symbol "encode_base64"
local decode_base64 = base.symbol "decode_base64"
local md5_bin = base.symbol "md5_bin"
local md5 = base.symbol "md5"
local sha1_bin = base.symbol "sha1_bin"
local crc32_long = base.symbol "crc32_long"
local crc32_short = base.symbol "crc32_short"

local function text_of(value)
    if type(value) == "string" then
        return value
    end
    return value and tostring(value) or ""
end

local COMPONENT, LAST_TYPE = 2, 6

local function escape(s, kind)
    local len = #s
    local escaped = uri_escaped_length(s, len, kind)
    if escaped == len then
        return s
    end
    local buf = get_string_buf(escaped)
    escape_uri(s, len, buf, kind)
    return ffi_string(buf, escaped)
end

local function unescape(s)
    local len = #s
    local buf = get_string_buf(len)
    return ffi_string(buf, unescape_uri(s, len, buf))
end

function ngx.escape_uri(s, kind)
    s = text_of(s)
    if kind == nil then
        kind = COMPONENT
    elseif type(kind) ~= "number" then
        error('"type" is not a number', 3)
    elseif kind < 0 or kind > LAST_TYPE then
        error('"type" ' .. kind .. " out of range", 3)
    end
    local escaped = escape(s, kind)
    return escaped
end

function ngx.unescape_uri(s)
    return unescape(text_of(s))
end

function ngx.encode_base64(s, no_padding)
    s = text_of(s)
    if no_padding and no_padding ~= true then
        error("bad no_padding: boolean expected, got " .. type(no_padding), 2)
    end
    local len = #s
    local buf = get_string_buf(floor((len + 2) / 3) * 4)
    return ffi_string(buf, encode_base64(s, len, buf, no_padding and 1 or 0))
end

function ngx.decode_base64(s)
    if type(s) ~= "string" then
        error("string argument only", 2)
    end
    local len = #s
    local buf, written = get_string_buf(floor((len + 3) / 4) * 3), get_size_ptr()
    if decode_base64(s, len, buf, written) == 0 then
        return nil
    end
    return ffi_string(buf, written[0])
end

function ngx.decode_base64mime(s)
    if type(s) ~= "string" then
        error("string argument only", 2)
    end
    local len = #s
    local buf, written = get_string_buf(floor((len + 3) / 4) * 3), get_size_ptr()
    if C.ngx_http_lua_ffi_decode_base64mime(s, len, buf, written) == 0 then
        return nil
    end
    return ffi_string(buf, written[0])
end

local digest = ffi.new("unsigned char[32]")

function ngx.md5_bin(s)
    s = text_of(s)
    md5_bin(s, #s, digest)
    return ffi_string(digest, 16)
end

function ngx.md5(s)
    s = text_of(s)
    md5(s, #s, digest)
    return ffi_string(digest, 32)
end

function ngx.sha1_bin(s)
    s = text_of(s)
    sha1_bin(s, #s, digest)
    return ffi_string(digest, 20)
end

function ngx.crc32_short(s)
    s = text_of(s)
    return crc32_short(s, #s)
end

function ngx.crc32_long(s)
    s = text_of(s)
    return crc32_long(s, #s)
end

-- The argument checks that C functions of the original make, with their texts.

return { version = base.version }
