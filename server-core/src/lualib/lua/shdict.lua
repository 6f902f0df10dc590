-- Shared dictionaries.

local ffi = require "ffi"
local base = require "rsty.base"
local lists = require "rsty.shdict_lists"

local C = ffi.C
local ffi_new, ffi_string, ffi_cast = ffi.new, ffi.string, ffi.cast
local type, tostring, tonumber, error, select = type, tostring, tonumber, error, select
local get_string_buf = base.get_string_buf
local get_string_buf_size = base.get_string_buf_size
local get_size_ptr = base.get_size_ptr

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

local value_type = ffi_new("int[1]")
local user_flags = ffi_new("int[1]")
local number = ffi_new("double[1]")
local is_stale = ffi_new("int[1]")
local forcible = ffi_new("int[1]")
local text = lists.text
local errmsg = base.get_errmsg_ptr()

-- The zone of a dictionary; its absence is the mistake of who called the method.
local function zone_of(dict)
    local udata = type(dict) == "table" and dict[1]
    local zone = type(udata) == "userdata" and udata_to_zone(udata)
    if not zone or zone == nil then
        error('bad "zone" argument', 3)
    end
    return zone
end

local function read(zone, key, stale)
    local size = get_string_buf_size()
    local buf, len = ffi_cast("unsigned char *", get_string_buf(size)), get_size_ptr()
    text[0] = buf
    len[0] = size
    if dict_get(zone, key, #key, value_type, text, len, number, user_flags, stale, is_stale, errmsg) ~= 0 then
        if errmsg[0] ~= nil then
            return nil, ffi_string(errmsg[0])
        end
        error("failed to get the key")
    end
    local kind = value_type[0]
    local value
    if kind == STRING then
        value = take_text(buf, len)
    elseif kind == NUMBER then
        value = tonumber(number[0])
    elseif kind == BOOLEAN then
        value = buf[0] ~= 0
    else
        return nil
    end
    local flags = tonumber(user_flags[0])
    if flags == 0 then
        flags = nil
    end
    return value, flags
end

local function store(zone, op, key, value, ttl, flags)
    local problem
    key, problem = key_of(key)
    if not key then
        return nil, problem
    end
    local kind, buf, len, num = type(value), nil, 0, 0
    if kind == "string" then
        kind, buf, len = STRING, value, #value
    elseif kind == "number" then
        kind, num = NUMBER, value
    elseif kind == "nil" then
        kind = NIL
    elseif kind == "boolean" then
        kind, num = BOOLEAN, value and 1 or 0
    else
        return nil, "bad value type"
    end
    if dict_store(zone, op, key, #key, kind, buf, len, num, ttl * 1000, flags or 0, errmsg, forcible) == 0 then
        return true, nil, forcible[0] == 1
    end
    return false, ffi_string(errmsg[0]), forcible[0] == 1
end

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
    local value, flags = read(zone, found, 1)
    if value == nil then
        return nil, flags
    end
    return value, flags, is_stale[0] == 1
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
    number[0] = tonumber(value)
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
    if dict_incr(zone, found, #found, number, errmsg, init and 1 or 0, init or 0, ttl, forcible) ~= 0 then
        return nil, ffi_string(errmsg[0])
    end
    if init then
        return tonumber(number[0]), nil, forcible[0] == 1
    end
    return tonumber(number[0])
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
