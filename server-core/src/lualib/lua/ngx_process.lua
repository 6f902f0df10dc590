-- `ngx.process`: the kinds of processes.

local base = require "rsty.base"
base.allows_subsystem("http", "stream")

local ffi_string = require("ffi").string
local type, tonumber = type, tonumber

base.declare [[
int @enable_privileged_agent(char **err, unsigned int connections);
int @get_process_type(void);
void @process_signal_graceful_exit(void);
int @master_pid(void);
]]

local enable_privileged_agent = base.symbol "enable_privileged_agent"
local get_process_type = base.symbol "get_process_type"
local signal_graceful_exit = base.symbol "process_signal_graceful_exit"
local master_pid = base.symbol "master_pid"
local errmsg = base.get_errmsg_ptr()

local TYPES = {
    [0] = "single",
    [1] = "master",
    [2] = "signaller",
    [3] = "worker",
    [4] = "helper",
    [99] = "privileged agent",
}

local _M = { version = base.version }

function _M.type()
    return TYPES[tonumber(get_process_type())]
end

function _M.enable_privileged_agent(connections)
    if ngx.get_phase() ~= "init" then
        return nil, "API disabled in the current context"
    end
    connections = connections or 512
    if type(connections) ~= "number" or connections < 0 then
        return nil, "bad 'connections' argument: number expected and greater than 0"
    end
    if enable_privileged_agent(errmsg, connections) == base.FFI_ERROR then
        return nil, ffi_string(errmsg[0])
    end
    return true
end

function _M.signal_graceful_exit()
    signal_graceful_exit()
end

function _M.get_master_pid()
    local pid = master_pid()
    if pid >= 0 then
        return tonumber(pid)
    end
end

return _M
