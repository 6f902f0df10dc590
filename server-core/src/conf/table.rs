//! What may be written where: the rows of the directive tables.

use std::collections::HashMap;
use std::sync::OnceLock;

use rsty_diag::Diagnostic;

use super::tree::{Block, Directive};
use crate::http::conf::{Scope, TABLES};

/// The blocks in which a directive may stand, a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contexts(pub u32);

impl Contexts {
    /// The top level of the file.
    pub const MAIN: Self = Self(1);
    /// `events { }`.
    pub const EVENTS: Self = Self(1 << 1);
    /// `http { }`.
    pub const HTTP: Self = Self(1 << 2);
    /// `server { }` inside `http`.
    pub const SERVER: Self = Self(1 << 3);
    /// `location { }`.
    pub const LOCATION: Self = Self(1 << 4);
    /// `if { }` inside `server`.
    pub const IF_IN_SERVER: Self = Self(1 << 5);
    /// `if { }` inside `location`.
    pub const IF_IN_LOCATION: Self = Self(1 << 6);
    /// `limit_except { }`.
    pub const LIMIT_EXCEPT: Self = Self(1 << 7);
    /// `upstream { }` inside `http`.
    pub const UPSTREAM: Self = Self(1 << 8);
    /// `stream { }`.
    pub const STREAM: Self = Self(1 << 9);
    /// `server { }` inside `stream`.
    pub const STREAM_SERVER: Self = Self(1 << 10);
    /// `upstream { }` inside `stream`.
    pub const STREAM_UPSTREAM: Self = Self(1 << 11);
    /// `lua_app { }` inside `http`.
    pub const LUA_APP: Self = Self(1 << 12);
    /// `http`, `server` and `location`: the usual three.
    pub const HTTP_SERVER_LOCATION: Self = Self(Self::HTTP.0 | Self::SERVER.0 | Self::LOCATION.0);
    /// The usual three and `if` in a location.
    pub const HTTP_SERVER_LOCATION_IF: Self = Self(Self::HTTP_SERVER_LOCATION.0 | Self::IF_IN_LOCATION.0);

    /// The union of two sets.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The blocks of the set, in words.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        const NAMES: [&str; 13] = [
            "the top level",
            "events",
            "http",
            "server",
            "location",
            "if in server",
            "if in location",
            "limit_except",
            "upstream",
            "stream",
            "server in stream",
            "upstream in stream",
            "lua_app",
        ];
        NAMES.into_iter().enumerate().filter(move |(bit, _)| self.0 & (1 << bit) != 0).map(|(_, name)| name)
    }

    /// Whether the two sets share a block.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// How many words a directive takes, and whether a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Between `.0` and `.1` arguments, then `;`.
    Words(usize, usize),
    /// Exactly one argument, `on` or `off`.
    Flag,
    /// Between `.0` and `.1` arguments, then a block of directives.
    Block(usize, usize),
    /// Between `.0` and `.1` arguments, then a block of Lua.
    LuaBlock(usize, usize),
}

impl Arity {
    /// No upper limit.
    pub const MANY: usize = usize::MAX;
}

/// One row of a directive table: a directive, its places, its shape, and what it does to the scope.
///
/// The table's user checks place and arity before it calls `apply`. A name may have several rows with
/// disjoint contexts (`server` in `http` and in `upstream`).
#[derive(Clone, Copy)]
pub struct Rule {
    /// The directive's name, as nginx spells it.
    pub name: &'static str,
    /// Where it may stand.
    pub contexts: Contexts,
    /// Its shape.
    pub args: Arity,
    /// Records the directive in the scope being built.
    pub apply: fn(&mut Scope<'_>, &Directive) -> Result<(), Diagnostic>,
}

/// A row, as tables write it.
pub(crate) const fn rule(
    name: &'static str,
    contexts: Contexts,
    args: Arity,
    apply: fn(&mut Scope<'_>, &Directive) -> Result<(), Diagnostic>,
) -> Rule {
    Rule { name, contexts, args, apply }
}

/// The rows of all features, by name.
fn index() -> &'static HashMap<&'static str, Vec<&'static Rule>> {
    static INDEX: OnceLock<HashMap<&'static str, Vec<&'static Rule>>> = OnceLock::new();
    INDEX.get_or_init(|| {
        let mut index: HashMap<_, Vec<_>> = HashMap::with_capacity(1024);
        let rules: Vec<_> = std::iter::once(&super::main_rules::RULES).chain(TABLES).copied().flatten().collect();
        let shared: &'static [Rule] = crate::stream::rules::shared(&rules).leak();
        for rule in rules.into_iter().chain(shared) {
            index.entry(rule.name).or_default().push(rule);
        }
        index
    })
}

/// Finds the row for a directive in a block and checks the directive's shape against it.
pub(crate) fn rule_for(directive: &Directive, context: Contexts) -> Result<&'static Rule, Diagnostic> {
    let name = directive.name();
    let Some(rules) = index().get(name.as_ref()) else {
        let error = directive.error("unknown_directive", format!("unknown directive \"{name}\""));
        return Err(match suggestion(&name, context) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error,
        });
    };
    let Some(rule) = rules.iter().find(|rule| rule.contexts.intersects(context)) else {
        let message = format!("\"{name}\" directive is not allowed here");
        let places: Vec<_> = rules.iter().flat_map(|rule| rule.contexts.names()).collect();
        let help = format!("it may stand in: {}", places.join(", "));
        return Err(directive.error("directive_not_allowed", message).help(help));
    };
    check_shape(directive, rule.args)?;
    Ok(rule)
}

