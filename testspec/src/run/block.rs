//! One try at one block: root, configuration, server, requests, assertions, shutdown.
//!
//! ```text
//! skip? ─► root and files ─► start ─► init ─► ┌ mocks ─► requests ─► checks ┐ ─► stop ─► shutdown log
//!             must_die ends here ◄──┘          └──────── repeat_each ────────┘
//! ```
//!
//! In a file that reloads, the server is started once, and told to reload where a start stands above.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::load::Package;
use crate::model::{Block, Flavour, Regex, Settings, Value};
use crate::run::ageing::ages;
use crate::run::binary::ServerBinary;
use crate::run::check::{BailOut, Detail, ErrorLog, Pace, Recorder, check_shutdown_log, shutdown_patterns};
use crate::run::conditions::{self, Decision};
use crate::run::configure::{Configuration, configure};
use crate::run::expand::Expander;
use crate::run::idle;
use crate::run::mockeagain;
use crate::run::outcome::Attempt;
use crate::run::perl_side::Spec;
use crate::run::pressure::Mode;
use crate::run::progress::{Progress, Step};
use crate::run::reload;
use crate::run::repeat::{Repeat, run_repeat};
use crate::run::root::{RootError, ServerRoot, UserFile, user_files};
use crate::run::server::{Launch, Server, Start, dumped_core, exit_code};

/// What a lane offers to the blocks that run in it.
#[derive(Debug)]
pub struct Bench {
    /// The server program.
    pub binary: Arc<ServerBinary>,
    /// The server root.
    pub root: ServerRoot,
    /// Where the server's stderr goes.
    pub stderr: PathBuf,
    /// The working directory of the server.
    pub working_directory: PathBuf,
    /// The longest time for one block.
    pub block_limit: Duration,
    /// Set when the run is to end at once.
    pub stop: Arc<AtomicBool>,
    /// Where the steps of the running block are marked.
    pub progress: Arc<Progress>,
    /// Whether the error log of a block that passes is kept too.
    pub keep_log: bool,
    /// The server that stays up between the blocks of a file that reloads.
    pub kept: RefCell<Option<Server>>,
    /// Whether spec files are not trusted: `--no-shell`.
    pub confined: bool,
    /// Whether the blocks speak to services outside the lane.
    pub outside: Cell<bool>,
}

impl Bench {
    /// Ends the server that stayed up, if one did.
    pub fn end_kept(&self) {
        if let Some(server) = self.kept.take() {
            server.stop(Signal::SIGQUIT, SHUTDOWN);
        }
    }
}

/// How long a server may take to end when nobody looks at what it does then.
const SHUTDOWN: Duration = Duration::from_millis(100);

/// A block with all that its run needs.
pub(crate) struct Run<'a> {
    pub(crate) spec: &'a dyn Spec,
    pub(crate) block: &'a Block,
    pub(crate) bench: &'a Bench,
    pub(crate) settings: &'a Settings,
    pub(crate) variables: &'a BTreeMap<String, Vec<u8>>,
    pub(crate) deadline: Instant,
    /// What the server calls its configuration, in the mode that reloads.
    pub(crate) version: String,
    /// Whether time between requests may matter.
    ages: OnceCell<bool>,
}

/// What is gathered while the block runs.
pub(crate) struct Gathered<'a> {
    pub(crate) recorder: Recorder,
    pub(crate) expander: Expander<'a>,
    pub(crate) log: ErrorLog,
    pub(crate) sent: Vec<u8>,
    pub(crate) received: Vec<u8>,
    /// When the server ended the last connection.
    pub(crate) ended: Option<Instant>,
}

