//! Which lane runs which blocks, and when.
//!
//! Blocks are handed out in small runs of one file, so that a file is loaded few times and lanes end together.
//! What a block shares with the world outside its lane is a *resource*; two blocks with a resource in common never
//! run at the same time. The services of the machine (memcached, Redis, …) are held together by the blocks that
//! only speak to them, and alone by a block that keeps something in them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::model::Regex;
use crate::run::outcome::BlockId;
use crate::run::select::PlannedFile;

/// Some blocks of one file that run one after the other in one lane.
#[derive(Clone, Debug)]
pub struct Unit {
    /// The file.
    pub file: Arc<PlannedFile>,
    /// The blocks, in the file's order.
    pub blocks: Vec<BlockId>,
    /// Whether they speak to a service outside the lane's own network.
    pub outside: bool,
    resources: BTreeSet<String>,
}

/// What a lane can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Only its own network.
    Own,
    /// The machine's network, which all lanes of this kind share.
    Shared,
}

/// The work still to be done. Lanes take from it.
#[derive(Debug)]
pub struct Schedule {
    state: Mutex<State>,
    changed: Condvar,
    has_own_networks: bool,
}

#[derive(Debug)]
struct State {
    pending: VecDeque<Unit>,
    busy: BTreeMap<String, usize>,
    stopped: bool,
}

/// The machine's services, held by blocks that only speak to them.
const VISITED: &str = "services, visited";
/// The machine's services, held by a block that keeps something in them.
const CHANGED: &str = "services, changed";

/// The resource that can't be held together with this one.
fn excluder(resource: &str) -> Option<&'static str> {
    match resource {
        VISITED => Some(CHANGED),
        CHANGED => Some(VISITED),
        _ => None,
    }
}

/// The most blocks that one unit holds.
const UNIT_MAX: usize = 8;

/// Splits files into units for `lanes` lanes.
pub fn units(files: &[Arc<PlannedFile>], lanes: usize) -> Vec<Unit> {
    let total: usize = files.iter().map(|file| file.blocks.len()).sum();
    let size = (total / (lanes.max(1) * 4)).clamp(1, UNIT_MAX);
    let mut units = Vec::new();
    for file in files {
        let facts = FileFacts::of(file);
        let mut current: Option<Unit> = None;
        for id in &file.blocks {
            let (outside, resources) = facts.of_block(file, id);
            let fits = current.as_ref().is_some_and(|unit| {
                facts.ordered || (unit.outside == outside && unit.resources == resources && unit.blocks.len() < size)
            });
            match current.as_mut().filter(|_| fits) {
                Some(unit) => {
                    unit.blocks.push(id.clone());
                    unit.outside |= outside;
                    unit.resources.extend(resources);
                }
                None => {
                    units.extend(current.take());
                    current = Some(Unit { file: Arc::clone(file), blocks: vec![id.clone()], outside, resources });
                }
            }
        }
        units.extend(current);
    }
    units
}

impl Schedule {
    /// A schedule of units. With `has_own_networks`, most lanes have a network of their own, and ports are no
    /// resource.
    pub fn new(units: Vec<Unit>, has_own_networks: bool) -> Self {
        let state = State { pending: units.into(), busy: BTreeMap::new(), stopped: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), has_own_networks }
    }

    /// The next unit for a lane; waits while all that is left for it must wait. `None` when nothing is left.
    pub fn next(&self, reach: Reach) -> Option<Unit> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.stopped {
                return None;
            }
            let is_for_lane = |unit: &Unit| !self.has_own_networks || unit.outside == (reach == Reach::Shared);
            let is_free = |unit: &Unit| {
                self.held(unit).all(|resource| match state.busy.get(resource) {
                    Some(_) => resource == VISITED,
                    None => !excluder(resource).is_some_and(|other| state.busy.contains_key(other)),
                })
            };
            if let Some(index) = state.pending.iter().position(|unit| is_for_lane(unit) && is_free(unit)) {
                let unit = state.pending.remove(index)?;
                for resource in self.held(&unit) {
                    *state.busy.entry(resource.clone()).or_default() += 1;
                }
                return Some(unit);
            }
            if !state.pending.iter().any(is_for_lane) {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives back what a unit held.
    pub fn done(&self, unit: &Unit) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in self.held(unit) {
            if let Some(holders) = state.busy.get_mut(resource) {
                *holders -= 1;
                if *holders == 0 {
                    state.busy.remove(resource);
                }
            }
        }
        self.changed.notify_all();
    }

    /// Hands out nothing more.
    pub fn stop(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.changed.notify_all();
    }

    fn held<'a>(&self, unit: &'a Unit) -> impl Iterator<Item = &'a String> {
        let ports_matter = !self.has_own_networks;
        unit.resources.iter().filter(move |resource| ports_matter || !resource.starts_with("port "))
    }
}

