-- A module of lua-resty-core whose functions are elsewhere in this layer.

require "resty.core.strings"

return { version = require("rsty.base").version }
