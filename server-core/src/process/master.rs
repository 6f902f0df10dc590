//! The master: starts workers, supervises them, obeys signals.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::console::{Console, Wish};
use super::keep::retire;
use super::launch::{Launch, Prepared, prepare};
use super::signals::{self, Received, Signals};
use super::sockets::{self, Bound};
use super::state::{self, PROCESSES_MAX, ProcessKind};
use super::worker::{self, BoundListener, FATAL, reopen_files};
use super::{pid_file, sys, title, upgrade};
use crate::cycle::Cycle;
use crate::dev::files::Watched;
use crate::log::Level;

/// A worker that dies younger than this makes its successor wait.
const YOUNG: Duration = Duration::from_secs(1);
/// The wait before the third in a row of workers that died young; it doubles with each one.
const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
/// The longest wait before a worker is started again.
const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// How long new workers may get ready before the old ones are told to leave.
const HAND_OVER: Duration = Duration::from_millis(100);
/// How often a development server looks at its configuration.
const LOOK: Duration = Duration::from_millis(30);

/// What a child is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The worker with this number.
    Worker(usize),
    PrivilegedAgent,
    CacheManager,
    CacheLoader,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Worker(_) => "worker process",
            Self::PrivilegedAgent => "privileged agent process",
            Self::CacheManager => "cache manager process",
            Self::CacheLoader => "cache loader process",
        }
    }
}

/// A child as its master sees it.
struct Child {
    pid: Pid,
    role: Role,
    /// Its place in the shared table of process ids.
    slot: usize,
    /// Whether it was told to leave: it gets no successor.
    leaving: bool,
    started: Instant,
    /// How many predecessors in a row died young.
    early_deaths: u32,
}

/// A child that will be started again.
struct Respawn {
    role: Role,
    at: Instant,
    early_deaths: u32,
}

/// How the master leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    Gracefully,
    AtOnce { kill_at: Instant },
}

struct Master<'a> {
    launch: &'a Launch,
    cycle: &'static Cycle,
    bound: Vec<Bound>,
    signals: Signals,
    children: Vec<Child>,
    respawns: Vec<Respawn>,
    leaving: Leaving,
    /// A privileged agent runs beside the workers.
    with_agent: bool,
    /// Workers were sent away (SIGWINCH) while the master stays.
    without_workers: bool,
    /// A reload that waits for an address: when it comes, and how many more may.
    again: Option<(Instant, usize)>,
    new_binary: Option<Pid>,
    /// The configuration's files, in a development server.
    watched: Option<Watched>,
    console: Option<Box<dyn Console>>,
    /// Workers read the end of this pipe when the master is gone.
    lifeline: (OwnedFd, Option<OwnedFd>),
}

/// What a turn of the master's loop leads to.
enum Turn {
    Go,
    /// This is a worker now; it ended with this code.
    WorkerEnded(i32),
}

/// Supervises workers until it is told to leave; the exit code.
pub(super) fn run(
    launch: &Launch,
    prepared: Prepared,
    signals: Signals,
    writes_pid: bool,
    console: Option<Box<dyn Console>>,
) -> i32 {
    let log = &prepared.cycle.log;
    let (reader, writer) = match nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK) {
        Ok(pipe) => pipe,
        Err(errno) => {
            log.write_errno(Level::Alert, errno as i32, format_args!("pipe() failed"));
            return FATAL;
        }
    };
    let words: Vec<_> = launch.arguments.iter().map(|word| word.to_string_lossy()).collect();
    title::set(&format!("nginx: master process {}", words.join(" ")));
    let mut master = Master {
        launch,
        cycle: prepared.cycle,
        bound: prepared.bound,
        signals,
        children: Vec::new(),
        respawns: Vec::new(),
        leaving: Leaving::No,
        with_agent: state::take_privileged_agent(),
        without_workers: false,
        again: None,
        new_binary: None,
        watched: watched(prepared.cycle),
        console,
        lifeline: (reader, Some(writer)),
    };
    if let Some(console) = &mut master.console {
        console.started(master.cycle);
    }
    if let Turn::WorkerEnded(code) = master.start_workers() {
        return code;
    }
    loop {
        master.wait();
        match master.turn() {
            Turn::WorkerEnded(code) => return code,
            Turn::Go if master.leaving != Leaving::No && master.children.is_empty() => break,
            Turn::Go => {}
        }
    }
    let log = &master.cycle.log;
    if master.new_binary.is_none() {
        sockets::remove_unix_files(&master.bound, &[], log);
    }
    if writes_pid {
        pid_file::remove(&master.pid_path(), log);
    }
    log.write(Level::Notice, format_args!("exit"));
    0
}

