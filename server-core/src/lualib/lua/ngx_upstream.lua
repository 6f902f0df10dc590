-- `ngx.upstream`: the groups of servers that the configuration defines, and how their servers are doing.

local ffi = require "ffi"
local base = require "rsty.base"
base.allows_subsystem("http")

local C, ffi_string = ffi.C, ffi.string
local error, select, tonumber, tostring, type = error, select, tonumber, tostring, type
local get_request = base.get_request

base.declare [[
typedef struct {
    const char *name;
    size_t name_len;
    double weight, fail_timeout;
    int max_fails, addresses, backup, down;
} rsty_upstream_server_t;
typedef struct {
    const char *name;
    size_t name_len;
    double weight, current_weight, effective_weight, conns, fails, max_fails, fail_timeout, accessed, checked, max_conns;
    const char *server;
    size_t server_len;
    int down;
} rsty_upstream_peer_t;
int rsty_upstream_count(void);
int rsty_upstream_name(int group, const char **name, size_t *len);
int rsty_upstream_find(const char *name, size_t len);
int rsty_upstream_servers(int group);
int rsty_upstream_server(int group, int at, rsty_upstream_server_t *out);
int rsty_upstream_address(int group, int server, int at, const char **text, size_t *len);
int rsty_upstream_peers(int group, int backup);
int rsty_upstream_peer(int group, int backup, int at, rsty_upstream_peer_t *out);
int rsty_upstream_set_down(int group, int backup, int at, int down);
int rsty_upstream_current(void *r, const char **name, size_t *len);
]]

local text, length = ffi.new("const char *[1]"), ffi.new("size_t[1]")
local server, peer = ffi.new("rsty_upstream_server_t"), ffi.new("rsty_upstream_peer_t")

-- The number of a group.
local function find(name, place)
    if type(name) == "number" then
        name = tostring(name)
    elseif type(name) ~= "string" then
        error("bad argument #1 to '" .. place .. "' (string expected, got "
              .. (name == nil and "no value" or type(name)) .. ")", 3)
    end
    local group = C.rsty_upstream_find(name, #name)
    if group < 0 then
        return nil, "upstream not found"
    end
    return group
end

-- A flag that is only there when it is set.
local function flag(number)
    if number ~= 0 then
        return true
    end
end

local function addresses_of(group, at, count)
    local list = {}
    for i = 1, count do
        C.rsty_upstream_address(group, at, i - 1, text, length)
        list[i] = ffi_string(text[0], length[0])
    end
    return count == 1 and list[1] or list
end

local function peers_of(group, backup)
    local list = {}
    for i = 1, C.rsty_upstream_peers(group, backup) do
        C.rsty_upstream_peer(group, backup, i - 1, peer)
        list[i] = {
            id = i - 1,
            name = ffi_string(peer.name, peer.name_len),
            weight = peer.weight,
            current_weight = peer.current_weight,
            effective_weight = peer.effective_weight,
            conns = peer.conns,
            fails = peer.fails,
            max_fails = peer.max_fails,
            fail_timeout = peer.fail_timeout,
            accessed = peer.accessed ~= 0 and peer.accessed or nil,
            checked = peer.checked ~= 0 and peer.checked or nil,
            down = flag(peer.down),
        }
    end
    return list
end

local _M = {}

function _M.get_upstreams(...)
    if select("#", ...) ~= 0 then
        error("no argument expected", 2)
    end
    local list = {}
    for i = 1, C.rsty_upstream_count() do
        C.rsty_upstream_name(i - 1, text, length)
        list[i] = ffi_string(text[0], length[0])
    end
    return list
end

function _M.get_servers(...)
    if select("#", ...) ~= 1 then
        error("exactly one argument expected", 2)
    end
    local group, err = find((...), "get_servers")
    if not group then
        return nil, err
    end
    local list = {}
    for i = 1, C.rsty_upstream_servers(group) do
        C.rsty_upstream_server(group, i - 1, server)
        list[i] = {
            name = server.name_len > 0 and ffi_string(server.name, server.name_len) or nil,
            addr = addresses_of(group, i - 1, server.addresses),
            weight = server.weight,
            max_fails = tonumber(server.max_fails),
            fail_timeout = server.fail_timeout,
            backup = flag(server.backup),
            down = flag(server.down),
        }
    end
    return list
end

local function peers(name, backup)
    return function(...)
        if select("#", ...) ~= 1 then
            error("exactly one argument expected", 2)
        end
        local group, err = find((...), name)
        if not group then
            return nil, err
        end
        return peers_of(group, backup)
    end
end

_M.get_primary_peers = peers("get_primary_peers", 0)
_M.get_backup_peers = peers("get_backup_peers", 1)

function _M.set_peer_down(...)
    if select("#", ...) ~= 4 then
        error("exactly 4 arguments expected", 2)
    end
    local name, is_backup, id, down = ...
    local group, err = find(name, "set_peer_down")
    if not group then
        return nil, err
    end
    local backup = is_backup and 1 or 0
    if backup == 1 and C.rsty_upstream_peers(group, 1) == 0 then
        return nil, "no backup peers"
    end
    local number = tonumber(id)
    if not number then
        error("bad argument #3 to 'set_peer_down' (number expected, got " .. type(id) .. ")", 2)
    end
    if C.rsty_upstream_set_down(group, backup, number, down and 1 or 0) ~= base.FFI_OK then
        return nil, "bad peer id"
    end
    return true
end

function _M.current_upstream_name()
    local r = get_request()
    if not r then
        error("no request object found", 2)
    end
    local code = C.rsty_upstream_current(r, text, length)
    if code ~= base.FFI_OK then
        return nil
    end
    return ffi_string(text[0], length[0])
end

return _M
