-- `ngx.resp` as a module.

local base = require "rsty.base"
base.allows_subsystem("http")
local response = require "resty.core.response"

local C = require("ffi").C
local type, error, tonumber = type, error, tonumber
local running_request = base.running_request
local set_resp_header = response.set_resp_header

base.declare [[
int ngx_http_lua_ffi_set_resp_status_and_reason(ngx_http_request_t *r, int status, const char *reason,
    size_t reason_len);
]]

return {
    version = base.version,
    add_header = function(name, value)
        set_resp_header(nil, name, value, true)
    end,
    bypass_if_checks = response.bypass_if_checks,
    set_status = function(status, reason)
        local r = running_request()
        if type(status) ~= "number" then
            status = tonumber(status)
        end
        if C.ngx_http_lua_ffi_set_resp_status_and_reason(r, status, reason, #reason) == base.FFI_BAD_CONTEXT then
            error("API disabled in the current context", 2)
        end
    end,
}
