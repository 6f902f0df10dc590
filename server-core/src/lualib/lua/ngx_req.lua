-- `ngx.req` as a module.

local base = require "rsty.base"
base.allows_subsystem("http")

local set_req_header = require("resty.core.request").set_req_header

return {
    version = base.version,
    add_header = function(name, value)
        set_req_header(name, value, false)
    end,
}
