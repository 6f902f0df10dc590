-- `rsty.limits`: rates and numbers of limits, changed while the server runs, for all workers at once.
--
-- What is set here holds until the configuration is read again.

local ffi = require "ffi"
local base = require "rsty.base"

local C = ffi.C
local error, tonumber, type = error, tonumber, type

base.declare [[
int rsty_limit_get(int of_connections, const char *name, size_t len, double *out);
int rsty_limit_set(int of_connections, const char *name, size_t len, double value);
]]

local REQUESTS, CONNECTIONS = 0, 1
-- More is no limit, and would not fit into the arithmetic.
local RATE_MAX, CONNECTIONS_MAX = 1e12, 65535
local number = ffi.new("double[1]")

local function check_name(name, place)
    if type(name) ~= "string" then
        error("bad argument #1 to '" .. place .. "' (string expected, got " .. type(name) .. ")", 3)
    end
end

-- Requests a second in a number, or in a text like "10r/s" or "30r/m".
local function rate_of(value)
    if type(value) == "string" then
        local digits, unit = value:match("^(%d+)r/([sm])$")
        value = digits and tonumber(digits) / (unit == "m" and 60 or 1) or tonumber(value)
    end
    local thousandths = type(value) == "number" and value * 1000
    if thousandths and thousandths >= 1 and thousandths <= RATE_MAX then
        return thousandths
    end
end

local _M = {}

-- Requests a second that a `limit_req_zone` lets through.
function _M.rate(zone)
    check_name(zone, "rate")
    if C.rsty_limit_get(REQUESTS, zone, #zone, number) ~= base.FFI_OK then
        return nil, "zone not found"
    end
    return number[0] / 1000
end

function _M.set_rate(zone, rate)
    check_name(zone, "set_rate")
    local thousandths = rate_of(rate)
    if not thousandths then
        return nil, "invalid rate"
    end
    if C.rsty_limit_set(REQUESTS, zone, #zone, thousandths) ~= base.FFI_OK then
        return nil, "zone not found"
    end
    return true
end

-- Connections for a key of a `limit_conn_zone`; nil while each location says so itself.
function _M.connections(zone)
    check_name(zone, "connections")
    if C.rsty_limit_get(CONNECTIONS, zone, #zone, number) ~= base.FFI_OK then
        return nil, "zone not found"
    end
    return number[0] ~= 0 and number[0] or nil
end

function _M.set_connections(zone, most)
    check_name(zone, "set_connections")
    if most ~= nil and (type(most) ~= "number" or most < 1 or most > CONNECTIONS_MAX) then
        return nil, "invalid number of connections"
    end
    if C.rsty_limit_set(CONNECTIONS, zone, #zone, most or 0) ~= base.FFI_OK then
        return nil, "zone not found"
    end
    return true
end

return _M
