-- Runs in `init_by_lua`: output goes to the standard output, because no request takes it.

ngx.config.is_console = true

local stdout = io.stdout
local concat, select, tostring, type = table.concat, select, tostring, type
local null = ngx.null

local function text(value)
    if value == null then
        return "null"
    elseif type(value) ~= "table" then
        return tostring(value)
    end
    local parts = {}
    for index = 1, table.maxn(value) do
        parts[index] = text(value[index])
    end
    return concat(parts)
end

local function write(last, ...)
    local parts = {}
    for index = 1, select("#", ...) do
        parts[index] = text((select(index, ...)))
    end
    parts[#parts + 1] = last
    local ok, err = stdout:write(concat(parts))
    if not ok then
        return nil, err
    end
    return 1
end

ngx.orig_print, ngx.orig_say, ngx.orig_exit = ngx.print, ngx.say, ngx.exit

function ngx.print(...)
    return write(nil, ...)
end

function ngx.say(...)
    return write("\n", ...)
end

function ngx.flush()
    stdout:flush()
    return 1
end

function ngx.eof()
    return 1
end

ngx.exit = os.exit
print = ngx.say
