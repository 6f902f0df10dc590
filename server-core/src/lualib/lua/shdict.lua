-- Shared dictionaries.

local ffi = require "ffi"
local base = require "rsty.base"
local lists = require "rsty.shdict_lists"

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
local key_of, take_text = lists.key_of, lists.take_text

local ADD, REPLACE, SAFE = 1, 2, 4
local NIL, BOOLEAN, NUMBER, STRING = 0, 1, 3, 4
local DECLINED = base.FFI_DECLINED

-- The zone of a dictionary; its absence is the mistake of who called the method.
local function zone_of(dict)
    local udata = type(dict) == "table" and dict[1]
    local zone = type(udata) == "userdata" and udata_to_zone(udata)
    if not zone or zone == nil then
        error('bad "zone" argument', 3)
    end
    return zone
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
            value = take_text(buf, text, len)
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
    if not by then
        error("cannot convert 'nil' to 'double'", 2)
    end
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

-- Dictionaries share one metatable, which the server made.
local _, dict = next(ngx.shared or {})
local index = dict and getmetatable(dict) and getmetatable(dict).__index
if index then
    for name, method in pairs(methods) do
        index[name] = method
    end
end

return { version = base.version, methods = methods }
