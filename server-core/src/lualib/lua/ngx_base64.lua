-- `ngx.base64`: base64 for URLs.

local ffi = require "ffi"
local base = require "rsty.base"

local C = ffi.C
local ffi_string = ffi.string
local type = type
local get_string_buf = base.get_string_buf

base.declare [[
void ngx_encode_base64url(ngx_str_t *dst, ngx_str_t *src);
ngx_int_t ngx_decode_base64url(ngx_str_t *dst, ngx_str_t *src);
]]

local src, dst = ffi.new("ngx_str_t[1]"), ffi.new("ngx_str_t[1]")

local _M = { version = base.version }

local function prepare(s, room)
    src[0].data, src[0].len = s, #s
    dst[0].data, dst[0].len = get_string_buf(room), room
end

function _M.encode_base64url(s)
    if type(s) ~= "string" then
        return nil, "must provide a string"
    end
    prepare(s, #s * 4 / 3 + 4)
    C.ngx_encode_base64url(dst, src)
    return ffi_string(dst[0].data, dst[0].len)
end

function _M.decode_base64url(s)
    if type(s) ~= "string" then
        return nil, "must provide a string"
    end
    prepare(s, #s * 3 / 4 + 4)
    if C.ngx_decode_base64url(dst, src) ~= 0 then
        return nil, "invalid input"
    end
    return ffi_string(dst[0].data, dst[0].len)
end

return _M