/// What a file's prologue says about all its blocks.
struct FileFacts {
    ordered: bool,
    outside: bool,
    resources: BTreeSet<String>,
}

impl FileFacts {
    fn of(file: &PlannedFile) -> Self {
        let prologue = file.document.prologue.map(|span| file.document.slice(span)).unwrap_or_default();
        let (mut outside, resources) = needs(prologue);
        let contains = |word: &str| crate::run::config::contains_word(prologue, word);
        // A prologue usually names every service's port; what counts is whether a block uses it. But text that
        // every block includes counts.
        outside &= contains("set_value");
        let blocks = file.document.blocks.iter().map(|block| file.document.slice(block.span));
        let speaks_outside = outside || blocks.into_iter().any(|text| needs(text).0);
        let ordered = contains("use_hup") || (contains("no_shuffle") && speaks_outside);
        Self { ordered, outside, resources }
    }

    fn of_block(&self, file: &PlannedFile, id: &BlockId) -> (bool, BTreeSet<String>) {
        let node = id.number.checked_sub(1).and_then(|index| file.document.blocks.get(index));
        let text = node.map(|node| file.document.slice(node.span)).unwrap_or_default();
        let (outside, mut resources) = needs(text);
        resources.extend(self.resources.iter().cloned());
        (outside || self.outside, resources)
    }
}

/// Whether a text speaks of outside services, and what it shares with other blocks.
fn needs(text: &[u8]) -> (bool, BTreeSet<String>) {
    let mut resources = BTreeSet::new();
    let mut outside = false;
    for name in all(text, r"TEST_NGINX_([A-Z0-9_]*PORT)\b") {
        outside |= !matches!(name.as_str(), "SERVER_PORT" | "CLIENT_PORT" | "PORT" | "STREAM_PORT" | "DGRAM_PORT");
    }
    // Where such services listen by default.
    outside |= !all(text, r"\b(6379|11211|11212|3306|5432|2379)\b").is_empty();
    outside |= !all(text, r"(TEST_NGINX_(?:RESOLVER|OPENRESTY_ORG_IP))").is_empty();
    if outside {
        let keeps = r#"(?i)(memc_|srcache|redis|mysql|drizzle|postgres|["'\s](?:set|add|incr|decr|append|prepend|cas|replace|delete)\s+[\w-]+)"#;
        let kind = if all(text, keeps).is_empty() { VISITED } else { CHANGED };
        resources.insert(kind.to_owned());
    }
    for port in all(text, r"(?:\blisten\s+(?:[\w.\[\]:*]+:)?|(?:tcp|udp)_listen:\s*)(\d{2,5})\b") {
        resources.insert(format!("port {port}"));
    }
    for path in all(text, r"(/tmp/[\w./-]+)") {
        resources.insert(path);
    }
    (outside, resources)
}

/// The first group of every match.
fn all(text: &[u8], pattern: &str) -> Vec<String> {
    let regex = Regex::new(pattern, "");
    let mut found = Vec::new();
    let mut from = 0;
    while let Ok(Some(groups)) = regex.captures_at(text, from) {
        let Some((_, end)) = groups.first().copied().flatten() else { break };
        if let Some((start, stop)) = groups.get(1).copied().flatten() {
            found.push(String::from_utf8_lossy(text.get(start..stop).unwrap_or_default()).into_owned());
        }
        from = end.max(from + 1);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_visited_together_and_changed_alone() {
        let kind = |text: &[u8]| needs(text).1.into_iter().next();
        let visit = b"connect(\"127.0.0.1\", $TEST_NGINX_MEMCACHED_PORT) set $x 1; send(\"flush_all\\r\\n\")";
        assert_eq!(kind(visit).as_deref(), Some(VISITED));
        assert_eq!(kind(b"$TEST_NGINX_MEMCACHED_PORT 'set dog 0 0 3'").as_deref(), Some(CHANGED));
        assert_eq!(excluder(VISITED), Some(CHANGED));
        assert_eq!(excluder("port 80"), None);
    }

    #[test]
    fn needs_are_read_from_the_text() {
        let (outside, resources) = needs(b"listen 127.0.0.1:8080;\n--- tcp_listen: 19113\nunix:/tmp/a.sock");
        assert!(!outside);
        assert_eq!(resources.into_iter().collect::<Vec<_>>(), ["/tmp/a.sock", "port 19113", "port 8080"]);
        assert!(needs(b"connect(\"127.0.0.1\", $TEST_NGINX_MEMCACHED_PORT)").0);
        assert!(!needs(b"proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/x; $TEST_NGINX_RAND_PORT_1").0);
    }
}
