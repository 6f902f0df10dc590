-- What the server gives to scripts by itself, before any library: the parts of `ngx` and `ndk` that are Lua code.

require "rsty.shdict_lists"

rawset(_G, "ndk", { set_var = {} })
package.loaded.ndk = ndk
