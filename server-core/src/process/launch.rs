//! From options to a running server: reading, checking, binding, going to the background.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rsty_diag::{Diagnostic, Source};

use super::console::Console;
use super::keep::{self, Kept, close_interpreters, retire};
use super::pid_file::{self, Command};
use super::signals::Signals;
use super::sockets::{self, Bound, Patience};
use super::state::{self, ProcessKind};
use super::{counters, master, sys, title, upgrade, worker};
use crate::conf::{Contexts, nginx_message, parser};
use crate::cycle::{Account, Cycle, CycleConf, Identity};
use crate::http::conf::{LocConf, MainConf, Scope, SrvConf};
use crate::log::{ErrorLog, Level, LogFile, OpenFiles, set_console, set_process_log};

/// Where the configuration is.
#[derive(Clone, Debug)]
pub enum ConfSource {
    /// In a file; a relative path starts from the prefix.
    File(PathBuf),
    /// In memory.
    Text(Source),
}

/// How to start, as the command line says.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Under which name the server speaks.
    pub identity: Identity,
    /// The folder that relative paths start from.
    pub prefix: PathBuf,
    /// The configuration.
    pub conf: ConfSource,
    /// The error log until the configuration names one (`-e`); `None` is the standard error.
    pub error_log: Option<PathBuf>,
    /// Directives of the command line (`-g`).
    pub globals: Vec<u8>,
    /// The whole command line: `ps` shows it behind `master process`, and a new binary is started with it.
    pub arguments: Vec<OsString>,
    /// A development server: one worker, which takes up changed files, and pages that show errors.
    pub watch: bool,
}

/// Why the server did not start.
#[derive(Debug)]
pub struct Failure {
    /// The reason; `None` when the error log (and the terminal, for nginx) already have it.
    pub diagnostic: Option<Diagnostic>,
    /// Only an address is taken: it may be free a moment later.
    pub(super) is_busy: bool,
}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Self {
        Self { diagnostic: Some(diagnostic), is_busy: false }
    }
}

impl From<pid_file::Logged> for Failure {
    fn from(_: pid_file::Logged) -> Self {
        Self { diagnostic: None, is_busy: false }
    }
}

/// How a started server goes on from the caller's point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// The server runs in the background; this process is done.
    InBackground,
    /// The server ran in this process and ended with this code.
    Ended(i32),
}

impl Launch {
    /// The file of the configuration, absolute; for messages.
    pub fn conf_file(&self) -> PathBuf {
        match &self.conf {
            ConfSource::File(path) => self.folder().join(path),
            ConfSource::Text(source) => source.path().to_owned(),
        }
    }

    /// The prefix with a slash at its end.
    fn folder(&self) -> PathBuf {
        self.prefix.join("")
    }

    /// The log until the configuration has been read.
    fn first_log(&self, level: Level) -> ErrorLog {
        let Some(path) = &self.error_log else { return ErrorLog::to_stderr(level) };
        let path = self.folder().join(path);
        let file = LogFile::at(&path);
        match file.open() {
            Ok(()) => ErrorLog::to_file(file, level),
            Err(error) => {
                let reason = crate::conf::message::errno_text(&error);
                let log = ErrorLog::to_stderr(level);
                let text = format!(
                    "nginx: [alert] could not open error log file: open() \"{}\" failed ({reason})\n",
                    path.display()
                );
                if self.identity == Identity::Nginx {
                    let _ = nix::unistd::write(sys::stderr_descriptor(), text.as_bytes());
                }
                log
            }
        }
    }
}

/// A cycle whose files are open and whose sockets are bound.
pub(super) struct Prepared {
    pub(super) cycle: &'static Cycle,
    pub(super) bound: Vec<Bound>,
}

