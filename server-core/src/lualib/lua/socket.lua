-- Methods of cosockets: options, descriptor, client certificates and the TLS handshake.

local ffi = require "ffi"
local base = require "resty.core.base"
local registry = require("debug").getregistry()

local ffi_string = ffi.string
local get_request, get_string_buf, get_size_ptr = base.get_request, base.get_string_buf, base.get_size_ptr
local error, type, tostring, tonumber, select = error, type, tostring, tonumber, select
local errmsg = base.get_errmsg_ptr()
local yield = coroutine._yield

-- Slots of a socket's table.
local SOCKET, CERTIFICATE, KEY, TRANSPARENT, STORE = 1, 6, 7, 9, 10
local ERROR_SIZE = 4096

local options = {
    ["keepalive"] = 1,
    ["reuseaddr"] = 2,
    ["tcp-nodelay"] = 3,
    ["sndbuf"] = 4,
    ["rcvbuf"] = 5,
    ["keepintvl"] = 6,
    ["keepcnt"] = 7,
}

base.declare [[
int @socket_tcp_getoption(void *socket, int option, int *value, unsigned char *err, size_t *errlen);
int @socket_tcp_setoption(void *socket, int option, int value, unsigned char *err, size_t *errlen);
int @socket_tcp_getfd(request *r, void *socket, char **errmsg);
]]

local tcp_getoption = base.symbol "socket_tcp_getoption"
local tcp_setoption = base.symbol "socket_tcp_setoption"
local tcp_getfd = base.symbol "socket_tcp_getfd"
local found = ffi.new("int[1]")

local function handle_of(self)
    return self[SOCKET] or error("socket is never created nor connected", 3)
end

local function running_request(self, name)
    if not self then
        error("ngx.socket " .. name .. ": expecting the cosocket object, but seen none", 3)
    end
    return get_request() or error("no request found", 3)
end

local methods = {}

function methods.getoption(self, option)
    local socket = handle_of(self)
    if option == nil then
        return nil, 'missing the "option" argument'
    end
    local number = options[option]
    if not number then
        return nil, "unsupported option " .. tostring(option)
    end
    local err, length = get_string_buf(ERROR_SIZE), get_size_ptr()
    length[0] = ERROR_SIZE
    if tcp_getoption(socket, number, found, err, length) ~= base.FFI_OK then
        return nil, ffi_string(err, length[0])
    end
    return tonumber(found[0])
end

function methods.setoption(self, option, value)
    if option == nil then
        return nil, 'missing the "option" argument'
    end
    if value == nil then
        return nil, 'missing the "value" argument'
    end
    if option == "ip-transparent" then
        self[TRANSPARENT] = value
        return true
    end
    local socket, number = handle_of(self), options[option]
    if not number then
        return nil, "unsupported option " .. tostring(option)
    end
    local err, length = get_string_buf(ERROR_SIZE), get_size_ptr()
    length[0] = ERROR_SIZE
    if tcp_setoption(socket, number, value, err, length) ~= base.FFI_OK then
        return nil, ffi_string(err, length[0])
    end
    return true
end

function methods.getfd(self)
    local r = running_request(self, "getfd")
    local fd = tcp_getfd(r, handle_of(self), errmsg)
    if fd < 0 then
        return nil, ffi_string(errmsg[0])
    end
    return fd
end

local tls = {}

