-- The worker process.

local ffi = require "ffi"
local base = require "rsty.base"

local get_request, get_size_ptr = base.get_request, base.get_size_ptr
local tonumber = tonumber
local ngx = ngx

base.declare [[
int @worker_id(void);
int @worker_pid(void);
int @worker_pids(int *pids, size_t *pids_len);
int @worker_count(void);
int @worker_exiting(void);
]]

local worker_id = base.symbol "worker_id"
local worker_pid = base.symbol "worker_pid"
local worker_pids = base.symbol "worker_pids"
local worker_count = base.symbol "worker_count"
local worker_exiting = base.symbol "worker_exiting"

-- Workers of the old and of the new configuration live side by side for a while.
local GENERATIONS = 4

local worker = ngx.worker or {}
ngx.worker = worker

function worker.exiting()
    return worker_exiting() ~= 0
end

function worker.pid()
    return worker_pid()
end

function worker.count()
    return worker_count()
end

function worker.id()
    local id = worker_id()
    if id >= 0 then
        return id
    end
end

function worker.pids()
    local phase = get_request() and ngx.get_phase and ngx.get_phase() or "init"
    if phase == "init" or phase == "init_worker" then
        return nil, "API disabled in the current context"
    end
    local room = worker_count() * GENERATIONS
    local found, len = ffi.new("int[?]", room), get_size_ptr()
    len[0] = room
    local pids = {}
    if worker_pids(found, len) == 0 then
        for i = 1, tonumber(len[0]) do
            pids[i] = found[i - 1]
        end
    end
    return pids
end

return { _VERSION = base.version }
