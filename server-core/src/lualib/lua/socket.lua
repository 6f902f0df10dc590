-- Methods of cosockets: options and the descriptor.

local ffi = require "ffi"
local base = require "rsty.base"
local registry = require("debug").getregistry()

local ffi_string = ffi.string
local get_request, get_string_buf, get_size_ptr = base.get_request, base.get_string_buf, base.get_size_ptr
local error, tostring, tonumber = error, tostring, tonumber
local errmsg = base.get_errmsg_ptr()

-- Slots of a socket's table.
local SOCKET, TRANSPARENT = 1, 9
local ERROR_SIZE = 4096

local options = {
    ["keepalive"] = 1,
    ["reuseaddr"] = 2,
    ["tcp-nodelay"] = 3,
    ["sndbuf"] = 4,
    ["rcvbuf"] = 5,
    ["keepintvl"] = 6,
    ["keepcnt"] = 7,
}

base.declare [[
int @socket_tcp_getoption(void *socket, int option, int *value, unsigned char *err, size_t *errlen);
int @socket_tcp_setoption(void *socket, int option, int value, unsigned char *err, size_t *errlen);
int @socket_tcp_getfd(request *r, void *socket, char **errmsg);
]]

local tcp_getoption = base.symbol "socket_tcp_getoption"
local tcp_setoption = base.symbol "socket_tcp_setoption"
local tcp_getfd = base.symbol "socket_tcp_getfd"
local found = ffi.new("int[1]")

local function handle_of(self)
    return self[SOCKET] or error("socket is never created nor connected", 3)
end

local function running_request(self, name)
    if not self then
        error("ngx.socket " .. name .. ": expecting the cosocket object, but seen none", 3)
    end
    return get_request() or error("no request found", 3)
end

local methods = {}

function methods.getoption(self, option)
    local socket = handle_of(self)
    if option == nil then
        return nil, 'missing the "option" argument'
    end
    local number = options[option]
    if not number then
        return nil, "unsupported option " .. tostring(option)
    end
    local err, length = get_string_buf(ERROR_SIZE), get_size_ptr()
    length[0] = ERROR_SIZE
    if tcp_getoption(socket, number, found, err, length) ~= base.FFI_OK then
        return nil, ffi_string(err, length[0])
    end
    return tonumber(found[0])
end

function methods.setoption(self, option, value)
    if option == nil then
        return nil, 'missing the "option" argument'
    end
    if value == nil then
        return nil, 'missing the "value" argument'
    end
    if option == "ip-transparent" then
        self[TRANSPARENT] = value
        return true
    end
    local socket, number = handle_of(self), options[option]
    if not number then
        return nil, "unsupported option " .. tostring(option)
    end
    local err, length = get_string_buf(ERROR_SIZE), get_size_ptr()
    length[0] = ERROR_SIZE
    if tcp_setoption(socket, number, value, err, length) ~= base.FFI_OK then
        return nil, ffi_string(err, length[0])
    end
    return true
end

function methods.getfd(self)
    local r = running_request(self, "getfd")
    local fd = tcp_getfd(r, handle_of(self), errmsg)
    if fd < 0 then
        return nil, ffi_string(errmsg[0])
    end
    return fd
end

for _, kind in ipairs { "__tcp_cosocket_mt", "__tcp_req_cosocket_mt", "__tcp_raw_req_cosocket_mt" } do
    local metatable = registry[kind]
    if metatable then
        for key, method in pairs(methods) do
            metatable[key] = method
        end
    end
end

return { version = base.version }