/// Builds the next cycle. The old one, if there is one, is not touched; `log` gets what goes wrong.
pub(super) fn prepare(
    launch: &Launch,
    log: &ErrorLog,
    old: Option<&'static Cycle>,
    previous: &[Bound],
    testing: bool,
) -> Result<Prepared, Failure> {
    // Its workers begin with this moment: a timer of `init_worker_by_lua*` counts from here, as in nginx.
    crate::clock::update();
    crate::clock::moment();
    keep::begin();
    let built = build(launch, log, old, testing);
    let kept = keep::end();
    let mut cycle = built.map_err(|diagnostic| report(launch, log, diagnostic))?;
    cycle.kept = kept;
    let workers = if cycle.conf.master_process.unwrap_or(true) { cycle.conf.worker_count() } else { 1 };
    let patience = match old {
        _ if testing => Patience::Tests,
        Some(_) => Patience::Once,
        None => Patience::Waits,
    };
    let bound = sockets::bind_all(&cycle.conf.listen, workers, previous, launch.identity, patience, &cycle.log)
        .map_err(|diagnostic| report(launch, &cycle.log, diagnostic))?;
    // A worker runs on it until its end; a master ends it with `retire`.
    let cycle: &'static Cycle = Box::leak(Box::new(cycle));
    set_process_log(Some(cycle.log.clone()));
    if let Err(diagnostic) = crate::http::init(cycle) {
        set_process_log(old.map(|old| old.log.clone()));
        let failure = report(launch, &cycle.log, diagnostic);
        match old {
            Some(old) => {
                crate::http::remain(old);
                retire(cycle);
            }
            // The process ends; what it began is not looked at again.
            None => close_interpreters(cycle),
        }
        return Err(failure);
    }
    cycle.conf.previous.set(None);
    Ok(Prepared { cycle, bound })
}

/// Writes a failure to the log; nginx's console copy is made there as well.
fn report(launch: &Launch, log: &ErrorLog, diagnostic: Diagnostic) -> Failure {
    match launch.identity {
        _ if diagnostic.id == sockets::REPORTED => Failure { diagnostic: None, is_busy: false },
        _ if diagnostic.id == sockets::BUSY => Failure { diagnostic: None, is_busy: true },
        Identity::Nginx => {
            log.write(Level::Emerg, format_args!("{}", nginx_message(&diagnostic)));
            Failure { diagnostic: None, is_busy: false }
        }
        Identity::Rsty => Failure { diagnostic: Some(diagnostic), is_busy: false },
    }
}

fn build(
    launch: &Launch,
    log: &ErrorLog,
    previous: Option<&'static Cycle>,
    testing: bool,
) -> Result<Cycle, Diagnostic> {
    let prefix = launch.folder();
    let conf_file = launch.conf_file();
    let conf_prefix = match conf_file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.join(""),
        _ => prefix.clone(),
    };
    let mut conf = CycleConf {
        identity: launch.identity,
        prefix,
        conf_prefix,
        conf_file,
        watch: launch.watch,
        testing,
        files: previous.map(|cycle| OpenFiles::after(&cycle.conf.files)).unwrap_or_default(),
        previous: Cell::new(previous),
        ..CycleConf::default()
    };
    let mut directives = parser::parse_parameter(&launch.globals)?;
    let parsed = match &launch.conf {
        ConfSource::File(_) => parser::parse_file(&conf.conf_file, &conf.conf_prefix)?,
        ConfSource::Text(source) => parser::parse_source(source.clone(), &conf.conf_prefix),
    };
    conf.sources = parsed.sources;
    directives.extend(parsed.directives);
    let mut http = MainConf::default();
    let (mut srv, mut loc) = (SrvConf::default(), LocConf::default());
    let mut scope = Scope { cycle: &mut conf, main: &mut http, srv: &mut srv, loc: &mut loc, context: Contexts::MAIN };
    let applied = directives.iter().try_for_each(|directive| scope.apply(directive));
    write_notices(&mut conf, log);
    match (applied, parsed.error) {
        (Err(earlier), Some(error)) if !EARLIER.contains(&earlier.id) => return Err(error),
        (Ok(()), Some(error)) => return Err(error),
        (applied, _) => applied?,
    }
    complete(&mut conf)?;
    for file in conf.files.iter() {
        file.open().map_err(|error| {
            let reason = crate::conf::message::errno_text(&error);
            let path = file.path().unwrap_or(Path::new("")).display();
            Diagnostic::error("file_not_writable", format!("open() \"{path}\" failed ({reason})"))
        })?;
    }
    let log = conf.error_log.build_over(log);
    let stream = conf.stream.take();
    Ok(Cycle { conf, http, stream, log, kept: Kept::default() })
}

