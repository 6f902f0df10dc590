//! Lanes: threads that each have a server root, a port and, where possible, a network of their own.
//!
//! What a block needs of the machine is guessed from its text. Where that misses a service, the block fails in its
//! own network because nobody listens; if the machine has services, such blocks run again at the end in the machine's
//! network, those of a file one after the other, and only that run counts.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rsty_diag::{Diagnostic, Source};

use crate::load::{Environment, Shell, VersionText};
use crate::model::{Block, Flavour, Plan};
use crate::perl::Limits;
use crate::run::binary::ServerBinary;
use crate::run::block::{self, Bench, run_block};
use crate::run::check::Verdict;
use crate::run::netns;
use crate::run::outcome::{Attempt, BlockId, BlockReport};
use crate::run::perl_side::Spec;
use crate::run::ports::{self, Ports};
use crate::run::process;
use crate::run::processors::{Counters, Jobs, Places};
use crate::run::progress::{Progress, SlowBlock};
use crate::run::queue::Queue;
use crate::run::root::ServerRoot;
use crate::run::schedule::{Reach, Unit, units};
use crate::run::select::PlannedFile;

/// Loads a spec file in a lane's environment.
pub type Loader = Arc<dyn Fn(&Source, Environment) -> Result<Box<dyn Spec>, Vec<Diagnostic>> + Send + Sync>;

/// How a run is done.
#[derive(Clone)]
pub struct Options {
    /// The server program.
    pub binary: Arc<ServerBinary>,
    /// Loads spec files.
    pub loader: Loader,
    /// How many blocks run at the same time.
    pub jobs: Jobs,
    /// The environment of prologues and servers.
    pub variables: BTreeMap<String, Vec<u8>>,
    /// The working directory.
    pub working_directory: PathBuf,
    /// Folders in which local Perl modules are looked for.
    pub library_paths: Vec<PathBuf>,
    /// Whether prologues may run shell commands.
    pub shell: Shell,
    /// A folder for server roots; it is the caller's to remove.
    pub scratch: PathBuf,
    /// The longest time for one block.
    pub block_limit: Duration,
    /// A block that runs longer than this is told about.
    pub slow: Duration,
    /// Whether the error logs of blocks that pass are kept.
    pub keep_logs: bool,
    /// How often a failed block is tried again.
    pub retries: u32,
    /// End the run after this many failed blocks.
    pub max_failures: Option<usize>,
    /// How long blocks took last time: long ones begin early.
    pub durations: BTreeMap<BlockId, Duration>,
    /// Set from outside to end the run.
    pub stop: Arc<AtomicBool>,
}

