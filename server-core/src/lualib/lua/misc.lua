-- Fields of `ngx` that are computed: status, headers_sent, is_subrequest. And `os.getenv` before there are requests.

local ffi = require "ffi"
local base = require "rsty.base"

local C = ffi.C
local type, error, tonumber, rawget, rawset = type, error, tonumber, rawget, rawset
local ngx = ngx
local get_request, running_request = base.get_request, base.running_request
local BAD_CONTEXT, NO_REQ_CTX = base.FFI_BAD_CONTEXT, base.FFI_NO_REQ_CTX

base.declare [[
int @get_resp_status(request *r);
int @get_conf_env(const unsigned char *name, unsigned char **env_buf, size_t *name_len);
int ngx_http_lua_ffi_set_resp_status(ngx_http_request_t *r, int status);
int ngx_http_lua_ffi_is_subrequest(ngx_http_request_t *r);
int ngx_http_lua_ffi_headers_sent(ngx_http_request_t *r);
int ngx_http_lua_ffi_req_is_internal(ngx_http_request_t *r);
]]

local get_resp_status = base.symbol "get_resp_status"
local get_conf_env = base.symbol "get_conf_env"
local http = ngx.config.subsystem == "http"

local getters, setters = {}, {}

setmetatable(ngx, {
    __index = function(self, key)
        local get = getters[key]
        if get then
            return get()
        end
        return rawget(self, key)
    end,
    __newindex = function(self, key, value)
        local set = setters[key]
        if set then
            return set(value)
        end
        rawset(self, key, value)
    end,
})

function getters.status()
    local r = running_request()
    local status = get_resp_status(r)
    if status == BAD_CONTEXT then
        error("API disabled in the current context", 2)
    end
    return status
end

if http then
    function setters.status(status)
        local r = running_request()
        if type(status) ~= "number" then
            status = tonumber(status)
        end
        if C.ngx_http_lua_ffi_set_resp_status(r, status) == BAD_CONTEXT then
            error("API disabled in the current context", 2)
        end
    end

    function getters.is_subrequest()
        local r = running_request()
        local found = C.ngx_http_lua_ffi_is_subrequest(r)
        if found == BAD_CONTEXT then
            error("API disabled in the current context", 2)
        end
        return found == 1
    end

    function getters.headers_sent()
        local r = running_request()
        local found = C.ngx_http_lua_ffi_headers_sent(r)
        if found == NO_REQ_CTX then
            error("no request ctx found")
        end
        if found == BAD_CONTEXT then
            error("API disabled in the current context", 2)
        end
        return found == 1
    end

    function ngx.req.is_internal()
        local r = running_request()
        local found = C.ngx_http_lua_ffi_req_is_internal(r)
        if found == BAD_CONTEXT then
            error("API disabled in the current context")
        end
        return found == 1
    end
end

-- While the configuration is read, variables of `env` directives are not in the environment yet.
local getenv = os.getenv
local env, name_len = ffi.new("unsigned char *[1]"), ffi.new("size_t[1]")

function os.getenv(name)
    if get_request() then
        os.getenv = getenv
        return getenv(name)
    end
    if type(name) == "string" and get_conf_env(name, env, name_len) == 0 then
        return ffi.string(env[0] + name_len[0] + 1)
    end
    return getenv(name)
end

return {
    _VERSION = base.version,
    register_ngx_magic_key_getter = function(key, get)
        getters[key] = get
    end,
    register_ngx_magic_key_setter = function(key, set)
        setters[key] = set
    end,
}