/// The ids of errors that stand against an error in the form of the text further down. Others may come from blocks
/// being cut short by that error.
const EARLIER: [&str; 7] = [
    "unknown_directive",
    "directive_not_allowed",
    "missing_semicolon",
    "missing_block",
    "invalid_argument_count",
    "invalid_value",
    "duplicate_directive",
];

fn write_notices(conf: &mut CycleConf, log: &ErrorLog) {
    for (level, diagnostic) in std::mem::take(&mut conf.notices) {
        log.write(level, format_args!("{}", nginx_message(&diagnostic)));
    }
}

/// Fills in defaults that depend on each other.
fn complete(conf: &mut CycleConf) -> Result<(), Diagnostic> {
    if !conf.has_events && conf.identity == Identity::Nginx {
        return Err(Diagnostic::error("missing_events", "no \"events\" section in configuration"));
    }
    if conf.watch {
        // The master looks after the configuration, from the terminal.
        (conf.master_process, conf.daemon, conf.worker_processes) = (Some(true), Some(false), Some(1));
    }
    let connections = conf.worker_connections.unwrap_or(512);
    if connections <= conf.listen.len() {
        let (wanted, there) = (conf.listen.len(), connections);
        let message = format!("{there} worker_connections are not enough for {wanted} listening sockets");
        return Err(Diagnostic::error("too_few_connections", message));
    }
    if conf.pid.is_none() && (conf.identity == Identity::Nginx || conf.prefix.join("logs").is_dir()) {
        conf.pid = Some(conf.prefix.join("logs/nginx.pid"));
    }
    if conf.user.is_none() && nix::unistd::geteuid().is_root() && !conf.watch {
        conf.user = default_account();
        if conf.user.is_none() {
            return Err(Diagnostic::error("unknown_user", "getpwnam(\"nobody\") failed"));
        }
    }
    Ok(())
}

/// `nobody` with its group.
fn default_account() -> Option<Account> {
    let user = nix::unistd::User::from_name("nobody").ok().flatten()?;
    Some(Account { name: user.name, user: user.uid.as_raw(), group: user.gid.as_raw() })
}

/// Reads and checks the configuration (`-t`); the files that were read.
pub fn test(launch: &Launch) -> Result<Vec<Source>, Failure> {
    set_console(launch.identity == Identity::Nginx);
    let log = launch.first_log(Level::Info);
    let prepared = prepare(launch, &log, None, &[], true)?;
    sockets::remove_unix_files(&prepared.bound, &[], &log);
    Ok(prepared.cycle.conf.sources.clone())
}

/// Sends a command to the running server of this configuration (`-s`).
pub fn signal(launch: &Launch, command: Command) -> Result<(), Failure> {
    set_console(launch.identity == Identity::Nginx);
    state::become_kind(ProcessKind::Signaller, None);
    let log = launch.first_log(Level::Notice);
    let cycle = build(launch, &log, None, true).map_err(|diagnostic| report(launch, &log, diagnostic))?;
    let Some(pid) = &cycle.conf.pid else {
        let error = Diagnostic::error("no_pid_file", "the configuration names no pid file");
        return Err(error.help("add `pid rsty.pid;` at its top level").into());
    };
    Ok(pid_file::send(command, pid, &cycle.log)?)
}

/// Starts the server and, unless it goes to the background, runs it until it ends.
///
/// The process must have one thread only. `ready` is called when the addresses are bound.
pub fn start(launch: &Launch, ready: impl FnOnce(&Cycle)) -> Result<Started, Failure> {
    start_with(launch, None, ready)
}