/// What happens during a run.
#[derive(Debug)]
pub enum Event {
    /// A block is done.
    Finished {
        /// What became of it.
        report: Box<BlockReport>,
        /// When.
        at: Instant,
    },
    /// A block takes long.
    Slow(SlowBlock),
    /// A file was loaded by a lane; sent once for each lane that loads it.
    Loaded {
        /// The file.
        file: Arc<PathBuf>,
        /// What it promises.
        plan: Plan,
    },
    /// A block begins.
    Started {
        /// The lane, from 0.
        lane: usize,
        /// The block.
        block: BlockId,
        /// When.
        at: Instant,
    },
    /// The run waits for something outside of it.
    Waiting(&'static str),
    /// A file can't be loaded.
    Unusable {
        /// The file.
        file: Arc<PathBuf>,
        /// Why.
        diagnostics: Vec<Diagnostic>,
    },
}

/// Runs the chosen blocks. `observe` is called for each event, in this thread.
pub fn run(files: Vec<PlannedFile>, options: &Options, mut observe: impl FnMut(Event)) -> io::Result<()> {
    process::adopt_orphans()?;
    let files: Vec<Arc<PlannedFile>> = files.into_iter().map(Arc::new).collect();
    let Jobs { least, most } = options.jobs;
    let work = units(&files, least, |id| options.durations.get(id).copied());
    let own_networks = most > 1 && netns::is_possible();
    let outside = work.iter().filter(|unit| unit.outside || !own_networks).count();
    let inside = work.len() - outside;
    let work_len = work.len();
    let queue = Arc::new(Queue::new(work, options.jobs, own_networks));
    // How many of either kind are at work is the queue's affair. What misses a service comes to the second kind.
    let has_services = ports::has_listeners();
    let outside = if has_services && own_networks { work_len } else { outside };
    let own = std::iter::repeat_n(Reach::Own, most.min(inside));
    let lanes = own.chain(std::iter::repeat_n(Reach::Shared, most.min(outside)));
    let result = run_lanes(&queue, lanes, has_services, options, &mut observe);
    process::end_descendants();
    result
}

/// Runs the units of a queue in lanes that can reach this.
fn run_lanes(
    queue: &Arc<Queue>,
    lanes: impl Iterator<Item = Reach>,
    has_services: bool,
    options: &Options,
    observe: &mut impl FnMut(Event),
) -> io::Result<()> {
    let epoch = Instant::now();
    let (sender, receiver) = channel();
    let mut threads = Vec::new();
    let mut marks = Vec::new();
    for (index, reach) in lanes.enumerate() {
        let lane = Lane {
            index,
            reach,
            options: options.clone(),
            queue: Arc::clone(queue),
            events: sender.clone(),
            progress: Arc::default(),
            epoch,
            has_services,
        };
        marks.push(Arc::clone(&lane.progress));
        let thread = std::thread::Builder::new().name(format!("lane {index}")).stack_size(64 << 20);
        threads.push(thread.spawn(move || lane.run())?);
    }
    drop(sender);
    watch(&receiver, options, queue, &marks, observe);
    let mut result = Ok(());
    for thread in threads {
        match thread.join() {
            Ok(Err(error)) => result = Err(error),
            Ok(Ok(())) => {}
            Err(_) => result = Err(io::Error::other("a lane panicked")),
        }
    }
    result
}

/// What a block would give to the server.
#[derive(Debug)]
pub enum Rendered {
    /// This `nginx.conf`.
    Configuration(Vec<u8>),
    /// Nothing: it would not run, or needs no server, for this reason.
    Nothing(String),
    /// Nothing, because of this mistake.
    Mistake(String),
}

/// Gives `show` the `nginx.conf` with which each chosen block would run.
pub fn render(files: Vec<PlannedFile>, options: &Options, mut show: impl FnMut(&BlockId, Rendered)) -> io::Result<()> {
    let (events, _) = channel();
    let options = Options { jobs: Jobs::fixed(1), ..options.clone() };
    let queue = Arc::new(Queue::new(Vec::new(), options.jobs, false));
    let (progress, epoch) = (Arc::default(), Instant::now());
    let lane = Lane { index: 0, reach: Reach::Shared, options, queue, events, progress, epoch, has_services: false };
    let bench = lane.bench()?;
    for file in files.into_iter().map(Arc::new) {
        let loaded = lane.load(&file, &bench, None);
        for id in &file.blocks {
            let rendered = match &loaded.spec {
                Ok(spec) => rendered(&**spec, id, &bench),
                Err(text) => Rendered::Mistake(text.clone()),
            };
            show(id, rendered);
        }
        leave(Some(loaded));
    }
    Ok(())
}

fn rendered(spec: &dyn Spec, id: &BlockId, bench: &Bench) -> Rendered {
    if let Plan::SkipAll(reason) = spec.plan() {
        return Rendered::Nothing(format!("skipped: {}", String::from_utf8_lossy(&reason)));
    }
    if spec.settings().flavour == Flavour::Plain {
        return Rendered::Nothing("needs no server".to_owned());
    }
    let text =
        prepared(spec, id).and_then(|block| block::render(spec, &block, bench).map_err(|error| error.to_string()));
    match text {
        Ok(text) => Rendered::Configuration(text),
        Err(mistake) => Rendered::Mistake(mistake),
    }
}

fn watch(
    receiver: &Receiver<Event>,
    options: &Options,
    queue: &Queue,
    marks: &[Arc<Progress>],
    observe: &mut impl FnMut(Event),
) {
    let mut failures = 0;
    let mut looked = Instant::now();
    let mut places = Places::new(options.jobs);
    loop {
        match receiver.recv_timeout(Duration::from_millis(50)) {
            Ok(event) => {
                if let Event::Finished { report, .. } = &event {
                    failures += usize::from(report.last().is_none_or(Attempt::has_failed));
                }
                observe(event);
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
        }
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            marks.iter().filter_map(|mark| mark.slow(options.slow)).for_each(|slow| observe(Event::Slow(slow)));
            if options.jobs.most > 1 {
                places.look(Counters::read(), queue.is_full());
                queue.set_places(places.number());
                if places.is_crowded() {
                    queue.note_crowd();
                }
            }
        }
        if options.stop.load(Ordering::Relaxed) || options.max_failures.is_some_and(|max| failures >= max) {
            queue.stop();
        }
    }
}

/// How often is looked for slow blocks, and for idle processors.
const LOOK: Duration = Duration::from_millis(100);

struct Lane {
    index: usize,
    reach: Reach,
    options: Options,
    queue: Arc<Queue>,
    events: Sender<Event>,
    progress: Arc<Progress>,
    /// When the run began.
    epoch: Instant,
    /// Whether something listens in the machine's network.
    has_services: bool,
}

/// The file that a lane has loaded last.
struct Loaded {
    file: Arc<PlannedFile>,
    spec: Result<Box<dyn Spec>, String>,
}

/// Links the folders beside the specs into a lane's own `t`: configurations reach certificates and modules there
/// by paths relative to the server root.
fn lend_folders(from: &Path, to: &Path) -> io::Result<()> {
    let Ok(entries) = std::fs::read_dir(from) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_root = name.to_string_lossy().starts_with("servroot");
        if is_root || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        match std::os::unix::fs::symlink(entry.path(), to.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The end of a lane. Where one breaks off, the others would wait for what it holds.
struct Ending<'a> {
    queue: &'a Queue,
    is_regular: bool,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if !self.is_regular {
            self.queue.stop();
        }
    }
}

impl Lane {
    fn run(self) -> io::Result<()> {
        // A lane without work makes nothing.
        let Some(mut unit) = self.queue.next(self.reach) else { return Ok(()) };
        let mut ending = Ending { queue: &self.queue, is_regular: false };
        let ended = self.run_from(&mut unit);
        ending.is_regular = ended.is_ok();
        ended
    }

