//! Assignments to globals.

use std::collections::HashMap;

use rsty_diag::{Applicability, Fix, Severity, Span};

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::finding::GlobalKind;
use crate::lua::tree::{Access, ExprKind, StatKind};

pub(super) static RULE: Rule = Rule {
    id: "undeclared_global",
    group: Group::Globals,
    severity: Severity::Error,
    summary: "a variable is assigned that is not declared `local`",
    page: PAGE,
    check,
};

const PAGE: &str = "\
A global is assigned. In nginx all requests of a worker share the globals, so a forgotten `local` lets one
request overwrite another's data. It is also slower: a global is a table access.

```lua
local function handle()
    count = tonumber(ngx.var.arg_n)      -- finding: every request writes the same `count`
end
```

Write `local` where the variable is meant to live:

```lua
local function handle()
    local count = tonumber(ngx.var.arg_n)
end
```

Not reported: names that the configuration lists under `globals`, and functions whose environment
`setfenv` replaces.

Fix: `local` is added (unsafe: later uses outside the block would no longer see the value).
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let mut statements = None;
    for global in &chunk.tree.globals {
        if global.access != Access::Write
            || sink.settings.is_writable(chunk.tree.name(global.name))
            || !chunk.is_global_environment(global.function, global.range.start)
        {
            continue;
        }
        let name = chunk.text(global.name);
        let statements = statements.get_or_insert_with(|| single_assignments(chunk));
        let fix = statements.get(&global.range.start).map(|place| fix(*place));
        let finding = sink
            .report(chunk, global.range, format!("setting the undeclared global `{name}`"))
            .about(GlobalKind::Set, name)
            .help("declare it with `local`");
        finding.fix = fix;
    }
}

fn fix(place: usize) -> Fix {
    let edits = vec![(Span::at(place), b"local ".to_vec())];
    Fix { title: "declare it with `local`".into(), edits, applicability: Applicability::Unsafe }
}

/// Where `local` can be added: from a global's place to the start of the statement that assigns this one name only.
fn single_assignments(chunk: &Chunk<'_>) -> HashMap<u32, usize> {
    if !chunk.map.is_plain() {
        return HashMap::new();
    }
    let tree = chunk.tree;
    let target = |kind: StatKind| match kind {
        StatKind::Assign { targets, .. } if targets.len() == 1 => tree.expr_list(targets).next(),
        StatKind::Function { target, .. } => Some(target),
        _ => None,
    };
    let stats = tree.stats.iter().filter_map(|stat| Some((stat.range.start, tree.expr(target(stat.kind)?))));
    let globals = stats.filter(|(_, target)| matches!(target.kind, ExprKind::Global(_)));
    globals.map(|(start, target)| (target.range.start, chunk.map.outer(start))).collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::{found, found_with};

    #[test]
    fn every_assignment_is_told() {
        assert_eq!(found("undeclared_global", "a, b.c = 1\nfunction f() a = 2 end"), ["1:1", "2:10", "2:14"]);
        assert!(found("undeclared_global", "local a; a = 1; b.c = 2; function b.d() end").is_empty());
    }

    #[test]
    fn the_name_is_told_not_the_end_of_its_value() {
        assert_eq!(found("undeclared_global", "local x\nx, y = {\n}, {\n}"), ["2:4"]);
    }

    #[test]
    fn another_environment_is_no_global_one() {
        assert!(found("undeclared_global", "local function f() setfenv(1, {}) x = 1 end").is_empty());
        assert!(found("undeclared_global", "local function f() x = 1 end setfenv(f, {})").is_empty());
        assert!(found("undeclared_global", "setfenv(function() x = 1 end, {})").is_empty());
        assert_eq!(found("undeclared_global", "x = 1; setfenv(1, {}); y = 1"), ["1:1"]);
        assert_eq!(found("undeclared_global", "local function f() setfenv(1, {}) end x = 1"), ["1:39"]);
    }

    #[test]
    fn allowed_names_are_not_told() {
        let allow = |settings: &mut crate::settings::Settings| {
            settings.allow_global("a", crate::settings::Allowed::Write);
            settings.allow_global("b", crate::settings::Allowed::Read);
        };
        assert_eq!(found_with("undeclared_global", "a = 1; b = 2", allow), ["1:8"]);
    }
}
