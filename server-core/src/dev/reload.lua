-- Reloads Lua modules whose files have changed. Its argument tells what a file looks like.
--
-- A module that is a table keeps its identity: the new fields are put into the old table, so that whoever holds it sees
-- them. Modules that required a changed one while they were loaded are loaded anew as well. When anything fails,
-- everything stays as it was.

local stamp = ...

local loaded, preload, searchpath = package.loaded, package.preload, package.searchpath
local require_module, pcall, error, next, type = require, pcall, error, next, type

-- name -> { path, stamp }, or false for what has no file
local known = {}
-- name -> set of the modules that required it while they were loaded
local dependents = {}
local loading = {}

local function look(name)
    local path = not preload[name] and searchpath(name, package.path)
    known[name] = path and { path = path, stamp = stamp(path) } or false
end

function require(name)
    local parent = loading[#loading]
    if parent then
        dependents[name] = dependents[name] or {}
        dependents[name][parent] = true
    end
    if loaded[name] ~= nil then
        return require_module(name)
    end
    -- Before it is loaded, so that an edit meanwhile counts.
    if known[name] == nil and type(name) == "string" then
        look(name)
    end
    loading[#loading + 1] = name
    local ok, value = pcall(require_module, name)
    loading[#loading] = nil
    if not ok then
        return error(value, 0)
    end
    return value
end

-- The names of modules whose files have changed, or nil.
local function changed()
    local names
    for name in next, loaded do
        local file = known[name]
        if file == nil and type(name) == "string" then
            look(name)
        elseif file then
            local now = stamp(file.path)
            if now and now ~= file.stamp then
                file.stamp = now
                names = names or {}
                names[#names + 1] = name
            end
        end
    end
    return names
end

local function collect(name, set)
    if set[name] then
        return
    end
    set[name] = true
    for dependent in next, dependents[name] or {} do
        collect(dependent, set)
    end
end

local function replace(old, new)
    for key in next, old do
        old[key] = nil
    end
    for key, value in next, new do
        old[key] = value
    end
    return setmetatable(old, getmetatable(new))
end

-- Loads the changed modules; a message on failure.
local function reload(names)
    for _, name in ipairs(names) do
        local chunk, err = loadfile(known[name].path)
        if not chunk then
            return err
        end
    end
    local set, old = {}, {}
    for _, name in ipairs(names) do
        collect(name, set)
    end
    for name in next, set do
        old[name], loaded[name] = loaded[name], nil
    end
    for name in next, set do
        local ok, err = pcall(require, name)
        if not ok then
            for each in next, set do
                loaded[each] = old[each]
            end
            return err
        end
    end
    for name in next, set do
        if type(old[name]) == "table" and type(loaded[name]) == "table" and old[name] ~= loaded[name] then
            loaded[name] = replace(old[name], loaded[name])
        end
    end
end

return changed, reload
