-- `ngx.ssl.proxysslverify`: whether the certificate of a server behind us will do.

local ffi = require "ffi"
local base = require "rsty.base"
base.allows_subsystem("http", "stream")

local ffi_string, ffi_gc = ffi.string, ffi.gc
local error = error
local phase = ngx.get_phase
local get_request, errmsg = base.get_request, base.get_errmsg_ptr()

base.declare [[
int @proxy_ssl_set_verify_result(request *r, int verify_result, char **err);
int @proxy_ssl_get_verify_result(request *r, char **err);
void *@proxy_ssl_get_verify_cert(request *r, char **err);
void @proxy_ssl_free_verify_cert(void *cdata);
]]

local set_result = base.symbol "proxy_ssl_set_verify_result"
local get_result = base.symbol "proxy_ssl_get_verify_result"
local get_cert = base.symbol "proxy_ssl_get_verify_cert"
local free_cert = base.symbol "proxy_ssl_free_verify_cert"

local _M = { version = base.version }

-- The request, in the one phase that these functions are for.
local function request()
    local r = get_request()
    if not r then
        error("no request found", 3)
    end
    if phase() ~= "proxy_ssl_verify" then
        error("API disabled in the current context", 3)
    end
    return r
end

function _M.set_verify_result(result)
    if set_result(request(), result, errmsg) == base.FFI_OK then
        return true
    end
    return nil, ffi_string(errmsg[0])
end

function _M.get_verify_result()
    local result = get_result(request(), errmsg)
    if result == base.FFI_ERROR then
        return nil, ffi_string(errmsg[0])
    end
    return result
end

function _M.get_verify_cert()
    local cert = get_cert(request(), errmsg)
    if cert ~= nil then
        return ffi_gc(cert, free_cert)
    end
    return nil, ffi_string(errmsg[0])
end

return _M
