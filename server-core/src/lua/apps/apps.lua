-- Module spaces: each app of a server has its own globals, `package` and loaded modules.
--
-- What `require` finds in an app, in this order: what belongs to the core, the app's own modules, the layer that all
-- apps share, the modules of the server (`lua_package_path`). A module of the shared layer that requires something
-- while it is loaded sees the shared layer and what lies below; when it runs, it sees the app whose request is running.

local call, running, is_core_name, stamp, shared_path, shared_cpath = ...

local _G, package, jit = _G, package, jit
local next, type, error, pcall, rawget, rawset, select = next, type, error, pcall, rawget, rawset, select
local setmetatable, getmetatable, setfenv, getfenv = setmetatable, getmetatable, setfenv, getfenv
local load, loadfile, newproxy = load, loadfile, newproxy
local searchpath, loadlib = package.searchpath, package.loadlib
local concat, traceback = table.concat, debug.traceback
local get_phase, log, WARN = ngx.get_phase, ngx.log, ngx.WARN

local server_loaded, server_preload = package.loaded, package.preload
local PUBLIC = { ["rsty.apps"] = true, ["rsty.limits"] = true, ["rsty.upstream"] = true }
-- Stands for a module while it is being loaded.
local LOADING = newproxy()

-- What was there before any script ran belongs to the core; libraries among it may be replaced.
local core = {}
for name in next, server_loaded do
    core[name] = true
end
for name in next, server_preload do
    core[name] = true
end
for _, name in ipairs { "resty.lrucache", "resty.lrucache.pureffi" } do
    core[name] = nil
end

local function is_core(name)
    return core[name] or is_core_name(name)
end

