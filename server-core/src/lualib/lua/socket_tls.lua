-- TLS of cosockets: `sslhandshake` and the methods around it. The C functions of HTTP serve `stream { }` as well.

local ffi = require "ffi"
local base = require "rsty.base"
base.allows_subsystem("http", "stream")

local C, ffi_string, ffi_gc = ffi.C, ffi.string, ffi.gc
local error, type, select, rawget = error, type, select, rawget
local newproxy, getmetatable, setmetatable = newproxy, getmetatable, setmetatable
local yield = coroutine._yield
local get_request = base.get_request

base.declare [[
int ngx_http_lua_ffi_socket_tcp_sslhandshake(request *r, void *u, void *sess, int enable_session_reuse, ngx_str_t *server_name,
    int verify, int ocsp_status_req, void *chain, void *pkey, char **errmsg);
int ngx_http_lua_ffi_socket_tcp_get_sslhandshake_result(request *r, void *u, void **sess, char **errmsg, int *openssl_error_code);
void ngx_http_lua_ffi_ssl_free_session(void *sess);
int ngx_http_lua_socket_tcp_get_ssl_session(request *r, void *u, void **sess, char **errmsg);
int ngx_http_lua_ffi_socket_tcp_get_ssl_pointer(request *r, void *u, void **pssl, char **errmsg);
int ngx_http_lua_ffi_socket_tcp_get_ssl_ctx(request *r, void *u, void **pctx, char **errmsg);
int ngx_http_lua_ffi_socket_tcp_settrustedstore(request *r, void *u, void *store, char **errmsg);
]]

local begin_handshake = C.ngx_http_lua_ffi_socket_tcp_sslhandshake
local get_result = C.ngx_http_lua_ffi_socket_tcp_get_sslhandshake_result
local free_session = C.ngx_http_lua_ffi_ssl_free_session
local get_pointer = C.ngx_http_lua_ffi_socket_tcp_get_ssl_pointer
local get_context = C.ngx_http_lua_ffi_socket_tcp_get_ssl_ctx
local set_store = C.ngx_http_lua_ffi_socket_tcp_settrustedstore

-- The slots of a socket's table.
local SOCKET, CERTIFICATE, KEY, STORE = 1, 6, 7, 10

local errmsg = base.get_errmsg_ptr()
local out = ffi.new("void *[1]")
local code = ffi.new("int[1]")
local name = ffi.new("ngx_str_t[1]")

local function socket_of(sock)
    local r = get_request()
    if not r then
        error("no request found", 3)
    end
    local u = rawget(sock, SOCKET)
    if not u then
        error("socket is never created nor connected")
    end
    return r, u
end

-- A session as scripts see it: in `stream { }` it is a userdatum, which holds the pointer.
local wrap, unwrap
if ngx.config.subsystem == "http" then
    function wrap(session)
        return session
    end

    function unwrap(session)
        return type(session) == "cdata" and session or nil
    end
else
    local sessions = setmetatable({}, { __mode = "k" })

    function wrap(session)
        local userdatum = newproxy(true)
        sessions[userdatum] = ffi_gc(session, nil)
        getmetatable(userdatum).__gc = function()
            free_session(session)
        end
        return userdatum
    end

    function unwrap(userdatum)
        return sessions[userdatum]
    end
end

-- What the handshake led to, as `sslhandshake` returns it.
local function result_of(r, u, reused)
    if get_result(r, u, out, errmsg, code) ~= base.FFI_OK then
        local text = ffi_string(errmsg[0])
        if code[0] ~= 0 then
            text = code[0] .. ": " .. text
        end
        return nil, text
    end
    if reused == false then
        return true
    end
    if out[0] == nil then
        return out[0]
    end
    return wrap(ffi_gc(out[0], free_session))
end

local function sslhandshake(sock, reused, server_name, verify, ocsp, ...)
    local extra = select("#", ...)
    if not sock or extra > 0 then
        local seen = sock and 5 + extra or 0
        error("ngx.socket sslhandshake: expecting 1 ~ 5 arguments (including the object), but seen " .. seen)
    end
    local r, u = socket_of(sock)
    name[0].data = server_name or nil
    name[0].len = server_name and #server_name or 0
    local session = reused and unwrap(reused) or nil
    local rc = begin_handshake(r, u, session, reused ~= false, name, verify and 1 or 0, ocsp and 1 or 0,
                               rawget(sock, CERTIFICATE), rawget(sock, KEY), errmsg)
    if rc == base.FFI_AGAIN then
        yield()
        return result_of(r, u, reused)
    elseif rc == base.FFI_OK then
        return result_of(r, u, reused)
    elseif rc == base.FFI_DONE then
        return reused
    elseif rc == base.FFI_NO_REQ_CTX then
        error("no request ctx found", 2)
    end
    return nil, ffi_string(errmsg[0])
end

local function setclientcert(sock, certificate, key)
    if not certificate and not key then
        sock[CERTIFICATE], sock[KEY] = nil, nil
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
    sock[CERTIFICATE], sock[KEY] = certificate, key
    return true
end

local function settrustedstore(sock, store)
    if store ~= nil and type(store) ~= "cdata" then
        return nil, "bad store arg: cdata expected, got " .. type(store)
    end
    local r, u = socket_of(sock)
    if set_store(r, u, store, errmsg) ~= base.FFI_OK then
        return nil, ffi_string(errmsg[0])
    end
    -- The table keeps the store alive until the handshake.
    sock[STORE] = store
    return true
end

local function getsslsession(sock)
    if not sock then
        error("ngx.socket getsslsession: expecting the cosocket object, but seen none")
    end
    local r, u = socket_of(sock)
    if C.ngx_http_lua_socket_tcp_get_ssl_session(r, u, out, errmsg) ~= base.FFI_OK then
        return nil, ffi_string(errmsg[0])
    end
    return wrap(ffi_gc(out[0], free_session))
end

local function getter(get)
    return function(sock)
        local r, u = socket_of(sock)
        if get(r, u, out, errmsg) ~= base.FFI_OK then
            return nil, ffi_string(errmsg[0])
        end
        return out[0]
    end
end

local methods = debug.getregistry().__tcp_cosocket_mt
methods.sslhandshake = sslhandshake
methods.setclientcert = setclientcert
methods.settrustedstore = settrustedstore
methods.getsslsession = getsslsession
methods.getsslpointer = getter(get_pointer)
methods.getsslctx = getter(get_context)

return { version = base.version }
