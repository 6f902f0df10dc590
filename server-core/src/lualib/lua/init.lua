-- The whole layer, in the order in which parts need each other.

require "resty.core.base"
require "resty.core.strings"
require "resty.core.time"
local http = ngx.config.subsystem == "http"
if http then
    require "resty.core.phase"
end
require "resty.core.misc"
require "resty.core.ctx"
require "resty.core.var"
require "resty.core.worker"
require "resty.core.shdict"
require "resty.core.regex"
require "resty.core.exit"
require "resty.core.request"
require "resty.core.socket"
require "resty.core.socket_tls"
if http then
    require "resty.core.param"
    require "resty.core.response"
    require "resty.core.ndk"
end

return { version = require("rsty.base").version }
