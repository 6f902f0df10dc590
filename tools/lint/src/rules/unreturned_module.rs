//! Modules that are built and not returned.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::{ExprKind, FunctionId, LocalId, LocalKind, StatKind};

pub(super) static RULE: Rule = Rule {
    id: "unreturned_module",
    group: Group::Correctness,
    severity: Severity::Warning,
    summary: "a file builds a module and does not return it",
    page: PAGE,
    check,
};

const PAGE: &str = "\
A table `_M` (or `M`) gets functions, but the file ends without `return`: `require` then gives `true`, and the module's
users fail with «attempt to index a boolean value».

```lua
local _M = {}                            -- finding: `return _M` is missing at the end

function _M.find(id)
    return users[id]
end
```

Good:

```lua
local _M = {}

function _M.find(id)
    return users[id]
end

return _M
```
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    if chunk.phase.is_some() || !chunk.map.is_whole_file() {
        return;
    }
    let tree = chunk.tree;
    let module = tree.locals.iter().position(|local| {
        local.function == FunctionId(0)
            && local.kind == LocalKind::Variable
            && matches!(tree.name(local.name), b"_M" | b"M")
            && local.value.is_some_and(|value| matches!(tree.expr(value).kind, ExprKind::Table(_)))
    });
    let Some(index) = module else { return };
    let id = LocalId(index as u32);
    let mut functions = false;
    let mut returns = false;
    for stat in tree.stats.iter().filter(|stat| stat.function == FunctionId(0)) {
        match stat.kind {
            StatKind::Function { target, .. } => {
                if let ExprKind::Index { object, .. } = tree.expr(target).kind {
                    functions |= tree.expr(object).kind == ExprKind::Local(id);
                }
            }
            StatKind::Return(values) => returns |= !values.is_empty(),
            _ => {}
        }
    }
    // A file may hand its module to somebody else: then it is read without being indexed.
    let indexed = tree.exprs.iter().filter(|expr| match expr.kind {
        ExprKind::Index { object, .. } | ExprKind::MethodCall { object, .. } => {
            tree.expr(object).kind == ExprKind::Local(id)
        }
        _ => false,
    });
    let local = tree.local(id);
    if functions && !returns && indexed.count() == local.reads as usize {
        let name = chunk.text(local.name);
        sink.report(chunk, local.range, format!("the module `{name}` is not returned"))
            .help(format!("end the file with `return {name}`"));
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{found, found_in_conf};

    #[test]
    fn a_module_needs_a_return() {
        assert_eq!(found("unreturned_module", "local _M = {} function _M.f() end"), ["1:7"]);
        for text in [
            "local _M = {} function _M.f() end return _M",
            "local _M = {} function _M.f() end use(_M)",
            "local _M = {}",
            "local _M = f() function _M.f() end",
        ] {
            assert!(found("unreturned_module", text).is_empty(), "{text}");
        }
        assert!(
            found_in_conf("unreturned_module", "init_by_lua_block { local _M = {} function _M.f() end }").is_empty()
        );
    }
}
