-- Methods of shared dictionaries that the server itself provides: lists, keys, expired entries. They are there whatever
-- library adds the others. They check their arguments as functions written in C do.

local ffi = require "ffi"
local base = require "rsty.base"

local C = ffi.C
local ffi_new, ffi_string, ffi_cast = ffi.new, ffi.string, ffi.cast
local type, tostring, tonumber, error, select = type, tostring, tonumber, error, select
local get_string_buf_size = base.get_string_buf_size

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
local function take_text(buf, text, len)
    local found = text[0]
    local value = ffi_string(found, len[0])
    if found ~= ffi_cast("unsigned char *", buf) then
        C.free(found)
    end
    return value
end

-- The calls that bring results back through memory. A collection may happen right behind such a call, and a finalizer
-- that it runs may use a dictionary, too: then another set of calls with other memory has to be taken.
local function new_calls()
    local number = ffi_new("double[1]")
    local text = ffi_new("unsigned char *[1]")
    local len = ffi_new("size_t[1]")
    local errmsg = ffi_new("char *[1]")
    local own, own_size
    local busy, inner = false, nil
    local calls = {}

    local function apart()
        inner = inner or new_calls()
        return inner
    end

    local function buffer()
        local size = get_string_buf_size()
        if size ~= own_size then
            own, own_size = ffi_new("unsigned char[?]", size), size
        end
        text[0] = own
        len[0] = size
        errmsg[0] = nil
        return own
    end

    function calls.push(zone, key, right, value, size, num)
        if busy then
            return apart().push(zone, key, right, value, size, num)
        end
        busy = true
        local count = tonumber(C.rsty_shdict_push(zone, key, #key, right, value, size, num, errmsg))
        local problem
        if count < 0 then
            count, problem = nil, ffi_string(errmsg[0])
        end
        busy = false
        if problem then
            return nil, problem
        end
        return count
    end

    function calls.pop(zone, key, right)
        if busy then
            return apart().pop(zone, key, right)
        end
        busy = true
        local buf = buffer()
        local kind = C.rsty_shdict_pop(zone, key, #key, right, text, len, number, errmsg)
        local value, problem
        if kind == STRING then
            value = take_text(buf, text, len)
        elseif kind == NUMBER then
            value = tonumber(number[0])
        elseif kind ~= NIL then
            problem = errmsg[0] ~= nil and ffi_string(errmsg[0]) or "no memory"
        end
        busy = false
        if problem then
            return nil, problem
        end
        return value
    end

    function calls.llen(zone, key)
        if busy then
            return apart().llen(zone, key)
        end
        busy = true
        local count = tonumber(C.rsty_shdict_llen(zone, key, #key, errmsg))
        local problem
        if count < 0 then
            count, problem = nil, ffi_string(errmsg[0])
        end
        busy = false
        if problem then
            return nil, problem
        end
        return count
    end

    function calls.keys(zone, max)
        if busy then
            return apart().keys(zone, max)
        end
        busy = true
        local count = C.rsty_shdict_keys(zone, max, text)
        local block = text[0]
        busy = false
        local keys = base.new_tab(count, 0)
        local at = block
        for i = 1, count do
            local size = ffi_cast("uint32_t *", at)[0]
            keys[i] = ffi_string(at + 4, size)
            at = at + 4 + size
        end
        C.free(block)
        return keys
    end

    return calls
end

local calls = new_calls()

local methods = {}

local function list_arguments(name, wanted, ...)
    local given = select("#", ...)
    if given ~= wanted then
        error("expecting " .. wanted .. " arguments, but only seen " .. given, 3)
    end
    local dict, key = ...
    local udata = type(dict) == "table" and dict[1]
    local zone = type(udata) == "userdata" and udata_to_zone(udata)
    if not zone then
        error('bad "zone" argument', 3)
    end
    local kind = type(key)
    if kind ~= "string" and kind ~= "number" and kind ~= "nil" then
        error("bad argument #1 to '" .. name .. "' (string expected, got " .. kind .. ")", 3)
    end
    return zone, key_of(key)
end

local function push(right, zone, key, problem, value)
    if not key then
        return nil, problem
    end
    local kind = type(value)
    if kind == "string" then
        return calls.push(zone, key, right, value, #value, 0)
    elseif kind == "number" then
        return calls.push(zone, key, right, nil, 0, value)
    end
    return nil, "bad value type"
end

local function pop(right, zone, key, problem)
    if not key then
        return nil, problem
    end
    return calls.pop(zone, key, right)
end

function methods.lpush(...)
    local zone, found, problem = list_arguments("lpush", 3, ...)
    return push(0, zone, found, problem, (select(3, ...)))
end

function methods.rpush(...)
    local zone, found, problem = list_arguments("rpush", 3, ...)
    return push(1, zone, found, problem, (select(3, ...)))
end

function methods.lpop(...)
    local zone, found, problem = list_arguments("lpop", 2, ...)
    return pop(0, zone, found, problem)
end

function methods.rpop(...)
    local zone, found, problem = list_arguments("rpop", 2, ...)
    return pop(1, zone, found, problem)
end

function methods.llen(...)
    local zone, found, problem = list_arguments("llen", 2, ...)
    if not found then
        return nil, problem
    end
    return calls.llen(zone, found)
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
    return calls.keys(zone, max)
end

-- Dictionaries share one metatable, which the server made.
local _, dict = next(ngx.shared or {})
local index = dict and getmetatable(dict) and getmetatable(dict).__index
if index then
    for name, method in pairs(methods) do
        index[name] = method
    end
end

return { key_of = key_of, take_text = take_text }
