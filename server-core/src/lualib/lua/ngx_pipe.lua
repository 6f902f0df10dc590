-- `ngx.pipe`: child processes.

local ffi = require "ffi"
local base = require "rsty.base"
base.allows_subsystem("http")
require "resty.core.phase"

local C, ffi_new, ffi_string = ffi.C, ffi.new, ffi.string
local error, assert, type, tonumber, tostring, ipairs = error, assert, type, tonumber, tostring, ipairs
local find, concat = string.find, table.concat
local yield, get_phase = coroutine._yield, ngx.get_phase
local get_request, get_string_buf, get_size_ptr = base.get_request, base.get_string_buf, base.get_size_ptr
local OK, ERROR, AGAIN, DECLINED = base.FFI_OK, base.FFI_ERROR, base.FFI_AGAIN, base.FFI_DECLINED
local NO_REQ_CTX, BAD_CONTEXT = base.FFI_NO_REQ_CTX, base.FFI_BAD_CONTEXT

base.declare [[
typedef int ngx_pid_t;
typedef uintptr_t ngx_msec_t;
typedef struct ngx_http_lua_pipe_s ngx_http_lua_pipe_t;
typedef struct {
    ngx_pid_t _pid;
    ngx_msec_t write_timeout;
    ngx_msec_t stdout_read_timeout;
    ngx_msec_t stderr_read_timeout;
    ngx_msec_t wait_timeout;
    ngx_http_lua_pipe_t *pipe;
} ngx_http_lua_ffi_pipe_proc_t;
int @pipe_spawn(request *r, ngx_http_lua_ffi_pipe_proc_t *proc, const char *file, const char **argv, int merge_stderr,
    size_t buffer_size, const char **environ, unsigned char *err, size_t *err_len);
int @pipe_proc_read(request *r, ngx_http_lua_ffi_pipe_proc_t *proc, int from_stderr, int reader, size_t length,
    unsigned char **buf, size_t *buf_size, unsigned char *err, size_t *err_len);
int @pipe_get_read_result(request *r, ngx_http_lua_ffi_pipe_proc_t *proc, int from_stderr, unsigned char **buf,
    size_t *buf_size, unsigned char *err, size_t *err_len);
ssize_t @pipe_proc_write(request *r, ngx_http_lua_ffi_pipe_proc_t *proc, const unsigned char *data, size_t len,
    unsigned char *err, size_t *err_len);
ssize_t @pipe_get_write_result(request *r, ngx_http_lua_ffi_pipe_proc_t *proc, unsigned char *err, size_t *err_len);
int @pipe_proc_shutdown_stdin(ngx_http_lua_ffi_pipe_proc_t *proc, unsigned char *err, size_t *err_len);
int @pipe_proc_shutdown_stdout(ngx_http_lua_ffi_pipe_proc_t *proc, unsigned char *err, size_t *err_len);
int @pipe_proc_shutdown_stderr(ngx_http_lua_ffi_pipe_proc_t *proc, unsigned char *err, size_t *err_len);
int @pipe_proc_wait(request *r, ngx_http_lua_ffi_pipe_proc_t *proc, const char **reason, int *status,
    unsigned char *err, size_t *err_len);
int @pipe_proc_kill(ngx_http_lua_ffi_pipe_proc_t *proc, int signal, unsigned char *err, size_t *err_len);
void @pipe_proc_destroy(ngx_http_lua_ffi_pipe_proc_t *proc);
]]

local _M = { version = base.version }

local ERROR_SIZE, SMALL = 256, 512
local ALL, BYTES, LINE, ANY = 0, 1, 2, 3
local TIMEOUT_MAX = 0xffffffff

local function error_buffer()
    local err, len = get_string_buf(ERROR_SIZE), get_size_ptr()
    len[0] = ERROR_SIZE
    return err, len
end

local function check_proc(proc)
    if type(proc) ~= "cdata" then
        error("not a process instance", 3)
    end
end

local function check_code(code, err, len)
    if code == NO_REQ_CTX then
        error("no request ctx found", 3)
    elseif code == BAD_CONTEXT then
        error(ffi_string(err, len[0]), 3)
    end
end

local small = ffi_new("char[?]", SMALL)
local buf, buf_size = ffi_new("unsigned char *[1]"), ffi_new("size_t[1]")

