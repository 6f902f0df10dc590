//! Reads of globals that nobody defines.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::finding::GlobalKind;
use crate::lua::tree::Access;

pub(super) static RULE: Rule = Rule {
    id: "undefined_global",
    group: Group::Globals,
    severity: Severity::Error,
    summary: "a global is read that the environment does not define",
    page: PAGE,
    check,
};

const PAGE: &str = "\
A global is read that neither Lua nor nginx defines. Mostly the name is misspelt, or a `local` or `require`
is missing; the value is then `nil`. If the same file assigns the global, the message says so: then a
leak keeps the code working.

```lua
local function total(items)
    return #itmes                        -- finding: `itmes` is never defined
end
```

Good:

```lua
local function total(items)
    return #items
end
```

Which names are known depends on `std` (by default `ngx_lua`). Further ones go to `read_globals` or `globals` in
`rsty.toml`.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    let mut leaks = std::collections::HashMap::new();
    for global in tree.globals.iter().filter(|global| global.access == Access::Write) {
        leaks.entry(global.name).or_insert(global.range);
    }
    let mut known: Option<Vec<&str>> = None;
    for global in &tree.globals {
        let bytes = tree.name(global.name);
        if global.access != Access::Read
            || sink.settings.is_readable(bytes)
            || !chunk.is_global_environment(global.function, global.range.start)
        {
            continue;
        }
        let name = chunk.text(global.name);
        match leaks.get(&global.name) {
            Some(leak) => sink
                .report(chunk, global.range, format!("getting the global `{name}`, which only a leak defines"))
                .note(chunk, *leak, "it leaks here")
                .about(GlobalKind::Get, name),
            None => {
                let known = known.get_or_insert_with(|| sink.settings.readable_names());
                let like =
                    rsty_diag::closest(&name, known.iter().copied()).map(|like| format!("did you mean `{like}`?"));
                let finding = sink.report(chunk, global.range, format!("getting the undefined global `{name}`"));
                finding.help = like;
                finding.about(GlobalKind::Get, name)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{found, messages};

    #[test]
    fn unknown_names_are_told_each_time() {
        assert_eq!(found("undefined_global", "print(foo)\nfoo.x = foo()"), ["1:7", "2:1", "2:9"]);
        assert!(found("undefined_global", "ngx.say(tostring(bit.band(1, 2)), jit.version, ...)").is_empty());
    }

    #[test]
    fn a_read_that_a_leak_satisfies_says_so() {
        let told = messages("undefined_global", "x = 1; print(x, pritn)");
        assert_eq!(told, ["getting the global `x`, which only a leak defines", "getting the undefined global `pritn`"]);
    }
}
