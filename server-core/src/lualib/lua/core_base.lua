-- `resty.core.base`: the helpers that libraries use, and a `require` that stays in compiled code.

local private = { c_strings = true, declare = true, running_request = true, symbol = true }
local base = {}
for name, value in pairs(require "rsty.base") do
    if not private[name] then
        base[name] = value
    end
end

-- `require` of a module that is loaded stays in compiled code.
do
    local original, loaded = require, package.loaded
    local loading = loaded[...]

    function _G.require(name)
        local module = loaded[name]
        if module and module ~= loading then
            return module
        end
        return original(name)
    end
end

return base
