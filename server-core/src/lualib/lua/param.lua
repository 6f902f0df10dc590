-- `ngx.arg`: arguments of set_by_lua*, data in body_filter_by_lua*.

local ffi = require "ffi"
local base = require "rsty.base"
require "resty.core.phase"

local C = ffi.C
local ffi_string = ffi.string
local error, type, tostring, ipairs = error, type, tostring, ipairs
local concat = table.concat
local running_request, get_string_buf = base.running_request, base.get_string_buf
local get_raw_phase = ngx.get_raw_phase

base.declare [[
void ngx_http_lua_ffi_get_setby_param(ngx_http_request_t *r, int idx, u_char **data, size_t *len);
int ngx_http_lua_ffi_get_body_filter_param_eof(ngx_http_request_t *r);
int ngx_http_lua_ffi_get_body_filter_param_body(ngx_http_request_t *r, u_char **data_p, size_t *len_p);
int ngx_http_lua_ffi_copy_body_filter_param_body(ngx_http_request_t *r, u_char *data);
void rsty_set_body_filter_param_body(const unsigned char *data, size_t len);
void rsty_set_body_filter_param_eof(int eof);
]]

local SET, BODY_FILTER = 0x1, 0x40
local NAMES = {
    [0x2] = "rewrite_by_lua*",
    [0x4] = "access_by_lua*",
    [0x8] = "content_by_lua*",
    [0x10] = "log_by_lua*",
    [0x20] = "header_filter_by_lua*",
    [0x80] = "ngx.timer",
    [0x100] = "init_worker_by_lua*",
    [0x200] = "balancer_by_lua*",
    [0x2000] = "exit_worker_by_lua*",
    [0x8000] = "server_rewrite_by_lua*",
    [0x20000] = "precontent_by_lua*",
    [SET] = "set_by_lua*",
}
local data, len = ffi.new("u_char *[1]"), ffi.new("size_t[1]")

local function body(r)
    data[0] = nil
    if C.ngx_http_lua_ffi_get_body_filter_param_body(r, data, len) == base.FFI_AGAIN then
        local buf = get_string_buf(len[0])
        C.ngx_http_lua_ffi_copy_body_filter_param_body(r, buf)
        return ffi_string(buf, len[0])
    end
    if len[0] == 0 then
        return ""
    end
    return ffi_string(data[0], len[0])
end

local function get(_, index)
    local r = running_request()
    local phase = get_raw_phase(r)
    if phase == SET then
        C.ngx_http_lua_ffi_get_setby_param(r, index, data, len)
        if len[0] > 0 then
            return ffi_string(data[0], len[0])
        end
        return nil
    end
    if phase ~= BODY_FILTER then
        error("API disabled in the current context")
    end
    if index == 1 then
        return body(r)
    elseif index == 2 then
        return C.ngx_http_lua_ffi_get_body_filter_param_eof(r) == 1
    end
end

-- Appends what a nested array of strings and numbers holds.
local function flatten(value, parts)
    for _, member in ipairs(value) do
        local kind = type(member)
        if kind == "table" then
            flatten(member, parts)
        elseif kind == "string" or kind == "number" then
            parts[#parts + 1] = tostring(member)
        else
            error("bad argument #3 to '?' (bad data type " .. kind .. " found)", 4)
        end
    end
    return parts
end

local function set(_, index, value)
    local r = running_request(2)
    local phase = get_raw_phase(r)
    if phase ~= BODY_FILTER then
        error("API disabled in the context of " .. (NAMES[phase] or "(unknown)"), 2)
    end
    if index == 2 then
        C.rsty_set_body_filter_param_eof(value and 1 or 0)
        return
    end
    if index ~= 1 then
        error("bad index: " .. tostring(index), 2)
    end
    local kind = type(value)
    if kind == "table" then
        value = concat(flatten(value, {}))
    elseif kind == "number" then
        value = tostring(value)
    elseif kind == "nil" then
        value = ""
    elseif kind ~= "string" then
        error("bad chunk data type: " .. kind, 2)
    end
    C.rsty_set_body_filter_param_body(value, #value)
end

local meta = ngx.arg and getmetatable(ngx.arg)
if not meta then
    meta = {}
    ngx.arg = setmetatable({}, meta)
end
meta.__index = get
if not meta.__newindex then
    meta.__newindex = set
end

return { version = base.version }
