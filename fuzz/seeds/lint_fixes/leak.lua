local _M = { _VERSION = "0.1" }
local mt = { __index = _M }
function _M.new(self, n) count = n or 0x1p4; return setmetatable({ n = count }, mt) end
for i = 1, #_M do local a = i end
