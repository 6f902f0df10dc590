-- `ngx.exit`.

local base = require "rsty.base"

local ffi_string = require("ffi").string
local error = error
local yield = coroutine._yield
local running_request, get_string_buf, get_size_ptr = base.running_request, base.get_string_buf, base.get_size_ptr
local DONE = base.FFI_DONE

base.declare [[
int @exit(request *r, int status, unsigned char *err, size_t *errlen);
]]

local exit = base.symbol "exit"
local ERROR_SIZE = 128

function ngx.exit(status)
    local r = running_request()
    local err, err_len = get_string_buf(ERROR_SIZE), get_size_ptr()
    err_len[0] = ERROR_SIZE
    local code = exit(r, status, err, err_len)
    if code == 0 then
        return yield()
    end
    if code ~= DONE then
        error(ffi_string(err, err_len[0]), 2)
    end
end

return { version = base.version }
