-- Time, from the clock that is read once a turn of the event loop.

local ffi = require "ffi"
local base = require "rsty.base"

local C = ffi.C
local ffi_string = ffi.string
local type, error, tonumber = type, error, tonumber
local ngx = ngx
local get_string_buf = base.get_string_buf

base.declare [[
double @now(void);
long @time(void);
long @monotonic_msec(void);
void @today(unsigned char *buf);
void @localtime(unsigned char *buf);
void @utctime(unsigned char *buf);
void @update_time(void);
int ngx_http_lua_ffi_cookie_time(unsigned char *buf, long t);
void ngx_http_lua_ffi_http_time(unsigned char *buf, long t);
void ngx_http_lua_ffi_parse_http_time(const unsigned char *str, size_t len, long *time);
]]

local now = base.symbol "now"
local time = base.symbol "time"
local monotonic_msec = base.symbol "monotonic_msec"
local today = base.symbol "today"
local localtime = base.symbol "localtime"
local utctime = base.symbol "utctime"
local update_time = base.symbol "update_time"
local parsed = ffi.new("long[1]")

local DATE, DATE_TIME, HTTP_DATE = #"2010-11-19", #"2010-11-19 20:56:31", #"Mon, 28 Sep 1970 06:00:00 GMT"

function ngx.now()
    return tonumber(now())
end

function ngx.time()
    return tonumber(time())
end

function ngx.update_time()
    update_time()
end

function ngx.today()
    local buf = get_string_buf(DATE)
    today(buf)
    return ffi_string(buf, DATE)
end

function ngx.localtime()
    local buf = get_string_buf(DATE_TIME)
    localtime(buf)
    return ffi_string(buf, DATE_TIME)
end

function ngx.utctime()
    local buf = get_string_buf(DATE_TIME)
    utctime(buf)
    return ffi_string(buf, DATE_TIME)
end

if ngx.config.subsystem == "http" then
    function ngx.cookie_time(seconds)
        if type(seconds) ~= "number" then
            error("number argument only", 2)
        end
        local buf = get_string_buf(HTTP_DATE)
        return ffi_string(buf, C.ngx_http_lua_ffi_cookie_time(buf, seconds))
    end

    function ngx.http_time(seconds)
        if type(seconds) ~= "number" then
            error("number argument only", 2)
        end
        local buf = get_string_buf(HTTP_DATE)
        C.ngx_http_lua_ffi_http_time(buf, seconds)
        return ffi_string(buf, HTTP_DATE)
    end

    function ngx.parse_http_time(text)
        if type(text) ~= "string" then
            error("string argument only", 2)
        end
        C.ngx_http_lua_ffi_parse_http_time(text, #text, parsed)
        local seconds = tonumber(parsed[0])
        if seconds == -1 then
            return nil
        end
        return seconds
    end
end

return {
    version = base.version,
    monotonic_msec = function()
        return tonumber(monotonic_msec())
    end,
    monotonic_time = function()
        return tonumber(monotonic_msec()) / 1000
    end,
}
