//! The phases in which functions of the API work.
//!
//! The table is the server's own: `cargo xtask gen` calls every function in every phase of a running server, of HTTP
//! and of stream, and writes to `standard/phases.tsv` which of them that phase refuses.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::embed::{Phase, Subsystem};
use crate::standard;

/// One line a function: subsystem, name, the phases that refuse it. Functions of modules start with `@`, methods of
/// what a function returned follow a `:`.
const TABLE: &str = include_str!("standard/phases.tsv");

/// Phases as bits.
type Phases = u32;

const fn bit(phase: Phase) -> Phases {
    1 << phase as u32
}

/// What is refused somewhere, by name, for HTTP and for stream; `None` where a subsystem has no such function.
fn refusals() -> &'static HashMap<&'static str, [Option<Phases>; 2]> {
    static REFUSALS: OnceLock<HashMap<&'static str, [Option<Phases>; 2]>> = OnceLock::new();
    REFUSALS.get_or_init(|| {
        let mut found: HashMap<&'static str, [Option<Phases>; 2]> = HashMap::new();
        for line in TABLE.lines() {
            let mut columns = line.split('\t');
            let (Some(subsystem), Some(name), Some(stems)) = (columns.next(), columns.next(), columns.next()) else {
                continue;
            };
            let phases = stems.split(' ').filter_map(Phase::of_directive).map(bit).fold(0, std::ops::BitOr::bitor);
            let index = usize::from(subsystem == "stream");
            found.entry(name).or_insert_with(|| everywhere_else(name))[index] = Some(phases);
        }
        found
    })
}

/// No refusals, where the API has the function.
fn everywhere_else(name: &str) -> [Option<Phases>; 2] {
    let there = |subsystem| (name.starts_with('@') || exists_in(name, subsystem)).then_some(0);
    [there(Subsystem::Http), there(Subsystem::Stream)]
}

fn exists_in(name: &str, subsystem: Subsystem) -> bool {
    let library = name.rsplit_once('.').and_then(|(outer, field)| standard::has_field(subsystem, outer, field));
    library == Some(true)
}

/// Whether a function or field of that name exists: `ngx.req.get_headers`, `string.format`.
pub fn exists(name: &str) -> bool {
    exists_in(name, Subsystem::Any)
}

/// The phases in which a function works.
pub fn phases(name: &str) -> Vec<Phase> {
    Phase::every().filter(|phase| !is_disabled(name, *phase, Subsystem::Any)).collect()
}

/// The functions of `ngx` that a phase refuses, sorted.
pub fn refused(phase: Phase) -> Vec<&'static str> {
    let named = |name: &&str| !name.contains(['@', ':', ' ']) && is_disabled(name, phase, Subsystem::Any);
    let mut names: Vec<&str> = refusals().keys().copied().filter(named).collect();
    names.sort_unstable();
    names
}

/// Whether a call fails in a phase. For code that may run in both subsystems: in each that has the phase and the
/// function.
pub(crate) fn is_disabled(name: &str, phase: Phase, subsystem: Subsystem) -> bool {
    let Some([http, stream]) = refusals().get(name) else { return false };
    let refuses = |phases: &Option<Phases>| phases.is_some_and(|phases| phases & bit(phase) != 0);
    match subsystem {
        Subsystem::Http => refuses(http),
        Subsystem::Stream => refuses(stream),
        Subsystem::Any => {
            let works = |phases: &Option<Phases>, subsystem: Subsystem| {
                phase.is_of(subsystem) && phases.is_some_and(|phases| phases & bit(phase) == 0)
            };
            (refuses(http) || refuses(stream)) && !works(http, Subsystem::Http) && !works(stream, Subsystem::Stream)
        }
    }
}

/// Whether the name means something that [`is_disabled`] may refuse.
pub(crate) fn is_limited(name: &str) -> bool {
    refusals().contains_key(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embed::Phase::{BodyFilter, Content, ExitWorker, Init, Log, Preread, Timer};

    #[test]
    fn every_row_is_understood() {
        for line in TABLE.lines() {
            let columns: Vec<&str> = line.split('\t').collect();
            let [subsystem, name, phases] = columns[..] else { panic!("{line}") };
            assert!(matches!(subsystem, "http" | "stream") && !name.is_empty(), "{line}");
            assert!(phases.split(' ').all(|stem| Phase::of_directive(stem).is_some()), "{line}");
        }
        assert!(phases("ngx.say").contains(&Content) && !exists("ngx.nothing"));
    }

    #[test]
    fn limits_are_those_of_the_server() {
        let disabled = |name, phase| is_disabled(name, phase, Subsystem::Http);
        assert!(disabled("ngx.say", Log) && !disabled("ngx.say", Content));
        assert!(disabled("ngx.req.get_headers", Timer) && !disabled("ngx.req.get_headers", Log));
        assert!(disabled("ngx.timer.at", ExitWorker) && !disabled("ngx.log", Init));
        assert!(disabled("ngx.thread.spawn", Log) && disabled("@ngx.balancer.set_more_tries", Content));
        assert!(disabled("ngx.arg", Content) && !disabled("ngx.arg", BodyFilter));
        assert!(is_limited("ngx.exit") && !is_limited("ngx.log"));
        assert!(refused(Log).contains(&"ngx.sleep") && !refused(Content).contains(&"ngx.sleep"));
    }

    #[test]
    fn code_for_both_subsystems_is_refused_where_each_refuses() {
        assert!(is_disabled("ngx.say", Timer, Subsystem::Any));
        assert!(!is_disabled("ngx.say", Preread, Subsystem::Any));
        assert!(is_disabled("ngx.req.get_headers", Timer, Subsystem::Any));
        assert!(!is_disabled("ngx.req.get_headers", Content, Subsystem::Any));
    }
}
