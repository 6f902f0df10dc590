-- Runs in `init_worker_by_lua`, behind the lines that set `program`, `file`, `code`, `words` and `libraries`: starts
-- the script in a timer, where the whole API works, and leaves when it has ended.

local stderr, exit = io.stderr, os.exit

local function fail(message)
    io.stdout:flush()
    stderr:write("ERROR: ", tostring(message), "\n")
    return exit(1)
end

local function traced(message)
    if type(message) ~= "string" then
        return tostring(message)
    end
    return debug.traceback(message, 2)
end

arg = { [-1] = program, [0] = file or "-e", unpack(words) }

local chunks = {}
for _, piece in ipairs(pieces) do
    local chunk, err = loadstring(piece, "=(command line -e)")
    if not chunk then
        return fail(err)
    end
    chunks[#chunks + 1] = chunk
end
if file then
    local chunk, err
    if file == "-" then
        chunk, err = loadstring(io.read("*a"), "=stdin")
    else
        chunk, err = loadfile(file)
    end
    if not chunk then
        return fail(err)
    end
    chunks[#chunks + 1] = chunk
end

local ok, err = ngx.timer.at(0, function ()
    for _, chunk in ipairs(chunks) do
        local ok, message = xpcall(chunk, traced, unpack(words))
        if not ok then
            return fail(message)
        end
    end
    io.stdout:flush()
    require("ngx.process").signal_graceful_exit()
end)
if not ok then
    return fail(err)
end