/// Runs the block once. `script` is the spec file's path as given; it begins every assertion's name.
pub fn run_block(spec: &dyn Spec, block: &Block, script: &str, bench: &Bench) -> Attempt {
    let start = Instant::now();
    let settings = spec.settings();
    let variables = variables(spec, block, &settings, bench.binary.is_built_in());
    let run = Run::new(spec, block, bench, &settings, &variables);
    let name = format!("{script} {}", String::from_utf8_lossy(&block.name()));
    let mut gathered = Gathered {
        recorder: Recorder::new(name),
        expander: Expander::new(&variables, settings.server_port),
        log: ErrorLog::new(bench.root.error_log(), settings.check_accum_error_log),
        sent: Vec::new(),
        received: Vec::new(),
        ended: None,
    };
    let result = run.run(&mut gathered);
    let cleaned = spec.test_cleanup(block).map_err(|message| run.bail(&message));
    let bail_out = result.and(cleaned).err().map(|BailOut(message)| message);
    if let Some(path) = variables.get("TEST_NGINX_ERROR_LOG").filter(|path| !path.is_empty())
        && let Err(error) = append(&bench.working_directory.join(OsStr::from_bytes(path)), &gathered.log.text())
    {
        gathered.recorder.warn(format!("cannot append to TEST_NGINX_ERROR_LOG: {error}"));
    }
    let Gathered { mut recorder, log, sent, received, .. } = gathered;
    let notes = recorder.take_notes();
    let (assertions, warnings, extra) = recorder.finish();
    let mut attempt = Attempt {
        assertions,
        warnings,
        notes,
        bail_out,
        sent,
        received,
        extra,
        duration: start.elapsed(),
        ..Attempt::default()
    };
    if bench.keep_log || attempt.has_failed() {
        attempt.error_log = log.text();
    }
    attempt
}

fn append(path: &Path, text: &[u8]) -> std::io::Result<()> {
    OpenOptions::new().append(true).create(true).open(path)?.write_all(text)
}

/// The `nginx.conf` with which the block would run.
pub fn render(spec: &dyn Spec, block: &Block, bench: &Bench) -> Result<Vec<u8>, BailOut> {
    let settings = spec.settings();
    let variables = variables(spec, block, &settings, bench.binary.is_built_in());
    let mut expander = Expander::new(&variables, settings.server_port);
    Run::new(spec, block, bench, &settings, &variables).configuration(&mut expander)
}

/// The environment of the block's server.
fn variables(spec: &dyn Spec, block: &Block, settings: &Settings, is_built_in: bool) -> BTreeMap<String, Vec<u8>> {
    let mut variables = spec.variables();
    variables
        .entry("TEST_NGINX_SERVER_PORT".to_owned())
        .or_insert_with(|| settings.server_port.to_string().into_bytes());
    if block.has("no_mockeagain") {
        mockeagain::leave_out(&mut variables);
    } else if is_built_in {
        mockeagain::build_in(&mut variables);
    }
    variables
}

impl<'a> Run<'a> {
    fn new(
        spec: &'a dyn Spec,
        block: &'a Block,
        bench: &'a Bench,
        settings: &'a Settings,
        variables: &'a BTreeMap<String, Vec<u8>>,
    ) -> Self {
        let deadline = Instant::now() + bench.block_limit;
        Self {
            spec,
            block,
            bench,
            settings,
            variables,
            deadline,
            version: reload::new_version(),
            ages: OnceCell::new(),
        }
    }
}

