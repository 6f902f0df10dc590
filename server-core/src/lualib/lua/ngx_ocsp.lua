-- `ngx.ocsp`: who says whether a certificate is still good, what to ask, and what the answer means.

local ffi = require "ffi"
local base = require "rsty.base"
base.allows_subsystem("http")

local C, ffi_string = ffi.C, ffi.string
local tonumber, error = tonumber, error
local get_string_buf, get_string_buf_size = base.get_string_buf, base.get_string_buf_size
local get_size_ptr, errmsg = base.get_size_ptr, base.get_errmsg_ptr()
local OK, DECLINED, BUSY = base.FFI_OK, base.FFI_DECLINED, base.FFI_BUSY

base.declare [[
int @ssl_get_ocsp_responder_from_der_chain(const char *chain, size_t chain_len, char *out, size_t *room, char **err);
int @ssl_create_ocsp_request(const char *chain, size_t chain_len, unsigned char *out, size_t *room, char **err);
int @ssl_validate_ocsp_response(const unsigned char *answer, size_t answer_len, const char *chain, size_t chain_len,
    unsigned char *buf, size_t *buf_len, long *next_update);
int @ssl_set_ocsp_status_resp(request *r, const unsigned char *answer, size_t answer_len, char **err);
]]

local next_update = ffi.new("long[1]")

local _M = { version = base.version }

-- A buffer of that many bytes, else of the usual size, and where its room is told.
local function buffer(size)
    size = size or get_string_buf_size()
    local room = get_size_ptr()
    room[0] = size
    return get_string_buf(size), room, size
end

function _M.get_ocsp_responder_from_der_chain(chain, most)
    local buf, room = buffer(most)
    local code = C.ngx_http_lua_ffi_ssl_get_ocsp_responder_from_der_chain(chain, #chain, buf, room, errmsg)
    if code == OK then
        return ffi_string(buf, room[0])
    elseif code == BUSY then
        return ffi_string(buf, room[0]), "truncated"
    elseif code == DECLINED then
        return nil
    end
    return nil, ffi_string(errmsg[0])
end

function _M.create_ocsp_request(chain, most)
    local buf, room, size = buffer(most)
    local code = C.ngx_http_lua_ffi_ssl_create_ocsp_request(chain, #chain, buf, room, errmsg)
    if code == OK then
        return ffi_string(buf, room[0])
    elseif code == BUSY then
        return nil, ffi_string(errmsg[0]) .. ": " .. tonumber(room[0]) .. " > " .. size
    end
    return nil, ffi_string(errmsg[0])
end

function _M.validate_ocsp_response(answer, chain, most)
    local buf, room = buffer(most)
    next_update[0] = 0
    if C.ngx_http_lua_ffi_ssl_validate_ocsp_response(answer, #answer, chain, #chain, buf, room, next_update) ~= OK then
        return nil, ffi_string(buf, room[0])
    end
    local time = tonumber(next_update[0])
    return true, time ~= 0 and time or nil
end

function _M.set_ocsp_status_resp(answer)
    local r = base.get_request()
    if not r then
        error("no request found", 2)
    end
    local code = C.ngx_http_lua_ffi_ssl_set_ocsp_status_resp(r, answer, #answer, errmsg)
    if code == OK then
        return true
    elseif code == DECLINED then
        return true, "no status req"
    end
    return nil, ffi_string(errmsg[0])
end

return _M
