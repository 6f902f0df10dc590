//! Calls that stop the whole worker.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::embed::Phase;
use crate::lua::tree::FunctionId;

pub(super) static RULE: Rule = Rule {
    id: "blocking_call",
    group: Group::Performance,
    severity: Severity::Warning,
    summary: "a call blocks the worker while a request waits",
    page: PAGE,
    check,
};

const PAGE: &str = "\
A worker serves all its requests in one thread. While such a call waits for a disk, a process or a peer, every
other request waits as well.

```lua
-- content_by_lua_block
os.execute(\"convert in.png out.jpg\")    -- finding; see ngx.pipe
local file = io.open(\"/etc/motd\")        -- finding; read it in init_by_lua*
local socket = require \"socket\"
local peer = socket.tcp()                -- finding; use ngx.socket.tcp
```

Good:

```lua
-- init_by_lua_block
local file = io.open(\"/etc/motd\")        -- runs once, before there are requests
```

Code of `init_by_lua*` and `init_worker_by_lua*`, and the main chunk of a module, which runs once, are not looked at.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    if chunk.phase.is_some_and(|phase| !Phase::serves_requests(phase)) {
        return;
    }
    for call in &chunk.calls {
        let expr = chunk.tree.expr(call.expr);
        if chunk.phase.is_none() && expr.function == FunctionId(0) {
            continue;
        }
        let name = chunk.callee(call);
        let instead = match name {
            "os.execute" | "io.popen" => "use `ngx.pipe`",
            "io.open" | "io.lines" | "io.read" => "read the file in `init_by_lua*`, or in `ngx.run_worker_thread`",
            "os.rename" | "os.remove" | "os.tmpname" => "do it in `ngx.run_worker_thread`",
            // The socket library also has a clock and the like, which wait for nobody.
            "@socket.sleep" => "use `ngx.sleep`",
            "@socket.tcp" | "@socket.udp" | "@socket.connect" | "@socket.bind" | "@socket.select" => {
                "use `ngx.socket.tcp`"
            }
            name if name.starts_with("@socket.dns.") => "use `resty.dns.resolver`",
            name if LUASOCKET.contains(&name) => "use a client made of `ngx.socket.tcp`",
            _ => continue,
        };
        let name = name.trim_start_matches('@').to_owned();
        sink.report(chunk, expr.range, format!("`{name}` blocks the worker")).help(instead);
    }
}

/// Functions of LuaSocket's modules that speak to a peer.
const LUASOCKET: [&str; 6] = [
    "@ltn12.pump.all",
    "@ltn12.pump.step",
    "@socket.ftp.get",
    "@socket.ftp.put",
    "@socket.http.request",
    "@socket.smtp.send",
];

#[cfg(test)]
mod tests {
    use crate::testing::{found, found_in_conf};

    #[test]
    fn a_clock_does_not_block() {
        let text =
            "local s = require 'socket' local l = require 'ltn12' function f() s.gettime() l.source.string(x) end";
        assert!(found("blocking_call", text).is_empty());
        assert_eq!(found("blocking_call", &text.replace("gettime", "sleep")).len(), 1);
    }

    #[test]
    fn calls_in_request_phases_are_told() {
        assert_eq!(found_in_conf("blocking_call", "content_by_lua_block { os.execute('x') }"), ["1:24"]);
        assert_eq!(
            found("blocking_call", "io.open('x')\nlocal s = require 'socket'\nfunction f() s.tcp() end"),
            ["3:14"]
        );
        assert!(found_in_conf("blocking_call", "init_by_lua_block { io.open('x') }").is_empty());
    }
}
