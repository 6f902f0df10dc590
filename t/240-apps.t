# Apps that share a server: each has its own modules and globals, and is deployed by itself.
=== an app's modules and globals are its own
--- http_config
lua_app red { root html/red; }
lua_app blue { root html/blue; }
--- config
location = /red {
    lua_app red;
    content_by_lua_block { ngx.say(require("colour").name, " ", shade, " ", package.loaded.colour.name) }
}
location = /blue {
    lua_app blue;
    content_by_lua_block { ngx.say(require("colour").name, " ", shade, " ", _G == getfenv(1)) }
}
location = /none {
    content_by_lua_block {
        ngx.say(package.loaded.colour, " ", rawget(_G, "shade"), " ", (pcall(require, "colour")))
    }
}
location = /t {
    content_by_lua_block {
        for _, uri in ipairs { "/red", "/blue", "/none" } do
            ngx.print(ngx.location.capture(uri).body)
        end
    }
}
--- user_files
>>> red/colour.lua
rawset(_G, "shade", "dark")
return { name = "red" }
>>> blue/colour.lua
rawset(_G, "shade", "light")
return { name = "blue" }
--- request
GET /t
--- response_body
red dark red
blue light true
nil nil false
--- no_error_log
[error]



=== the core cannot be shadowed, and what an app adds to it stays with the app
--- http_config
lua_app one { root html/one; }
lua_app two { root html/two; }
--- config
location = /one {
    lua_app one;
    content_by_lua_block {
        string.shout = function (s) return s:upper() .. "!" end
        table.first = function (t) return t[1] end
        ngx.answer = 42
        ngx.say(require("ngx.re").split("a,b", ",")[2], " ", require("string") == string, " ", ("hi"):shout(), " ",
                table.first { 7 }, " ", ngx.answer, " ", require("ngx") == ngx)
    }
}
location = /two {
    lua_app two;
    content_by_lua_block {
        ngx.say(string.shout, " ", table.first, " ", ngx.answer, " ", (pcall(function () return ("hi"):shout() end)))
    }
}
location = /t {
    content_by_lua_block {
        ngx.print(ngx.location.capture("/one").body, ngx.location.capture("/two").body)
        ngx.say(rawget(string, "shout"), " ", table.first, " ", ngx.answer)
    }
}
--- user_files
>>> one/ngx/re.lua
error("this is not the core")
>>> one/string.lua
error("this is not the core")
--- request
GET /t
--- response_body
b true HI! 7 42 true
nil nil nil false
nil nil nil
--- no_error_log
[error]



=== the server's own modules are hidden from apps
--- http_config
lua_app one { root html/one; }
--- config
location = /t {
    lua_app one;
    content_by_lua_block {
        local ok, err = pcall(require, "rsty.base")
        ngx.say(ok, " ", err:find("module 'rsty.base' is the server's own", 1, true) ~= nil)
        local ok, err = pcall(require, "no.such")
        ngx.say(ok, " ", err:find("one/no/such.lua'", 1, true) ~= nil)
    }
}
--- request
GET /t
--- response_body
false true
false true



=== a shared library is loaded once and requires names of the app whose request runs
--- http_config
lua_app_shared_path "$prefix/html/shared/?.lua";
lua_app red { root html/red; }
lua_app blue { root html/blue; }
lua_shared_dict counts 100k;
--- config
location = /red {
    lua_app red;
    content_by_lua_block { ngx.say(require("greeter").greet(), " ", require("own")) }
}
location = /blue {
    lua_app blue;
    content_by_lua_block { ngx.say(require("greeter").greet(), " ", require("own")) }
}
location = /t {
    content_by_lua_block {
        ngx.print(ngx.location.capture("/red").body, ngx.location.capture("/blue").body)
        ngx.say(ngx.shared.counts:get("loads"), " ", (pcall(require, "greeter")))
    }
}
--- user_files
>>> shared/greeter.lua
ngx.shared.counts:incr("loads", 1, 0)
local base = require "own"
return { greet = function () return base .. " greets " .. require("settings").name end }
>>> shared/own.lua
return "shared"
>>> red/settings.lua
return { name = "red" }
>>> red/own.lua
return "the app's"
>>> blue/settings.lua
return { name = "blue" }
--- request
GET /t
--- response_body
shared greets red the app's
shared greets blue shared
1 false
--- no_error_log
[error]



