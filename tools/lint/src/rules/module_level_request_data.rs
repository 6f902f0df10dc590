//! Request data that all requests share.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::{ExprId, ExprKind, FunctionId, Local, LocalKind, StatKind};

pub(super) static RULE: Rule = Rule {
    id: "module_level_request_data",
    group: Group::Correctness,
    severity: Severity::Error,
    summary: "a module's variable keeps data of one request",
    page: PAGE,
    check,
};

const PAGE: &str = "\
A local of a module's main chunk lives as long as the worker, and all its requests share it. While one request waits for
a socket, another one overwrites the value.

```lua
local _M = {}
local user                               -- one for all requests

function _M.access()
    user = ngx.var.arg_user              -- finding
    authenticate(user)                   -- waits; `user` may be somebody else's now
    ngx.log(ngx.INFO, user)
end

return _M
```

Good:

```lua
local _M = {}

function _M.access()
    local user = ngx.var.arg_user
    authenticate(user)
    ngx.log(ngx.INFO, user)
end

return _M
```

Keep it in a local of the function, or in `ngx.ctx`.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    // Code in configuration runs anew for each request: its locals are the request's own.
    if chunk.phase.is_some() {
        return;
    }
    let tree = chunk.tree;
    for stat in &tree.stats {
        let StatKind::Assign { targets, values } = stat.kind else { continue };
        if stat.function == FunctionId(0) {
            continue;
        }
        for (target, value) in tree.expr_list(targets).zip(tree.expr_list(values)) {
            let ExprKind::Local(local) = tree.expr(target).kind else { continue };
            let local = tree.local(local);
            if is_module_variable(local) && is_request_data(chunk, value) {
                let name = chunk.text(local.name);
                sink.report(chunk, tree.expr(target).range, format!("all requests share the module's `{name}`")).note(
                    chunk,
                    local.range,
                    "it lives as long as the worker",
                );
            }
        }
    }
}

fn is_module_variable(local: &Local) -> bool {
    local.function == FunctionId(0) && local.kind == LocalKind::Variable
}

fn is_request_data(chunk: &Chunk<'_>, value: ExprId) -> bool {
    let tree = chunk.tree;
    let id = match tree.expr(value).kind {
        ExprKind::Call { callee, .. } => callee,
        // `ngx.var.x or ""`
        ExprKind::Binary { left, .. } => return is_request_data(chunk, left),
        _ => value,
    };
    let mut id = id;
    // The fields of a table of the request belong to it: `ngx.var[name]`.
    for _ in 0..4 {
        if let Some(path) = chunk.path(id) {
            let data = ["ngx.var.", "ngx.ctx.", "ngx.req.get_", "ngx.arg.", "ngx.header."];
            return data.iter().any(|start| path.starts_with(start)) || path == "ngx.var" || path == "ngx.ctx";
        }
        match tree.expr(id).kind {
            ExprKind::Index { object, .. } => id = object,
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use crate::testing::{found, found_in_conf};

    #[test]
    fn variables_of_modules_must_not_keep_it() {
        assert_eq!(found("module_level_request_data", "local u\nlocal function f() u = ngx.var.arg_u end"), ["2:20"]);
        assert_eq!(
            found("module_level_request_data", "local u function f() u = ngx.req.get_headers() or 1 end").len(),
            1
        );
        assert_eq!(found("module_level_request_data", "local u function f(k) u = ngx.var[k] end").len(), 1);
    }

    #[test]
    fn other_variables_may() {
        for text in
            ["function f() local u u = ngx.var.arg_u end", "local u function f() u = 1 end", "local u u = ngx.var.a"]
        {
            assert!(found("module_level_request_data", text).is_empty(), "{text}");
        }
        let conf = "content_by_lua_block { local u local function f() u = ngx.var.a end f() }";
        assert!(found_in_conf("module_level_request_data", conf).is_empty());
    }
}
