//! A worker's life: accounts and limits, the runtime, signals, the way out.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::rc::Rc;
use std::time::Duration;

use nix::unistd::{Gid, Uid};
use tokio::net::unix::pipe::Receiver;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

use super::signals::{Received, Signals};
use super::state::{self, ProcessKind};
use super::{sockets, startup_pages, sys, title};
use crate::cycle::{Account, Cycle, CycleConf};
use crate::log::{ErrorLog, Level};

/// How far a process is on its way out. Stages only go forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Serving.
    #[default]
    Running,
    /// Accepting nothing new; current requests go on, premature timers run.
    Graceful,
    /// Leaving at once; what is open gets closed.
    Immediate,
}

/// Tells when the process leaves. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown {
    stage: watch::Receiver<Stage>,
}

impl Shutdown {
    /// The stage now.
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Waits until `stage` is reached. Cancel-safe.
    pub async fn reached(&mut self, stage: Stage) {
        // The sender lives as long as the process serves; when it is gone the process is leaving.
        let _ = self.stage.wait_for(|current| *current >= stage).await;
    }
}

/// A socket to accept on.
#[derive(Debug)]
pub struct BoundListener {
    /// Index into [`CycleConf::listen`].
    pub index: usize,
    /// The socket, bound, listening and non-blocking.
    pub socket: OwnedFd,
}

/// What a worker is given.
#[derive(Debug)]
pub struct Worker {
    /// Its number, from 0; the privileged agent has none.
    pub id: Option<usize>,
    /// The sockets to accept on.
    pub listeners: Vec<BoundListener>,
    /// When to leave.
    pub shutdown: Shutdown,
}

/// How long a worker may take to leave at once (`exit_worker_by_lua` runs in this time).
const IMMEDIATE_MAX: Duration = Duration::from_secs(2);

/// The exit code of a worker that can't start; it is not started again.
pub(super) const FATAL: i32 = 2;

/// Serves until the process is told to leave; the exit code.
///
/// `lifeline` becomes readable (at its end) when the master is gone.
pub(super) fn run(
    cycle: &'static Cycle,
    id: Option<usize>,
    listeners: Vec<BoundListener>,
    signals: Signals,
    lifeline: Option<OwnedFd>,
) -> i32 {
    if state::kind() != ProcessKind::Single && !prepare(&cycle.conf, id, &cycle.log) {
        return FATAL;
    }
    replace_environment(&cycle.conf);
    match state::kind() {
        ProcessKind::Worker => title::set("nginx: worker process"),
        ProcessKind::PrivilegedAgent => title::set("nginx: privileged agent process"),
        ProcessKind::CacheManager => title::set("nginx: cache manager process"),
        ProcessKind::CacheLoader => title::set("nginx: cache loader process"),
        _ => {}
    }
    startup_pages::forget();
    let runtime = Builder::new_current_thread()
        .enable_all()
        // What happens between two waits happens at one time, as in nginx.
        .on_thread_unpark(|| {
            crate::clock::update();
        })
        .build_local(LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(0);
            cycle.log.write_errno(Level::Emerg, errno, format_args!("epoll_create() failed"));
            return FATAL;
        }
    };
    let (sender, receiver) = watch::channel(Stage::Running);
    let shutdown = Shutdown { stage: receiver };
    runtime.block_on(async move {
        let sender = Rc::new(sender);
        let watcher = tokio::task::spawn_local(watch_signals(cycle, signals, Rc::clone(&sender)));
        if let Some(lifeline) = lifeline {
            tokio::task::spawn_local(watch_master(cycle, lifeline, Rc::clone(&sender)));
        }
        let mut deadline = shutdown.clone();
        let served = crate::http::worker(cycle, Worker { id, listeners, shutdown });
        tokio::pin!(served);
        let finished = tokio::select! {
            biased;
            () = &mut served => true,
            () = async {
                deadline.reached(Stage::Immediate).await;
                tokio::time::sleep(IMMEDIATE_MAX).await;
            } => false,
        };
        if !finished {
            cycle.log.write(Level::Alert, format_args!("worker did not leave in time"));
        }
        watcher.abort();
    });
    cycle.log.write(Level::Notice, format_args!("exit"));
    0
}

