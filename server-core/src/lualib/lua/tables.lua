-- Table functions of OpenResty's LuaJIT; the name of the module chooses the function.

local next, pairs, select, type = next, pairs, select, type
local floor = math.floor

local functions = {}

functions["table.isempty"] = function(t)
    return next(t) == nil
end

functions["table.nkeys"] = function(t)
    local count = 0
    for _ in pairs(t) do
        count = count + 1
    end
    return count
end

functions["table.clone"] = function(t)
    local copy = {}
    for key, value in next, t do
        copy[key] = value
    end
    return copy
end

functions["table.isarray"] = function(t)
    for key in next, t do
        if type(key) ~= "number" or key < 1 or key ~= floor(key) then
            return false
        end
    end
    return true
end

-- Wrong arguments are errors, as with functions written in C.
local name = ...
local plain = functions[name]
local short = name:match("%.(.*)")

return function(...)
    local t = ...
    if type(t) ~= "table" then
        local kind = select("#", ...) == 0 and "no value" or type(t)
        error("bad argument #1 to '" .. short .. "' (table expected, got " .. kind .. ")", 2)
    end
    return plain(t)
end
