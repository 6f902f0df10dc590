-- `ngx.ssl`: the TLS connection of the client, in handshakes and in requests.

local ffi = require "ffi"
local base = require "rsty.base"
base.allows_subsystem("http", "stream")

local ffi_string, ffi_gc = ffi.string, ffi.gc
local error, tonumber, type = error, tonumber, type
local running_request, get_string_buf = base.running_request, base.get_string_buf
local answer, errmsg = base.answer, base.get_errmsg_ptr()

base.declare [[
int @ssl_set_der_certificate(request *r, const char *data, size_t len, char **err);
int @ssl_clear_certs(request *r, char **err);
int @ssl_set_der_private_key(request *r, const char *data, size_t len, char **err);
int @ssl_raw_server_addr(request *r, char **addr, size_t *addrlen, int *addrtype, char **err);
int @ssl_server_port(request *r, unsigned short *server_port, char **err);
int @ssl_server_name(request *r, char **name, size_t *namelen, char **err);
int @ssl_raw_client_addr(request *r, char **addr, size_t *addrlen, int *addrtype, char **err);
int @cert_pem_to_der(const unsigned char *pem, size_t pem_len, unsigned char *der, char **err);
int @priv_key_pem_to_der(const unsigned char *pem, size_t pem_len, const unsigned char *passphrase,
    unsigned char *der, char **err);
int @ssl_get_tls1_version(request *r, char **err);
void *@parse_pem_cert(const unsigned char *pem, size_t pem_len, char **err);
void *@parse_pem_priv_key(const unsigned char *pem, size_t pem_len, char **err);
void *@parse_der_cert(const char *data, size_t len, char **err);
void *@parse_der_priv_key(const char *data, size_t len, char **err);
void *@get_req_ssl_pointer(request *r, char **err);
void *@get_upstream_ssl_pointer(request *r, char **err);
int @set_cert(void *r, void *cdata, char **err);
int @set_priv_key(void *r, void *cdata, char **err);
void @free_cert(void *cdata);
void @free_priv_key(void *cdata);
int @ssl_verify_client(void *r, void *client_certs, void *trusted_certs, int depth, char **err);
int @ssl_client_random(request *r, const unsigned char *out, size_t *outlen, char **err);
int @req_shared_ssl_ciphers(request *r, unsigned short *ciphers, unsigned short *nciphers, int filter_grease,
    char **err);
]]

local function symbol(name)
    return base.symbol(name)
end

local text = ffi.new("char *[1]")
local length = ffi.new("size_t[1]")
local kind = ffi.new("int[1]")
local number = ffi.new("unsigned short[1]")

local _M = {
    version = base.version,
    SSL3_VERSION = 0x0300,
    TLS1_VERSION = 0x0301,
    TLS1_1_VERSION = 0x0302,
    TLS1_2_VERSION = 0x0303,
    TLS1_3_VERSION = 0x0304,
}