/// Limits, priority, account, working directory, processors: what a worker sets before it serves.
fn prepare(conf: &CycleConf, id: Option<usize>, log: &ErrorLog) -> bool {
    if let Some(priority) = conf.priority
        && let Err(errno) = sys::set_priority(priority)
    {
        log.write_errno(Level::Alert, errno, format_args!("setpriority({priority}) failed"));
    }
    if let Some(limit) = conf.rlimit_nofile
        && let Err(errno) = sys::set_limit(sys::Limit::Files, limit)
    {
        log.write_errno(Level::Alert, errno, format_args!("setrlimit(RLIMIT_NOFILE, {limit}) failed"));
    }
    if let Some(limit) = conf.rlimit_core
        && let Err(errno) = sys::set_limit(sys::Limit::Core, limit)
    {
        log.write_errno(Level::Alert, errno, format_args!("setrlimit(RLIMIT_CORE, {limit}) failed"));
    }
    if nix::unistd::geteuid().is_root()
        && state::kind() == ProcessKind::Worker
        && let Some(account) = &conf.user
        && !become_account(account, log)
    {
        return false;
    }
    if let Some(id) = id
        && let Some(mask) = conf.cpu_affinity.get(id).or(conf.cpu_affinity.last())
    {
        sys::set_processors(mask);
    }
    if let Some(folder) = &conf.working_directory
        && let Err(error) = std::env::set_current_dir(folder)
    {
        let errno = error.raw_os_error().unwrap_or(0);
        log.write_errno(Level::Alert, errno, format_args!("chdir(\"{}\") failed", folder.display()));
        return false;
    }
    true
}

fn become_account(account: &Account, log: &ErrorLog) -> bool {
    if let Err(errno) = nix::unistd::setgid(Gid::from_raw(account.group)) {
        log.write_errno(Level::Emerg, errno as i32, format_args!("setgid({}) failed", account.group));
        return false;
    }
    let name = std::ffi::CString::new(account.name.as_bytes()).unwrap_or_default();
    if let Err(errno) = nix::unistd::initgroups(&name, Gid::from_raw(account.group)) {
        let (name, group) = (&account.name, account.group);
        log.write_errno(Level::Emerg, errno as i32, format_args!("initgroups({name}, {group}) failed"));
    }
    if let Err(errno) = nix::unistd::setuid(Uid::from_raw(account.user)) {
        log.write_errno(Level::Emerg, errno as i32, format_args!("setuid({}) failed", account.user));
        return false;
    }
    true
}

/// Leaves only what `env` names, and TZ.
fn replace_environment(conf: &CycleConf) {
    let mut variables: Vec<(OsString, OsString)> = Vec::new();
    let time_zone: &[u8] = b"TZ";
    let names = conf.env.iter().map(|variable| (&*variable.name, variable.value.as_deref()));
    for (name, value) in names.chain([(time_zone, None)]) {
        let name = OsString::from_vec(name.to_vec());
        if name.is_empty() || variables.iter().any(|(known, _)| *known == name) {
            continue;
        }
        match value {
            Some(value) => variables.push((name, OsString::from_vec(value.to_vec()))),
            None => variables.extend(std::env::var_os(&name).map(|value| (name, value))),
        }
    }
    sys::replace_environment(&variables);
}

fn advance(cycle: &Cycle, sender: &watch::Sender<Stage>, stage: Stage) {
    if state::kind() == ProcessKind::Single && *sender.borrow() == Stage::Running {
        // Nobody may find the way to a process that leaves, and one that is killed while it waits leaves no file.
        sockets::remove_unix_files_of(&cycle.conf.listen, &[], &cycle.log);
    }
    sender.send_if_modified(|current| {
        let further = stage > *current;
        *current = stage.max(*current);
        further
    });
}