/// The sockets that a worker accepts on, as descriptors of its own.
pub(super) fn take_listeners(bound: &[Bound], worker: usize) -> io::Result<Vec<BoundListener>> {
    let sockets = bound.iter().enumerate().filter_map(|(index, bound)| Some((index, bound.for_worker(worker)?)));
    sockets.map(|(index, socket)| Ok(BoundListener { index, socket: socket.as_fd().try_clone_to_owned()? })).collect()
}

impl Master<'_> {
    fn pid_path(&self) -> std::path::PathBuf {
        let path = self.cycle.conf.pid.clone().unwrap_or_default();
        match self.new_binary {
            None => path,
            Some(_) => old_pid_path(&path),
        }
    }

    fn start_workers(&mut self) -> Turn {
        self.cycle.log.write(Level::Notice, format_args!("start worker processes"));
        let workers = (0..self.cycle.conf.worker_count()).map(Role::Worker);
        let agent = self.with_agent.then_some(Role::PrivilegedAgent);
        let has_caches = !self.cycle.http.upstream.caches.is_empty();
        let helpers: &[Role] = if has_caches { &[Role::CacheManager, Role::CacheLoader] } else { &[] };
        for role in workers.chain(agent).chain(helpers.iter().copied()) {
            if let Turn::WorkerEnded(code) = self.start_child(role, 0) {
                return Turn::WorkerEnded(code);
            }
        }
        Turn::Go
    }

    fn start_child(&mut self, role: Role, early_deaths: u32) -> Turn {
        let log = &self.cycle.log;
        let taken = |slot: &usize| self.children.iter().any(|child| child.slot == *slot);
        let Some(slot) = (0..PROCESSES_MAX).find(|slot| !taken(slot)) else {
            log.write(Level::Alert, format_args!("no more than {PROCESSES_MAX} processes can be spawned"));
            return Turn::Go;
        };
        // A signal to the child waits until it has its own pipe; else it would be written to ours.
        let held = signals::hold();
        match sys::fork() {
            Err(errno) => {
                let text = format_args!("fork() failed while spawning \"{}\"", role.name());
                log.write_errno(Level::Alert, errno as i32, text);
                let at = Instant::now() + BACK_OFF_MAX;
                self.respawns.push(Respawn { role, at, early_deaths });
                Turn::Go
            }
            Ok(sys::Fork::Child) => Turn::WorkerEnded(self.be_child(role, held)),
            Ok(sys::Fork::Parent(pid)) => {
                log.write(Level::Notice, format_args!("start {} {pid}", role.name()));
                if let Role::Worker(_) = role {
                    state::record_worker(slot, pid);
                }
                let (pid, started) = (Pid::from_raw(pid), Instant::now());
                self.children.push(Child { pid, role, slot, leaving: false, started, early_deaths });
                Turn::Go
            }
        }
    }

    /// The new process's life.
    fn be_child(&mut self, role: Role, held: signals::Held) -> i32 {
        let id = match role {
            Role::Worker(id) => {
                state::become_kind(ProcessKind::Worker, Some(id));
                Some(id)
            }
            Role::PrivilegedAgent => {
                state::become_kind(ProcessKind::PrivilegedAgent, None);
                None
            }
            Role::CacheManager => {
                state::become_kind(ProcessKind::CacheManager, None);
                None
            }
            Role::CacheLoader => {
                state::become_kind(ProcessKind::CacheLoader, None);
                None
            }
        };
        self.lifeline.1 = None;
        self.console = None;
        let cycle = self.cycle;
        let set_up = || -> io::Result<_> {
            let signals = Signals::install()?;
            drop(held);
            let listeners = id.map_or(Ok(Vec::new()), |id| take_listeners(&self.bound, id))?;
            let lifeline = self.lifeline.0.try_clone()?;
            Ok((signals, listeners, lifeline))
        };
        match set_up() {
            Ok((signals, listeners, lifeline)) => {
                // What the other workers accept on, and what the last cycle left behind.
                self.bound.clear();
                worker::run(cycle, id, listeners, signals, Some(lifeline))
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                let text = format_args!("could not set up a {}", role.name());
                cycle.log.write_errno(Level::Alert, errno, text);
                FATAL
            }
        }
    }

    /// Waits for a signal, a due respawn, or the moment to kill.
    fn wait(&self) {
        let due = self.respawns.iter().map(|respawn| respawn.at);
        let kill = match self.leaving {
            Leaving::AtOnce { kill_at } => Some(kill_at),
            _ => None,
        };
        let look = self.watched.as_ref().map(|_| Instant::now() + LOOK);
        let again = self.again.map(|(at, _)| at);
        let timeout =
            due.chain(kill).chain(look).chain(again).min().map(|at| at.saturating_duration_since(Instant::now()));
        let keyboard = self.console.as_ref().and_then(|console| console.input());
        sys::wait_readable(self.signals.descriptor(), keyboard, timeout);
        crate::clock::update();
    }

    fn turn(&mut self) -> Turn {
        let mut reload = false;
        while let Some(received) = self.signals.next() {
            reload |= self.obey(received);
        }
        for wish in self.console.as_mut().map(|console| console.wishes()).unwrap_or_default() {
            match wish {
                Wish::Reload => reload = true,
                Wish::Quit => {
                    self.obey(Received { number: libc::SIGTERM, sender: 0 });
                }
            }
        }
        reload |= self.watched.as_mut().is_some_and(Watched::has_changed);
        let mut tries = sockets::TRIES;
        if let Some((_, left)) = self.again.filter(|(at, _)| reload || *at <= Instant::now()) {
            // What was asked for since counts from the beginning.
            tries = if reload { tries } else { left };
            reload = true;
            self.again = None;
        }
        self.reap();
        if let Leaving::AtOnce { kill_at } = self.leaving
            && Instant::now() >= kill_at
        {
            self.tell_workers(libc::SIGKILL);
            self.leaving = Leaving::AtOnce { kill_at: Instant::now() + YOUNG };
        }
        if reload
            && self.leaving == Leaving::No
            && let Turn::WorkerEnded(code) = self.reload(tries)
        {
            return Turn::WorkerEnded(code);
        }
        self.start_due()
    }

    fn start_due(&mut self) -> Turn {
        if self.leaving != Leaving::No || self.without_workers {
            self.respawns.clear();
        }
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.respawns).into_iter().partition(|respawn| respawn.at <= now);
        self.respawns = later;
        let due: Vec<Respawn> = due;
        for respawn in due {
            if let Turn::WorkerEnded(code) = self.start_child(respawn.role, respawn.early_deaths) {
                return Turn::WorkerEnded(code);
            }
        }
        Turn::Go
    }

    /// Does what a signal says; whether a reload is wanted.
    fn obey(&mut self, received: Received) -> bool {
        let action = match received.number {
            libc::SIGQUIT => ", shutting down",
            libc::SIGTERM | libc::SIGINT => ", exiting",
            libc::SIGWINCH => ", stop accepting connections",
            libc::SIGHUP => ", reconfiguring",
            libc::SIGUSR1 => ", reopening logs",
            libc::SIGUSR2 if self.new_binary.is_some() => ", ignoring",
            libc::SIGUSR2 => ", changing binary",
            _ => "",
        };
        self.cycle.log.write(Level::Notice, format_args!("{}", received.describe(action)));
        match received.number {
            libc::SIGQUIT if self.leaving == Leaving::No => {
                self.leaving = Leaving::Gracefully;
                self.send_workers_away(libc::SIGQUIT);
                self.close_listeners();
            }
            libc::SIGTERM | libc::SIGINT => {
                if !matches!(self.leaving, Leaving::AtOnce { .. }) {
                    self.leaving = Leaving::AtOnce { kill_at: Instant::now() + Duration::from_secs(3) };
                }
                self.tell_workers(libc::SIGTERM);
                self.send_workers_away(0);
            }
            libc::SIGWINCH => {
                self.without_workers = true;
                self.send_workers_away(libc::SIGQUIT);
            }
            libc::SIGUSR1 => {
                self.cycle.log.write(Level::Notice, format_args!("reopening logs"));
                reopen_files(&self.cycle.conf, &self.cycle.log, self.cycle.conf.user.as_ref());
                self.tell_workers(libc::SIGUSR1);
            }
            libc::SIGUSR2 if self.new_binary.is_none() => {
                self.cycle.log.write(Level::Notice, format_args!("changing binary"));
                self.change_binary();
            }
            _ => {}
        }
        received.number == libc::SIGHUP
    }

    /// Starts the new binary beside this one.
    fn change_binary(&mut self) {
        let log = &self.cycle.log;
        let path = self.pid_path();
        let old_path = old_pid_path(&path);
        if let Err(error) = std::fs::rename(&path, &old_path) {
            let errno = error.raw_os_error().unwrap_or(0);
            let (from, to) = (path.display(), old_path.display());
            let text = format_args!("rename() {from} to {to} failed before executing new binary process");
            log.write_errno(Level::Alert, errno, text);
            return;
        }
        match upgrade::start(&self.launch.arguments, &self.bound) {
            Ok(pid) => {
                log.write(Level::Notice, format_args!("start new binary process {pid}"));
                self.new_binary = Some(pid);
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                let text = format_args!("execve() failed while executing new binary process");
                log.write_errno(Level::Alert, errno, text);
                self.take_pid_file_back(&path);
            }
        }
    }

    fn take_pid_file_back(&self, path: &std::path::Path) {
        let old_path = old_pid_path(path);
        if let Err(error) = std::fs::rename(&old_path, path) {
            let errno = error.raw_os_error().unwrap_or(0);
            let (from, to) = (old_path.display(), path.display());
            let text = format_args!("rename() {from} back to {to} failed after the new binary process exited");
            self.cycle.log.write_errno(Level::Alert, errno, text);
        }
    }

    /// The new binary ended: this one is the server again.
    fn stay(&mut self) {
        self.new_binary = None;
        self.take_pid_file_back(&self.pid_path());
        if std::mem::replace(&mut self.without_workers, false) && self.leaving == Leaving::No {
            let at = Instant::now();
            let workers = (0..self.cycle.conf.worker_count()).map(Role::Worker);
            self.respawns.extend(workers.map(|role| Respawn { role, at, early_deaths: 0 }));
        }
    }

    /// Closes the master's listening sockets, so that the port is free while the last workers finish.
    fn close_listeners(&mut self) {
        if self.new_binary.is_none() {
            sockets::remove_unix_files(&self.bound, &[], &self.cycle.log);
        }
        self.bound.clear();
    }

    fn tell_workers(&self, signal: i32) {
        for child in &self.children {
            let Ok(signal) = nix::sys::signal::Signal::try_from(signal) else { continue };
            if let Err(errno) = nix::sys::signal::kill(child.pid, signal) {
                let text = format_args!("kill({}, {}) failed", child.pid, signal as i32);
                self.cycle.log.write_errno(Level::Alert, errno as i32, text);
            }
        }
    }

    /// Tells all workers that are not leaving yet; with signal 0 only notes that they leave.
    fn send_workers_away(&mut self, signal: i32) {
        for child in self.children.iter_mut().filter(|child| !child.leaving) {
            child.leaving = true;
            let Ok(signal) = nix::sys::signal::Signal::try_from(signal) else { continue };
            if let Err(errno) = nix::sys::signal::kill(child.pid, signal) {
                let text = format_args!("kill({}, {}) failed", child.pid, signal as i32);
                self.cycle.log.write_errno(Level::Alert, errno as i32, text);
            }
        }
    }

    /// Starts workers on a new cycle and sends the old ones away; keeps the old cycle when that fails. An address that is
    /// taken is asked for again, `tries` times in all; signals are obeyed in between.
    fn reload(&mut self, tries: usize) -> Turn {
        if self.new_binary.is_some() || self.without_workers {
            self.without_workers = false;
            return self.start_workers();
        }
        self.cycle.log.write(Level::Notice, format_args!("reconfiguring"));
        let prepared = match prepare(self.launch, &self.cycle.log, Some(self.cycle), &self.bound, false) {
            Ok(prepared) => prepared,
            Err(failure) if failure.is_busy => {
                self.wait_for_address(tries);
                return Turn::Go;
            }
            Err(failure) => {
                if let Some(console) = &mut self.console {
                    console.refused(failure.diagnostic.as_ref());
                    return Turn::Go;
                }
                if let Some(diagnostic) = failure.diagnostic {
                    let text = crate::conf::nginx_message(&diagnostic);
                    self.cycle.log.write(Level::Emerg, format_args!("{text}"));
                }
                return Turn::Go;
            }
        };
        self.move_pid_file(prepared.cycle);
        sockets::remove_unix_files(&self.bound, &prepared.cycle.conf.listen, &self.cycle.log);
        let old_pids: Vec<Pid> = self.children.iter().map(|child| child.pid).collect();
        let old = std::mem::replace(&mut self.cycle, prepared.cycle);
        self.bound = prepared.bound;
        // The old workers have copies of their own.
        retire(old);
        self.watched = watched(self.cycle);
        if let Some(console) = &mut self.console {
            console.reloaded(self.cycle);
        }
        self.with_agent = state::take_privileged_agent();
        self.respawns.clear();
        if let Turn::WorkerEnded(code) = self.start_workers() {
            return Turn::WorkerEnded(code);
        }
        std::thread::sleep(HAND_OVER);
        for child in self.children.iter_mut().filter(|child| old_pids.contains(&child.pid)) {
            child.leaving = true;
            // One that is gone already is reaped in this loop's next turn.
            let _ = nix::sys::signal::kill(child.pid, nix::sys::signal::Signal::SIGQUIT);
        }
        Turn::Go
    }

    fn wait_for_address(&mut self, tries: usize) {
        if tries > 1 {
            self.cycle.log.write(Level::Notice, format_args!("{}", sockets::TRY_AGAIN));
            self.again = Some((Instant::now() + sockets::PAUSE, tries - 1));
        } else {
            self.cycle.log.write(Level::Emerg, format_args!("{}", sockets::STILL_BUSY));
        }
    }

    fn move_pid_file(&self, next: &Cycle) {
        let (old, new) = (&self.cycle.conf.pid, &next.conf.pid);
        if let (Some(old), Some(new)) = (old, new)
            && old != new
            && pid_file::write(new, &next.log).is_ok()
        {
            pid_file::remove(old, &next.log);
        }
    }

    /// Takes note of processes that ended, and plans successors.
    fn reap(&mut self) {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => return,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(errno) => {
                    self.cycle.log.write_errno(Level::Alert, errno as i32, format_args!("waitpid() failed"));
                    return;
                }
                Ok(status) => status,
            };
            let (pid, code) = match status {
                WaitStatus::Exited(pid, code) => (pid, Some(code)),
                WaitStatus::Signaled(pid, _, _) => (pid, None),
                _ => continue,
            };
            self.log_end(status);
            if self.new_binary == Some(pid) {
                self.stay();
                continue;
            }
            let Some(position) = self.children.iter().position(|child| child.pid == pid) else { continue };
            let child = self.children.swap_remove(position);
            state::record_worker(child.slot, 0);
            self.plan_successor(&child, code);
        }
    }

    fn log_end(&self, status: WaitStatus) {
        let log = &self.cycle.log;
        let name = |pid: Pid| {
            let child = self.children.iter().find(|child| child.pid == pid);
            let stranger = if self.new_binary == Some(pid) { "new binary process" } else { "unknown process" };
            child.map_or(stranger, |child| child.role.name())
        };
        match status {
            WaitStatus::Exited(pid, code) => {
                log.write(Level::Notice, format_args!("{} {pid} exited with code {code}", name(pid)));
            }
            WaitStatus::Signaled(pid, signal, core) => {
                let core = if core { " (core dumped)" } else { "" };
                let text = format_args!("{} {pid} exited on signal {}{core}", name(pid), signal as i32);
                log.write(Level::Alert, text);
            }
            _ => {}
        }
    }

    fn plan_successor(&mut self, child: &Child, code: Option<i32>) {
        // The loader has done its work when it ends.
        if child.role == Role::CacheLoader || child.leaving || self.leaving != Leaving::No {
            return;
        }
        if code == Some(FATAL) {
            let text = format_args!(
                "{} {} exited with fatal code {FATAL} and cannot be respawned",
                child.role.name(),
                child.pid
            );
            self.cycle.log.write(Level::Alert, text);
            return;
        }
        let early_deaths = if child.started.elapsed() < YOUNG { child.early_deaths + 1 } else { 0 };
        // The first successor comes at once, as with nginx; a worker that keeps dying makes us slower, not busier.
        let wait = match early_deaths {
            0 | 1 => Duration::ZERO,
            n => (FIRST_BACK_OFF * 2u32.saturating_pow(n.min(10) - 2)).min(BACK_OFF_MAX),
        };
        if !wait.is_zero() {
            let (name, pid, milliseconds) = (child.role.name(), child.pid, wait.as_millis());
            let text = format_args!(
                "{name} {pid} died young, the {early_deaths} in a row; the next one starts in {milliseconds} ms"
            );
            self.cycle.log.write(Level::Alert, text);
        }
        self.respawns.push(Respawn { role: child.role, at: Instant::now() + wait, early_deaths });
    }
}

/// The files that a development server's configuration was read from.
fn watched(cycle: &Cycle) -> Option<Watched> {
    let scripts = [&cycle.http.lua.init, &cycle.http.lua.init_worker];
    let scripts = scripts.into_iter().flatten().filter_map(|script| script.file());
    let scripts = scripts.map(|path| std::path::PathBuf::from(std::ffi::OsStr::from_bytes(path)));
    let sources = cycle.conf.sources.iter().map(|source| source.path().to_owned());
    cycle.conf.watch.then(|| Watched::new(sources.chain(scripts)))
}

fn old_pid_path(path: &std::path::Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".oldbin");
    name.into()
}
