-- Runs inside the server under test, before any other Lua: notes which lines of the project's files run.
-- Each line is written once for each Lua state, at once, so that a server that is killed loses nothing.
local folder, home = ...

if package.loaded["rsty.coverage"] then
    return
end
package.loaded["rsty.coverage"] = true

-- Compiled code calls no hooks.
jit.off()
jit.flush()

local util = require "jit.util"
local getinfo, sub, find = debug.getinfo, string.sub, string.find
local notes = assert(io.open(folder .. "/" .. ngx.worker.pid(), "a"))

-- All lines of a function, and of those in it, that have code.
local function note_lines(code, path)
    local info = util.funcinfo(code)
    for place = 1, info.bytecodes - 1 do
        local line = util.funcinfo(code, place).currentline
        if line and line > 0 then
            notes:write("A\t", line, "\t", path, "\n")
        end
    end
    if not info.children then
        return
    end
    for index = -1, -65536, -1 do
        local constant = util.funck(code, index)
        if constant == nil then
            return
        end
        if type(constant) == "proto" then
            note_lines(constant, path)
        end
    end
end

-- The path that a chunk came from, if it is one of the project's files.
local function path_of(source)
    if sub(source, 1, 1) ~= "@" then
        return nil
    end
    local path = sub(source, 2)
    if sub(path, 1, 1) == "/" then
        if sub(path, 1, #home + 1) ~= home .. "/" then
            return nil
        end
        path = sub(path, #home + 2)
    end
    while sub(path, 1, 2) == "./" do
        path = sub(path, 3)
    end
    if find(path, "..", 1, true) or find(path, "servroot", 1, true) then
        return nil
    end
    return path
end

local known = {}

local function enter(source)
    local path = path_of(source)
    local chunk = path and loadfile(home .. "/" .. path)
    if not chunk then
        known[source] = false
        return false
    end
    local file = { path = path }
    known[source] = file
    note_lines(chunk, path)
    return file
end

debug.sethook(function (_, line)
    local source = getinfo(2, "S").source
    local file = known[source]
    if file == nil then
        file = enter(source)
    end
    if file and not file[line] then
        file[line] = true
        notes:write("H\t", line, "\t", file.path, "\n")
        notes:flush()
    end
end, "l")
