-- `ngx.ctx`: one table a request, kept in a table of references in the registry.

local ffi = require "ffi"
local base = require "rsty.base"
local misc = require "resty.core.misc"

local error, type, setmetatable = error, type, setmetatable
local running_request, new_tab, ref_in_table = base.running_request, base.new_tab, base.ref_in_table
local NO_REQ_CTX = base.FFI_NO_REQ_CTX

base.declare [[
int @get_ctx_ref(request *r, int *in_ssl_phase, int *ssl_ctx_ref);
int @set_ctx_ref(request *r, int ref);
]]

local get_ctx_ref = base.symbol "get_ctx_ref"
local set_ctx_ref = base.symbol "set_ctx_ref"

local in_ssl_phase, ssl_ctx_ref = ffi.new("int[1]"), ffi.new("int[1]")
local tables = {}
debug.getregistry().ngx_lua_ctx_tables = tables

-- A new table for the request. What phases of the TLS handshake left is visible in it.
local function new_ctx(ctx)
    local of_connection = ssl_ctx_ref[0] > 0 and tables[ssl_ctx_ref[0]]
    local in_handshake = in_ssl_phase[0] ~= 0
    if of_connection and in_handshake then
        return of_connection, true
    end
    ctx = ctx or new_tab(0, 4)
    if of_connection then
        setmetatable(ctx, of_connection)
    elseif in_handshake then
        ctx.__index = ctx
    end
    return ctx
end

local function reference_of(r)
    local ref = get_ctx_ref(r, in_ssl_phase, ssl_ctx_ref)
    if ref == NO_REQ_CTX then
        error("no request ctx found", 2)
    end
    return ref
end

local function get_ctx_table(ctx)
    local r = running_request()
    local ref = reference_of(r)
    if ref >= 0 then
        return tables[ref]
    end
    local known
    ctx, known = new_ctx(ctx)
    if known then
        return ctx
    end
    if set_ctx_ref(r, ref_in_table(tables, ctx)) == 0 then
        return ctx
    end
end

local function set_ctx_table(ctx)
    local kind = type(ctx)
    if kind ~= "table" then
        error("ctx should be a table while getting a " .. kind)
    end
    local r = running_request()
    local ref = reference_of(r)
    if ref < 0 then
        set_ctx_ref(r, ref_in_table(tables, ctx))
    else
        tables[ref] = ctx
    end
end

misc.register_ngx_magic_key_getter("ctx", get_ctx_table)
misc.register_ngx_magic_key_setter("ctx", set_ctx_table)

return { _VERSION = base.version, get_ctx_table = get_ctx_table }
