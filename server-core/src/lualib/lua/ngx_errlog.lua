-- `ngx.errlog`: captured lines of the error log.

local ffi = require "ffi"
local base = require "rsty.base"
base.allows_subsystem("http", "stream")

local ffi_string = ffi.string
local type, error, tonumber = type, error, tonumber
local get_request, get_string_buf, get_size_ptr = base.get_request, base.get_string_buf, base.get_size_ptr

base.declare [[
int @errlog_set_filter_level(int level, unsigned char *err, size_t *errlen);
int @errlog_get_msg(char **log, int *loglevel, unsigned char *err, size_t *errlen, double *log_time);
int @errlog_get_sys_filter_level(request *r);
int @raw_log(request *r, int level, const unsigned char *s, size_t s_len);
]]

local set_level = base.symbol "errlog_set_filter_level"
local get_msg = base.symbol "errlog_get_msg"
local get_sys_level = base.symbol "errlog_get_sys_filter_level"
local raw_log = base.symbol "raw_log"

local text, level_of, time_of = ffi.new("char *[1]"), ffi.new("int[1]"), ffi.new("double[1]")
local ERROR = base.FFI_ERROR
local ERROR_SIZE = 128

local _M = { version = base.version }

local function error_buffer()
    local err, err_len = get_string_buf(ERROR_SIZE), get_size_ptr()
    err_len[0] = ERROR_SIZE
    return err, err_len
end

function _M.set_filter_level(level)
    if not level then
        return nil, 'missing "level" argument'
    end
    local err, err_len = error_buffer()
    if set_level(level, err, err_len) == ERROR then
        return nil, ffi_string(err, err_len[0])
    end
    return true
end

-- Lines as level, time, text, level, time, text, …
function _M.get_logs(max, logs)
    max = max or 10
    logs = logs or {}
    local n = 0
    for _ = 1, max do
        local err, err_len = error_buffer()
        local len = get_msg(text, level_of, err, err_len, time_of)
        if len == ERROR then
            return nil, ffi_string(err, err_len[0])
        end
        if len < 0 then
            break
        end
        logs[n + 1], logs[n + 2], logs[n + 3] = level_of[0], time_of[0], ffi_string(text[0], len)
        n = n + 3
    end
    logs[n + 1] = nil
    return logs
end

function _M.get_sys_filter_level()
    return tonumber(get_sys_level(get_request()))
end

function _M.raw_log(level, message)
    if type(level) ~= "number" then
        error("bad argument #1 to 'raw_log' (must be a number)", 2)
    end
    if type(message) ~= "string" then
        error("bad argument #2 to 'raw_log' (must be a string)", 2)
    end
    if raw_log(get_request(), level, message, #message) == ERROR then
        error("bad log level", 2)
    end
end

return _M
