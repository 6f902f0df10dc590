-- `ngx.semaphore`.

local ffi = require "ffi"
local base = require "rsty.base"
base.allows_subsystem("http", "stream")

local ffi_string, ffi_gc = ffi.string, ffi.gc
local type, error, tonumber, setmetatable = type, error, tonumber, setmetatable
local yield = coroutine._yield
local running_request, get_string_buf, get_size_ptr = base.running_request, base.get_string_buf, base.get_size_ptr

base.declare((([[
struct SEMA_s;
typedef struct SEMA_s SEMA_t;
int @sema_new(SEMA_t **psem, int n, char **errmsg);
int @sema_post(SEMA_t *sem, int n);
int @sema_count(SEMA_t *sem);
int @sema_wait(request *r, SEMA_t *sem, int wait_ms, unsigned char *errstr, size_t *errlen);
void @sema_gc(SEMA_t *sem);
]]):gsub("SEMA", "ngx_" .. ngx.config.subsystem .. "_lua_sema")))

local sema_new = base.symbol "sema_new"
local sema_post = base.symbol "sema_post"
local sema_count = base.symbol "sema_count"
local sema_wait = base.symbol "sema_wait"
local sema_gc = base.symbol "sema_gc"
local made = ffi.new("ngx_" .. ngx.config.subsystem .. "_lua_sema_t *[1]")
local errmsg = base.get_errmsg_ptr()
local ERROR_SIZE = 128

local _M = { version = base.version }
local meta = { __index = _M }

local function cdata_of(self)
    local sem = type(self) == "table" and self.sem
    if type(sem) ~= "cdata" then
        error("not a semaphore instance", 3)
    end
    return sem
end

function _M.new(n)
    n = tonumber(n) or 0
    if n < 0 then
        error("no negative number", 2)
    end
    if sema_new(made, n, errmsg) == base.FFI_ERROR then
        return nil, ffi_string(errmsg[0])
    end
    return setmetatable({ sem = ffi_gc(made[0], sema_gc) }, meta)
end

function _M.wait(self, seconds)
    local sem = cdata_of(self)
    local r = running_request()
    local milliseconds = tonumber(seconds) * 1000
    if milliseconds < 0 then
        error("no negative number", 2)
    end
    local err, err_len = get_string_buf(ERROR_SIZE), get_size_ptr()
    err_len[0] = ERROR_SIZE
    local code = sema_wait(r, sem, milliseconds, err, err_len)
    if code == base.FFI_ERROR then
        return nil, ffi_string(err, err_len[0])
    elseif code == base.FFI_OK then
        return true
    elseif code == base.FFI_DECLINED then
        return nil, "timeout"
    end
    -- Not a tail call: this frame keeps the semaphore alive.
    local ok, problem = yield()
    return ok, problem
end

function _M.post(self, n)
    local sem = cdata_of(self)
    local count = n and tonumber(n) or 1
    if count < 1 then
        error("positive number required", 2)
    end
    sema_post(sem, count)
    return true
end

function _M.count(self)
    return sema_count(cdata_of(self))
end

return _M
