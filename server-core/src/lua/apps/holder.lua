-- What keeps a space alive that should be gone: the way from what stays to something that refers to its globals.

local target, ignored, limit = ...

local type, next, getmetatable, getfenv = type, next, debug.getmetatable, debug.getfenv
local getupvalue, getinfo, getlocal = debug.getupvalue, debug.getinfo, debug.getlocal

local seen, queue, count = { [ignored] = true }, {}, 0

local function visit(object, parent, label)
    local kind = type(object)
    if kind ~= "table" and kind ~= "function" and kind ~= "thread" and kind ~= "userdata" then
        return
    end
    if object ~= nil and not seen[object] and count < limit then
        seen[object] = true
        count = count + 1
        queue[count] = { object, parent, label }
    end
end

local function place_of(func)
    local info = getinfo(func, "S")
    return info.short_src .. ":" .. info.linedefined
end

local function key_label(key)
    if type(key) == "string" then
        return key:find("^[%a_][%w_]*$") and "." .. key or "[\"" .. key:sub(1, 40) .. "\"]"
    end
    return "[" .. (type(key) == "number" and tostring(key) or type(key)) .. "]"
end

local function way_to(entry)
    local labels = {}
    while entry do
        table.insert(labels, 1, entry[3])
        entry = entry[2]
    end
    return table.concat(labels)
end

local function look(entry)
    local object = entry[1]
    local kind = type(object)
    local meta = getmetatable(object)
    if kind ~= "thread" and kind ~= "function" then
        visit(meta, entry, "'s metatable")
    end
    if kind == "table" then
        local mode = type(meta) == "table" and rawget(meta, "__mode")
        mode = type(mode) == "string" and mode or ""
        for key, value in next, object do
            if not mode:find("k") then
                visit(key, entry, "'s keys")
            end
            if not mode:find("v") then
                visit(value, entry, key_label(key))
            end
        end
    elseif kind == "function" then
        for index = 1, 255 do
            local name, value = getupvalue(object, index)
            if not name then
                break
            end
            visit(value, entry, " > " .. (name == "" and "upvalue" or name))
        end
        visit(getfenv(object), entry, "'s environment")
    elseif kind == "thread" then
        for level = 0, 50 do
            if not getinfo(object, level, "S") then
                break
            end
            visit(getinfo(object, level, "f").func, entry, " in level " .. level)
            for index = 1, 255 do
                local name, value = getlocal(object, level, index)
                if not name then
                    break
                end
                visit(value, entry, " > " .. name)
            end
        end
    end
end

visit(package.loaded, nil, "package.loaded")
visit(_G, nil, "_G")
visit(debug.getregistry(), nil, "the registry")
local at = 1
while at <= count do
    local entry = queue[at]
    local object = entry[1]
    if object == target then
        return way_to(entry)
    end
    if type(object) == "function" and getfenv(object) == target then
        return way_to(entry) .. " (the function at " .. place_of(object) .. ")"
    end
    look(entry)
    at = at + 1
end