=== modules of the server are common to all
--- http_config
lua_package_path "$prefix/html/server/?.lua;;";
lua_app red { root html/red; }
lua_app blue { root html/blue; }
--- config
location = /red { lua_app red; content_by_lua_block { require("common").count = 5 ngx.say("set") } }
location = /blue { lua_app blue; content_by_lua_block { ngx.say(require("common").count) } }
location = /t {
    content_by_lua_block {
        ngx.print(ngx.location.capture("/red").body, ngx.location.capture("/blue").body)
        ngx.say(require("common").count)
    }
}
--- user_files
>>> server/common.lua
return {}
--- request
GET /t
--- response_body
set
5
5



=== what makes functions gives them the app's globals
--- http_config
lua_app one { root html/one; }
--- config
location = /t {
    lua_app one;
    content_by_lua_block {
        rawset(_G, "mine", "the app's")
        ngx.say(loadstring("return mine")(), ", ", load(function () return nil end) ~= nil, ", ",
                load("return x", "c", "t", { x = "given" })(), ", ", dofile(ngx.config.prefix() .. "html/one/f.lua"))
        ngx.say(getfenv(0) == _G, " ", getfenv(function () end) == _G)
        require "old"
        ngx.say(old.hello(), " ", package.loaded.old == old)
    }
}
--- user_files
>>> one/f.lua
return mine
>>> one/old.lua
module("old", package.seeall)
function hello() return "hello from " .. _NAME .. ", " .. mine end
--- request
GET /t
--- response_body
the app's, true, given, the app's
true true
hello from old, the app's true



=== a new deployment takes effect for later requests; one under way keeps the old modules
--- http_config
lua_app shop { root html/shop; }
--- config
location = /shop {
    lua_app shop;
    content_by_lua_block {
        local before = require("stock").count
        if ngx.var.arg_wait then
            ngx.sleep(0.05)
            ngx.location.capture("/deploy")
        end
        local name, generation = require("rsty.apps").current()
        ngx.say(before, " ", require("late").value, " ", name, " ", generation)
    }
    log_by_lua_block { ngx.log(ngx.NOTICE, "logged with stock ", require("stock").count) }
}
location = /deploy {
    content_by_lua_block {
        local function write(name, text)
            local file = assert(io.open(ngx.config.prefix() .. "html/shop/" .. name .. ".lua", "w"))
            file:write(text)
            file:close()
        end
        write("stock", "return { count = 20 }")
        ngx.say(require("rsty.apps").reload("shop"))
        write("late", "return { value = 'new' }")
    }
}
location = /t {
    content_by_lua_block {
        ngx.print(ngx.location.capture("/shop?wait=1").body)
        ngx.print(ngx.location.capture("/shop").body)
        ngx.say(table.concat(require("rsty.apps").names(), " "))
    }
}
--- user_files
>>> shop/stock.lua
return { count = 10 }
>>> shop/late.lua
return { value = "old" }
--- request
GET /t
--- response_body
10 new shop 0
20 new shop 1
shop
--- error_log
lua_app "shop" deployed, generation 1
lua_app "shop#0" is collected
--- wait: 1
--- no_error_log
[error]
[warn]



