-- `ngx.re` as a module: split, opt.

local base = require "rsty.base"
local regex = require "resty.core.regex"

local ffi_string = require("ffi").string
local sub = string.sub
local type, error, tostring = type, error, tostring
local min, max_of = math.min, math.max
local new_tab, get_string_buf, get_size_ptr = base.new_tab, base.get_string_buf, base.get_size_ptr
local compile, exec, destroy = regex.re_match_compile, regex.exec, regex.destroy_compiled_regex

base.declare [[
int @set_jit_stack_size(int size, unsigned char *errstr, size_t *errstr_size);
]]
local set_jit_stack_size = base.symbol "set_jit_stack_size"

local ERROR_SIZE = 128
local TYPICAL_PIECES = 4

local _M = { version = base.version }

-- Splits at matches. Each piece is followed by what the first group matched, if there is one. A match that is empty
-- splits between bytes. Without limit, empty pieces at the end are left out.
function _M.split(subject, pattern, opts, ctx, limit, res)
    subject = tostring(subject)
    limit = limit or 0
    if res ~= nil and type(res) ~= "table" then
        error("res is not a table", 2)
    end
    res = res or new_tab(limit > 0 and min(limit, TYPICAL_PIECES) or TYPICAL_PIECES, 0)
    local len = #subject
    local start = ctx and ctx.pos or 1
    if start > len then
        if ctx then
            ctx.pos = start
        end
        res[1] = nil
        return res
    end
    local compiled, once, flags = compile(pattern, opts)
    if not compiled then
        return nil, once
    end
    -- `start` is where the next piece begins, counted from one; `pos` where the search goes on, from zero.
    local pos, pieces, n = start - 1, 1, 0
    local after_empty
    while limit <= 0 or pieces < limit do
        -- The expression outlives the last match: it is destroyed below.
        local count, err = exec(compiled, true, flags, subject, max_of(pos, 0))
        if err then
            if not once then
                destroy(compiled)
            end
            return nil, err
        end
        if not count then
            break
        end
        local captures = compiled.captures
        local from, to = captures[0] + 1, captures[1] + 1
        if after_empty then
            start = after_empty
        end
        if from == to then
            after_empty = from
            pos = to
        else
            pos = to - 1
        end
        if from > start or not after_empty then
            pieces = pieces + 1
            n = n + 1
            res[n] = sub(subject, start, from - 1)
            if compiled.ncaptures > 0 and count > 1 then
                n = n + 1
                res[n] = sub(subject, captures[2] + 1, captures[3])
            end
            start = to
            if start > len then
                break
            end
        end
    end
    if ctx then
        ctx.pos = pos
    end
    if not once then
        destroy(compiled)
    end
    if limit <= 0 and start > len then
        while n > 0 and res[n] == "" do
            res[n] = nil
            n = n - 1
        end
    else
        n = n + 1
        res[n] = sub(subject, start)
    end
    res[n + 1] = nil
    return res
end

function _M.opt(option, value)
    if option ~= "jit_stack_size" then
        error("unrecognized option name", 2)
    end
    if not regex.is_regex_cache_empty() then
        error("changing jit stack size is not allowed when some regexs have already been compiled and cached", 2)
    end
    local err, err_len = get_string_buf(ERROR_SIZE), get_size_ptr()
    err_len[0] = ERROR_SIZE
    if set_jit_stack_size(value, err, err_len) ~= 0 then
        error(ffi_string(err, err_len[0]), 2)
    end
end

return _M