-- Fetches what a read took, whose length the first attempt told.
local function fetch(r, proc, from_stderr)
    if buf[0] ~= nil then
        return ffi_string(buf[0], buf_size[0])
    end
    local room = ffi_new("unsigned char[?]", buf_size[0])
    buf[0] = room
    local err, len = ffi_new("unsigned char[?]", ERROR_SIZE), ffi_new("size_t[1]", ERROR_SIZE)
    C.ngx_http_lua_ffi_pipe_get_read_result(r, proc, from_stderr, buf, buf_size, err, len)
    return ffi_string(room, buf_size[0])
end

local function read(proc, from_stderr, reader, length)
    check_proc(proc)
    local r = get_request()
    if not r then
        error("no request found")
    end
    buf[0], buf_size[0] = ffi.cast("unsigned char *", small), SMALL
    local err, len = error_buffer()
    local code = C.ngx_http_lua_ffi_pipe_proc_read(r, proc, from_stderr, reader, length, buf, buf_size, err, len)
    check_code(code, err, len)
    if code == AGAIN then
        yield()
        buf[0], buf_size[0] = ffi.cast("unsigned char *", small), SMALL
        err, len = error_buffer()
        code = C.ngx_http_lua_ffi_pipe_get_read_result(r, proc, from_stderr, buf, buf_size, err, len)
    end
    if code == OK then
        return fetch(r, proc, from_stderr)
    end
    local reason = ffi_string(err, len[0])
    if code == DECLINED then
        return nil, reason, fetch(r, proc, from_stderr)
    end
    return nil, reason
end

