//! Functions and constants that a library does not have.

use std::collections::HashSet;

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::{ExprId, ExprKind, StatKind};
use crate::standard;

pub(crate) static RULE: Rule = Rule {
    id: "undefined_field",
    group: Group::Correctness,
    severity: Severity::Warning,
    summary: "a library has no function or constant of that name",
    page: PAGE,
    check,
};

const PAGE: &str = "\
A field of `ngx`, `string` or another library of the server is read that does not exist; mostly it is misspelt. What
exists is asked from the server itself when rsty is built.

```lua
ngx.req.get_header(\"Host\")               -- finding; did you mean `ngx.req.get_headers`?
string.split(line, \",\")                  -- finding: Lua has no such function
```

Good:

```lua
ngx.req.get_headers()[\"Host\"]:lower()
local split = string.split or my_split   -- asks whether it is there
```

Fields that the same file sets are known, and those that any other file of the run sets by their full name
(`ngx.my_field = …`). For others, list `ngx.my_field` under `globals`.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    let mut missing: Vec<(ExprId, &str, String)> = Vec::new();
    for (index, expr) in tree.exprs.iter().enumerate() {
        if matches!(expr.kind, ExprKind::Index { .. })
            && let Some((library, name)) = field(chunk, ExprId(index as u32))
        {
            missing.push((ExprId(index as u32), library, name));
        }
    }
    if missing.is_empty() {
        return;
    }
    let targets = targets(chunk);
    let tested = tested(chunk);
    let is_own = |id: &ExprId| targets.binary_search(id).is_ok();
    let is_known = |id: &ExprId| is_own(id) || tested.binary_search(id).is_ok();
    let own: HashSet<String> =
        missing.iter().filter(|(id, ..)| is_known(id)).map(|(_, library, name)| format!("{library}.{name}")).collect();
    for (id, library, name) in &missing {
        let path = format!("{library}.{name}");
        let root = library.split('.').next().unwrap_or_default();
        if own.contains(&path) || sink.settings.is_field_allowed(&path) || !sink.settings.is_readable(root.as_bytes()) {
            continue;
        }
        let ExprKind::Index { key, .. } = tree.expr(*id).kind else { continue };
        let like = rsty_diag::closest(name, standard::fields(chunk.subsystem, library));
        let help = like.map(|like| format!("did you mean `{library}.{like}`?"));
        let finding = sink.report(chunk, tree.expr(key).range, format!("`{library}` has no field `{name}`"));
        (finding.help, finding.field) = (help, Some(path));
    }
}

/// How far back a `function` may stand before a name.
const LOOK_BACK: usize = 128;

/// The names of all fields that a file's text sets anywhere: `ngx.mine = 1`, `function ngx.mine()`. Pieces of Lua in one
/// configuration or spec share their libraries.
pub(crate) fn names_set_in(text: &[u8]) -> HashSet<&[u8]> {
    fields_set_in(text).map(|(_, name)| name).collect()
}

/// The paths that a file's text sets, such as `ngx.mine`, as far as they are among the wanted ones.
pub(crate) fn paths_set_in<'t>(text: &'t [u8], wanted: &HashSet<Vec<u8>>) -> Vec<&'t [u8]> {
    fields_set_in(text).map(|(path, _)| path).filter(|path| wanted.contains(*path)).collect()
}

/// What is set in a text, by its whole path (at most [`LOOK_BACK`] bytes before the last dot) and by its last name.
fn fields_set_in(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    memchr::memchr_iter(b'.', text).filter_map(move |dot| {
        let rest = text.get(dot + 1..)?;
        let (name, after) = rest.split_at(rest.iter().position(|byte| !is_word(byte)).unwrap_or(rest.len()));
        let after = after.trim_ascii_start();
        let set = after.starts_with(b"=") && !after.starts_with(b"==");
        let first = dot.saturating_sub(LOOK_BACK);
        let before = text.get(first..dot)?;
        let start = before.iter().rposition(|byte| !is_word(byte) && *byte != b'.').map_or(0, |at| at + 1);
        let declared = before.get(..start)?.trim_ascii_end().ends_with(b"function");
        (set || declared).then_some((text.get(first + start..dot + 1 + name.len())?, name))
    })
}

/// What the chunk assigns to, sorted.
fn targets(chunk: &Chunk<'_>) -> Vec<ExprId> {
    let mut targets: Vec<ExprId> = Vec::new();
    for stat in &chunk.tree.stats {
        match stat.kind {
            StatKind::Assign { targets: list, .. } => targets.extend(chunk.tree.expr_list(list)),
            StatKind::Function { target, .. } => targets.push(target),
            _ => {}
        }
    }
    targets.sort_unstable();
    targets
}

