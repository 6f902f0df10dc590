//! `rsty test --watch`: runs again what a change touches.
//!
//! A changed spec runs again whole. Any other file runs those blocks again during which somebody opened it
//! ([`opened`]): its server, a worker of it, or the runner. Changes are gathered until nothing has happened for 50 ms.

mod files;
mod opened;

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rsty_testspec::report::records::Records;
use rsty_testspec::run::lane::{Event, Options};
use rsty_testspec::run::select::{NameFilter, PlannedFile};

use self::files::{Folders, Happened};
use self::opened::Opened;
use super::args::Args;
use super::keys::{ENDS, Keys};
use super::plan::{plan, tell_unknown_sections};
use super::{Failure, RECORDS, failure, options, session};
use crate::exit::Exit;
use crate::ui;

/// How long nothing must happen before changes are looked at.
const QUIET: Duration = Duration::from_millis(50);

/// How long changes are gathered where something happens all the time.
const BUSY: Duration = Duration::from_secs(1);

const KEYS: &str = "a all · f failed · p path · t name · Enter again · q quit";

/// What wakes the watch.
enum Wake {
    File(Happened),
    Key(u8),
}

/// What a pass runs.
#[derive(Clone, Debug)]
enum Scope {
    All,
    /// Blocks and files that changes touched.
    Changed(BTreeSet<PathBuf>),
    Failed,
}

/// Watches until the user has had enough. Without a terminal, or in CI, the blocks run once.
pub(super) fn watch(args: &Args, scratch: &Path) -> Result<Exit, Failure> {
    let is_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    let keys = if is_ci || !std::io::stderr().is_terminal() { None } else { Keys::open() };
    let Some(keys) = keys else {
        ui::talk("not watching: there is no terminal, or this is CI\n");
        return session::run(args, scratch);
    };
    let (sender, wakes) = channel();
    keys.send_to(sender.clone(), Wake::Key);
    let here = std::env::current_dir().map_err(|error| failure(Exit::ToolFailure, "find the folder", &error))?;
    let folders = Folders::watch(&here, sender)?;
    let stop = Arc::new(AtomicBool::new(false));
    session::stop_on_signals(&stop, scratch);
    let options = options::options(args, scratch, Arc::clone(&stop))?;
    let mut watch = Watch {
        args,
        options,
        wakes,
        folders,
        opened: Opened::new(here.clone()),
        here,
        path: None,
        name: None,
        last: Scope::All,
        pending: Vec::new(),
        quit: false,
    };
    watch.pass(Scope::All)?;
    while !watch.quit && watch.turn()? {}
    drop(keys);
    Ok(Exit::Fine)
}

struct Watch<'a> {
    args: &'a Args,
    options: Options,
    wakes: Receiver<Wake>,
    folders: Folders,
    opened: Opened,
    here: PathBuf,
    /// Words that the user wants in paths.
    path: Option<NameFilter>,
    /// Words that the user wants in names.
    name: Option<NameFilter>,
    last: Scope,
    /// What happened while a pass ran.
    pending: Vec<Happened>,
    quit: bool,
}

