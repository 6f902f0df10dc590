//! Which blocks run together, and in which order.
//!
//! Blocks are handed out in small runs of one file, so that a file is loaded few times and lanes end together; those
//! that will take long go first. What a block shares with the world outside its lane is a *resource*; two blocks with
//! a resource in common never run at the same time. A service of the machine (memcached, Redis, …) is held together
//! by the blocks that only speak to it, and alone by a block that keeps something in it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rsty_diag::Span;

use crate::model::Regex;
use crate::run::outcome::BlockId;
use crate::run::sections::is_opaque;
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
    /// Whether it runs once more, with little beside it.
    pub(crate) again: bool,
    /// What it shares with the world outside its lane.
    pub(crate) resources: BTreeSet<String>,
    expected: Duration,
}

impl Unit {
    /// One of its blocks, for a lane in the machine's network.
    pub(crate) fn outside_with(&self, block: BlockId) -> Self {
        Self { blocks: vec![block], outside: true, ..self.clone() }
    }

    /// One of its blocks, to run once more.
    pub(crate) fn again_with(&self, block: BlockId) -> Self {
        Self { blocks: vec![block], again: true, ..self.clone() }
    }

    /// Whether it may hold another block, where `size` are enough for one that stays inside its lane.
    fn has_room(&self, size: usize) -> bool {
        self.blocks.len() < if self.outside { size.min(OUTSIDE_UNIT_MAX) } else { size }
    }
}

/// How long a block takes, by what its text says: enough to balance what nobody has measured.
pub fn estimate(file: &PlannedFile, id: &BlockId) -> Duration {
    time(text_of(file, id), repeats(prologue(file)))
}

/// The text of a block, from its header to the next one.
fn text_of<'a>(file: &'a PlannedFile, id: &BlockId) -> &'a [u8] {
    let node = id.number.checked_sub(1).and_then(|index| file.document.blocks.get(index));
    node.map(|node| file.document.slice(node.span)).unwrap_or_default()
}

/// What stands before the blocks. Without Perl, the sections above the first block stand for it.
fn prologue(file: &PlannedFile) -> &[u8] {
    let document = &file.document;
    let above = document.blocks.first().map_or(0, |block| block.span.start);
    document.slice(document.prologue.unwrap_or(Span { start: 0, end: above }))
}

/// What a lane can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Only its own network.
    Own,
    /// The machine's network, which all lanes of this kind share.
    Shared,
}

/// Behind the name of a service: held by blocks that only speak to it.
pub(crate) const VISITED: &str = " visited";
/// Behind the name of a service: held by a block that keeps something in it.
const CHANGED: &str = " changed";

/// What a block holds that writes files where the suite is.
const WORKING_FOLDER: &str = "the working folder";
/// How far above a spec the modules of its suite are looked for.
const MODULE_FOLDERS: usize = 4;

/// The resource that can't be held together with this one.
pub(crate) fn excluder(resource: &str) -> Option<String> {
    if let Some(service) = resource.strip_suffix(VISITED) {
        Some(format!("{service}{CHANGED}"))
    } else {
        resource.strip_suffix(CHANGED).map(|service| format!("{service}{VISITED}"))
    }
}

/// The most blocks that one unit holds.
const UNIT_MAX: usize = 8;
/// The same for blocks that speak to services: where a name server doesn't answer, each waits for many seconds.
const OUTSIDE_UNIT_MAX: usize = 2;
/// What a unit is expected to take at most, unless its blocks must stay together.
const UNIT_TIME: Duration = Duration::from_secs(2);

/// What one wait that a text names counts at most, in seconds: some sleep for ever and are killed.
const WAIT_MAX: f64 = 10.0;
/// What a limit counts that is rarely reached, in seconds.
const LIMIT_MAX: f64 = 2.0;
/// When a client gives up that names no time, in seconds.
const ABORT_WAIT: f64 = 3.0;
/// What all waits of a block count at most, in seconds.
const TIME_MAX: f64 = 60.0;

