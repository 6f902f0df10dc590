-- `ngx.ssl.proxysslcert`: the certificate that is shown to a server behind us.

local base = require "rsty.base"
base.allows_subsystem("http", "stream")

local ffi_string = require "ffi".string
local error = error
local running_request, answer, errmsg = base.running_request, base.answer, base.get_errmsg_ptr()

base.declare [[
int @proxy_ssl_clear_certs(request *r, char **err);
int @proxy_ssl_set_der_certificate(request *r, const char *data, size_t len, char **err);
int @proxy_ssl_set_der_private_key(request *r, const char *data, size_t len, char **err);
int @proxy_ssl_set_cert(void *r, void *cdata, char **err);
int @proxy_ssl_set_priv_key(void *r, void *cdata, char **err);
]]

local function taking_bytes(name)
    local call = base.symbol(name)
    return function(data)
        return answer(call(running_request(2), data, #data, errmsg))
    end
end

local function taking_object(name)
    local call = base.symbol(name)
    return function(object)
        return answer(call(running_request(2), object, errmsg))
    end
end

local clear_certs = base.symbol "proxy_ssl_clear_certs"

local _M = {
    version = base.version,
    set_der_cert = taking_bytes "proxy_ssl_set_der_certificate",
    set_der_priv_key = taking_bytes "proxy_ssl_set_der_private_key",
    set_cert = taking_object "proxy_ssl_set_cert",
    set_priv_key = taking_object "proxy_ssl_set_priv_key",
}

function _M.clear_certs()
    return answer(clear_certs(running_request(2), errmsg))
end

return _M
