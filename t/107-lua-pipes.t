# Child processes with pipes: `ngx.pipe`.

=== a process echoes what it is sent, line by line
--- config
location = /lines {
    content_by_lua_block {
        local proc = assert(require("ngx.pipe").spawn({ "sed", "-u", "s/^/> /" }))
        ngx.say(proc:write("first\nsecond\r\nrest"))
        ngx.say((proc:stdout_read_line()))
        ngx.say((proc:stdout_read_line()))
        proc:shutdown("stdin")
        ngx.say((proc:stdout_read_all()))
        ngx.say(proc:wait())
        ngx.say(proc:wait())
    }
}
--- request
GET /lines
--- response_body
18
> first
> second
> rest
trueexit0
nilexited
--- no_error_log
[error]



=== codes, signals and deadlines are told apart
--- config
location = /ends {
    content_by_lua_block {
        local pipe = require "ngx.pipe"
        ngx.say(pipe.spawn("exit 3"):wait())
        local proc = pipe.spawn({ "sleep", "30" }, { wait_timeout = 20, stdout_read_timeout = 20 })
        ngx.say(proc:wait())
        ngx.say(proc:stdout_read_any(10))
        ngx.say(proc:kill(15))
        ngx.say(proc:wait())
        ngx.say(proc:kill(15))
    }
}
--- request
GET /ends
--- response_body
falseexit3
niltimeoutnil
niltimeout
true
falsesignal15
nilexited



=== errors may be merged into the output, and the environment replaced
--- config
location = /streams {
    content_by_lua_block {
        local pipe = require "ngx.pipe"
        local apart = pipe.spawn("echo out; echo err >&2")
        ngx.print((apart:stdout_read_all()), (apart:stderr_read_all()))
        local merged = pipe.spawn("echo out; echo err >&2", { merge_stderr = true })
        ngx.print((merged:stdout_read_all()))
        ngx.say(merged:stderr_read_line())
        local named = pipe.spawn("echo $COLOUR", { environ = { "COLOUR=blue" } })
        ngx.say((named:stdout_read_bytes(4)))
        ngx.say((select(2, named:stdout_read_bytes(9))))
    }
}
--- request
GET /streams
--- response_body
out
err
out
err
nilmerged to stdoutnil
blue
closed
