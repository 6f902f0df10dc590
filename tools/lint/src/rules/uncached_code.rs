//! Configuration that compiles Lua anew for each request.

use rsty_diag::{Severity, Span};

use super::{Group, Rule};
use crate::finding::Finding;

pub(crate) static RULE: Rule = Rule {
    id: "uncached_code",
    group: Group::Performance,
    severity: Severity::Warning,
    summary: "`lua_code_cache off` compiles all Lua anew for each request",
    page: PAGE,
    // It is about configuration, not about a piece of Lua; see [`finding`].
    check: |_, _| {},
};

const PAGE: &str = "\
With `lua_code_cache off` each request gets a Lua VM of its own, in which every module is loaded and compiled again. Module
variables, pools of connections and timers do not live on from one request to the next. That is for developing only.

```nginx
lua_code_cache off;                      # finding
```

Good:

```nginx
lua_code_cache on;                       # the default
```

Specs are not looked at.
";

/// The finding at a directive that turns the cache off.
pub(crate) fn finding(span: Span) -> Finding {
    Finding {
        rule: RULE.id,
        severity: RULE.severity,
        message: "the cache of Lua code is off".to_owned(),
        span,
        help: Some("leave it on where real requests are served".to_owned()),
        notes: Vec::new(),
        global: None,
        field: None,
        fix: None,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found_in_conf;

    #[test]
    fn only_a_cache_that_is_off_is_told() {
        let conf = "http {\n  lua_code_cache off;\n  server { lua_code_cache on; # lua_code_cache off;\n } }";
        assert_eq!(found_in_conf("uncached_code", conf), ["2:3"]);
    }
}