async fn watch_signals(cycle: &'static Cycle, signals: Signals, sender: Rc<watch::Sender<Stage>>) {
    let (reader, _writer) = signals.into_pipe();
    let reader = match Receiver::from_owned_fd(reader) {
        Ok(reader) => reader,
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(0);
            cycle.log.write_errno(Level::Alert, errno, format_args!("signals can't be watched"));
            return;
        }
    };
    while reader.readable().await.is_ok() {
        let mut messages = [0; Received::SIZE * 16];
        let length = reader.try_read(&mut messages).unwrap_or(0);
        for message in messages.get(..length).unwrap_or_default().chunks_exact(Received::SIZE) {
            if let Ok(message) = message.try_into() {
                react(cycle, Received::decode(message), &sender);
            }
        }
    }
}

fn react(cycle: &'static Cycle, received: Received, sender: &Rc<watch::Sender<Stage>>) {
    let single = state::kind() == ProcessKind::Single;
    let log = &cycle.log;
    let action = match received.number {
        // OpenResty's single process leaves on both.
        libc::SIGHUP if single => ", reconfiguring",
        libc::SIGQUIT => ", shutting down",
        libc::SIGTERM | libc::SIGINT => ", exiting",
        libc::SIGUSR1 => ", reopening logs",
        libc::SIGCHLD | libc::SIGALRM | libc::SIGIO => "",
        _ => ", ignoring",
    };
    log.write(Level::Notice, format_args!("{}", received.describe(action)));
    match received.number {
        libc::SIGHUP if single => leave_gracefully(cycle, sender),
        libc::SIGQUIT => leave_gracefully(cycle, sender),
        libc::SIGTERM | libc::SIGINT => {
            log.write(Level::Notice, format_args!("exiting"));
            state::set_exiting();
            advance(cycle, sender, Stage::Immediate);
        }
        libc::SIGUSR1 => {
            log.write(Level::Notice, format_args!("reopening logs"));
            reopen_files(&cycle.conf, log, None);
        }
        libc::SIGCHLD => crate::lua::ffi::pipe::reap(),
        _ => {}
    }
}

fn leave_gracefully(cycle: &'static Cycle, sender: &Rc<watch::Sender<Stage>>) {
    if *sender.borrow() >= Stage::Graceful {
        return;
    }
    cycle.log.write(Level::Notice, format_args!("gracefully shutting down"));
    state::set_exiting();
    if state::kind() == ProcessKind::Worker {
        title::set("nginx: worker process is shutting down");
    }
    advance(cycle, sender, Stage::Graceful);
    if let Some(timeout) = cycle.conf.shutdown_timeout.filter(|timeout| !timeout.is_zero()) {
        let sender = Rc::clone(sender);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(timeout).await;
            advance(cycle, &sender, Stage::Immediate);
        });
    }
}

/// Leaves gracefully when the master is gone: nobody would start a successor or stop this process.
async fn watch_master(cycle: &'static Cycle, lifeline: OwnedFd, sender: Rc<watch::Sender<Stage>>) {
    let Ok(lifeline) = Receiver::from_owned_fd(lifeline) else { return };
    if lifeline.readable().await.is_ok() {
        cycle.log.write(Level::Notice, format_args!("the master process is gone"));
        leave_gracefully(cycle, &sender);
    }
}

/// Reopens all log files of a cycle. A master passes the account of its workers, who must be able to reopen the
/// files that it creates.
pub(super) fn reopen_files(conf: &CycleConf, log: &ErrorLog, owner: Option<&Account>) {
    for file in conf.files.iter() {
        let reopened = file.reopen().and_then(|()| match (owner, file.descriptor()) {
            (Some(owner), Some(descriptor)) => sys::change_owner(descriptor, owner.user),
            _ => Ok(()),
        });
        if let (Err(error), Some(path)) = (reopened, file.path()) {
            let errno = error.raw_os_error().unwrap_or(0);
            log.write_errno(Level::Emerg, errno, format_args!("open() \"{}\" failed", path.display()));
        }
    }
}
