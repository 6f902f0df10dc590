-- Methods of shared dictionaries that the server itself provides: lists, keys, expired entries. They are there whatever
-- library adds the others. They check their arguments as functions written in C do.

local ffi = require "ffi"
local base = require "rsty.base"

local C = ffi.C
local ffi_new, ffi_string, ffi_cast = ffi.new, ffi.string, ffi.cast
local type, tostring, tonumber, error, select = type, tostring, tonumber, error, select
local get_string_buf = base.get_string_buf
local get_string_buf_size = base.get_string_buf_size
local get_size_ptr = base.get_size_ptr

base.declare [[
void *@shdict_udata_to_zone(void *zone_udata);
long rsty_shdict_push(void *zone, const unsigned char *key, size_t key_len, int right, const unsigned char *text,
    size_t text_len, double number, char **err);
int rsty_shdict_pop(void *zone, const unsigned char *key, size_t key_len, int right, unsigned char **text,
    size_t *text_len, double *number, char **err);
long rsty_shdict_llen(void *zone, const unsigned char *key, size_t key_len, char **err);
int rsty_shdict_flush_expired(void *zone, int max);
int rsty_shdict_keys(void *zone, int max, unsigned char **block);
]]

local udata_to_zone = base.symbol "shdict_udata_to_zone"

local NIL, NUMBER, STRING = 0, 3, 4
local LONGEST_KEY = 65535

local number = ffi_new("double[1]")
local text = ffi_new("unsigned char *[1]")
local errmsg = base.get_errmsg_ptr()

-- A key as a string, or nil and what is wrong with it.
local function key_of(key)
    local text = type(key) == "string" and key or key ~= nil and tostring(key)
    if not text then
        return nil, "nil key"
    elseif text == "" then
        return nil, "empty key"
    elseif #text > LONGEST_KEY then
        return nil, "key too long"
    end
    return text
end

-- Takes over a string that a C function left in `buf` or in a block of its own.
local function take_text(buf, len)
    local found = text[0]
    local value = ffi_string(found, len[0])
    if found ~= buf then
        C.free(found)
    end
    return value
end

local methods = {}

local function list_arguments(wanted, dict, key, ...)
    local given = select("#", ...) + 2
    if given ~= wanted then
        error("expecting " .. wanted .. " arguments, but only seen " .. given, 3)
    end
    local udata = type(dict) == "table" and dict[1]
    local zone = type(udata) == "userdata" and udata_to_zone(udata)
    if not zone then
        error('bad "zone" argument', 3)
    end
    return zone, key_of(key)
end

local function push(right, zone, key, problem, value)
    if not key then
        return nil, problem
    end
    local kind = type(value)
    local len
    if kind == "string" then
        len = C.rsty_shdict_push(zone, key, #key, right, value, #value, 0, errmsg)
    elseif kind == "number" then
        len = C.rsty_shdict_push(zone, key, #key, right, nil, 0, value, errmsg)
    else
        return nil, "bad value type"
    end
    len = tonumber(len)
    if len < 0 then
        return nil, ffi_string(errmsg[0])
    end
    return len
end

local function pop(right, zone, key, problem)
    if not key then
        return nil, problem
    end
    local size = get_string_buf_size()
    local buf, len = ffi_cast("unsigned char *", get_string_buf(size)), get_size_ptr()
    text[0] = buf
    len[0] = size
    errmsg[0] = nil
    local kind = C.rsty_shdict_pop(zone, key, #key, right, text, len, number, errmsg)
    if kind == STRING then
        return take_text(buf, len)
    elseif kind == NUMBER then
        return tonumber(number[0])
    elseif kind == NIL then
        return nil
    end
    return nil, errmsg[0] ~= nil and ffi_string(errmsg[0]) or "no memory"
end

function methods.lpush(dict, key, value, ...)
    local zone, found, problem = list_arguments(3, dict, key, value, ...)
    return push(0, zone, found, problem, value)
end

function methods.rpush(dict, key, value, ...)
    local zone, found, problem = list_arguments(3, dict, key, value, ...)
    return push(1, zone, found, problem, value)
end

function methods.lpop(dict, key, ...)
    local zone, found, problem = list_arguments(2, dict, key, ...)
    return pop(0, zone, found, problem)
end

function methods.rpop(dict, key, ...)
    local zone, found, problem = list_arguments(2, dict, key, ...)
    return pop(1, zone, found, problem)
end

function methods.llen(dict, key, ...)
    local zone, found, problem = list_arguments(2, dict, key, ...)
    if not found then
        return nil, problem
    end
    local len = tonumber(C.rsty_shdict_llen(zone, found, #found, errmsg))
    if len < 0 then
        return nil, ffi_string(errmsg[0])
    end
    return len
end

local function max_argument(name, default, ...)
    local given = select("#", ...)
    if given ~= 1 and given ~= 2 then
        error("expecting 1 or 2 argument(s), but saw " .. given, 3)
    end
    local dict, max = ...
    if type(dict) ~= "table" then
        error("bad argument #1 to '" .. name .. "' (table expected, got " .. type(dict) .. ")", 3)
    end
    local udata = dict[1]
    local zone = type(udata) == "userdata" and udata_to_zone(udata)
    if not zone then
        error("bad user data for the ngx_shm_zone_t pointer", 3)
    end
    if given == 1 then
        return zone, default
    end
    local limit = tonumber(max)
    if not limit then
        error("bad argument #1 to '" .. name .. "' (number expected, got " .. type(max) .. ")", 3)
    end
    return zone, limit
end

function methods.flush_expired(...)
    local zone, max = max_argument("flush_expired", 0, ...)
    return C.rsty_shdict_flush_expired(zone, max)
end

function methods.get_keys(...)
    local zone, max = max_argument("get_keys", 1024, ...)
    local count = C.rsty_shdict_keys(zone, max, text)
    local keys = base.new_tab(count, 0)
    local at = text[0]
    for i = 1, count do
        local len = ffi_cast("uint32_t *", at)[0]
        keys[i] = ffi_string(at + 4, len)
        at = at + 4 + len
    end
    C.free(text[0])
    return keys
end

-- Dictionaries share one metatable, which the server made.
local _, dict = next(ngx.shared or {})
local index = dict and getmetatable(dict) and getmetatable(dict).__index
if index then
    for name, method in pairs(methods) do
        index[name] = method
    end
end

return { key_of = key_of, take_text = take_text, text = text }
