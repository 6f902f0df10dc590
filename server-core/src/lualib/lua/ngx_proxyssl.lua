-- `ngx.proxyssl`: the TLS connection to a server behind us.

local base = require "rsty.base"
base.allows_subsystem("http", "stream")

local ffi_string = require "ffi".string
local error, tonumber = error, tonumber
local get_request, errmsg = base.get_request, base.get_errmsg_ptr()

base.declare [[
int @proxy_ssl_get_tls1_version(request *r, char **err);
]]

local tls1_version = base.symbol "proxy_ssl_get_tls1_version"

local _M = {
    version = base.version,
    SSL3_VERSION = 0x0300,
    TLS1_VERSION = 0x0301,
    TLS1_1_VERSION = 0x0302,
    TLS1_2_VERSION = 0x0303,
    TLS1_3_VERSION = 0x0304,
}

local names = {
    [0x0300] = "SSLv3",
    [0x0301] = "TLSv1",
    [0x0302] = "TLSv1.1",
    [0x0303] = "TLSv1.2",
    [0x0304] = "TLSv1.3",
}

function _M.get_tls1_version()
    local r = get_request()
    if not r then
        error("no request found")
    end
    local version = tonumber(tls1_version(r, errmsg))
    if version >= 0 then
        return version
    end
    return nil, ffi_string(errmsg[0])
end

function _M.get_tls1_version_str()
    local version, err = _M.get_tls1_version()
    if not version then
        return nil, err
    end
    local name = names[version]
    if not name then
        return nil, "unknown version"
    end
    return name
end

return _M
