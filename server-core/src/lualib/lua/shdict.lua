-- Shared dictionaries.

local ffi = require "ffi"
local base = require "resty.core.base"

local C = ffi.C
local ffi_new, ffi_string, ffi_cast = ffi.new, ffi.string, ffi.cast
local type, tostring, tonumber, error, select = type, tostring, tonumber, error, select
local get_string_buf_size = base.get_string_buf_size

base.declare [[
int @shdict_get(void *zone, const unsigned char *key, size_t key_len, int *value_type,
    unsigned char **str_value_buf, size_t *str_value_len, double *num_value, int *user_flags, int get_stale,
    int *is_stale, char **errmsg);
int @shdict_incr(void *zone, const unsigned char *key, size_t key_len, double *value, char **err, int has_init,
    double init, long init_ttl, int *forcible);
int @shdict_store(void *zone, int op, const unsigned char *key, size_t key_len, int value_type,
    const unsigned char *str_value_buf, size_t str_value_len, double num_value, long exptime, int user_flags,
    char **errmsg, int *forcible);
int @shdict_flush_all(void *zone);
long @shdict_get_ttl(void *zone, const unsigned char *key, size_t key_len);
int @shdict_set_expire(void *zone, const unsigned char *key, size_t key_len, long exptime);
size_t @shdict_capacity(void *zone);
size_t @shdict_free_space(void *zone);
void *@shdict_udata_to_zone(void *zone_udata);
long rsty_shdict_push(void *zone, const unsigned char *key, size_t key_len, int right, const unsigned char *text,
    size_t text_len, double number, char **err);
int rsty_shdict_pop(void *zone, const unsigned char *key, size_t key_len, int right, unsigned char **text,
    size_t *text_len, double *number, char **err);
long rsty_shdict_llen(void *zone, const unsigned char *key, size_t key_len, char **err);
int rsty_shdict_flush_expired(void *zone, int max);
int rsty_shdict_keys(void *zone, int max, unsigned char **block);
]]

local dict_get = base.symbol "shdict_get"
local dict_incr = base.symbol "shdict_incr"
local dict_store = base.symbol "shdict_store"
local dict_flush_all = base.symbol "shdict_flush_all"
local dict_get_ttl = base.symbol "shdict_get_ttl"
local dict_set_expire = base.symbol "shdict_set_expire"
local dict_capacity = base.symbol "shdict_capacity"
local dict_free_space = base.symbol "shdict_free_space"
local udata_to_zone = base.symbol "shdict_udata_to_zone"

local ADD, REPLACE, SAFE = 1, 2, 4
local NIL, BOOLEAN, NUMBER, STRING = 0, 1, 3, 4
local DECLINED = base.FFI_DECLINED
local LONGEST_KEY = 65535

-- The zone of a dictionary; its absence is the mistake of who called the method.
local function zone_of(dict)
    local udata = type(dict) == "table" and dict[1]
    local zone = type(udata) == "userdata" and udata_to_zone(udata)
    if not zone or zone == nil then
        error('bad "zone" argument', 3)
    end
    return zone
end

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

