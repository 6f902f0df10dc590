-- `ngx.balancer`: what `balancer_by_lua*` may decide.

local ffi = require "ffi"
local base = require "rsty.base"
base.allows_subsystem("http", "stream")

local C, ffi_string = ffi.C, ffi.string
local type, error, tonumber = type, error, tonumber
local running_request, get_string_buf, get_size_ptr = base.running_request, base.get_string_buf, base.get_size_ptr

base.declare [[
int ngx_http_lua_ffi_balancer_set_current_peer(ngx_http_request_t *r, const unsigned char *addr, size_t addr_len,
    int port, const unsigned char *host, ssize_t host_len, char **err);
int ngx_http_lua_ffi_balancer_enable_keepalive(ngx_http_request_t *r, unsigned long timeout,
    unsigned int max_requests, char **err);
int ngx_http_lua_ffi_balancer_set_more_tries(ngx_http_request_t *r, int count, char **err);
int ngx_http_lua_ffi_balancer_get_last_failure(ngx_http_request_t *r, int *status, char **err);
int ngx_http_lua_ffi_balancer_set_timeouts(ngx_http_request_t *r, long connect_timeout, long send_timeout,
    long read_timeout, char **err);
int ngx_http_lua_ffi_balancer_recreate_request(ngx_http_request_t *r, char **err);
int ngx_http_lua_ffi_balancer_set_upstream_tls(ngx_http_request_t *r, int on, char **err);
int ngx_http_lua_ffi_balancer_bind_to_local_addr(ngx_http_request_t *r, const unsigned char *addr, size_t addr_len,
    unsigned char *errbuf, size_t *errbuf_size);
]]

local answer, errmsg = base.answer, base.get_errmsg_ptr()
local status = ffi.new("int[1]")
local ERROR_SIZE = 256

-- A time in milliseconds from one in seconds; 0 leaves the setting alone.
local function milliseconds(seconds, name)
    if not seconds then
        return 0
    end
    if type(seconds) ~= "number" or seconds <= 0 then
        error("bad " .. name .. " timeout", 3)
    end
    return seconds * 1000
end

-- An optional count that is not negative.
local function count(value, default, position)
    if not value then
        return default
    end
    local where = "bad argument #" .. position .. " to 'enable_keepalive' "
    if type(value) ~= "number" then
        error(where .. "(number expected, got " .. type(value) .. ")", 3)
    end
    if value < 0 then
        error(where .. "(expected >= 0)", 3)
    end
    return value
end

local _M = { version = base.version }

function _M.set_current_peer(addr, port, host)
    local r = running_request(2)
    if host ~= nil and type(host) ~= "string" then
        error("bad argument #3 to 'set_current_peer' (string expected, got " .. type(host) .. ")", 2)
    end
    -- What is no number fails in the call.
    port = port and tonumber(port) or not port and 0
    return answer(C.ngx_http_lua_ffi_balancer_set_current_peer(r, addr, #addr, port or nil, host,
                                                                host and #host or 0, errmsg))
end

function _M.enable_keepalive(idle_timeout, max_requests)
    local r = running_request(2)
    local timeout = count(idle_timeout, 60, 1) * 1000
    return answer(C.ngx_http_lua_ffi_balancer_enable_keepalive(r, timeout, count(max_requests, 100, 2), errmsg))
end

function _M.set_more_tries(more)
    local ok, err = answer(C.ngx_http_lua_ffi_balancer_set_more_tries(running_request(2), more, errmsg))
    if ok and errmsg[0] ~= nil then
        return true, ffi_string(errmsg[0])
    end
    return ok, err
end

function _M.get_last_failure()
    local state = C.ngx_http_lua_ffi_balancer_get_last_failure(running_request(2), status, errmsg)
    if state == 0 then
        return nil
    end
    if state == base.FFI_ERROR then
        return nil, nil, ffi_string(errmsg[0])
    end
    return state == 2 and "next" or "failed", status[0]
end

function _M.set_timeouts(connect, send, read)
    local r = running_request(2)
    local ok, err = answer(C.ngx_http_lua_ffi_balancer_set_timeouts(
        r, milliseconds(connect, "connect"), milliseconds(send, "send"), milliseconds(read, "read"), errmsg))
    return ok or false, err
end

function _M.recreate_request()
    return answer(C.ngx_http_lua_ffi_balancer_recreate_request(running_request(2), errmsg))
end

function _M.set_upstream_tls(on)
    local wanted = (on == 0 or on == false) and 0 or 1
    return answer(C.ngx_http_lua_ffi_balancer_set_upstream_tls(running_request(2), wanted, errmsg))
end

function _M.bind_to_local_addr(addr)
    local r = running_request(2)
    if type(addr) ~= "string" then
        error("bad argument #1 to 'bind_to_local_addr' (string expected, got " .. type(addr) .. ")", 2)
    end
    local buf, size = get_string_buf(ERROR_SIZE), get_size_ptr()
    size[0] = ERROR_SIZE
    if C.ngx_http_lua_ffi_balancer_bind_to_local_addr(r, addr, #addr, buf, size) == base.FFI_OK then
        return true
    end
    return nil, ffi_string(buf, size[0])
end

return _M