/// Expressions that are asked whether they exist, sorted: `if ngx.x then`, `ngx.x or …`, `local x = string.x`.
fn tested(chunk: &Chunk<'_>) -> Vec<ExprId> {
    let tree = chunk.tree;
    let mut tested: Vec<ExprId> = Vec::new();
    for expr in &tree.exprs {
        match expr.kind {
            ExprKind::Binary { left, right, .. } => tested.extend([left, right]),
            ExprKind::Unary { operand, .. } => tested.push(operand),
            _ => {}
        }
    }
    for stat in &tree.stats {
        match stat.kind {
            StatKind::If { arms, .. } => tested.extend(tree.arms(arms).map(|(condition, _)| condition)),
            StatKind::Local { values, .. } => tested.extend(tree.expr_list(values)),
            _ => {}
        }
    }
    tested.sort_unstable();
    tested
}

/// The library and the name of a field of it that does not exist.
fn field(chunk: &Chunk<'_>, id: ExprId) -> Option<(&'static str, String)> {
    let tree = chunk.tree;
    let ExprKind::Index { object, key } = tree.expr(id).kind else { return None };
    let name = std::str::from_utf8(tree.string(key)?).ok()?;
    let library = library(chunk, object)?;
    (!standard::has_field(chunk.subsystem, library, name)?).then(|| (library, name.to_owned()))
}

/// The library's name where the expression is one of those whose fields are known.
fn library(chunk: &Chunk<'_>, id: ExprId) -> Option<&'static str> {
    let tree = chunk.tree;
    let name = |id| std::str::from_utf8(tree.string(id)?).ok();
    let global = |id| match tree.expr(chunk.original(id)).kind {
        ExprKind::Global(index) => {
            let global = tree.globals.get(index as usize)?;
            let open = chunk.is_global_environment(global.function, global.range.start);
            standard::library(chunk.subsystem, std::str::from_utf8(tree.name(global.name)).ok()?).filter(|_| open)
        }
        _ => None,
    };
    match tree.expr(chunk.original(id)).kind {
        // Libraries inside libraries go no deeper: `ngx.req`.
        ExprKind::Index { object, key } => {
            let outer = global(object)?;
            standard::inner_library(chunk.subsystem, outer, name(key)?)
        }
        _ => global(id),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{found, found_with, messages};

    #[test]
    fn fields_that_no_library_has_are_told() {
        assert_eq!(
            found("undefined_field", "ngx.sayy(1) string.split(a, b)\nlocal n = ngx n.req.get_header()"),
            ["1:5", "1:20", "2:21"]
        );
        assert_eq!(messages("undefined_field", "ngx.HTTP_OKAY()"), ["`ngx` has no field `HTTP_OKAY`"]);
    }

    #[test]
    fn fields_that_another_piece_sets_are_known() {
        use crate::testing::found_in_conf;

        let conf = "init_by_lua_block { ngx.mine = 1 function ngx.own() end }";
        assert!(
            found_in_conf("undefined_field", &format!("{conf} log_by_lua_block {{ f(ngx.mine, ngx.own) }}")).is_empty()
        );
        let other = format!("{conf} log_by_lua_block {{ f(ngx.other, ngx.mine == 1) }}");
        assert_eq!(found_in_conf("undefined_field", &other).len(), 1);
    }

    #[test]
    fn paths_are_found_in_text() {
        let wanted = [b"ngx.mine".to_vec(), b"ngx.req.own".to_vec(), b"ngx.no".to_vec()].into();
        let text = b"ngx.mine = {}\nfunction ngx.req.own() end\nif ngx.no == 1 or my.ngx.no then x.y = ngx.no end";
        assert_eq!(super::paths_set_in(text, &wanted), [&b"ngx.mine"[..], b"ngx.req.own"]);
    }

    #[test]
    fn fields_that_exist_are_asked_for_or_set_are_not() {
        for text in [
            "ngx.say(ngx.var.anything, ngx.shared.dict:get(1), ngx.ctx.x, ngx.status, ngx.header.a)",
            "if ngx.my then ngx.say(ngx.HTTP_OK) end",
            "ngx.my = 1 ngx.say(ngx.my)",
            "local split = string.split or mine",
            "local size = string.pack and #string.pack('n', 0)",
            "local string = {} string.split()",
            "local nkeys = table.nkeys",
        ] {
            assert!(found("undefined_field", text).is_empty(), "{text}");
        }
        let allow =
            |settings: &mut crate::settings::Settings| settings.allow_global("ngx.my", crate::settings::Allowed::Read);
        assert!(found_with("undefined_field", "f(ngx.my)", allow).is_empty());
    }
}