impl Run<'_> {
    pub(crate) fn bail(&self, text: &str) -> BailOut {
        BailOut(format!("{} - {text}", self.block.display_name()))
    }

    pub(crate) fn has_flag(&self, variable: &str) -> bool {
        self.variables.get(variable).is_some_and(|value| Value::str(value.clone()).is_true())
    }

    /// How long log checks wait, from `TEST_NGINX_SLEEP`.
    pub(crate) fn pace(&self, more_follows: bool) -> Pace {
        let sleep = self.variables.get("TEST_NGINX_SLEEP").map_or(0.0, |text| Value::str(text.clone()).to_number());
        let sleep = if sleep > 0.0 { sleep } else { 0.015 };
        let settle = Duration::try_from_secs_f64(sleep * 3.0).unwrap_or(Duration::from_millis(45));
        Pace { settle, patience: settle * 6, more_follows, ages: *self.ages.get_or_init(|| ages(self.block)) }
    }

    /// The mode that puts load on the block, if one is on.
    pub(crate) fn mode(&self) -> Result<Option<Mode>, BailOut> {
        Mode::of(self.variables).map_err(|message| self.bail(&message))
    }

    /// The server's process id, from its pid file.
    pub(crate) fn server_pid(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.bench.root.pid_file()).unwrap_or_default();
        text.trim().parse().ok().filter(|pid| *pid > 1).map(Pid::from_raw)
    }

    /// Whether the server will do nothing before `until` unless somebody wakes it, and nobody is there to do so.
    /// `ended` is when it ended the last connection.
    pub(crate) fn is_idle(&self, ended: Option<Instant>, until: Instant) -> bool {
        if self.bench.outside.get() || self.block.has("tcp_listen") || self.block.has("udp_listen") {
            return false;
        }
        self.server_pid().and_then(idle::sleep_of).is_some_and(|sleep| sleep.lasts(ended, until))
    }

    fn run(&self, gathered: &mut Gathered<'_>) -> Result<(), BailOut> {
        match self.condition()? {
            Some((Skip::Skip, decision)) => {
                self.init()?;
                let reason = decision.reason.unwrap_or_else(|| "various reasons".to_owned());
                for _ in 0..self.settings.repeat_each {
                    gathered.recorder.skip(decision.count, &reason);
                }
                return Ok(());
            }
            Some((Skip::Todo, decision)) => {
                let reason = decision.reason.unwrap_or_else(|| "various reasons".to_owned());
                for _ in 0..self.settings.repeat_each {
                    gathered.recorder.todo(decision.count, &reason);
                }
                return Ok(());
            }
            None => {}
        }
        if self.settings.flavour == Flavour::Plain {
            let result = self.spec.run_plain(self.block).map_err(|message| self.bail(&message));
            for assertion in self.spec.take_assertions() {
                gathered.recorder.adopt(assertion);
            }
            return result;
        }
        if let Some(mode) = self.mode()? {
            let reason = mode.reason();
            if ["no_check_leak", "reload_fails", "http2"].into_iter().any(|name| self.block.has(name)) {
                gathered.recorder.skip(1, &format!("not for {reason}"));
                return Ok(());
            }
            gathered.recorder.skip_everything(reason);
        }
        let files = self.user_files()?;
        let mut server = None;
        if self.settings.nginx_manager {
            server = self.serve(&files, gathered)?;
            if self.block.has("must_die") {
                return self.must_die(gathered);
            }
        }
        self.init()?;
        gathered.log.rewind();
        let repeats = if self.mode()?.is_some() { 1 } else { self.settings.repeat_each as usize };
        for index in 0..repeats {
            if self.bench.stop.load(Ordering::Relaxed) {
                return Err(self.bail("interrupted"));
            }
            if index > 0 {
                self.write_files(&files, &mut gathered.expander)?;
            }
            let last = index + 1 == repeats;
            run_repeat(self, &Repeat { index, last }, gathered)?;
        }
        if let Some(server) = server {
            self.stop(server, gathered);
        } else if self.reloads() {
            let reason = "tests skipped due to the server that stays up";
            gathered.recorder.skip(shutdown_patterns(self.block), reason);
        }
        Ok(())
    }

    /// Whether the server stays up for the next block.
    fn reloads(&self) -> bool {
        self.settings.use_hup && !self.block.has("must_die") && !matches!(self.mode(), Ok(Some(_)))
    }

    /// Lays out the root and sees to it that the server runs with it, unless it must die. Returns a server that is
    /// this block's alone.
    fn serve(&self, files: &[UserFile], gathered: &mut Gathered<'_>) -> Result<Option<Server>, BailOut> {
        let kept = if self.reloads() { self.bench.kept.take() } else { None };
        if let Some(mut server) = kept
            && !server.has_ended()
        {
            self.bench.progress.enter(Step::Start);
            let reloaded = self.reload(&mut server, files, gathered);
            self.bench.kept.replace(Some(server));
            return reloaded.map(|()| None);
        }
        self.bench.end_kept();
        let failed = |error: RootError| self.bail(&chain(&error));
        self.bench.root.rebuild().map_err(failed)?;
        self.lay_out(files, &mut gathered.expander)?;
        gathered.expander.release_ports();
        if self.block.has("must_die") {
            return Ok(None);
        }
        let server = self.start(gathered)?;
        if self.reloads() {
            self.bench.kept.replace(server);
            return Ok(None);
        }
        Ok(server)
    }

    fn init(&self) -> Result<(), BailOut> {
        let Some(code) = self.block.value("init").filter(Value::is_true) else { return Ok(()) };
        let result = self.spec.eval(Package::Util, &code.to_bytes());
        result.map(|_| ()).map_err(|message| self.bail(&format!("init failed: {message}")))
    }

    fn user_files(&self) -> Result<Vec<UserFile>, BailOut> {
        match self.block.value("user_files") {
            Some(value) => user_files(&value).map_err(|error| self.bail(&error.to_string())),
            None => Ok(Vec::new()),
        }
    }

    /// Writes all that the server reads.
    pub(crate) fn lay_out(&self, files: &[UserFile], expander: &mut Expander<'_>) -> Result<(), BailOut> {
        let failed = |error: RootError| self.bail(&chain(&error));
        if let Some(code) = self.block.value("post_setup_server_root").filter(Value::is_true) {
            let result = self.spec.eval(Package::Util, &code.to_bytes());
            result.map_err(|message| self.bail(&format!("post_setup_server_root failed: {message}")))?;
        }
        // The configuration first: it may ask for the random ports that the files speak of.
        let conf = self.configuration(expander)?;
        self.write_files(files, expander)?;
        self.bench.root.write_conf(&conf).map_err(failed)
    }

    /// The text of `nginx.conf`.
    pub(crate) fn configuration(&self, expander: &mut Expander<'_>) -> Result<Vec<u8>, BailOut> {
        let source = self.configured_block()?;
        let inputs = Configuration {
            block: &source,
            settings: self.settings,
            variables: self.variables,
            facts: self.bench.binary.facts(),
            root: self.bench.root.path(),
            spec: self.spec,
            reload_version: self.reloads().then_some(self.version.as_str()),
            load: self.mode()?,
        };
        configure(&inputs, expander).map_err(|error| self.bail(&error.to_string()))
    }

    /// The block itself, or the nearest before it that has a `config`: the original leaves its server running.
    fn configured_block(&self) -> Result<Block, BailOut> {
        if self.block.has("config") {
            return Ok(self.block.clone());
        }
        let before = self.spec.blocks().iter().rev().skip_while(|block| block.number() >= self.block.number());
        let found = before.into_iter().find(|block| block.has("config"));
        found.cloned().ok_or_else(|| {
            self.bail(
                "No '--- config' section specified and could not get previous one. Use TEST_NGINX_NO_NGINX_MANAGER ?",
            )
        })
    }

    fn write_files(&self, files: &[UserFile], expander: &mut Expander<'_>) -> Result<(), BailOut> {
        for file in files {
            if self.bench.confined && file.name.starts_with(b"/") && !file.name.starts_with(b"/tmp/") {
                let name = String::from_utf8_lossy(&file.name).into_owned();
                return Err(self.bail(&format!("without a shell, a spec file may not write `>>> {name}`")));
            }
            let body = expander.expand(&file.body).map_err(|error| self.bail(&error.to_string()))?;
            let written = self.bench.root.write_user_file(file, &body, self.variables);
            written.map_err(|error| self.bail(&chain(&error)))?;
        }
        Ok(())
    }

    fn launch(&self) -> Launch<'_> {
        Launch {
            binary: &self.bench.binary,
            root: &self.bench.root,
            variables: self.variables,
            working_directory: &self.settings.working_directory,
            stderr: &self.bench.stderr,
            limit: Duration::from_secs(30).min(self.bench.block_limit),
        }
    }

    fn start(&self, gathered: &mut Gathered<'_>) -> Result<Option<Server>, BailOut> {
        self.bench.progress.enter(Step::Start);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let started = self.launch().start().map_err(|error| self.bail(&format!("start the server: {error}")))?;
            let (status, stderr) = match started {
                Start::Running(server) => return Ok(Some(server)),
                Start::Stuck => return Err(self.bail("the server did not go to the background in time")),
                Start::Died { status, stderr } => (status, stderr),
            };
            let log = gathered.log.text();
            if self.has_flag("TEST_NGINX_IGNORE_MISSING_DIRECTIVES")
                && let Some(name) = missing_directive(&log)
            {
                gathered.recorder.skip_everything(format!("the lack of directive {name}"));
                return Ok(None);
            }
            // Only a port that somebody else still holds gets better by waiting.
            let busy = memchr::memmem::find(&log, b"Address already in use").is_some();
            if !busy || Instant::now() >= deadline || self.bench.stop.load(Ordering::Relaxed) {
                let text = if stderr.is_empty() { log } else { stderr };
                let said = String::from_utf8_lossy(&text).trim_end().to_owned();
                return Err(self.bail(&format!("Cannot start nginx ({status}).\n{said}")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The server must refuse its configuration.
    fn must_die(&self, gathered: &mut Gathered<'_>) -> Result<(), BailOut> {
        self.bench.progress.enter(Step::Start);
        let expected = self.block.value("must_die").unwrap_or_default();
        let number = Regex::new(r"\A\s*\d+\s*\z", "").is_match(&expected.to_bytes()).unwrap_or(false);
        gathered.log.rewind();
        for index in 0..self.settings.repeat_each as usize {
            let started = self.launch().start().map_err(|error| self.bail(&format!("start the server: {error}")))?;
            let recorder = &mut gathered.recorder;
            recorder.section("must_die");
            let (status, server) = match started {
                Start::Running(server) => (None, Some(server)),
                Start::Stuck => return Err(self.bail("the server neither started nor died in time")),
                Start::Died { status, .. } => (Some(status), None),
            };
            if status.is_some_and(dumped_core) {
                recorder.fail("nginx core dumped", Detail::Note("the server dumped core".to_owned()));
            } else if number {
                let code = status.map_or(Some(0), exit_code).map(|code| code.to_string().into_bytes());
                let expected = expected.to_bytes().trim_ascii().to_vec();
                recorder.is(code.as_deref(), Some(&expected), "die with the expected exit code");
            } else if status.is_some() {
                recorder.pass("die as expected");
            } else {
                recorder.fail("die as expected", Detail::Note("the server started".to_owned()));
            }
            self.check_log(index, false, gathered)?;
            if let Some(server) = server {
                gathered.recorder.warn(format!("nginx must die but it does not; killing it (req {index})"));
                server.stop(Signal::SIGQUIT, Duration::from_secs(1));
            }
        }
        Ok(())
    }

    /// Ends the server and looks at what it wrote while it ended.
    fn stop(&self, server: Server, gathered: &mut Gathered<'_>) {
        self.bench.progress.enter(Step::Stop);
        let checks_shutdown = self.block.has("shutdown_error_log") || self.block.has("no_shutdown_error_log");
        let limit = if checks_shutdown {
            Duration::try_from_secs_f64(self.settings.timeout).unwrap_or(Duration::from_secs(3))
        } else {
            SHUTDOWN
        };
        let signal = if self.has_flag("TEST_NGINX_FAST_SHUTDOWN") { Signal::SIGTERM } else { Signal::SIGQUIT };
        server.stop(signal, limit);
        if checks_shutdown {
            check_shutdown_log(self.block, &mut gathered.log, &mut gathered.recorder);
        }
    }

    /// What keeps the block from running, if anything.
    fn condition(&self) -> Result<Option<(Skip, Decision)>, BailOut> {
        let facts = self.bench.binary.facts();
        let text = |name: &str| self.block.value(name).map(|value| value.to_bytes());
        let invalid = |error: conditions::InvalidCondition| self.bail(&error.to_string());
        let mut skip: Option<Decision> = None;
        // A later condition names count and reason, an earlier one still holds.
        let mut add = |decision: Decision| {
            let held = skip.as_ref().is_some_and(|before| before.holds);
            skip = Some(Decision { holds: decision.holds || held, ..decision });
        };
        if let Some(value) = text("skip_eval")
            && let Some((count, code)) = conditions::counted(&value)
        {
            let result = self.spec.eval(Package::Util, &code).map_err(|message| {
                let code = String::from_utf8_lossy(&code).into_owned();
                self.bail(&format!("skip_eval - failed to eval the Perl code \"{code}\": {message}"))
            })?;
            add(Decision { count, holds: result.is_true(), reason: Some("skip_eval".to_owned()) });
        }
        if let Some(value) = text("skip_nginx") {
            add(conditions::skip_nginx(&value, facts.version).map_err(invalid)?);
        } else if let Some(value) = text("skip_nginx2") {
            add(conditions::skip_nginx2(&value, facts.version).map_err(invalid)?);
        } else if let (Some(value), Some(name)) = (text("skip_slave"), self.variables.get("TEST_NGINX_BUILDSLAVE")) {
            add(conditions::skip_slave(&value, &String::from_utf8_lossy(name)).map_err(invalid)?);
        }
        if let Some(value) = text("skip_openssl") {
            add(conditions::skip_openssl(&value, facts.openssl).map_err(invalid)?);
        }
        if let Some(decision) = skip.filter(|decision| decision.holds) {
            return Ok(Some((Skip::Skip, decision)));
        }
        let mut todo = None;
        if let Some(value) = text("todo_nginx") {
            todo = Some(conditions::todo_nginx(&value, facts.version).map_err(invalid)?);
        }
        if let Some(value) = text("todo") {
            todo = Some(conditions::todo(&value).map_err(invalid)?);
        }
        Ok(todo.filter(|decision| decision.holds).map(|decision| (Skip::Todo, decision)))
    }
}

enum Skip {
    Skip,
    Todo,
}

/// The directive that the server does not know, by its log.
fn missing_directive(log: &[u8]) -> Option<String> {
    let regex = Regex::new(r#"\[emerg\] \S+?: unknown directive "([^"]+)""#, "");
    let groups = regex.captures_at(log, 0).ok().flatten()?;
    let (from, to) = groups.get(1).copied().flatten()?;
    Some(String::from_utf8_lossy(log.get(from..to)?).into_owned())
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
