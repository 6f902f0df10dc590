-- `rsty.upstream`: servers of an `upstream { }` added, removed and changed while the server runs, for all workers at
-- once. The group must have a `zone`. What is done here holds until the configuration is read again.

local ffi = require "ffi"
local base = require "rsty.base"
local shown = require "ngx.upstream"

local C = ffi.C
local error, next, type = error, next, type

base.declare [[
typedef struct {
    double weight, max_conns, max_fails, fail_timeout;
    int backup, down;
} rsty_upstream_new_t;
int rsty_upstream_add(int group, const char *address, size_t len, const rsty_upstream_new_t *entry);
int rsty_upstream_remove(int group, const char *address, size_t len);
int rsty_upstream_change(int group, const char *address, size_t len, int what, double value);
int rsty_upstream_has_zone(int group);
]]

local entry = ffi.new("rsty_upstream_new_t")
local FAILURES = {
    [-1] = "upstream not found",
    [-2] = "upstream has no zone",
    [-3] = "invalid address",
    [-4] = "peer exists",
    [-5] = "no room in the zone",
    [-6] = "balancing method does not support backup peers",
}
local LARGEST = 2 ^ 31 - 1

-- What may be set: its number, its least value, what it is when nothing is said.
local SETTINGS = {
    weight = { what = 0, least = 1, default = 1 },
    max_conns = { what = 1, least = 0, default = 0 },
    max_fails = { what = 2, least = 0, default = 1 },
    fail_timeout = { what = 3, least = 0, default = 10 },
}
local FLAGS = { backup = true, down = true }

local function check_text(value, at, place)
    if type(value) ~= "string" then
        error("bad argument #" .. at .. " to '" .. place .. "' (string expected, got " .. type(value) .. ")", 3)
    end
end

local function check_options(options, place)
    if type(options) ~= "table" then
        error("bad argument #3 to '" .. place .. "' (table expected, got " .. type(options) .. ")", 3)
    end
    for key, value in next, options do
        local setting = SETTINGS[key]
        if setting then
            if type(value) ~= "number" or value < setting.least or value > LARGEST or value % 1 ~= 0 then
                return nil, "invalid " .. key
            end
        elseif not FLAGS[key] then
            return nil, "unknown option \"" .. tostring(key) .. "\""
        end
    end
    return true
end

local function group_of(name)
    local group = C.rsty_upstream_find(name, #name)
    if group < 0 then
        return nil, FAILURES[-1]
    end
    if C.rsty_upstream_has_zone(group) == 0 then
        return nil, FAILURES[-2]
    end
    return group
end

local _M = {}

-- Adds a server by its address, with the parameters of the directive `server`.
function _M.add(upstream, address, options)
    check_text(upstream, 1, "add")
    check_text(address, 2, "add")
    options = options or {}
    local ok, err = check_options(options, "add")
    if not ok then
        return nil, err
    end
    local group, err = group_of(upstream)
    if not group then
        return nil, err
    end
    for key, setting in next, SETTINGS do
        entry[key] = options[key] or setting.default
    end
    entry.backup, entry.down = options.backup and 1 or 0, options.down and 1 or 0
    local code = C.rsty_upstream_add(group, address, #address, entry)
    if code ~= base.FFI_OK then
        return nil, FAILURES[code]
    end
    return true
end

-- Removes a server by its address.
function _M.remove(upstream, address)
    check_text(upstream, 1, "remove")
    check_text(address, 2, "remove")
    local group, err = group_of(upstream)
    if not group then
        return nil, err
    end
    if C.rsty_upstream_remove(group, address, #address) < 1 then
        return nil, "peer not found"
    end
    return true
end

-- Changes the servers with this address, or with this name in the configuration.
function _M.set(upstream, address, options)
    check_text(upstream, 1, "set")
    check_text(address, 2, "set")
    local ok, err = check_options(options, "set")
    if not ok then
        return nil, err
    end
    if options.backup ~= nil then
        return nil, "a peer does not become a backup; remove and add it"
    end
    local group, err = group_of(upstream)
    if not group then
        return nil, err
    end
    local count = -1
    for key, value in next, options do
        local what = SETTINGS[key] and SETTINGS[key].what or 4
        if what == 4 then
            value = value and 1 or 0
        end
        count = C.rsty_upstream_change(group, address, #address, what, value)
        if count < 1 then
            return nil, "peer not found"
        end
    end
    return true
end

local state = ffi.new("rsty_upstream_peer_t")

local function complete(group, backup, peers, list)
    for at, peer in ipairs(peers) do
        if C.rsty_upstream_peer(group, backup, at - 1, state) == base.FFI_OK then
            peer.backup = backup == 1 or nil
            peer.max_conns = state.max_conns
            peer.server = ffi.string(state.server, state.server_len)
        end
        list[#list + 1] = peer
    end
end

-- The servers now, as `ngx.upstream` shows them, with `server`, `max_conns` and, where it applies, `backup = true`.
function _M.peers(upstream)
    check_text(upstream, 1, "peers")
    local group = C.rsty_upstream_find(upstream, #upstream)
    if group < 0 then
        return nil, FAILURES[-1]
    end
    local list = {}
    complete(group, 0, shown.get_primary_peers(upstream), list)
    complete(group, 1, shown.get_backup_peers(upstream), list)
    return list
end

return _M
