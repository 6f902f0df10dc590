//! Which files a block opened.
//!
//! The system tells when a watched file is opened, not by whom. A block counts as the one if it was running then, so
//! blocks that ran at the same time may be taken for each other: that runs some again in vain, and never too few.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rsty_testspec::run::outcome::BlockId;

/// What the blocks opened when they last ran.
#[derive(Debug, Default)]
pub(super) struct Opened {
    here: PathBuf,
    files: BTreeMap<BlockId, BTreeSet<PathBuf>>,
    windows: Vec<(BlockId, Instant, Option<Instant>)>,
    events: Vec<(PathBuf, Instant)>,
}

/// How late the system may tell.
const LATE: Duration = Duration::from_millis(20);
/// The most events of one pass that are kept; files are opened again and again.
const EVENTS_MAX: usize = 200_000;

impl Opened {
    /// Nothing is known yet about files below `here`.
    pub(super) fn new(here: PathBuf) -> Self {
        Self { here, ..Self::default() }
    }

    /// A pass begins.
    pub(super) fn begin(&mut self) {
        self.windows.clear();
        self.events.clear();
    }

    /// A block begins.
    pub(super) fn started(&mut self, block: &BlockId, at: Instant) {
        self.windows.push((block.clone(), at, None));
    }

    /// A block is over.
    pub(super) fn finished(&mut self, block: &BlockId, at: Instant) {
        let own = self.windows.iter_mut().rev().find(|(id, _, end)| id == block && end.is_none());
        if let Some((_, _, end)) = own {
            *end = Some(at + LATE);
        }
    }

    /// A file was opened.
    pub(super) fn opened(&mut self, path: PathBuf, at: Instant) {
        let is_spec = path.extension().is_some_and(|extension| extension == "t");
        if self.events.len() < EVENTS_MAX && !is_spec {
            self.events.push((path, at));
        }
    }

    /// The pass is over: what was opened during it takes the place of what was known about its blocks.
    pub(super) fn end(&mut self) {
        self.events.sort_by_key(|(_, at)| *at);
        for (block, start, end) in std::mem::take(&mut self.windows) {
            let from = self.events.partition_point(|(_, at)| *at < start);
            let to = end.map_or(self.events.len(), |end| self.events.partition_point(|(_, at)| *at <= end));
            let during = self.events.get(from..to).unwrap_or_default();
            self.files.insert(block, during.iter().map(|(path, _)| path.clone()).collect());
        }
        self.events.clear();
    }

    /// Whether any block opened the file.
    pub(super) fn knows(&self, path: &Path) -> bool {
        self.files.values().any(|files| files.contains(path))
    }

    /// Whether the block opened the file, or ran while somebody did.
    pub(super) fn has_opened(&self, block: &BlockId, path: &Path) -> bool {
        let path = if path.is_absolute() { path.to_owned() } else { self.here.join(path) };
        self.files.get(block).is_some_and(|files| files.contains(&path))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_block_owns_what_was_opened_while_it_ran() {
        let block =
            |number| BlockId { file: Arc::new("t/a.t".into()), number, line: number, name: format!("TEST {number}") };
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut opened = Opened::new("/p".into());
        opened.begin();
        opened.started(&block(1), at(0));
        opened.opened("/p/lib/a.lua".into(), at(10));
        opened.finished(&block(1), at(100));
        opened.started(&block(2), at(200));
        opened.opened("/p/lib/b.lua".into(), at(210));
        opened.opened("/p/t/a.t".into(), at(211));
        opened.finished(&block(2), at(300));
        opened.opened("/p/lib/c.lua".into(), at(400));
        opened.end();
        assert!(opened.has_opened(&block(1), Path::new("lib/a.lua")));
        assert!(opened.has_opened(&block(2), Path::new("/p/lib/b.lua")));
        assert!(!opened.has_opened(&block(1), Path::new("lib/b.lua")));
        for none in ["lib/c.lua", "t/a.t"] {
            assert!(!opened.has_opened(&block(2), Path::new(none)));
        }
    }
}
