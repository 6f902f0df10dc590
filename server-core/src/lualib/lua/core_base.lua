-- `resty.core.base`: the helpers, and a `require` that stays in compiled code.

local base = require "rsty.base"

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