if ngx.config.subsystem == "http" then
    base.declare [[
    int @socket_tcp_sslhandshake(request *r, void *socket, void *session, int reuse, ngx_str_t *name, int verify,
        int ocsp, void *chain, void *key, char **errmsg);
    int @socket_tcp_get_sslhandshake_result(request *r, void *socket, void **session, char **errmsg, int *code);
    int @socket_tcp_settrustedstore(request *r, void *socket, void *store, char **errmsg);
    void @ssl_free_session(void *session);
    int @socket_tcp_get_ssl_pointer(request *r, void *socket, void **pointer, char **errmsg);
    int @socket_tcp_get_ssl_ctx(request *r, void *socket, void **pointer, char **errmsg);
    int ngx_http_lua_socket_tcp_get_ssl_session(ngx_http_request_t *r, void *socket, void **session, char **errmsg);
    ]]

    local handshake = base.symbol "socket_tcp_sslhandshake"
    local handshake_result = base.symbol "socket_tcp_get_sslhandshake_result"
    local set_store = base.symbol "socket_tcp_settrustedstore"
    local free_session = base.symbol "ssl_free_session"
    local session, code, name = ffi.new("void *[1]"), ffi.new("int[1]"), ffi.new("ngx_str_t[1]")

    local pointer = ffi.new("void *[1]")

    local function getter(ask, finish)
        return function(self)
            local r = running_request(self, "getfd")
            if ask(r, handle_of(self), pointer, errmsg) == base.FFI_ERROR then
                return nil, ffi_string(errmsg[0])
            end
            return finish and ffi.gc(pointer[0], finish) or pointer[0]
        end
    end

    tls.getsslpointer = getter(base.symbol "socket_tcp_get_ssl_pointer")
    tls.getsslctx = getter(base.symbol "socket_tcp_get_ssl_ctx")
    tls.getsslsession = getter(ffi.C.ngx_http_lua_socket_tcp_get_ssl_session, free_session)

    function tls.setclientcert(self, certificate, key)
        if not certificate and not key then
            self[CERTIFICATE], self[KEY] = nil, nil
            return true
        end
        if not certificate or not key then
            return nil, "client certificate must be supplied with corresponding private key"
        end
        if type(certificate) ~= "cdata" then
            return nil, "bad cert arg: cdata expected, got " .. type(certificate)
        end
        if type(key) ~= "cdata" then
            return nil, "bad pkey arg: cdata expected, got " .. type(key)
        end
        self[CERTIFICATE], self[KEY] = certificate, key
        return true
    end

    function tls.settrustedstore(self, store)
        if store ~= nil and type(store) ~= "cdata" then
            return nil, "bad store arg: cdata expected, got " .. type(store)
        end
        local r = get_request() or error("no request found", 2)
        if set_store(r, handle_of(self), store, errmsg) ~= base.FFI_OK then
            return nil, ffi_string(errmsg[0])
        end
        self[STORE] = store
        return true
    end

    function tls.sslhandshake(self, reused, server_name, verify, ocsp, ...)
        local extra = select("#", ...)
        if not self or extra > 0 then
            error("ngx.socket sslhandshake: expecting 1 ~ 5 arguments (including the object), but seen "
                .. (self and 5 + extra or 0))
        end
        local r = get_request() or error("no request found", 2)
        local socket = handle_of(self)
        name[0].data, name[0].len = server_name or nil, server_name and #server_name or 0
        session[0], code[0] = type(reused) == "cdata" and reused or nil, 0
        local rc = handshake(r, socket, session[0], reused ~= false, name, verify and 1 or 0, ocsp and 1 or 0,
            self[CERTIFICATE], self[KEY], errmsg)
        if rc == base.FFI_NO_REQ_CTX then
            error("no request ctx found", 2)
        end
        while rc == base.FFI_AGAIN do
            yield()
            rc = handshake_result(r, socket, session, errmsg, code)
        end
        if rc == base.FFI_DONE then
            return reused
        end
        if rc == base.FFI_OK and reused == false then
            return true
        end
        if rc == base.FFI_OK then
            rc = handshake_result(r, socket, session, errmsg, code)
        end
        if rc ~= base.FFI_OK then
            local text = ffi_string(errmsg[0])
            return nil, code[0] ~= 0 and code[0] .. ": " .. text or text
        end
        return session[0] ~= nil and ffi.gc(session[0], free_session) or nil
    end
end

for _, kind in ipairs { "__tcp_cosocket_mt", "__tcp_req_cosocket_mt", "__tcp_raw_req_cosocket_mt" } do
    local metatable = registry[kind]
    if metatable then
        for key, method in pairs(methods) do
            metatable[key] = method
        end
        for key, method in pairs(kind == "__tcp_cosocket_mt" and tls or {}) do
            metatable[key] = method
        end
    end
end

return { version = base.version }
