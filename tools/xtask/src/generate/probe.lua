-- Calls the functions of the server's API one at a time in each phase and notes which of them the phase refuses.
--
-- Rows go to the file that PROBE_FILE in the prefix names: `ran PHASE NAME` before a call and `refused PHASE NAME`
-- after one that the server did not allow. `select(phase, index)` says what the next script of that phase tries.

local M = { phase = "none", at = 0, entries = {}, started = 0 }

local function nothing() end

-- Arguments with which a function comes as far as to its check of the phase; each list is tried in turn.
local ARGUMENTS = {
    ["ngx.exec"] = { { "/other" } },
    ["ngx.exit"] = { { 0 } },
    ["ngx.location.capture"] = { { "/other" } },
    ["ngx.location.capture_multi"] = { { { { "/other" } } } },
    ["ngx.on_abort"] = { { nothing } },
    ["ngx.redirect"] = { { "/other" } },
    ["ngx.run_worker_thread"] = { { "probe", "module", "function" } },
    ["ngx.sleep"] = { { 0.001 } },
    ["ngx.socket.connect"] = { { "unix:/nonexistent/probe" } },
    ["ngx.thread.kill"] = { { coroutine.create(nothing) } },
    ["ngx.thread.spawn"] = { { nothing } },
    ["ngx.thread.wait"] = { { coroutine.create(nothing) } },
    ["ngx.timer.at"] = { { 0, nothing } },
    ["ngx.timer.every"] = { { 1000, nothing } },
    ["@ngx.pipe.spawn"] = { { { "true" } } },
    ["@ngx.balancer.set_current_peer"] = { { "127.0.0.1", 1 } },
    ["@ngx.balancer.set_timeouts"] = { { 1, 1, 1 } },
}
local USUAL = { {}, { "x" }, { 1 }, { "x", "y" }, { 1, nothing } }

-- They would end the worker.
local SKIPPED = { ["@ngx.process.signal_graceful_exit"] = true }

local MODULES = {
    "ngx.balancer", "ngx.base64", "ngx.errlog", "ngx.ocsp", "ngx.pipe", "ngx.process", "ngx.proxyssl", "ngx.re",
    "ngx.req", "ngx.resp", "ngx.semaphore", "ngx.ssl", "ngx.ssl.clienthello", "ngx.ssl.proxysslcert",
    "ngx.ssl.proxysslverify", "ngx.ssl.session", "ngx.upstream",
}

local function add(name, call, arguments)
    if not SKIPPED[name] then
        table.insert(M.entries, { name = name, call = call, arguments = arguments or ARGUMENTS[name] or USUAL })
    end
end

local function functions(path, object, depth)
    local names = {}
    for key in pairs(object) do
        if type(key) == "string" and key:find("^[%a][%w_]*$") then
            table.insert(names, key)
        end
    end
    table.sort(names)
    for _, key in ipairs(names) do
        local value = object[key]
        if type(value) == "function" then
            add(path .. "." .. key, value)
        elseif type(value) == "table" and depth > 0 and key ~= "shared" then
            functions(path .. "." .. key, value, depth - 1)
        end
    end
end

local function gather()
    functions("ngx", ngx, 1)
    for _, name in ipairs(MODULES) do
        local there, module = pcall(require, name)
        if there and type(module) == "table" then
            functions("@" .. name, module, 0)
        end
    end
    -- What is no function but is refused all the same, and methods that wait.
    add("ngx.ctx", function() return ngx.ctx end)
    if ngx.var then
        add("ngx.var", function() return ngx.var.remote_addr end)
    end
    if ngx.header then
        add("ngx.arg", function() return ngx.arg[1] end)
        add("ngx.header", function() return ngx.header.server end)
        add("ngx.headers_sent", function() return ngx.headers_sent end)
        add("ngx.is_subrequest", function() return ngx.is_subrequest end)
    end
    add("ngx.status", function() return ngx.status end)
    if ngx.req and ngx.req.set_uri then
        add("ngx.req.set_uri jump", function() return ngx.req.set_uri("/other", true) end)
    end
    if not ngx.header then
        add("ngx.req.socket:peek", function()
            local socket = assert(ngx.req.socket())
            socket:settimeout(5)
            return socket:peek(1)
        end)
    end
    local there, semaphore = pcall(require, "ngx.semaphore")
    if there then
        add("@ngx.semaphore.new:wait", function() return semaphore.new(1):wait(0.001) end)
    end
    local pipes, pipe = pcall(require, "ngx.pipe")
    local reading = { "stderr_read_all", "stderr_read_any", "stderr_read_bytes", "stderr_read_line",
        "stdout_read_all", "stdout_read_any", "stdout_read_bytes", "stdout_read_line", "wait" }
    for _, method in ipairs(pipes and reading or {}) do
        add("@ngx.pipe.spawn:" .. method, function()
            local process = pipe.spawn({ "true" })
            return process and process[method](process, 1)
        end)
    end
end

local function note(...)
    local file = assert(io.open(PROBE_FILE, "a"))
    file:write(table.concat({ ... }, " "), "\n")
    file:close()
end

local REFUSALS = {
    "API disabled in the c", "no request found", "no request ctx found", "no request context",
    "no request object found", "request object not found", "no upstream found",
}

local function is_refusal(message)
    for _, text in ipairs(REFUSALS) do
        if type(message) == "string" and message:find(text, 1, true) then
            return true
        end
    end
    return false
end

local function try(phase, entry)
    note("ran", phase, entry.name)
    for _, arguments in ipairs(entry.arguments) do
        local results = { pcall(entry.call, unpack(arguments)) }
        local failed = not results[1] or not results[2]
        for at = 2, 4 do
            if failed and is_refusal(results[at]) then
                return note("refused", phase, entry.name)
            end
        end
    end
end

-- What is selected, if it is this phase's turn.
function M.run(phase)
    local entry = M.entries[M.at]
    if phase == M.phase and entry then
        M.phase, M.at = "none", 0
        M.started = M.started + 1
        try(phase, entry)
    end
end

-- Everything at once, in phases that run once.
function M.all(phase)
    for _, entry in ipairs(M.entries) do
        try(phase, entry)
    end
end

-- Takes "PHASE INDEX"; answers with the number of functions there are, and whether what was selected before is
-- still to be tried.
function M.select(line)
    local before = M.at
    local phase, at = line:match("^(%S+) (%d+)")
    M.phase, M.at = phase or "none", tonumber(at) or 0
    return #M.entries .. " " .. before
end

-- Lets a timer try.
function M.timer()
    if M.phase ~= "timer" then
        return
    end
    local before = M.started
    ngx.timer.at(0, function() M.run("timer") end)
    for _ = 1, 2000 do
        if M.started > before then
            return
        end
        ngx.sleep(0.001)
    end
end

gather()

return M