    /// Runs a unit and those that follow.
    fn run_from(&self, unit: &mut Unit) -> io::Result<()> {
        if self.reach == Reach::Own {
            netns::enter().map_err(io::Error::other)?;
        }
        let ports = match self.reach {
            Reach::Own => None,
            Reach::Shared => self.reserve_ports()?,
        };
        let bench = self.bench()?;
        let port = ports.as_ref().and_then(Ports::for_lane);
        let mut loaded: Option<Loaded> = None;
        loop {
            if loaded.as_ref().is_none_or(|loaded| !Arc::ptr_eq(&loaded.file, &unit.file)) {
                bench.end_kept();
                leave(loaded.take());
                loaded = Some(self.load(&unit.file, &bench, port));
            }
            if let Some(loaded) = &loaded {
                self.unit(unit, loaded, &bench);
            }
            self.queue.done(unit);
            match self.queue.next(self.reach) {
                Some(next) => *unit = next,
                None => break,
            }
        }
        bench.end_kept();
        leave(loaded);
        Ok(())
    }

    fn bench(&self) -> io::Result<Bench> {
        let place = self.options.scratch.join(self.index.to_string());
        let root = match self.options.variables.get("TEST_NGINX_SERVROOT") {
            Some(path) if self.options.jobs.most == 1 => {
                use std::os::unix::ffi::OsStrExt as _;
                ServerRoot::new(self.options.working_directory.join(std::ffi::OsStr::from_bytes(path)))
            }
            // Specs look for `t/servroot` in paths.
            _ => ServerRoot::temporary(place.join("t/servroot")),
        };
        std::fs::create_dir_all(place.join("t"))?;
        lend_folders(&self.options.working_directory.join("t"), &place.join("t"))?;
        Ok(Bench {
            binary: Arc::clone(&self.options.binary),
            root,
            stderr: place.join("stderr"),
            working_directory: self.options.working_directory.clone(),
            block_limit: self.options.block_limit,
            stop: Arc::clone(&self.options.stop),
            progress: Arc::clone(&self.progress),
            keep_log: self.options.keep_logs,
            kept: RefCell::new(None),
            confined: self.options.shell == Shell::Refused,
            outside: Cell::new(false),
        })
    }

