local _M = {}

function _M.next()
    count = (count or 0) + 1
    return count
end

return _M
