-- `ndk.set_var`: functions of other modules' directives.

local ffi = require "ffi"
local base = require "rsty.base"

local C = ffi.C
local ffi_string = ffi.string
local type, tostring, error = type, tostring, error
local running_request = base.running_request

base.declare [[
typedef void *ndk_set_var_value_pt;
int ngx_http_lua_ffi_ndk_lookup_directive(const unsigned char *var_data, size_t var_len,
    ndk_set_var_value_pt *func);
int ngx_http_lua_ffi_ndk_set_var_get(ngx_http_request_t *r, ndk_set_var_value_pt func,
    const unsigned char *arg_data, size_t arg_len, ngx_http_lua_ffi_str_t *value);
]]

local found, value = ffi.new("void *[1]"), ffi.new("ngx_http_lua_ffi_str_t[1]")

local function lookup(_, name)
    name = type(name) == "string" and name or tostring(name)
    if C.ngx_http_lua_ffi_ndk_lookup_directive(name, #name, found) ~= 0 then
        error('ndk.set_var: directive "' .. name .. '" not found or does not use ndk_set_var_value', 2)
    end
    local func = found[0]
    return function(arg)
        arg = type(arg) == "string" and arg or tostring(arg)
        local code = C.ngx_http_lua_ffi_ndk_set_var_get(running_request(), func, arg, #arg, value)
        if code ~= 0 then
            error("calling directive " .. name .. " failed with code " .. code, 2)
        end
        return ffi_string(value[0].data, value[0].len)
    end
end

local function refuse()
    error("not allowed", 2)
end

ndk.set_var = setmetatable({}, { __index = lookup, __newindex = refuse })

return { version = base.version }
