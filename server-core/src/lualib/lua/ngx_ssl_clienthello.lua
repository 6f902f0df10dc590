-- `ngx.ssl.clienthello`: the client's hello, while `ssl_client_hello_by_lua*` runs.

local ffi = require "ffi"
local bit = require "bit"
local base = require "rsty.base"
base.allows_subsystem("http", "stream")

local ffi_string = ffi.string
local error, tonumber, ipairs = error, tonumber, ipairs
local get_request, get_phase = base.get_request, ngx.get_phase
local errmsg = base.get_errmsg_ptr()

base.declare [[
int @ssl_get_client_hello_server_name(request *r, const char **name, size_t *namelen, char **err);
int @ssl_get_client_hello_ext(request *r, unsigned int type, const unsigned char **out, size_t *outlen, char **err);
int @ssl_set_protocols(request *r, int protocols, char **err);
]]
local http = ngx.config.subsystem == "http"
if http then
    base.declare [[
    int @ssl_get_client_hello_ext_present(request *r, int **extensions, size_t *extensions_len, char **err);
    int @ssl_get_client_hello_ciphers(request *r, unsigned short *ciphers, size_t ciphers_len, char **err);
    ]]
end

local get_name = base.symbol "ssl_get_client_hello_server_name"
local get_ext = base.symbol "ssl_get_client_hello_ext"
local set_protocols = base.symbol "ssl_set_protocols"

local name = ffi.new("const char *[1]")
local body = ffi.new("const unsigned char *[1]")
local list = ffi.new("int *[1]")
local length = ffi.new("size_t[1]")

local _M = { version = base.version }

-- Values that mean nothing, by which clients test their servers (RFC 8701): 0x0a0a, 0x1a1a, …
local function is_grease(value)
    return bit.band(value, 0x0f0f) == 0x0a0a and bit.rshift(value, 8) == bit.band(value, 0xff)
end

-- The numbers of an array of C, without those.
local function meaningful(array, count)
    local found = {}
    for i = 0, count - 1 do
        if not is_grease(array[i]) then
            found[#found + 1] = array[i]
        end
    end
    return found
end

local function request()
    local r = get_request()
    if not r then
        error("no request found", 3)
    end
    if get_phase() ~= "ssl_client_hello" then
        error("API disabled in the current context", 3)
    end
    return r
end

function _M.get_client_hello_server_name()
    local code = get_name(request(), name, length, errmsg)
    if code == base.FFI_OK then
        return ffi_string(name[0], length[0])
    elseif code == base.FFI_DECLINED then
        return nil
    end
    return nil, ffi_string(errmsg[0])
end

function _M.get_client_hello_ext(kind)
    local code = get_ext(request(), kind, body, length, errmsg)
    if code == base.FFI_OK then
        return ffi_string(body[0], length[0])
    elseif code == base.FFI_DECLINED then
        return nil
    end
    return nil, ffi_string(errmsg[0])
end

if http then
    local get_present = base.symbol "ssl_get_client_hello_ext_present"
    function _M.get_client_hello_ext_present()
        local code = get_present(request(), list, length, errmsg)
        if code == base.FFI_DECLINED then
            return nil
        elseif code ~= base.FFI_OK then
            return nil, ffi_string(errmsg[0])
        end
        return meaningful(list[0], tonumber(length[0]))
    end

    local get_ciphers = base.symbol "ssl_get_client_hello_ciphers"
    local MAX_CIPHERS = 256
    local ciphers = ffi.new("unsigned short[?]", MAX_CIPHERS)
    function _M.get_client_hello_ciphers()
        local count = get_ciphers(request(), ciphers, MAX_CIPHERS, errmsg)
        if count == base.FFI_DECLINED then
            return nil
        elseif count < 0 then
            return nil, ffi_string(errmsg[0])
        end
        return meaningful(ciphers, count)
    end
end

local SUPPORTED_VERSIONS = 43
local VERSIONS = {
    [0x002] = "SSLv2", [0x300] = "SSLv3", [0x301] = "TLSv1", [0x302] = "TLSv1.1", [0x303] = "TLSv1.2",
    [0x304] = "TLSv1.3",
}
function _M.get_supported_versions()
    local code = get_ext(request(), SUPPORTED_VERSIONS, body, length, errmsg)
    if code == base.FFI_DECLINED then
        return nil
    elseif code ~= base.FFI_OK then
        return nil, ffi_string(errmsg[0])
    end
    -- A byte that says how many bytes follow, two a version; the last one comes first in the list.
    local size = tonumber(length[0])
    if size == 0 or body[0][0] ~= size - 1 then
        return nil
    end
    local found = {}
    for at = size - 2, 1, -2 do
        found[#found + 1] = VERSIONS[body[0][at] * 256 + body[0][at + 1]]
    end
    return found
end

local BITS = {
    SSLv2 = 0x2, SSLv3 = 0x4, TLSv1 = 0x8, ["TLSv1.1"] = 0x10, ["TLSv1.2"] = 0x20, ["TLSv1.3"] = 0x40,
}
function _M.set_protocols(protocols)
    local r = request()
    local bits = 0
    for _, protocol in ipairs(protocols) do
        if not BITS[protocol] then
            return nil, "invalid protocols failed"
        end
        bits = bit.bor(bits, BITS[protocol])
    end
    if set_protocols(r, bits, errmsg) == base.FFI_OK then
        return true
    end
    return nil, ffi_string(errmsg[0])
end

return _M
