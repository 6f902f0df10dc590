-- The whole layer, in the order in which parts need each other.

require "rsty.base"
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
if http then
    require "resty.core.param"
    require "resty.core.response"
    require "resty.core.ndk"
    require "resty.core.socket_tls"
end

return { version = require("rsty.base").version }