/// [`start`] with somebody at a terminal.
pub fn start_with(
    launch: &Launch,
    console: Option<Box<dyn Console>>,
    ready: impl FnOnce(&Cycle),
) -> Result<Started, Failure> {
    if launch.watch {
        crate::dev::switch_on();
    }
    crate::slow_network::configure();
    set_console(launch.identity == Identity::Nginx);
    let log = launch.first_log(Level::Notice);
    let signals = Signals::install().map_err(|error| system_failure("sigaction()", &error))?;
    state::share_worker_pids();
    counters::share();
    let inherited = upgrade::inherited(&log);
    let prepared = prepare(launch, &log, None, inherited.as_deref().unwrap_or_default(), false)?;
    let is_upgrade = inherited.is_some();
    drop(inherited);
    let cycle = prepared.cycle;
    let conf = &cycle.conf;
    log_system(cycle);
    ready(cycle);
    let background = conf.daemon.unwrap_or(launch.identity == Identity::Nginx);
    if background && !is_upgrade {
        match go_to_background().map_err(|error| system_failure("fork()", &error))? {
            sys::Fork::Parent(_) => return Ok(Started::InBackground),
            sys::Fork::Child => {}
        }
    }
    // A configuration without a file has nobody who would look for its process.
    let pid_path = conf.pid.as_deref().filter(|_| matches!(launch.conf, ConfSource::File(_)));
    if let Some(path) = pid_path {
        pid_file::write(path, &cycle.log)?;
    }
    if launch.identity == Identity::Nginx {
        redirect_stderr(cycle);
    }
    set_console(false);
    drop(log);
    title::keep_environment();
    if conf.master_process.unwrap_or(true) {
        state::become_kind(ProcessKind::Master, None);
        return Ok(Started::Ended(master::run(launch, prepared, signals, pid_path.is_some(), console)));
    }
    state::become_kind(ProcessKind::Single, Some(0));
    let listeners = master::take_listeners(&prepared.bound, 0).map_err(|error| system_failure("dup()", &error))?;
    let code = worker::run(cycle, Some(0), listeners, signals, None);
    // A process that served has removed them when it was told to leave.
    if code == worker::FATAL {
        sockets::remove_unix_files(&prepared.bound, &[], &cycle.log);
    }
    if let Some(path) = pid_path {
        pid_file::remove(path, &cycle.log);
    }
    Ok(Started::Ended(code))
}

fn system_failure(call: &str, error: &std::io::Error) -> Failure {
    let reason = crate::conf::message::errno_text(error);
    Diagnostic::error("system_call_failed", format!("{call} failed ({reason})")).into()
}

/// What nginx tells about the machine at its start.
fn log_system(cycle: &Cycle) {
    let log = &cycle.log;
    if !log.enabled(Level::Notice) {
        return;
    }
    log.write(Level::Notice, format_args!("using the \"epoll\" event method"));
    log.write(Level::Notice, format_args!("{}", cycle.identity().product_and_version()));
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
    log.write(Level::Notice, format_args!("OS: {} {}", read("ostype").trim(), read("osrelease").trim()));
    let (soft, hard) = sys::limit(sys::Limit::Files);
    log.write(Level::Notice, format_args!("getrlimit(RLIMIT_NOFILE): {soft}:{hard}"));
}

/// Leaves the terminal: a new session, standard input and output at `/dev/null`.
fn go_to_background() -> std::io::Result<sys::Fork> {
    if let sys::Fork::Parent(child) = sys::fork()? {
        return Ok(sys::Fork::Parent(child));
    }
    nix::unistd::setsid()?;
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    sys::redirect_standard(null.as_fd(), 0)?;
    sys::redirect_standard(null.as_fd(), 1)?;
    Ok(sys::Fork::Child)
}

/// Sends what libraries print to the error log, unless some log is the standard error.
fn redirect_stderr(cycle: &Cycle) {
    if cycle.conf.logs_to_stderr {
        return;
    }
    if let Some(file) = cycle.log.first_file()
        && let Err(error) = sys::redirect_standard(file, 2)
    {
        let errno = error.raw_os_error().unwrap_or(0);
        cycle.log.write_errno(Level::Alert, errno, format_args!("dup2(STDERR_FILENO) failed"));
    }
}
