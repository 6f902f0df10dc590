-- Answers requests. A module's functions are loaded once in each worker; what all workers share is in `ngx.shared`.

local cjson = require "cjson.safe"

local _M = {}

-- A greeting for a name. Pure, so that it can be tested without a request.
function _M.greeting(name)
    return "Hello, " .. name .. "!"
end

-- Answers with a greeting for the argument `name`, and the number of answers so far.
function _M.answer()
    local name = ngx.var.arg_name or "world"
    local count, err = ngx.shared.visits:incr("count", 1, 0)
    if not count then
        ngx.log(ngx.ERR, "failed to count: ", err)
        return ngx.exit(500)
    end
    ngx.say(cjson.encode { greeting = _M.greeting(name), visits = count })
end

return _M
