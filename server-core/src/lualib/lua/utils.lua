-- Helpers that libraries use.

local base = require "resty.core.base"

local find, gsub = string.find, string.gsub

local _M = { version = base.version }

-- Replaces each `from` (one byte) by `to`.
function _M.str_replace_char(text, from, to)
    if not find(text, from, 1, true) then
        return text
    end
    return (gsub(text, (gsub(from, "%W", "%%%0")), (gsub(to, "%%", "%%%%"))))
end

return _M
