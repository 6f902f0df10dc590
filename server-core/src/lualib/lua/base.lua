-- Helpers of the Lua layer: declarations for both subsystems, buffers that are reused, the running request.

local ffi = require "ffi"
local new_tab = require "table.new"
local clear_tab = require "table.clear"

local C = ffi.C
local ffi_new, ffi_cast, ffi_string = ffi.new, ffi.cast, ffi.string
local type, tostring = type, tostring
local error = error
local select = select
local subsystem = ngx.config.subsystem
local prefix = "ngx_" .. subsystem .. "_lua_ffi_"
local request_type = subsystem == "http" and "ngx_http_request_t" or "ngx_stream_lua_request_t"

local _M = {
    version = "0.1.33",
    new_tab = new_tab,
    clear_tab = clear_tab,
    FFI_OK = 0,
    FFI_ERROR = -1,
    FFI_AGAIN = -2,
    FFI_BUSY = -3,
    FFI_DONE = -4,
    FFI_DECLINED = -5,
    FFI_ABORT = -6,
    FFI_NO_REQ_CTX = -100,
    FFI_BAD_CONTEXT = -101,
}

-- Declares C functions: "@name" is a function of the subsystem's interface, "request *" its request.
function _M.declare(text)
    ffi.cdef((text:gsub("@", prefix):gsub("%f[%w_]request %*", request_type .. " *")))
end

-- The C function "@name" names in `declare`.
function _M.symbol(name)
    return C[prefix .. name]
end

_M.declare [[
typedef unsigned char u_char;
typedef intptr_t ngx_int_t;
typedef uintptr_t ngx_uint_t;
typedef struct { size_t len; const unsigned char *data; } ngx_str_t;
typedef struct ngx_http_request_s ngx_http_request_t;
typedef struct ngx_stream_lua_request_s ngx_stream_lua_request_t;
typedef struct { int len; const unsigned char *data; } ngx_http_lua_ffi_str_t;
typedef struct { int len; const unsigned char *data; } ngx_stream_lua_ffi_str_t;
void free(void *ptr);
void *rsty_current_request;
]]

function _M.get_request()
    local r = C.rsty_current_request
    if r ~= nil then
        return r
    end
    return nil
end

-- The running request; `level` is where its absence is reported, this function itself unless given.
function _M.running_request(level)
    local r = C.rsty_current_request
    if r == nil then
        error("no request found", level and level + 1)
    end
    return r
end

local chars = ffi.typeof("char[?]")
local buffer_size = 4096
local buffer
local string_pointer = ffi.typeof("ngx_http_lua_ffi_str_t *")
local string_size = ffi.sizeof("ngx_http_lua_ffi_str_t")
local size_ptr = ffi_new("size_t[1]")
local errmsg_ptr = ffi_new("char *[1]")

-- A buffer of at least `size` bytes. Small ones are the same buffer each time, unless `fresh` is set.
function _M.get_string_buf(size, fresh)
    if size > buffer_size or fresh then
        return ffi_new(chars, size)
    end
    if not buffer then
        buffer = ffi_new(chars, buffer_size)
    end
    return buffer
end

function _M.get_string_buf_size()
    return buffer_size
end

function _M.set_string_buf_size(size)
    if size > 0 then
        buffer = nil
        buffer_size = math.ceil(size)
    end
end

-- The strings of a list as C sees them, and how many; other values in it become strings.
-- They lie in the common buffer and live as long as the list.
function _M.c_strings(list)
    local count = #list
    local strings = ffi_cast(string_pointer, _M.get_string_buf(string_size * count))
    for i = 1, count do
        local text = list[i]
        if type(text) ~= "string" then
            text = tostring(text)
            list[i] = text
        end
        strings[i - 1].len, strings[i - 1].data = #text, text
    end
    return strings, count
end

function _M.get_size_ptr()
    return size_ptr
end

function _M.get_errmsg_ptr()
    return errmsg_ptr
end

-- What a function answers whose C function left its message behind the common pointer.
function _M.answer(code)
    if code == 0 then
        return true
    end
    return nil, ffi_string(errmsg_ptr[0])
end

-- Keeps `value` in a table of references, whose free places form a list that starts at index 0.
function _M.ref_in_table(references, value)
    if value == nil then
        return -1
    end
    local ref = references[0]
    if ref and ref ~= 0 then
        references[0] = references[ref]
    else
        ref = #references + 1
    end
    references[ref] = value
    return ref
end

function _M.allows_subsystem(...)
    for i = 1, select("#", ...) do
        if select(i, ...) == subsystem then
            return
        end
    end
    error("unsupported subsystem: " .. subsystem, 2)
end

return _M
