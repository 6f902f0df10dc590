//! Sockets that all requests share.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::{ExprKind, FunctionId, LocalKind, StatKind};

pub(super) static RULE: Rule = Rule {
    id: "module_level_socket",
    group: Group::Correctness,
    severity: Severity::Error,
    summary: "a module keeps a socket that belongs to one request",
    page: PAGE,
    check,
};

const PAGE: &str = "\
A module's main chunk runs once a worker. A socket made there belongs to the request that loaded the module; any other
request that uses it gets «bad request».

```lua
local _M = {}
local sock = ngx.socket.tcp()            -- finding

function _M.fetch()
    return sock:connect(\"127.0.0.1\", 80)
end

return _M
```

Good:

```lua
local _M = {}

function _M.fetch()
    local sock = ngx.socket.tcp()
    return sock:connect(\"127.0.0.1\", 80)
end

return _M
```

Make the socket inside the function that uses it; `setkeepalive` keeps connections for the next request.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    let last = tree.block_stats(tree.main_block()).next_back();
    let is_module = last.is_some_and(|id| match tree.stat(id).kind {
        StatKind::Return(values) => tree
            .expr_list(values)
            .next()
            .is_some_and(|value| matches!(tree.expr(value).kind, ExprKind::Local(_) | ExprKind::Table(_))),
        _ => false,
    });
    if chunk.phase.is_some() || !is_module {
        return;
    }
    for local in &tree.locals {
        let Some(value) = local.value else { continue };
        if local.function != FunctionId(0) || local.kind != LocalKind::Variable || !local.captured || local.writes > 0 {
            continue;
        }
        let Ok(index) = chunk.calls.binary_search_by_key(&value, |call| call.expr) else { continue };
        if matches!(chunk.callee(&chunk.calls[index]), "ngx.socket.tcp" | "ngx.socket.udp" | "ngx.socket.stream") {
            let name = chunk.text(local.name);
            sink.report(chunk, local.range, format!("the socket `{name}` is shared by all requests"))
                .help("make it inside the function that uses it");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn a_socket_that_functions_of_a_module_share_is_told() {
        let text = "local _M = {}\nlocal s = ngx.socket.tcp()\nfunction _M.f() s:connect() end\nreturn _M";
        assert_eq!(found("module_level_socket", text), ["2:7"]);
        assert!(found("module_level_socket", "local s = ngx.socket.tcp() s:connect()").is_empty());
        assert!(
            found("module_level_socket", "local _M = {} local t = ngx.socket.tcp function _M.f() t() end return _M")
                .is_empty()
        );
    }
}
