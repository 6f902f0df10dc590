-- `resty.lrucache`: a cache of a fixed number of items in the worker's memory. Used when the package path has none.

local new_tab = require "table.new"
local clear_tab = require "table.clear"

local now = ngx.now
local type, setmetatable = type, setmetatable

local _M = { _VERSION = "0.14" }
local meta = { __index = _M }

-- Items form a ring in order of use: `newer` of the ring's head is the oldest item, `older` the newest.

local function unlink(item)
    item.newer.older, item.older.newer = item.older, item.newer
end

local function link_newest(ring, item)
    local newest = ring.older
    item.newer, item.older = ring, newest
    newest.newer, ring.older = item, item
end

function _M.new(size)
    if size < 1 then
        return nil, "size too small"
    end
    local ring = {}
    ring.newer, ring.older = ring, ring
    return setmetatable({ items = {}, ring = ring, num_items = 0, max_items = size }, meta)
end

function _M.count(self)
    return self.num_items
end

function _M.capacity(self)
    return self.max_items
end

function _M.get(self, key)
    local item = self.items[key]
    if not item then
        return nil
    end
    local ring = self.ring
    if ring.older ~= item then
        unlink(item)
        link_newest(ring, item)
    end
    local expire = item.expire
    if expire and expire < now() then
        return nil, item.value, item.flags
    end
    return item.value, nil, item.flags
end

function _M.delete(self, key)
    local item = self.items[key]
    if not item then
        return false
    end
    self.items[key] = nil
    unlink(item)
    self.num_items = self.num_items - 1
    return true
end

function _M.set(self, key, value, ttl, flags)
    if value == nil then
        self:delete(key)
        return
    end
    local items, ring = self.items, self.ring
    local item = items[key]
    if item then
        unlink(item)
    elseif self.num_items >= self.max_items then
        item = ring.newer
        unlink(item)
        items[item.key] = nil
        item.key = key
        items[key] = item
    else
        item = new_tab(0, 6)
        item.key = key
        items[key] = item
        self.num_items = self.num_items + 1
    end
    link_newest(ring, item)
    item.value = value
    item.expire = ttl and now() + ttl
    item.flags = type(flags) == "number" and flags >= 0 and flags or 0
end

-- Keys from the newest to the oldest.
function _M.get_keys(self, max, res)
    if not max or max == 0 then
        max = self.num_items
    end
    res = res or new_tab(max + 1, 0)
    local ring = self.ring
    local item, n = ring.older, 0
    while item ~= ring and n < max do
        n = n + 1
        res[n] = item.key
        item = item.older
    end
    res[n + 1] = nil
    return res
end

function _M.flush_all(self)
    clear_tab(self.items)
    local ring = self.ring
    ring.newer, ring.older = ring, ring
    self.num_items = 0
end

return _M
