-- Helpers that libraries use.

local ffi = require "ffi"
local base = require "rsty.base"

local C = ffi.C
local find, byte = string.find, string.byte

base.declare [[
void ngx_http_lua_ffi_str_replace_char(unsigned char *buf, size_t len, const unsigned char find,
    const unsigned char replace);
]]

local _M = { version = base.version }

-- Replaces each `from` (one byte) by `to`.
function _M.str_replace_char(text, from, to)
    if not find(text, from, 1, true) then
        return text
    end
    local len = #text
    local buf = base.get_string_buf(len)
    ffi.copy(buf, text, len)
    C.ngx_http_lua_ffi_str_replace_char(buf, len, byte(from), byte(to))
    return ffi.string(buf, len)
end

return _M
