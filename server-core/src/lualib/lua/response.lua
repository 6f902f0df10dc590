-- `ngx.header`.

local ffi = require "ffi"
local base = require "rsty.base"

local C = ffi.C
local ffi_cast, ffi_string = ffi.cast, ffi.string
local type, error, tostring = type, error, tostring
local lower, gsub = string.lower, string.gsub
local running_request, get_string_buf, new_tab = base.running_request, base.get_string_buf, base.new_tab
local c_strings = base.c_strings
local OK, DECLINED, BAD_CONTEXT, NO_REQ_CTX =
    base.FFI_OK, base.FFI_DECLINED, base.FFI_BAD_CONTEXT, base.FFI_NO_REQ_CTX

base.declare [[
int ngx_http_lua_ffi_set_resp_header(ngx_http_request_t *r, const char *key_data, size_t key_len, int is_nil,
    const char *sval, size_t sval_len, ngx_http_lua_ffi_str_t *mvals, size_t mvals_len, int override,
    char **errmsg);
int ngx_http_lua_ffi_get_resp_header(ngx_http_request_t *r, const unsigned char *key, size_t key_len,
    unsigned char *key_buf, ngx_http_lua_ffi_str_t *values, int max_nvalues, char **errmsg);
int ngx_http_lua_ffi_bypass_if_checks(ngx_http_request_t *r);
]]

local MAX_VALUES = 100
local str_type = ffi.typeof("ngx_http_lua_ffi_str_t *")
local str_size = ffi.sizeof("ngx_http_lua_ffi_str_t")
local errmsg = base.get_errmsg_ptr()

local function set_resp_header(_, key, value, append)
    local r = running_request()
    key = type(key) == "string" and key or tostring(key)
    local is_nil = value == nil
    local sval, sval_len, mvals, mvals_len = nil, 0, nil, 0
    if is_nil then
        if append then
            error("invalid header value", 3)
        end
    elseif type(value) == "table" then
        if append and #value == 0 then
            return
        end
        mvals, mvals_len = c_strings(value)
    else
        sval = type(value) == "string" and value or tostring(value)
        sval_len = #sval
    end
    local code = C.ngx_http_lua_ffi_set_resp_header(r, key, #key, is_nil, sval, sval_len, mvals, mvals_len,
        append and 0 or 1, errmsg)
    if code == OK or code == DECLINED then
        return
    end
    if code == NO_REQ_CTX then
        error("no request ctx found")
    end
    if code == BAD_CONTEXT then
        error("API disabled in the current context", 2)
    end
    error(ffi_string(errmsg[0]), 2)
end

local function get_resp_header(_, key)
    local r = running_request()
    key = type(key) == "string" and key or tostring(key)
    local values = ffi_cast(str_type, get_string_buf(str_size * MAX_VALUES))
    local count = C.ngx_http_lua_ffi_get_resp_header(r, key, #key, nil, values, MAX_VALUES, errmsg)
    if count == BAD_CONTEXT then
        error("API disabled in the current context", 2)
    end
    if count < 0 then
        error(ffi_string(errmsg[0]), 2)
    end
    if count == 0 then
        return nil
    end
    if count == 1 then
        return ffi_string(values[0].data, values[0].len)
    end
    local found = new_tab(count, 0)
    for i = 1, count do
        found[i] = ffi_string(values[i - 1].data, values[i - 1].len)
    end
    return found
end

-- Tables of response headers, which the server makes, are found in any spelling.
debug.getregistry().__ngx_headers_mt = {
    __index = function(headers, key)
        local known = gsub(lower(key), "_", "-")
        if known ~= key then
            return headers[known]
        end
    end,
}

ngx.header = setmetatable({}, { __index = get_resp_header, __newindex = set_resp_header })

return {
    version = base.version,
    set_resp_header = set_resp_header,
    bypass_if_checks = function()
        local r = running_request()
        C.ngx_http_lua_ffi_bypass_if_checks(r)
    end,
}
