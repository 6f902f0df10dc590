-- `ngx.var`.

local ffi = require "ffi"
local base = require "rsty.base"

local ffi_string = ffi.string
local type, error, tostring = type, error, tostring
local running_request, get_string_buf, get_size_ptr = base.running_request, base.get_string_buf, base.get_size_ptr

base.declare [[
int @var_get(request *r, const char *name_data, size_t name_len, char *lowcase_buf, int capture_id,
    char **value, size_t *value_len, char **err);
int @var_set(request *r, const unsigned char *name_data, size_t name_len, unsigned char *lowcase_buf,
    const unsigned char *value, size_t value_len, unsigned char *errbuf, size_t *errlen);
]]

local var_get = base.symbol "var_get"
local var_set = base.symbol "var_set"
local value = ffi.new("char *[1]")
local errmsg = base.get_errmsg_ptr()
local ERROR_SIZE = 256

local function get(_, name)
    local r = running_request()
    local len = get_size_ptr()
    local code
    if type(name) == "number" then
        code = var_get(r, nil, 0, nil, name, value, len, errmsg)
    elseif type(name) == "string" then
        code = var_get(r, name, #name, get_string_buf(#name), 0, value, len, errmsg)
    else
        error("bad variable name", 2)
    end
    if code == 0 then
        return ffi_string(value[0], len[0])
    end
    if code == -1 then
        error(ffi_string(errmsg[0]), 2)
    end
end

local function set(_, name, new)
    local r = running_request()
    if type(name) ~= "string" then
        error("bad variable name", 2)
    end
    if new ~= nil and type(new) ~= "string" then
        new = tostring(new)
    end
    local len = #name
    local lower, err_len = get_string_buf(len + ERROR_SIZE), get_size_ptr()
    local err = lower + len
    err_len[0] = ERROR_SIZE
    if var_set(r, name, len, lower, new, new and #new or 0, err, err_len) == -1 then
        error(ffi_string(err, err_len[0]), 2)
    end
end

ngx.var = setmetatable({}, { __index = get, __newindex = set })

return { version = base.version }