-- A function of the connection that takes bytes.
local function taking_bytes(name)
    local call = symbol(name)
    return function(data)
        return answer(call(running_request(2), data, #data, errmsg))
    end
end

_M.set_der_cert = taking_bytes "ssl_set_der_certificate"
_M.set_der_priv_key = taking_bytes "ssl_set_der_private_key"

local clear_certs = symbol "ssl_clear_certs"
function _M.clear_certs()
    return answer(clear_certs(running_request(2), errmsg))
end

-- A function that parses bytes into an object with a destructor.
local function parsing(name, free)
    local call, destroy = symbol(name), symbol(free)
    return function(data)
        local object = call(data, #data, errmsg)
        if object ~= nil then
            return ffi_gc(object, destroy)
        end
        return nil, ffi_string(errmsg[0])
    end
end

_M.parse_pem_cert = parsing("parse_pem_cert", "free_cert")
_M.parse_der_cert = parsing("parse_der_cert", "free_cert")
_M.parse_pem_priv_key = parsing("parse_pem_priv_key", "free_priv_key")
_M.parse_der_priv_key = parsing("parse_der_priv_key", "free_priv_key")

local set_cert, set_priv_key = symbol "set_cert", symbol "set_priv_key"
function _M.set_cert(cert)
    return answer(set_cert(running_request(2), cert, errmsg))
end
function _M.set_priv_key(key)
    return answer(set_priv_key(running_request(2), key, errmsg))
end

local cert_pem_to_der, key_pem_to_der = symbol "cert_pem_to_der", symbol "priv_key_pem_to_der"
function _M.cert_pem_to_der(pem)
    local out = get_string_buf(#pem)
    local size = cert_pem_to_der(pem, #pem, out, errmsg)
    if size > 0 then
        return ffi_string(out, size)
    end
    return nil, ffi_string(errmsg[0])
end
function _M.priv_key_pem_to_der(pem, passphrase)
    local out = get_string_buf(#pem)
    local size = key_pem_to_der(pem, #pem, passphrase, out, errmsg)
    if size > 0 then
        return ffi_string(out, size)
    end
    return nil, ffi_string(errmsg[0])
end

local KINDS = { [0] = "unix", [1] = "inet", [2] = "inet6" }
local function address(name)
    local call = symbol(name)
    return function()
        if call(running_request(2), text, length, kind, errmsg) ~= base.FFI_OK then
            return nil, nil, ffi_string(errmsg[0])
        end
        local family = KINDS[kind[0]]
        if not family then
            return nil, nil, "unknown address type: " .. kind[0]
        end
        return ffi_string(text[0], length[0]), family
    end
end

_M.raw_server_addr = address "ssl_raw_server_addr"
_M.raw_client_addr = address "ssl_raw_client_addr"

local server_port = symbol "ssl_server_port"
function _M.server_port()
    if server_port(running_request(2), number, errmsg) == base.FFI_OK then
        return number[0]
    end
    return nil, ffi_string(errmsg[0])
end

local server_name = symbol "ssl_server_name"
function _M.server_name()
    local code = server_name(running_request(2), text, length, errmsg)
    if code == base.FFI_OK then
        return ffi_string(text[0], length[0])
    elseif code == base.FFI_DECLINED then
        return nil
    end
    return nil, ffi_string(errmsg[0])
end

local get_version = symbol "ssl_get_tls1_version"
local NAMES = {
    [0x0300] = "SSLv3", [0x0301] = "TLSv1", [0x0302] = "TLSv1.1", [0x0303] = "TLSv1.2", [0x0304] = "TLSv1.3",
}
function _M.get_tls1_version()
    local version = get_version(running_request(2), errmsg)
    if version == base.FFI_ERROR then
        return nil, ffi_string(errmsg[0])
    end
    return tonumber(version)
end
function _M.get_tls1_version_str()
    local version, err = _M.get_tls1_version()
    if not version then
        return nil, err
    end
    local name = NAMES[version]
    if not name then
        return nil, "unknown version"
    end
    return name
end

local verify_client = symbol "ssl_verify_client"
function _M.verify_client(ca_certs, depth, trusted_certs)
    return answer(verify_client(running_request(2), ca_certs, trusted_certs, depth or -1, errmsg))
end

local client_random = symbol "ssl_client_random"
function _M.get_client_random(size)
    local r = running_request(2)
    if size == nil then
        size = 32
    end
    local out = size ~= 0 and get_string_buf(size) or nil
    length[0] = size
    if client_random(r, out, length, errmsg) ~= base.FFI_OK then
        return nil, ffi_string(errmsg[0])
    end
    if size == 0 then
        return tonumber(length[0])
    end
    return ffi_string(out, length[0])
end

local req_pointer = symbol "get_req_ssl_pointer"
function _M.get_req_ssl_pointer()
    local pointer = req_pointer(running_request(2), errmsg)
    if pointer == nil then
        return nil, ffi_string(errmsg[0])
    end
    return pointer
end

ffi.cdef "int SSL_session_reused(const void *ssl);"
function _M.ssl_session_reused(pointer)
    if type(pointer) ~= "cdata" then
        return nil, "bad ssl"
    end
    return ffi.C.SSL_session_reused(pointer) == 1
end

if ngx.config.subsystem == "http" then
    base.declare [[
    int @ssl_server_random(request *r, const unsigned char *out, size_t *outlen, char **err);
    int @ssl_session_master_key(request *r, const unsigned char *out, size_t *outlen, char **err);
    int @ssl_export_keying_material(void *r, unsigned char *out, size_t out_size, const char *label, size_t llen,
        const unsigned char *ctx, size_t ctxlen, int use_ctx, char **err);
    int @ssl_export_keying_material_early(void *r, unsigned char *out, size_t out_size, const char *label,
        size_t llen, const unsigned char *ctx, size_t ctxlen, char **err);
    ]]

    -- A function that gives so many bytes, or with 0 says how many there are.
    local function secret(name, usual)
        local call = symbol(name)
        return function(size)
            local r = running_request(2)
            if size == nil then
                size = usual
            end
            local out = get_string_buf(size)
            length[0] = size
            if call(r, out, length, errmsg) ~= base.FFI_OK then
                return nil, ffi_string(errmsg[0])
            end
            return size == 0 and tonumber(length[0]) or ffi_string(out, length[0])
        end
    end

    _M.get_server_random = secret("ssl_server_random", 32)
    _M.get_session_master_key = secret("ssl_session_master_key", 48)

    local function exported(code, out, size)
        if code == base.FFI_OK then
            return ffi_string(out, size)
        elseif code == base.FFI_DECLINED then
            return nil
        end
        return nil, ffi_string(errmsg[0])
    end

    local export, export_early = symbol "ssl_export_keying_material", symbol "ssl_export_keying_material_early"
    function _M.export_keying_material(size, label, context)
        local out = get_string_buf(size)
        local context_size = context and #context or 0
        local code = export(running_request(2), out, size, label, #label, context, context_size, context and 1 or 0, errmsg)
        return exported(code, out, size)
    end
    function _M.export_keying_material_early(size, label, context)
        local out = get_string_buf(size)
        local context_size = context and #context or 0
        return exported(export_early(running_request(2), out, size, label, #label, context, context_size, errmsg), out, size)
    end
end

local upstream_pointer = symbol "get_upstream_ssl_pointer"
function _M.get_upstream_ssl_pointer()
    local pointer = upstream_pointer(running_request(2), errmsg)
    if pointer == nil then
        return nil, ffi_string(errmsg[0])
    end
    return pointer
end

local shared_ciphers = symbol "req_shared_ssl_ciphers"
local MAX_CIPHERS = 256
local ciphers = ffi.new("unsigned short[?]", MAX_CIPHERS)
function _M.get_req_shared_ssl_ciphers(filter_grease)
    number[0] = MAX_CIPHERS
    local filter = filter_grease == false and 0 or 1
    if shared_ciphers(running_request(2), ciphers, number, filter, errmsg) ~= base.FFI_OK then
        return nil, ffi_string(errmsg[0])
    end
    local list = {}
    for i = 1, number[0] do
        list[i] = ciphers[i - 1]
    end
    return list
end

return _M