=== a broken deployment leaves the old one in place
--- http_config
lua_app shop { root html/shop; }
--- config
location = /shop {
    lua_app shop;
    content_by_lua_block { ngx.say(require("stock").count) }
}
location = /t {
    content_by_lua_block {
        ngx.print(ngx.location.capture("/shop").body)
        local file = assert(io.open(ngx.config.prefix() .. "html/shop/stock.lua", "w"))
        file:write("return { count = ")
        file:close()
        local ok, err = require("rsty.apps").reload("shop")
        ngx.say(ok, " ", err:find("unexpected symbol near", 1, true) ~= nil)
        ngx.print(ngx.location.capture("/shop").body)
        ngx.say(require("rsty.apps").reload("nope"))
    }
}
--- user_files
>>> shop/stock.lua
return { count = 10 }
--- request
GET /t
--- response_body
10
nil true
10
nilunknown app "nope"



=== timers keep their app, and end with it
--- http_config
lua_shared_dict log 100k;
lua_app shop {
    root html/shop;
    init_worker_by_lua_block {
        local who = require "who"
        assert(ngx.timer.every(0.01, function (premature)
            ngx.shared.log:set("every", require("who"))
            if premature then
                ngx.shared.log:incr("ended " .. who, 1, 0)
            end
        end))
    }
}
--- config
location = /t {
    content_by_lua_block {
        local log = ngx.shared.log
        local function until_is(key, value)
            for _ = 1, 500 do
                if log:get(key) == value then
                    return ngx.say(key, " is ", value)
                end
                ngx.sleep(0.01)
            end
            ngx.say(key, " is not ", value, " but ", log:get(key))
        end
        until_is("every", "first")
        local file = assert(io.open(ngx.config.prefix() .. "html/shop/who.lua", "w"))
        file:write("return 'second'")
        file:close()
        ngx.say(require("rsty.apps").reload("shop"))
        until_is("every", "second")
        until_is("ended first", 1)
    }
}
--- user_files
>>> shop/who.lua
return "first"
--- request
GET /t
--- response_body
every is first
true
every is second
ended first is 1
--- wait: 1
--- error_log
lua_app "shop#0" is collected



=== light threads and coroutines keep their app
--- http_config
lua_app shop { root html/shop; }
--- config
location = /t {
    lua_app shop;
    content_by_lua_block {
        local function who() return require("rsty.apps").current() end
        local thread = ngx.thread.spawn(function () ngx.sleep(0.01) return who(), require("name") end)
        local resumed = coroutine.wrap(function () ngx.sleep(0.01) coroutine.yield(who()) end)
        ngx.say(resumed())
        ngx.say(ngx.thread.wait(thread))
    }
}
--- user_files
>>> shop/name.lua
return "own"
--- request
GET /t
--- response_body
shop0
trueshopown