/// Splits files into units for `lanes` lanes, in the order in which they are best begun. `expected` knows how long a
/// block took last time.
pub fn units(files: &[Arc<PlannedFile>], lanes: usize, expected: impl Fn(&BlockId) -> Option<Duration>) -> Vec<Unit> {
    let total: usize = files.iter().map(|file| file.blocks.len()).sum();
    let size = (total / (lanes.max(1) * 4)).clamp(1, UNIT_MAX);
    let mut units = Vec::new();
    for file in files {
        units.extend(units_of(file, size, &expected));
    }
    // What must wait for others begins early, and so does what takes long; the rest keeps the files' order.
    units.sort_by_key(|unit| {
        let alone = unit.resources.iter().any(|resource| resource.ends_with(CHANGED));
        let long = if unit.expected > UNIT_TIME { unit.expected } else { Duration::ZERO };
        std::cmp::Reverse((alone, long))
    });
    units
}

fn units_of(file: &Arc<PlannedFile>, size: usize, expected: impl Fn(&BlockId) -> Option<Duration>) -> Vec<Unit> {
    let facts = FileFacts::of(file);
    let mut done = Vec::new();
    let mut open: Vec<Unit> = Vec::new();
    for id in &file.blocks {
        let needs = facts.of_block(file, id);
        let time = expected(id).unwrap_or_else(|| time(text_of(file, id), facts.repeats));
        let together = facts.ordered || (facts.keeps_order && needs.keeps_state());
        let fitting = open.iter().position(|unit| {
            let alike = unit.outside == needs.outside && unit.resources == needs.resources;
            facts.ordered || alike || (together && unit.resources.iter().any(|resource| resource.ends_with(CHANGED)))
        });
        match fitting.and_then(|index| open.get_mut(index).map(|unit| (index, unit))) {
            Some((_, unit)) if together || (unit.has_room(size) && unit.expected + time <= UNIT_TIME) => {
                unit.blocks.push(id.clone());
                unit.outside |= needs.outside;
                unit.resources.extend(needs.resources);
                unit.expected += time;
                continue;
            }
            Some((index, _)) => done.push(open.remove(index)),
            None => {}
        }
        open.push(Unit {
            file: Arc::clone(file),
            blocks: vec![id.clone()],
            outside: needs.outside,
            again: false,
            resources: needs.resources,
            expected: time,
        });
    }
    done.extend(open);
    done
}

/// What a text says about the blocks that contain it.
#[derive(Clone, Debug, Default)]
struct Needs {
    /// Whether they speak to something outside their lane's network.
    outside: bool,
    resources: BTreeSet<String>,
}

/// What a file's prologue says about all its blocks.
struct FileFacts {
    needs: Needs,
    /// All blocks run one after the other in one lane.
    ordered: bool,
    /// Blocks that keep something in a service see what those before them left there.
    keeps_order: bool,
    /// How often each block runs.
    repeats: u32,
}

impl FileFacts {
    fn of(file: &PlannedFile) -> Self {
        let prologue = prologue(file);
        let contains = |word: &str| memchr::memmem::find(prologue, word.as_bytes()).is_some();
        let mut needs = Needs::of(prologue);
        // A prologue usually names every service's port; what counts is whether a block uses it. But text that
        // every block includes counts.
        if !contains("set_value") {
            needs.outside = false;
            needs.resources.retain(|resource| excluder(resource).is_none());
        }
        if local_modules(prologue, &file.path).iter().any(|module| runs_blocks_in_place(module)) {
            needs.resources.insert(WORKING_FOLDER.to_owned());
        }
        let keeps_order = contains("no_shuffle");
        // One server for all blocks means one lane.
        let reloads = contains("use_hup") || !all(prologue, r"(USE_HUP)\W*?\s*=[^=~]").is_empty();
        let ordered = reloads || (keeps_order && is_opaque(prologue));
        Self { needs, ordered, keeps_order, repeats: repeats(prologue) }
    }

    fn of_block(&self, file: &PlannedFile, id: &BlockId) -> Needs {
        let mut needs = Needs::of(text_of(file, id));
        needs.outside |= self.needs.outside;
        needs.resources.extend(self.needs.resources.iter().cloned());
        needs
    }
}

