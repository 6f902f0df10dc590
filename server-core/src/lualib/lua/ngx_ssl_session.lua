-- `ngx.ssl.session`: sessions, while `ssl_session_fetch_by_lua*` and `ssl_session_store_by_lua*` run.

local ffi = require "ffi"
local base = require "rsty.base"
base.allows_subsystem("http")

local ffi_string, error = ffi.string, error
local running_request, get_string_buf = base.running_request, base.get_string_buf
local errmsg = base.get_errmsg_ptr()

base.declare [[
int @ssl_set_serialized_session(request *r, const unsigned char *buf, int len, char **err);
int @ssl_get_serialized_session(request *r, char *buf, char **err);
int @ssl_get_session_id(request *r, char *buf, char **err);
int @ssl_get_serialized_session_size(request *r, char **err);
int @ssl_get_session_id_size(request *r, char **err);
]]

local _M = { version = base.version }

-- A function that asks for a size and then for as many bytes.
local function reading(name, size_name)
    local read, size_of = base.symbol(name), base.symbol(size_name)
    return function()
        local r = running_request(2)
        local size = size_of(r, errmsg)
        if size < 0 then
            return nil, ffi_string(errmsg[0])
        end
        local buf = get_string_buf(size)
        if read(r, buf, errmsg) < 0 then
            return nil, ffi_string(errmsg[0])
        end
        return ffi_string(buf, size)
    end
end

_M.get_serialized_session = reading("ssl_get_serialized_session", "ssl_get_serialized_session_size")
_M.get_session_id = reading("ssl_get_session_id", "ssl_get_session_id_size")

local set = base.symbol "ssl_set_serialized_session"
function _M.set_serialized_session(session)
    if set(running_request(2), session, #session, errmsg) < 0 then
        return nil, ffi_string(errmsg[0])
    end
    return true
end

return _M