=== a space that something holds on to is reported with what holds it
--- http_config
lua_package_path "$prefix/html/server/?.lua;;";
lua_app shop { root html/shop; }
--- config
location = /shop {
    lua_app shop;
    content_by_lua_block { require("hooks").last = function () return ngx.var.uri end ngx.say("hooked") }
}
location = /t {
    content_by_lua_block {
        ngx.print(ngx.location.capture("/shop").body)
        ngx.say(require("rsty.apps").reload("shop"))
    }
}
--- user_files
>>> server/hooks.lua
return {}
--- request
GET /t
--- response_body
hooked
true
--- wait: 2
--- error_log
lua_app "shop#0" was replaced and is not collected: package.loaded.hooks.last (the function at content_by_lua(nginx.conf:



=== all workers follow a deployment
--- init
workers(4);
master_on();
--- http_config
lua_shared_dict seen 100k;
lua_app shop { root html/shop; }
--- config
location = /shop {
    lua_app shop;
    content_by_lua_block {
        ngx.shared.seen:set(ngx.worker.id() .. " " .. require("who"), true)
        ngx.say(require("who"))
    }
}
location = /seen { content_by_lua_block { ngx.say(#ngx.shared.seen:get_keys()) } }
location = /t {
    content_by_lua_block {
        local function ask()
            local socket = ngx.socket.tcp()
            assert(socket:connect("127.0.0.1", ngx.var.server_port))
            socket:send("GET /shop HTTP/1.0\r\n\r\n")
            local all = socket:receive("*a")
            socket:close()
            return all:match("\r\n\r\n(%a+)")
        end
        for _ = 1, 20 do
            assert(ask() == "first")
        end
        local file = assert(io.open(ngx.config.prefix() .. "html/shop/who.lua", "w"))
        file:write("return 'second'")
        file:close()
        assert(require("rsty.apps").reload("shop"))
        for _ = 1, 50 do
            assert(ask() == "second")
        end
        ngx.say("all follow")
    }
}
--- user_files
>>> shop/who.lua
return "first"
--- request
GET /t
--- response_body
all follow
--- no_error_log
[error]



=== scripts from files belong to the app, and to its deployments
--- http_config
lua_app shop { root html/shop; }
--- config
location = /shop { lua_app shop; content_by_lua_file html/shop/main.lua; }
location = /t {
    content_by_lua_block {
        ngx.print(ngx.location.capture("/shop").body)
        local file = assert(io.open(ngx.config.prefix() .. "html/shop/main.lua", "w"))
        file:write("ngx.say('second ', require 'name')")
        file:close()
        ngx.print(ngx.location.capture("/shop").body)
        ngx.say(require("rsty.apps").reload("shop"))
        ngx.print(ngx.location.capture("/shop").body)
    }
}
--- user_files
>>> shop/main.lua
ngx.say('first ', require 'name')
>>> shop/name.lua
return "own"
--- request
GET /t
--- response_body
first own
first own
true
second own



=== an interpreter for each request has the apps, too
--- http_config
lua_code_cache off;
lua_app shop { root html/shop; }
--- config
location = /t {
    lua_app shop;
    content_by_lua_block {
        ngx.say(require("name"), " ", select(2, require("rsty.apps").reload("shop")))
    }
}
--- user_files
>>> shop/name.lua
return "own"
--- request
GET /t
--- response_body
own lua_code_cache is off



=== an app that is not defined is an error
--- config
location = /t { lua_app nowhere; }
--- must_die
--- error_log
unknown lua_app "nowhere"



=== an app without files is an error
--- http_config
lua_app empty { }
--- config
location = /t { return 200; }
--- must_die
--- error_log
lua_app "empty" has neither "root" nor "lua_package_path"



=== worker threads run an app's own modules, and those of the deployment that asks
--- main_config
thread_pool jobs threads=1;
--- http_config
lua_package_path "$prefix/html/server/?.lua;;";
lua_app_shared_path "$prefix/html/shared/?.lua";
lua_worker_thread_vm_pool_size 1;
lua_app east { root html/east; }
lua_app west { root html/west; }
--- config
location /east { lua_app east; content_by_lua_file html/ask.lua; }
location /west { lua_app west; content_by_lua_file html/ask.lua; }
location /server { content_by_lua_file html/ask.lua; }
location = /t {
    content_by_lua_block {
        for _, uri in ipairs { "/east", "/west", "/server", "/east" } do
            ngx.print(ngx.location.capture(uri).body)
        end
        local file = assert(io.open(ngx.config.prefix() .. "html/east/job.lua", "w"))
        file:write("return { name = function () return 'east renewed', require('all') end }")
        file:close()
        assert(require("rsty.apps").reload("east"))
        ngx.print(ngx.location.capture("/east").body)
    }
}
--- user_files
>>> ask.lua
ngx.say(ngx.run_worker_thread("jobs", "job", "name"))
>>> east/job.lua
return { name = function () return "east", require("all") end }
>>> west/job.lua
return { name = function () return "west", require("all") end }
>>> server/job.lua
return { name = function () return "server", (pcall(require, "all")) end }
>>> shared/all.lua
return "shared"
--- request
GET /t
--- response_body
trueeastshared
truewestshared
trueserverfalse
trueeastshared
trueeast renewedshared
--- no_error_log
[error]