/// The texts of the suite's own modules that a prologue uses; they lie beside the spec or in a `lib` above it.
fn local_modules(prologue: &[u8], spec: &Path) -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    for name in all(prologue, r"(?m)^\s*use\s+([A-Za-z_]\w*(?:::\w+)*)") {
        let file = format!("{}.pm", name.replace("::", "/"));
        let folders = spec.ancestors().skip(1).take(MODULE_FOLDERS);
        let found = folders.flat_map(|folder| [folder.to_owned(), folder.join("lib"), folder.join("t/lib")]);
        if let Some(text) = found.map(|folder| folder.join(&file)).find_map(|path| std::fs::read(path).ok()) {
            texts.push(text);
        }
    }
    texts
}

/// Whether a module runs blocks by itself, without the harness, and writes files on the way: into the working folder,
/// which all lanes share.
fn runs_blocks_in_place(module: &[u8]) -> bool {
    let contains = |word: &str| memchr::memmem::find(module, word.as_bytes()).is_some();
    contains("Test::Base") && !contains("Test::Nginx") && !all(module, r#"\bopen\b[^;]*?(["']\s*\+?>)"#).is_empty()
}

impl Needs {
    fn of(text: &[u8]) -> Self {
        let services = services(text);
        let names: [&[u8]; 2] = [b"TEST_NGINX_RESOLVER", b"TEST_NGINX_OPENRESTY_ORG_IP"];
        let outside = !services.is_empty() || names.iter().any(|name| memchr::memmem::find(text, name).is_some());
        let kind = if services.is_empty() || !keeps_state(text) { VISITED } else { CHANGED };
        let mut resources: BTreeSet<String> = services.iter().map(|service| format!("{service}{kind}")).collect();
        for port in all(text, r"(?:\blisten\s+(?:[\w.\[\]:*]+:)?|(?:tcp|udp)_listen:\s*)(\d{2,5})\b") {
            resources.insert(format!("port {port}"));
        }
        resources.extend(all(text, r"(/tmp/[\w./-]+)"));
        Self { outside, resources }
    }

    fn keeps_state(&self) -> bool {
        self.resources.iter().any(|resource| resource.ends_with(CHANGED))
    }
}

/// The services outside the lane that a text speaks of: by the variables that name their ports, or by the ports on
/// which they listen by default.
fn services(text: &[u8]) -> BTreeSet<String> {
    let own = ["SERVER", "CLIENT", "STREAM", "DGRAM", ""];
    let mut services: BTreeSet<String> = all(text, r"TEST_NGINX_((?:[A-Z0-9]+_)*)PORT\b")
        .into_iter()
        .map(|name| name.trim_end_matches('_').to_owned())
        .filter(|name| !own.contains(&name.as_str()))
        .collect();
    for port in all(text, r"\b(6379|11211|11212|3306|5432|2379)\b") {
        let service = match port.as_str() {
            "6379" => "REDIS",
            "3306" => "MYSQL",
            "5432" => "POSTGRES",
            "2379" => "ETCD",
            _ => "MEMCACHED",
        };
        services.insert(service.to_owned());
    }
    services
}

/// Whether a text uses what a service keeps: by a command, a client library or an nginx module.
fn keeps_state(text: &[u8]) -> bool {
    const COMMANDS: &str = r#"(?i)(\bmemc_|\bsrcache_|\bredis2?_|\bdrizzle_|\bpostgres_|\bresty\.\w|:query\(|["'\s](?:get|gets|set|add|incr|decr|append|prepend|cas|replace|delete|del|[lr]push|sadd|hset|publish|subscribe|select|create|insert|drop)\s+[\w-])"#;
    !all(text, COMMANDS).is_empty()
}

/// What a block says that it waits, before anybody has measured it: enough to put long ones first.
fn time(text: &[u8], repeats: u32) -> Duration {
    let seconds = |pattern: &str, most: f64| -> f64 {
        all(text, pattern).iter().filter_map(|each| each.parse::<f64>().ok()).map(|each| each.min(most)).sum()
    };
    const LIMIT: &str = r"(?m)^--- timeout:? *(\d+(?:\.\d+)?)";
    let slept = seconds(r"(?:\bsleep\(|\becho_(?:blocking_)?sleep +|(?m:^--- wait:? *))(\d+(?:\.\d+)?)", WAIT_MAX);
    let left = match (all(text, r"(?m)^--- (abort)\b").is_empty(), all(text, LIMIT).is_empty()) {
        // A client that gives up waits until then; for others the limit is only a sign that it may take a while.
        (false, true) => ABORT_WAIT,
        (false, false) => seconds(LIMIT, WAIT_MAX),
        (true, _) => seconds(LIMIT, LIMIT_MAX),
    };
    let waited = (slept + left) * f64::from(repeats);
    Duration::try_from_secs_f64(waited.min(TIME_MAX) + 0.15).unwrap_or_default()
}

/// How often a prologue says that each block runs, where it says so by a plain number.
fn repeats(prologue: &[u8]) -> u32 {
    let said = all(prologue, r"(?m)^\s*repeat_each\s*\(?\s*(\d+)");
    said.first().and_then(|number| number.parse().ok()).map_or(1, |number: u32| number.clamp(1, 100))
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
    use crate::run::select::{Selector, select};

    fn resources(text: &[u8]) -> Vec<String> {
        Needs::of(text).resources.into_iter().collect()
    }

    #[test]
    fn services_are_visited_together_and_changed_alone() {
        let visit = b"connect(\"127.0.0.1\", $TEST_NGINX_MEMCACHED_PORT) set $x 1; send(\"flush_all\\r\\n\")";
        assert_eq!(resources(visit), ["MEMCACHED visited"]);
        assert_eq!(resources(b"$TEST_NGINX_MEMCACHED_PORT 'set dog 0 0 3'"), ["MEMCACHED changed"]);
        assert_eq!(resources(b"127.0.0.1:6379 \"get cat\\r\\n\""), ["REDIS changed"]);
        assert_eq!(excluder("REDIS visited").as_deref(), Some("REDIS changed"));
        assert_eq!(excluder("port 80"), None);
    }

    #[test]
    fn needs_are_read_from_the_text() {
        let needs = Needs::of(b"listen 127.0.0.1:8080;\n--- tcp_listen: 19113\nunix:/tmp/a.sock");
        assert!(!needs.outside);
        assert_eq!(needs.resources.into_iter().collect::<Vec<_>>(), ["/tmp/a.sock", "port 19113", "port 8080"]);
        assert!(Needs::of(b"connect(\"127.0.0.1\", $TEST_NGINX_MEMCACHED_PORT)").outside);
        assert!(Needs::of(b"resolver $TEST_NGINX_RESOLVER;").outside);
        assert!(!Needs::of(b"proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/x; $TEST_NGINX_RAND_PORT_1").outside);
    }

    #[test]
    fn a_fixed_order_binds_only_the_blocks_that_keep_something_outside() {
        let text = "use Test::Nginx::Socket;\nno_shuffle();\nrun_tests();\n__DATA__\n\
            === TEST 1: plain\n--- config\n\
            === TEST 2: store\n--- config\nset $p $TEST_NGINX_MEMCACHED_PORT; 'set dog 0 0 3'\n\
            === TEST 3: plain too\n--- config\n\
            === TEST 4: look\n--- config\nset $p $TEST_NGINX_MEMCACHED_PORT; 'get dog'\n";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.t");
        std::fs::write(&path, text).unwrap();
        let files = select(&[Selector::parse(path.to_str().unwrap())], None).unwrap();
        let files: Vec<_> = files.into_iter().map(Arc::new).collect();
        let units = units(&files, 8, |_| None);
        let numbers: Vec<Vec<usize>> =
            units.iter().map(|unit| unit.blocks.iter().map(|id| id.number).collect()).collect();
        assert_eq!(numbers, [vec![2, 4], vec![1], vec![3]]);
    }

    #[test]
    fn blocks_of_a_harness_that_writes_where_the_suite_is_run_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("t/sub")).unwrap();
        let path = folder.path().join("t/sub/a.t");
        let module = "package t::Own;\nuse Test::Base -Base;\nsub run { open my $fh, '>', 'case.lua' or die; }\n1;\n";
        std::fs::write(folder.path().join("t/Own.pm"), module).unwrap();
        for (name, resources) in [("t::Own", vec![WORKING_FOLDER]), ("t::Other", vec![])] {
            let text = format!("use {name};\nrun_tests();\n__DATA__\n=== a\n--- lua\n=== b\n--- lua\n");
            std::fs::write(&path, text).unwrap();
            let files = select(&[Selector::parse(path.to_str().unwrap())], None).unwrap();
            let files: Vec<_> = files.into_iter().map(Arc::new).collect();
            let units = units(&files, 8, |_| None);
            assert!(units.iter().all(|unit| unit.resources.iter().eq(resources.iter())));
        }
    }

    #[test]
    fn long_units_come_first() {
        let text = "=== TEST 1: short\n--- config\n=== TEST 2: long\n--- config\n--- wait: 5\n";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.t");
        std::fs::write(&path, text).unwrap();
        let files = select(&[Selector::parse(path.to_str().unwrap())], None).unwrap();
        let files: Vec<_> = files.into_iter().map(Arc::new).collect();
        let first = units(&files, 1, |_| None).remove(0);
        assert_eq!(first.blocks[0].number, 2);
        let measured = |id: &BlockId| Some(Duration::from_secs(if id.number == 1 { 3 } else { 0 }));
        assert_eq!(units(&files, 1, measured).remove(0).blocks[0].number, 1);
    }

    #[test]
    fn waits_are_read_from_the_text() {
        let seconds = |text: &str, repeats| time(text.as_bytes(), repeats).as_secs_f64() - 0.15;
        for (text, wanted) in [
            ("--- config\n", 0.0),
            ("ngx.sleep(4.5)\necho_sleep 1.5;\n", 6.0),
            ("--- wait: 5\n", 5.0),
            ("ngx.sleep(3600)\n", WAIT_MAX),
            ("--- timeout: 10\n", LIMIT_MAX),
            ("--- abort\n", ABORT_WAIT),
            ("--- timeout: 6\n--- abort\n", 6.0),
            ("--- abort\n--- timeout: 0.5\n", 0.5),
            ("proxy_read_timeout 9;\nsock:settimeout(8)\n", 0.0),
        ] {
            assert!((seconds(text, 1) - wanted).abs() < 1e-6, "{text}");
            assert!((seconds(text, 2) - 2.0 * wanted).abs() < 1e-6, "{text}, twice");
        }
        assert!((seconds("ngx.sleep(9)\n", 100) - TIME_MAX).abs() < 1e-6);
        assert_eq!(repeats(b"use X;\nrepeat_each(3);\n"), 3);
        assert_eq!(repeats(b"#repeat_each(3);\n"), 1);
        assert_eq!(repeats(b"repeat_each($ENV{X});\n"), 1);
    }

    #[test]
    fn blocks_that_wait_long_are_units_of_their_own_and_begin_in_their_order() {
        let mut text = "use Test::Nginx::Socket;\nrepeat_each(2);\nrun_tests();\n__DATA__\n".to_owned();
        for (number, section) in
            ["--- config", "--- abort", "--- wait: 5", "--- abort", "--- wait: 5"].iter().enumerate()
        {
            text.push_str(&format!("=== TEST {}: x\n{section}\n", number + 1));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.t");
        std::fs::write(&path, text).unwrap();
        let files = select(&[Selector::parse(path.to_str().unwrap())], None).unwrap();
        let files: Vec<_> = files.into_iter().map(Arc::new).collect();
        let units = units(&files, 1, |_| None);
        let numbers: Vec<Vec<usize>> =
            units.iter().map(|unit| unit.blocks.iter().map(|id| id.number).collect()).collect();
        assert_eq!(numbers, [vec![3], vec![5], vec![2], vec![4], vec![1]]);
        assert_eq!(estimate(&files[0], &units[0].blocks[0]), Duration::from_millis(10_150));
    }
}
