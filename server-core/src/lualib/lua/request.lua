-- `ngx.req`: headers, arguments, method, start time.

local ffi = require "ffi"
local base = require "rsty.base"

local C = ffi.C
local ffi_cast, ffi_string = ffi.cast, ffi.string
local type, error, tostring, tonumber, rawget, setmetatable = type, error, tostring, tonumber, rawget, setmetatable
local lower, find, gsub = string.lower, string.find, string.gsub
local ngx = ngx
local new_tab, clear_tab = base.new_tab, base.clear_tab
local running_request, get_string_buf, get_size_ptr = base.running_request, base.get_string_buf, base.get_size_ptr
local c_strings = base.c_strings
local OK, DECLINED, BAD_CONTEXT = base.FFI_OK, base.FFI_DECLINED, base.FFI_BAD_CONTEXT

base.declare [[
double @req_start_time(request *r);
]]
local req_start_time = base.symbol "req_start_time"

function ngx.req.start_time()
    local r = running_request()
    return tonumber(req_start_time(r))
end

local _M = { version = base.version }

if ngx.config.subsystem ~= "http" then
    base.declare [[
int @req_dst_addr(request *r, char *buf, size_t *size, char *err, size_t *err_len);
]]
    local req_dst_addr = base.symbol "req_dst_addr"
    local size = ffi.new("size_t[1]")

    -- Where the client wanted to go before the kernel led it here.
    function ngx.req.get_original_addr()
        local r = running_request()
        local buf, err, err_len = get_string_buf(128), ffi.new("char[256]"), get_size_ptr()
        size[0], err_len[0] = 128, 256
        if req_dst_addr(r, buf, size, err, err_len) ~= OK then
            return nil, ffi_string(err, err_len[0])
        end
        return ffi_string(buf, size[0])
    end

    return _M
end

base.declare [[
typedef struct { ngx_http_lua_ffi_str_t key; ngx_http_lua_ffi_str_t value; } ngx_http_lua_ffi_table_elt_t;
int @req_get_headers_count(request *r, int max, int *truncated);
int @req_get_headers(request *r, ngx_http_lua_ffi_table_elt_t *out, int count, int raw);
int @req_get_uri_args_count(request *r, int max, int *truncated);
size_t @req_get_querystring_len(request *r);
int @req_get_uri_args(request *r, unsigned char *buf, ngx_http_lua_ffi_table_elt_t *out, int count);
int @req_get_method(request *r);
int @req_get_method_name(request *r, unsigned char **name, size_t *len);
int @req_set_method(request *r, int method);
int @req_set_header(request *r, const unsigned char *key, size_t key_len, const unsigned char *value,
    size_t value_len, ngx_http_lua_ffi_str_t *mvals, size_t mvals_len, int override, char **errmsg);
]]

local element_type = ffi.typeof("ngx_http_lua_ffi_table_elt_t *")
local element_size = ffi.sizeof("ngx_http_lua_ffi_table_elt_t")
local str_type = ffi.typeof("ngx_http_lua_ffi_str_t *")
local str_size = ffi.sizeof("ngx_http_lua_ffi_str_t")
local truncated = ffi.new("int[1]")
local errmsg = base.get_errmsg_ptr()