/// The nearest directive that may stand in this block, else the nearest of all.
fn suggestion(name: &str, context: Contexts) -> Option<&'static str> {
    let mut known: Vec<_> = index().values().flatten().copied().collect();
    known.sort_by_key(|rule| rule.name);
    let here = known.iter().filter(|rule| rule.contexts.intersects(context)).map(|rule| rule.name);
    rsty_diag::closest(name, here).or_else(|| rsty_diag::closest(name, known.iter().map(|rule| rule.name)))
}

fn check_shape(directive: &Directive, shape: Arity) -> Result<(), Diagnostic> {
    let name = directive.name();
    let (least, most, takes_block) = match shape {
        Arity::Words(least, most) => (least, most, false),
        Arity::Flag => (1, 1, false),
        Arity::Block(least, most) | Arity::LuaBlock(least, most) => (least, most, true),
    };
    let has_block = !matches!(directive.block, Block::None);
    if has_block && !takes_block {
        let message = format!("directive \"{name}\" is not terminated by \";\"");
        return Err(directive.error("missing_semicolon", message));
    }
    if takes_block && !has_block {
        let message = format!("directive \"{name}\" has no opening \"{{\"");
        return Err(directive.error("missing_block", message));
    }
    if !(least..=most).contains(&directive.args.len()) {
        let message = format!("invalid number of arguments in \"{name}\" directive");
        let expected = match (least, most) {
            (0, 0) => "it takes none".into(),
            (least, most) if least == most => format!("it takes {least}"),
            (least, Arity::MANY) => format!("it takes at least {least}"),
            (least, most) => format!("it takes {least} to {most}"),
        };
        return Err(directive.error("invalid_argument_count", message).help(expected));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rsty_diag::Source;

    use super::*;
    use crate::conf::parser::parse_source;

    fn check(text: &str) -> Result<(), Diagnostic> {
        let parsed = parse_source(Source::new("c", text), Path::new("/")).complete().unwrap();
        parsed.directives.iter().try_for_each(|directive| rule_for(directive, Contexts::MAIN).map(drop))
    }

    fn error(text: &str) -> String {
        check(text).unwrap_err().message
    }

    #[test]
    fn each_misuse_has_nginx_text() {
        assert!(check("worker_processes 2; events { }").is_ok());
        assert_eq!(error("foo;"), "unknown directive \"foo\"");
        assert_eq!(error("worker_connections 5;"), "\"worker_connections\" directive is not allowed here");
        assert_eq!(error("daemon on { }"), "directive \"daemon\" is not terminated by \";\"");
        assert_eq!(error("events;"), "directive \"events\" has no opening \"{\"");
        assert_eq!(error("daemon;"), "invalid number of arguments in \"daemon\" directive");
        assert_eq!(error("daemon on off;"), "invalid number of arguments in \"daemon\" directive");
    }

    #[test]
    fn a_slip_is_answered_with_the_near_name() {
        assert_eq!(check("worker_proceses 1;").unwrap_err().help, ["did you mean `worker_processes`?"]);
        assert_eq!(check("worker_connections 5;").unwrap_err().help, ["it may stand in: events"]);
    }
}