    fn unit(&self, unit: &Unit, loaded: &Loaded, bench: &Bench) {
        bench.outside.set(unit.outside);
        for id in &unit.blocks {
            if self.options.stop.load(Ordering::Relaxed) {
                return;
            }
            self.tell(Event::Started { lane: self.index, block: id.clone(), at: Instant::now() });
            let started = Instant::now();
            let mut attempts = if unit.again { self.queue.earlier(id) } else { Vec::new() };
            for _ in 0..=self.options.retries {
                let began = self.epoch.elapsed();
                self.progress.begin(id);
                // A bug in the runner costs one block, not the run.
                let attempt = std::panic::catch_unwind(AssertUnwindSafe(|| attempt(id, loaded, bench)));
                let mut attempt =
                    attempt.unwrap_or_else(|_| Attempt::impossible("the runner itself failed in this block"));
                if attempt.duration >= self.options.block_limit
                    && let (Some(reason), Some(step)) = (&mut attempt.bail_out, self.progress.step())
                {
                    reason.push_str(&format!("; it was waiting for {}", step.waits_for()));
                }
                point_at_sections(&mut attempt, id, loaded);
                (attempt.began, attempt.lane, attempt.steps) = (began, self.index, self.progress.end());
                let done = !attempt.has_failed();
                attempts.push(attempt);
                if done || self.options.stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            if self.missed_a_service(&attempts) {
                self.queue.miss(unit, id);
                continue;
            }
            let attempts = if attempts.last().is_some_and(Attempt::has_failed) {
                match self.queue.put_off(unit, id, started, LOOK, attempts) {
                    Some(attempts) => attempts,
                    None => continue,
                }
            } else {
                attempts
            };
            let report = Box::new(BlockReport { id: id.clone(), attempts });
            self.tell(Event::Finished { report, at: Instant::now() });
        }
    }

    /// Whether a block failed because nobody listens in the lane's own network, and somebody may in the machine's.
    fn missed_a_service(&self, attempts: &[Attempt]) -> bool {
        self.reach == Reach::Own && self.has_services && attempts.last().is_some_and(Attempt::found_nobody)
    }

    fn load(&self, file: &Arc<PlannedFile>, bench: &Bench, port: Option<u16>) -> Loaded {
        let file = Arc::clone(file);
        let environment = self.environment(bench, port);
        let spec = match (self.options.loader)(&file.source, environment) {
            Ok(spec) => {
                self.tell(Event::Loaded { file: Arc::clone(&file.path), plan: spec.plan() });
                Ok(spec)
            }
            Err(diagnostics) => {
                let text: Vec<String> = diagnostics.iter().map(rsty_diag::render::concise).collect();
                self.tell(Event::Unusable { file: Arc::clone(&file.path), diagnostics });
                Err(text.join("\n"))
            }
        };
        Loaded { file, spec }
    }

    fn environment(&self, bench: &Bench, port: Option<u16>) -> Environment {
        let mut environment = Environment::new(&self.options.working_directory);
        environment.variables.clone_from(&self.options.variables);
        let variables = &mut environment.variables;
        if port.is_some() {
            for name in ["SERVER_PORT", "PORT", "CLIENT_PORT", "STREAM_PORT", "DGRAM_PORT"] {
                variables.remove(&format!("TEST_NGINX_{name}"));
            }
        }
        let configured = |names: &[&str]| {
            let value = names.iter().find_map(|name| variables.get(&format!("TEST_NGINX_{name}")));
            value.and_then(|text| std::str::from_utf8(text).ok()?.trim().parse().ok()).filter(|port: &u16| *port > 0)
        };
        environment.server_port = port.or_else(|| configured(&["SERVER_PORT", "PORT"])).unwrap_or(1984);
        environment.server_port_for_client =
            port.or_else(|| configured(&["CLIENT_PORT"])).unwrap_or(environment.server_port);
        bench.root.path().clone_into(&mut environment.server_root);
        environment.library_paths.clone_from(&self.options.library_paths);
        environment.shell = self.options.shell;
        environment.limits = Limits::default();
        let binary = Arc::clone(&self.options.binary);
        // What Perl code runs as `$NginxBinary` is the server under test.
        let program = binary.program().as_os_str().as_bytes().to_vec();
        environment.variables.insert("TEST_NGINX_BINARY".to_owned(), program);
        environment.nginx_version = VersionText::new(move || binary.version_text().to_vec());
        environment
    }

    /// Ports for a lane that shares the machine's network. With one job the original's ports are used, by one run at
    /// a time.
    fn reserve_ports(&self) -> io::Result<Option<Ports>> {
        if self.options.jobs.most > 1 {
            return Ports::reserve().map(Some);
        }
        let stopped = || self.options.stop.load(Ordering::Relaxed);
        Ports::classic(stopped, || self.tell(Event::Waiting("another run uses the classic ports"))).map(Some)
    }

    fn tell(&self, event: Event) {
        // The receiver lives as long as the lanes.
        let _ = self.events.send(event);
    }
}

fn leave(loaded: Option<Loaded>) {
    if let Some(Loaded { spec: Ok(spec), .. }) = loaded {
        // The original runs these handlers at its end, where nobody looks at their result.
        let _ = spec.cleanup();
    }
}

/// Gives failed assertions the lines of their sections.
fn point_at_sections(attempt: &mut Attempt, id: &BlockId, loaded: &Loaded) {
    let Ok(spec) = &loaded.spec else { return };
    let Some(block) = spec.blocks().iter().find(|block| block.number() == id.number) else { return };
    for assertion in attempt.assertions.iter_mut().filter(|assertion| assertion.verdict == Verdict::Failed) {
        let header = assertion.section.and_then(|name| block.section(name)?.header_span);
        assertion.line = header.map(|header| loaded.file.source.location(header.start).line);
    }
}

fn attempt(id: &BlockId, loaded: &Loaded, bench: &Bench) -> Attempt {
    let spec = match &loaded.spec {
        Ok(spec) => &**spec,
        Err(text) => return Attempt::impossible(format!("the file can't be loaded\n{text}")),
    };
    let script = id.file.display().to_string();
    if let Plan::SkipAll(reason) = spec.plan() {
        return Attempt::skipped(String::from_utf8_lossy(&reason).into_owned());
    }
    match prepared(spec, id) {
        Ok(block) => run_block(spec, &block, &script, bench),
        Err(reason) => Attempt::impossible(reason),
    }
}

/// The block, after the preprocessors have seen it and all blocks before it: they may keep a state.
fn prepared(spec: &dyn Spec, id: &BlockId) -> Result<Block, String> {
    for block in spec.blocks() {
        if block.number() > id.number {
            break;
        }
        if !block.is_preprocessed() {
            spec.preprocess(block)?;
        }
        if block.number() == id.number {
            return Ok(block.clone());
        }
    }
    Err("the block is gone after the file was loaded".to_owned())
}