-- Adds a name with a value, of which there may be several.
local function add(found, key, value)
    local existing = found[key]
    if existing == nil then
        found[key] = value
    elseif type(existing) == "table" then
        existing[#existing + 1] = value
    else
        found[key] = { existing, value }
    end
end

-- Header names are found in any spelling.
local any_case = {
    __index = function(headers, key)
        key = lower(key)
        local value = rawget(headers, key)
        if value == nil and find(key, "_", 1, true) then
            value = rawget(headers, (gsub(key, "_", "-")))
        end
        return value
    end,
}

function ngx.req.get_headers(max, raw)
    local r = running_request()
    local count = C.ngx_http_lua_ffi_req_get_headers_count(r, max or -1, truncated)
    if count == BAD_CONTEXT then
        error("API disabled in the current context", 2)
    end
    local headers = new_tab(0, count)
    if count > 0 then
        local cut = truncated[0] ~= 0
        local elements = ffi_cast(element_type, get_string_buf(count * element_size))
        if C.ngx_http_lua_ffi_req_get_headers(r, elements, count, raw and 1 or 0) ~= OK then
            return nil
        end
        for i = 0, count - 1 do
            local key, value = elements[i].key, elements[i].value
            add(headers, ffi_string(key.data, key.len), ffi_string(value.data, value.len))
        end
        if cut then
            return raw and headers or setmetatable(headers, any_case), "truncated"
        end
    end
    return raw and headers or setmetatable(headers, any_case)
end

function ngx.req.get_uri_args(max, args)
    local r = running_request()
    if args then
        clear_tab(args)
    end
    local count = C.ngx_http_lua_ffi_req_get_uri_args_count(r, max or -1, truncated)
    if count == BAD_CONTEXT then
        error("API disabled in the current context", 2)
    end
    if count == 0 then
        return args or {}
    end
    local cut = truncated[0] ~= 0
    local len = tonumber(C.ngx_http_lua_ffi_req_get_querystring_len(r))
    local buf = get_string_buf(len + count * element_size + 8)
    -- The elements come first, where they are aligned.
    local elements, text = ffi_cast(element_type, buf), ffi_cast("unsigned char *", buf) + count * element_size
    count = C.ngx_http_lua_ffi_req_get_uri_args(r, text, elements, count)
    args = args or new_tab(0, count)
    for i = 0, count - 1 do
        local key, value = elements[i].key, elements[i].value
        local name = ffi_string(key.data, key.len)
        if value.len == -1 then
            add(args, name, true)
        else
            add(args, name, ffi_string(value.data, value.len))
        end
    end
    if cut then
        return args, "truncated"
    end
    return args
end

-- The number of a method is a bit: the first name's is 1 << 1.
local METHODS = {}
do
    local names = "GET HEAD POST PUT DELETE MKCOL COPY MOVE OPTIONS PROPFIND PROPPATCH LOCK UNLOCK PATCH TRACE"
    local number = 2
    for name in names:gmatch("%u+") do
        METHODS[number] = name
        number = number * 2
    end
end
local method_name = ffi.new("unsigned char *[1]")

function ngx.req.get_method()
    local r = running_request()
    local id = C.ngx_http_lua_ffi_req_get_method(r)
    if id == BAD_CONTEXT then
        error("API disabled in the current context", 2)
    end
    local name = METHODS[id]
    if name then
        return name
    end
    local len = get_size_ptr()
    if C.ngx_http_lua_ffi_req_get_method_name(r, method_name, len) == OK then
        return ffi_string(method_name[0], len[0])
    end
end

function ngx.req.set_method(method)
    local r = running_request()
    if type(method) ~= "number" then
        error("bad method number", 2)
    end
    local code = C.ngx_http_lua_ffi_req_set_method(r, method)
    if code == BAD_CONTEXT then
        error("API disabled in the current context", 2)
    elseif code == DECLINED then
        error("unsupported HTTP method: " .. method, 2)
    elseif code ~= OK then
        error("unknown error: " .. code)
    end
end

-- Sets a header, or several values of it, or removes it; `level` is where mistakes are reported.
local function send_header(r, name, value, override, level)
    local sval, sval_len, mvals, mvals_len = nil, 0, nil, 0
    if type(value) == "table" then
        mvals, mvals_len = c_strings(value)
    elseif value ~= nil then
        sval = type(value) == "string" and value or tostring(value)
        sval_len = #sval
    end
    local code = C.ngx_http_lua_ffi_req_set_header(r, name, #name, sval, sval_len, mvals, mvals_len,
        override and 1 or 0, errmsg)
    if code == OK or code == DECLINED then
        return
    end
    if code == BAD_CONTEXT then
        error("API disabled in the current context", level + 1)
    end
    error(ffi_string(errmsg[0]))
end

function _M.set_req_header(name, value, override)
    local r = running_request(3)
    if name == nil then
        error("bad 'name' argument: string expected, got nil", 3)
    end
    if not override and value == nil then
        error("bad 'value' argument: string or table expected, got nil", 3)
    end
    if not override and type(value) == "table" and #value == 0 then
        error("bad 'value' argument: non-empty table expected", 3)
    end
    send_header(r, type(name) == "string" and name or tostring(name), value, override, 3)
end

local set_req_header = _M.set_req_header

function ngx.req.set_header(name, value)
    set_req_header(name, value, true)
end

function ngx.req.clear_header(name)
    local r = running_request()
    send_header(r, type(name) == "string" and name or tostring(name), nil, true, 2)
end

return _M
