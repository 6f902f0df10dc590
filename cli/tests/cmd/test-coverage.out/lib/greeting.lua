local M = {}

function M.hello(name)
    if name then
        return "hello, " .. name
    end
    -- nobody
    return "hello"
end

return M