-- The calls that bring results back through memory. A collection may happen right behind such a call, and a finalizer
-- that it runs may use a dictionary, too: then another set of calls with other memory has to be taken.
local function new_calls()
    local value_type = ffi_new("int[1]")
    local user_flags = ffi_new("int[1]")
    local number = ffi_new("double[1]")
    local is_stale = ffi_new("int[1]")
    local forcible = ffi_new("int[1]")
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

    -- Takes over a string that a C function left in `buf` or in a block of its own.
    local function take_text(buf)
        local found = text[0]
        local value = ffi_string(found, len[0])
        if found ~= ffi_cast("unsigned char *", buf) then
            C.free(found)
        end
        return value
    end

    -- The value, the flags or what is wrong, and whether the time is over.
    function calls.read(zone, key, stale)
        if busy then
            return apart().read(zone, key, stale)
        end
        busy = true
        local buf = buffer()
        if dict_get(zone, key, #key, value_type, text, len, number, user_flags, stale, is_stale, errmsg) ~= 0 then
            local problem = errmsg[0] ~= nil and ffi_string(errmsg[0])
            busy = false
            if problem then
                return nil, problem
            end
            error("failed to get the key")
        end
        local kind = value_type[0]
        local value
        if kind == STRING then
            value = take_text(buf)
        elseif kind == NUMBER then
            value = tonumber(number[0])
        elseif kind == BOOLEAN then
            value = buf[0] ~= 0
        end
        local flags, over = tonumber(user_flags[0]), is_stale[0] == 1
        busy = false
        if flags == 0 or value == nil then
            flags = nil
        end
        return value, flags, over
    end

    function calls.store(zone, op, key, value, ttl, flags)
        local problem
        key, problem = key_of(key)
        if not key then
            return nil, problem
        end
        local kind, buf, size, num = type(value), nil, 0, 0
        if kind == "string" then
            kind, buf, size = STRING, value, #value
        elseif kind == "number" then
            kind, num = NUMBER, value
        elseif kind == "nil" then
            kind = NIL
        elseif kind == "boolean" then
            kind, num = BOOLEAN, value and 1 or 0
        else
            return nil, "bad value type"
        end
        if busy then
            return apart().store(zone, op, key, value, ttl, flags)
        end
        -- Both fail for what is no number, as long as nothing is in use.
        user_flags[0] = flags or 0
        ttl = ttl * 1000
        busy = true
        local code = dict_store(zone, op, key, #key, kind, buf, size, num, ttl, user_flags[0], errmsg, forcible)
        local evicted = forcible[0] == 1
        if code ~= 0 then
            problem = ffi_string(errmsg[0])
        end
        busy = false
        return code == 0, problem, evicted
    end

    function calls.incr(zone, key, value, init, ttl)
        if busy then
            return apart().incr(zone, key, value, init, ttl)
        end
        -- Fails for what is no number, as long as nothing is in use.
        number[0] = value
        busy = true
        local code = dict_incr(zone, key, #key, number, errmsg, init and 1 or 0, init or 0, ttl, forcible)
        local sum, evicted, problem = tonumber(number[0]), forcible[0] == 1, nil
        if code ~= 0 then
            sum, problem = nil, ffi_string(errmsg[0])
        end
        busy = false
        return sum, problem, evicted
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
            value = take_text(buf)
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
local read, store, add_to = calls.read, calls.store, calls.incr

local function ttl_of(ttl)
    if not ttl then
        return 0
    end
    if ttl < 0 then
        error('bad "exptime" argument', 3)
    end
    return ttl
end

local methods = {}

function methods.get(dict, key)
    local zone = zone_of(dict)
    local found, problem = key_of(key)
    if not found then
        return nil, problem
    end
    local value, flags = read(zone, found, 0)
    if flags then
        return value, flags
    end
    return value
end

function methods.get_stale(dict, key)
    local zone = zone_of(dict)
    local found, problem = key_of(key)
    if not found then
        return nil, problem
    end
    local value, flags, over = read(zone, found, 1)
    if value == nil then
        return nil, flags
    end
    return value, flags, over
end

function methods.set(dict, key, value, ttl, flags)
    local zone = zone_of(dict)
    ttl = ttl_of(ttl)
    return store(zone, 0, key, value, ttl, flags)
end

function methods.safe_set(dict, key, value, ttl, flags)
    local zone = zone_of(dict)
    ttl = ttl_of(ttl)
    return store(zone, SAFE, key, value, ttl, flags)
end

function methods.add(dict, key, value, ttl, flags)
    local zone = zone_of(dict)
    ttl = ttl_of(ttl)
    return store(zone, ADD, key, value, ttl, flags)
end

function methods.safe_add(dict, key, value, ttl, flags)
    local zone = zone_of(dict)
    ttl = ttl_of(ttl)
    return store(zone, ADD + SAFE, key, value, ttl, flags)
end

function methods.replace(dict, key, value, ttl, flags)
    local zone = zone_of(dict)
    ttl = ttl_of(ttl)
    return store(zone, REPLACE, key, value, ttl, flags)
end

function methods.delete(dict, key)
    return store(zone_of(dict), 0, key, nil, 0, 0)
end

local function number_argument(value, name)
    local found = tonumber(value)
    if not found then
        error("bad " .. name .. " arg: number expected, got " .. type(value), 3)
    end
    return found
end

function methods.incr(dict, key, value, init, init_ttl)
    local zone = zone_of(dict)
    local found, problem = key_of(key)
    if not found then
        return nil, problem
    end
    local by = tonumber(value)
    if init then
        init = number_argument(init, "init")
    end
    local ttl = 0
    if init_ttl ~= nil then
        ttl = number_argument(init_ttl, "init_ttl") * 1000
        local mistake = ttl < 0 and 'bad "init_ttl" argument'
            or not init and 'must provide "init" when providing "init_ttl"'
        if mistake then
            error(mistake, 2)
        end
    end
    local sum, refused, evicted = add_to(zone, found, by, init, ttl)
    if not sum then
        return nil, refused
    elseif init then
        return sum, nil, evicted
    end
    return sum
end

function methods.ttl(dict, key)
    local zone = zone_of(dict)
    local found, problem = key_of(key)
    if not found then
        return nil, problem
    end
    local left = tonumber(dict_get_ttl(zone, found, #found))
    if left == DECLINED then
        return nil, "not found"
    end
    return left / 1000
end

function methods.expire(dict, key, ttl)
    local zone = zone_of(dict)
    if not ttl then
        error('bad "exptime" argument', 2)
    end
    local found, problem = key_of(key)
    if not found then
        return nil, problem
    end
    if dict_set_expire(zone, found, #found, ttl * 1000) == DECLINED then
        return nil, "not found"
    end
    return true
end

function methods.flush_all(dict)
    dict_flush_all(zone_of(dict))
end

function methods.capacity(dict)
    return tonumber(dict_capacity(zone_of(dict)))
end

function methods.free_space(dict)
    return tonumber(dict_free_space(zone_of(dict)))
end

-- What follows are C functions in the original, which check their arguments as such.

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

return { version = base.version, methods = methods }