impl Watch<'_> {
    /// Waits for something to happen and reacts. Whether to go on.
    fn turn(&mut self) -> Result<bool, Failure> {
        let mut changed = self.take_pending();
        let mut first = Instant::now();
        loop {
            let wake = if changed.is_empty() {
                let wake = self.wakes.recv().map_err(|_| RecvTimeoutError::Disconnected);
                first = Instant::now();
                wake
            } else {
                self.wakes.recv_timeout(QUIET)
            };
            match wake {
                Ok(Wake::Key(key)) => return self.key(key),
                Ok(Wake::File(happened)) => changed.extend(self.changed(happened)),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
            }
            if !changed.is_empty() && first.elapsed() > BUSY {
                break;
            }
        }
        self.pass(Scope::Changed(changed))?;
        Ok(true)
    }

    fn take_pending(&mut self) -> BTreeSet<PathBuf> {
        let pending = std::mem::take(&mut self.pending);
        pending.into_iter().filter_map(|happened| self.changed(happened)).collect()
    }

    /// The file that changed, if one did.
    fn changed(&mut self, happened: Happened) -> Option<PathBuf> {
        match happened {
            Happened::Changed(path) => {
                self.folders.adopt(&path);
                // Editors write to files that are gone by now; a file that blocks had opened counts even then.
                (path.is_file() || self.opened.knows(&path)).then_some(path)
            }
            Happened::Opened(..) => None,
        }
    }

    fn key(&mut self, key: u8) -> Result<bool, Failure> {
        match key {
            b'q' | b'Q' => return Ok(false),
            key if ENDS.contains(&key) => return Ok(false),
            b'a' => {
                (self.path, self.name) = (None, None);
                self.pass(Scope::All)?;
            }
            b'f' => self.pass(Scope::Failed)?,
            b'\n' | b'\r' => self.pass(self.last.clone())?,
            b'p' => {
                self.path = self.prompt("words in the path: ");
                self.pass(Scope::All)?;
            }
            b't' => {
                self.name = self.prompt("words in the name: ");
                self.pass(Scope::All)?;
            }
            _ => ui::talk(&format!("{KEYS}\n")),
        }
        Ok(true)
    }

    /// Reads a filter from the keys up to Enter. Nothing typed means no filter.
    fn prompt(&self, question: &str) -> Option<NameFilter> {
        ui::talk(question);
        let mut typed = Vec::new();
        loop {
            match self.wakes.recv() {
                Ok(Wake::Key(b'\n' | b'\r')) | Err(_) => break,
                Ok(Wake::Key(127 | 8)) => {
                    if typed.pop().is_some() {
                        ui::talk("\u{8} \u{8}");
                    }
                }
                Ok(Wake::Key(key)) if ENDS.contains(&key) => {
                    typed.clear();
                    break;
                }
                Ok(Wake::Key(key)) => {
                    typed.push(key);
                    ui::talk(&rsty_diag::render::printable(&[key]));
                }
                Ok(Wake::File(_)) => {}
            }
        }
        ui::talk("\n");
        let text = String::from_utf8_lossy(&typed).into_owned();
        if text.trim().is_empty() {
            return None;
        }
        NameFilter::parse(&text).inspect_err(|error| ui::warning(&error.to_string())).ok()
    }

    fn pass(&mut self, scope: Scope) -> Result<(), Failure> {
        let mut records = Records::read(Path::new(RECORDS));
        let mut files = match plan(self.args, &records) {
            Ok(files) => files,
            // Half-written files and the like: the next change will tell.
            Err(Failure { message, .. }) => {
                ui::error(&message);
                return Ok(());
            }
        };
        self.narrow(&mut files, &scope, &records);
        if files.is_empty() {
            if let Scope::Changed(paths) = &scope {
                self.tell_untouched(paths);
            } else {
                ui::talk("no block is left to run\n");
            }
            return Ok(());
        }
        if let Scope::Changed(paths) = &scope {
            ui::talk(&format!("changed: {}\n", self.shown(paths)));
        }
        self.last = scope;
        tell_unknown_sections(&files, false);
        self.options.stop.store(false, Ordering::Relaxed);
        let (wakes, pending, opened, stop) =
            (&self.wakes, &mut self.pending, &mut self.opened, &self.options.stop.clone());
        let mut quit = false;
        opened.begin();
        let finished = session::pass(self.args, &files, &mut self.options, &mut records, |event| {
            match event {
                Event::Started { block, at, .. } => opened.started(block, *at),
                Event::Finished { report, at } => opened.finished(&report.id, *at),
                _ => {}
            }
            while let Ok(wake) = wakes.try_recv() {
                match wake {
                    Wake::Key(key) if key == b'q' || ENDS.contains(&key) => {
                        quit = true;
                        stop.store(true, Ordering::Relaxed);
                    }
                    Wake::Key(_) => {}
                    Wake::File(Happened::Opened(path, at)) => opened.opened(path, at),
                    Wake::File(happened) => pending.push(happened),
                }
            }
        })?;
        self.quit |= quit;
        self.drain();
        self.opened.end();
        session::write_reports(self.args, &finished)?;
        if !self.quit {
            ui::talk(&format!("watching {} · {KEYS}\n", self.folders.count_text()));
        }
        Ok(())
    }

    /// Takes what the system still tells about the pass that has just ended.
    fn drain(&mut self) {
        let start = Instant::now();
        while let Ok(wake) = self.wakes.recv_timeout(QUIET) {
            match wake {
                Wake::File(Happened::Opened(path, at)) => self.opened.opened(path, at),
                Wake::File(happened) => self.pending.push(happened),
                Wake::Key(key) => self.quit |= key == b'q' || ENDS.contains(&key),
            }
            if start.elapsed() > BUSY {
                return;
            }
        }
    }

    /// Leaves only what the scope and the user's filters want.
    fn narrow(&self, files: &mut Vec<PlannedFile>, scope: &Scope, records: &Records) {
        for file in files.iter_mut() {
            let path = file.path.to_string_lossy().into_owned();
            let absolute = self.here.join(&*file.path);
            if self.path.as_ref().is_some_and(|filter| !filter.matches(&path)) {
                file.blocks.clear();
            }
            file.blocks.retain(|id| {
                let wanted = match scope {
                    Scope::All => true,
                    Scope::Failed => records.failed(id),
                    Scope::Changed(paths) => {
                        paths.contains(&absolute) || paths.iter().any(|path| self.opened.has_opened(id, path))
                    }
                };
                wanted && self.name.as_ref().is_none_or(|filter| filter.matches(&id.name))
            });
        }
        files.retain(|file| !file.blocks.is_empty());
    }

    fn tell_untouched(&self, paths: &BTreeSet<PathBuf>) {
        let code = |path: &&PathBuf| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            extension.is_some_and(|extension| ["lua", "t", "conf", "pm"].contains(&extension))
        };
        let paths: BTreeSet<PathBuf> = paths.iter().filter(code).cloned().collect();
        if !paths.is_empty() {
            ui::talk(&format!("changed: {}; no block has opened it (a runs all)\n", self.shown(&paths)));
        }
    }

    fn shown(&self, paths: &BTreeSet<PathBuf>) -> String {
        let one = |path: &PathBuf| {
            let path = path.strip_prefix(&self.here).unwrap_or(path);
            rsty_diag::render::printable(path.as_os_str().as_encoded_bytes())
        };
        let shown: Vec<String> = paths.iter().take(3).map(one).collect();
        let rest = paths.len() - shown.len();
        let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        format!("{}{rest}", shown.join(", "))
    }
}

/// Where the file watcher sends what happened.
type Wakes = Sender<Wake>;