-- A searcher's answer for a module of the server.
local function from_server(name)
    if name:find("^rsty%.") and not PUBLIC[name] then
        return "\n\tmodule '" .. name .. "' is the server's own"
    end
    if server_loaded[name] ~= nil then
        return function()
            return server_loaded[name]
        end
    end
    local tried = {}
    for _, search in ipairs(package.loaders) do
        local found = search(name)
        if type(found) == "function" then
            return _G.require
        end
        tried[#tried + 1] = type(found) == "string" and found or nil
    end
    return concat(tried)
end

local function preload_searcher(layer)
    return function(name)
        return layer.package.preload[name] or "\n\tno field package.preload['" .. name .. "']"
    end
end

local function path_searcher(layer)
    return function(name)
        local path, tried = searchpath(name, layer.package.path)
        if not path then
            return tried
        end
        local chunk, err = loadfile(path)
        if not chunk then
            error("error loading module '" .. name .. "' from file '" .. path .. "':\n\t" .. err, 0)
        end
        layer.files[path] = stamp(path)
        layer.order[#layer.order + 1] = name
        return setfenv(chunk, layer.env)
    end
end

local function cpath_searcher(layer)
    return function(name)
        local path, tried = searchpath(name, layer.package.cpath)
        if not path then
            return tried
        end
        local open = "luaopen_" .. name:gsub("^[^-]*%-", ""):gsub("%.", "_")
        local loader, err = loadlib(path, open)
        if not loader then
            error("error loading module '" .. name .. "' from file '" .. path .. "':\n\t" .. err, 0)
        end
        return loader
    end
end

-- `require` in one layer.
local function load_module(layer, name)
    local loaded = layer.package.loaded
    local value = loaded[name]
    if value == LOADING then
        error("loop or previous error loading module '" .. name .. "'", 3)
    elseif value ~= nil then
        return value
    end
    if is_core(name) then
        value = from_server(name)
        if type(value) == "function" then
            value = value(name)
            loaded[name] = value
            return value
        end
    end
    local loader, tried = nil, {}
    for _, search in ipairs(layer.package.loaders) do
        local found = search(name)
        if type(found) == "function" then
            loader = found
            break
        end
        tried[#tried + 1] = type(found) == "string" and found or nil
    end
    if not loader then
        error("module '" .. name .. "' not found:" .. concat(tried), 3)
    end
    loaded[name] = LOADING
    layer.depth = layer.depth + 1
    local ok, result = pcall(call, loader, name)
    layer.depth = layer.depth - 1
    if not ok then
        loaded[name] = nil
        error(result, 0)
    end
    if result ~= nil then
        loaded[name] = result
    elseif loaded[name] == LOADING then
        loaded[name] = true
    end
    return loaded[name]
end

local function check_name(name)
    if type(name) ~= "string" then
        error("bad argument #1 to 'require' (string expected, got " .. type(name) .. ")", 3)
    end
end

local function copy(from)
    local to = {}
    for key, value in next, from do
        to[key] = value
    end
    return to
end

-- Functions that make functions give them the layer's globals.
local function own_loaders(env)
    local function place(chunk, err, given)
        if chunk and not given then
            setfenv(chunk, env)
        end
        return chunk, err
    end
    function env.load(code, name, mode, ...)
        local chunk, err = load(code, name, mode, ...)
        return place(chunk, err, select("#", ...) > 0)
    end
    env.loadstring = env.load
    function env.loadfile(path, mode, ...)
        local chunk, err = loadfile(path, mode, ...)
        return place(chunk, err, select("#", ...) > 0)
    end
    function env.dofile(path)
        local chunk, err = loadfile(path)
        if not chunk then
            error(err, 0)
        end
        return setfenv(chunk, env)()
    end
    function env.getfenv(target)
        if target == nil then
            target = 1
        end
        if type(target) == "number" and target > 0 then
            target = target + 1
        end
        local found = getfenv(target)
        return found == _G and env or found
    end
    function env.setfenv(target, table)
        if target == 0 then
            error("an app can't replace the environment of its thread", 2)
        end
        if type(target) == "number" then
            target = target + 1
        end
        return setfenv(target, table)
    end
end

-- `module(name, ...)`, which old libraries use.
local function own_module(env, loaded)
    return function(name, ...)
        local module = loaded[name]
        if type(module) ~= "table" then
            module = env
            for part in name:gmatch("[^.]+") do
                local inner = rawget(module, part)
                if inner == nil then
                    inner = {}
                    rawset(module, part, inner)
                elseif type(inner) ~= "table" then
                    error("name conflict for module '" .. name .. "'", 2)
                end
                module = inner
            end
            loaded[name] = module
        end
        if module._NAME == nil then
            module._M, module._NAME, module._PACKAGE = module, name, name:match("^(.*%.)[^.]*$") or ""
        end
        setfenv(2, module)
        for i = 1, select("#", ...) do
            select(i, ...)(module)
        end
    end
end

local function warn_of_global(env, key, value)
    rawset(env, key, value)
    local phase = get_phase()
    if phase ~= "init" and phase ~= "init_worker" then
        log(WARN, "writing a global Lua variable ('", tostring(key), "') which may lead to race conditions between ",
            "concurrent requests, so prefer the use of 'local' variables", traceback("", 2))
    end
end

-- A layer: globals of its own, which show the server's where it has none.
local function new_layer(path, cpath)
    local env = {}
    local loaded = { _G = env }
    local layer = { env = env, files = {}, order = {}, depth = 0 }
    layer.package = {
        config = package.config,
        cpath = cpath,
        loaded = loaded,
        loadlib = loadlib,
        path = path,
        preload = {},
        searchpath = searchpath,
        seeall = function(module)
            local meta = getmetatable(module) or {}
            meta.__index = env
            setmetatable(module, meta)
        end,
    }
    env._G, env.package, loaded.package = env, layer.package, layer.package
    own_loaders(env)
    env.module = own_module(env, loaded)
    return layer
end

local shared = new_layer(shared_path, shared_cpath)
shared.package.loaders = { preload_searcher(shared), path_searcher(shared), cpath_searcher(shared), from_server }
setmetatable(shared.env, { __index = _G })

function shared.env.require(name)
    check_name(name)
    local space = shared.depth == 0 and running()
    if space then
        return space.require(name)
    end
    return load_module(shared, name)
end

-- A searcher's answer for a module of the shared layer.
local function from_shared(name)
    if shared.package.loaded[name] == nil and not shared.package.preload[name] then
        local path, tried = searchpath(name, shared.package.path)
        if not path and not searchpath(name, shared.package.cpath) then
            return tried
        end
    end
    return function()
        return load_module(shared, name)
    end
end

-- The spaces that are not collected yet, by their globals.
local alive = setmetatable({}, { __mode = "k" })

local COPIED = { "bit", "coroutine", "debug", "io", "math", "os", "string", "table" }

-- The core's `ngx`: what an app puts there is its own.
local function own_ngx()
    local own = copy(ngx)
    for key, value in next, own do
        if type(value) == "table" and not getmetatable(value) then
            own[key] = copy(value)
        end
    end
    return setmetatable(own, getmetatable(ngx))
end

-- A new space for an app.
local function create(name, label, path, cpath)
    local space = new_layer(path, cpath)
    local env, loaded = space.env, space.package.loaded
    for key, value in next, _G do
        if rawget(env, key) == nil then
            env[key] = value
        end
    end
    for _, each in ipairs(COPIED) do
        env[each] = copy(_G[each])
        loaded[each] = env[each]
    end
    env.ngx = own_ngx()
    loaded.ngx = env.ngx
    space.package.loaders = {
        preload_searcher(space), path_searcher(space), cpath_searcher(space), from_shared, from_server,
    }
    function space.require(module)
        return load_module(space, module)
    end
    function env.require(module)
        check_name(module)
        return load_module(space, module)
    end
    setmetatable(env, { __index = _G, __newindex = warn_of_global })
    space.name, space.chunks, space.string = name, {}, env.string
    alive[env] = label
    return space
end

-- Methods of strings that an app added are its own, too.
if not getmetatable(string) then
    setmetatable(string, { __index = function(_, key)
        local space = running()
        return space and space.string[key]
    end })
end

-- Loads in a new space what the old one had loaded from its own files; a message on failure.
local function fill(new, old)
    for path in next, old.files do
        local file = io.open(path)
        if file then
            file:close()
            local chunk, err = loadfile(path)
            if not chunk then
                return err
            end
        end
    end
    for _, name in ipairs(old.order) do
        if new.package.loaded[name] == nil and searchpath(name, new.package.path) then
            local ok, err = pcall(new.require, name)
            if not ok then
                return tostring(err)
            end
        end
    end
end

local function changed_in(layer)
    local changed = false
    for path, known in next, layer.files do
        local now = stamp(path)
        if now and now ~= known then
            layer.files[path] = now
            changed = true
        end
    end
    return changed
end

-- Forgets what the shared layer has loaded when a file of it has changed; whether one has.
local function renew_shared()
    if not changed_in(shared) then
        return false
    end
    for _, name in ipairs(shared.order) do
        shared.package.loaded[name] = nil
    end
    shared.files, shared.order = {}, {}
    return true
end

local function label_of(space)
    return alive[space.env]
end

-- The globals of a space that should be gone, or nil.
local function remains(label)
    for env, each in next, alive do
        if each == label then
            return env
        end
    end
end

return create, fill, changed_in, renew_shared, remains, alive
