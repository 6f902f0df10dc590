-- NAME: what it does, in one sentence.

local setmetatable = setmetatable

local _M = { _VERSION = "0.1.0" }

local mt = { __index = _M }

-- A counter that starts at `start`, or at 0.
function _M.new(start)
    return setmetatable({ count = start or 0 }, mt)
end

-- Adds `amount`, or 1, and returns the sum. Not a number: nil and a message.
function _M:add(amount)
    amount = amount or 1
    if type(amount) ~= "number" then
        return nil, "the amount must be a number"
    end
    self.count = self.count + amount
    return self.count
end

return _M