local function write(proc, data)
    check_proc(proc)
    local r = get_request()
    if not r then
        error("no request found", 2)
    end
    local kind = type(data)
    if kind == "table" then
        data = concat(data)
    elseif kind == "number" then
        data = tostring(data)
    elseif kind ~= "string" then
        error("bad data arg: string, number, or table expected, got " .. kind, 2)
    end
    local err, len = error_buffer()
    local code = C.ngx_http_lua_ffi_pipe_proc_write(r, proc, data, #data, err, len)
    check_code(tonumber(code), err, len)
    if code == AGAIN then
        yield()
        err, len = error_buffer()
        code = C.ngx_http_lua_ffi_pipe_get_write_result(r, proc, err, len)
    end
    if code == ERROR then
        return nil, ffi_string(err, len[0])
    end
    return tonumber(code)
end

local shutdowns = {
    stdin = C.ngx_http_lua_ffi_pipe_proc_shutdown_stdin,
    stdout = C.ngx_http_lua_ffi_pipe_proc_shutdown_stdout,
    stderr = C.ngx_http_lua_ffi_pipe_proc_shutdown_stderr,
}

local function shutdown(proc, direction)
    check_proc(proc)
    local close = shutdowns[direction]
    if not close then
        error("bad shutdown arg: " .. direction, 2)
    end
    local err, len = error_buffer()
    if close(proc, err, len) == ERROR then
        return nil, ffi_string(err, len[0])
    end
    return true
end

local reason, status = ffi_new("const char *[1]"), ffi_new("int[1]")

local function wait(proc)
    check_proc(proc)
    local r = get_request()
    if not r then
        error("no request found", 2)
    end
    local err, len = error_buffer()
    local code = C.ngx_http_lua_ffi_pipe_proc_wait(r, proc, reason, status, err, len)
    check_code(code, err, len)
    if code == ERROR then
        return nil, ffi_string(err, len[0])
    elseif code == AGAIN then
        -- Not a tail call: this frame keeps the process alive.
        local ok, why, number = yield()
        return ok, why, number
    end
    return code == OK, ffi_string(reason[0]), tonumber(status[0])
end

local function kill(proc, signal)
    check_proc(proc)
    if type(signal) ~= "number" then
        error("bad signal arg: number expected, got " .. tostring(signal), 2)
    end
    local err, len = error_buffer()
    if C.ngx_http_lua_ffi_pipe_proc_kill(proc, signal, err, len) == ERROR then
        return nil, ffi_string(err, len[0])
    end
    return true
end

local TIMEOUTS = { "write_timeout", "stdout_read_timeout", "stderr_read_timeout", "wait_timeout" }

local function set_timeout(proc, name, timeout)
    if timeout then
        if timeout < 0 or timeout > TIMEOUT_MAX then
            error("bad " .. name .. " option", 4)
        end
        proc[name] = timeout
    end
end

local function set_timeouts(proc, write_timeout, stdout_timeout, stderr_timeout, wait_timeout)
    set_timeout(proc, TIMEOUTS[1], write_timeout)
    set_timeout(proc, TIMEOUTS[2], stdout_timeout)
    set_timeout(proc, TIMEOUTS[3], stderr_timeout)
    set_timeout(proc, TIMEOUTS[4], wait_timeout)
end

local methods = { write = write, shutdown = shutdown, wait = wait, kill = kill }

function methods.pid(proc)
    return proc._pid
end

function methods.set_timeouts(proc, ...)
    set_timeouts(proc, ...)
    -- Not a tail call: errors name the caller.
    return
end

for name, from_stderr in pairs { stdout = 0, stderr = 1 } do
    methods[name .. "_read_all"] = function (proc)
        local data, err, partial = read(proc, from_stderr, ALL, 0)
        return data, err, partial
    end
    methods[name .. "_read_line"] = function (proc)
        local data, err, partial = read(proc, from_stderr, LINE, 0)
        return data, err, partial
    end
    methods[name .. "_read_bytes"] = function (proc, count)
        if count < 0 then
            error("bad len argument", 2)
        elseif count == 0 then
            return ""
        end
        local data, err, partial = read(proc, from_stderr, BYTES, count)
        return data, err, partial
    end
    methods[name .. "_read_any"] = function (proc, max)
        max = tonumber(max)
        if not max or max <= 0 then
            error("bad max argument", 2)
        end
        local data, err, partial = read(proc, from_stderr, ANY, max)
        return data, err, partial
    end
end

local new_proc = ffi.metatype("ngx_http_lua_ffi_pipe_proc_t", {
    __gc = C.ngx_http_lua_ffi_pipe_proc_destroy,
    __index = methods,
})

-- A C array of strings with null at its end.
local function strings(list, count)
    local array = ffi_new("const char *[?]", count + 1, list)
    array[count] = nil
    return array
end

local function arguments_of(args)
    local kind = type(args)
    if kind == "string" then
        return { "/bin/sh", "-c", args }, 3
    elseif kind ~= "table" then
        error("bad args arg: table expected, got " .. kind, 3)
    end
    local count = 0
    for i, arg in ipairs(args) do
        count = i
        if type(arg) ~= "string" then
            args[i] = tostring(arg)
        end
    end
    if count == 0 then
        error("bad args arg: non-empty table expected", 3)
    end
    return args, count
end

local function environment_of(environ)
    if type(environ) ~= "table" then
        error("bad environ option: table expected, got " .. type(environ), 3)
    end
    local count = 0
    for i, entry in ipairs(environ) do
        count = i
        if type(entry) ~= "string" then
            error("bad value at index " .. i .. " of environ option: string expected, got " .. type(entry), 3)
        elseif not find(entry, "=", 2, true) then
            error("bad value at index " .. i .. " of environ option: 'name=[value]' format expected, got '" .. entry
                .. "'", 3)
        end
    end
    return count > 0 and strings(environ, count) or nil
end

local DEFAULT_TIMEOUT = 10000

function _M.spawn(args, opts)
    if get_phase() == "init" then
        error("API disabled in the current context", 2)
    end
    local list, count = arguments_of(args)
    local proc = new_proc()
    local merge_stderr, buffer_size, environment = 0, 4096, nil
    opts = opts or {}
    if opts.merge_stderr then
        merge_stderr = 1
    end
    if opts.buffer_size then
        buffer_size = tonumber(opts.buffer_size)
        if not buffer_size or buffer_size < 1 then
            error("bad buffer_size option", 2)
        end
    end
    if opts.environ then
        environment = environment_of(opts.environ)
    end
    for i = 1, #TIMEOUTS do
        local name = TIMEOUTS[i]
        local timeout = opts[name] or DEFAULT_TIMEOUT
        if timeout < 0 or timeout > TIMEOUT_MAX then
            error("bad " .. name .. " option", 2)
        end
        proc[name] = timeout
    end
    local err, len = error_buffer()
    local code = C.ngx_http_lua_ffi_pipe_spawn(get_request(), proc, list[1], strings(list, count), merge_stderr,
        buffer_size, environment, err, len)
    if code == ERROR then
        return nil, ffi_string(err, len[0])
    end
    assert(code == OK)
    return proc
end

return _M
