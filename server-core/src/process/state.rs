//! What a process knows about itself: its kind, its number, whether it is leaving.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use super::sys::SharedNumbers;

/// What a process is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcessKind {
    /// One process that does everything (`master_process off`), and any process while it starts.
    #[default]
    Single,
    /// Supervises workers.
    Master,
    /// Serves requests.
    Worker,
    /// Only sends a signal to a master (`-s`).
    Signaller,
    /// Runs timers as the master's user and serves nobody.
    PrivilegedAgent,
    /// Removes from caches what is old or too much.
    CacheManager,
    /// Looks through caches once, a while after the start.
    CacheLoader,
}

impl ProcessKind {
    /// The word that `ngx.process.type()` gives.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Master => "master",
            Self::Worker => "worker",
            Self::Signaller => "signaller",
            Self::PrivilegedAgent => "privileged agent",
            Self::CacheManager | Self::CacheLoader => "helper",
        }
    }
}

thread_local! {
    static KIND: Cell<ProcessKind> = const { Cell::new(ProcessKind::Single) };
    static WORKER_ID: Cell<Option<usize>> = const { Cell::new(None) };
    static EXITING: Cell<bool> = const { Cell::new(false) };
    static PRIVILEGED_AGENT: Cell<bool> = const { Cell::new(false) };
}

/// The most workers that one master supervises.
pub(super) const PROCESSES_MAX: usize = 1024;

static WORKER_PIDS: OnceLock<Option<SharedNumbers>> = OnceLock::new();

/// What this process is for.
pub fn kind() -> ProcessKind {
    KIND.get()
}

/// The number of this worker, from 0; a respawned worker has its predecessor's.
pub fn worker_id() -> Option<usize> {
    WORKER_ID.get()
}

/// Whether this process is leaving gracefully.
pub fn is_exiting() -> bool {
    EXITING.get()
}

/// The master's process id; the parent of a worker, the process itself otherwise.
pub fn master_pid() -> i32 {
    match kind() {
        ProcessKind::Worker | ProcessKind::PrivilegedAgent | ProcessKind::CacheManager | ProcessKind::CacheLoader => {
            nix::unistd::getppid().as_raw()
        }
        _ => nix::unistd::getpid().as_raw(),
    }
}

/// The process ids of all live workers, leaving ones included.
pub fn worker_pids() -> Vec<i32> {
    let slots = WORKER_PIDS.get().and_then(Option::as_ref).map(SharedNumbers::slots).unwrap_or_default();
    let pids: Vec<i32> = slots.iter().map(|slot| slot.load(Ordering::Relaxed)).filter(|pid| *pid != 0).collect();
    if pids.is_empty() { vec![nix::unistd::getpid().as_raw()] } else { pids }
}

/// Asks for a privileged agent beside the workers; has an effect while the master starts or reloads.
pub fn enable_privileged_agent() {
    PRIVILEGED_AGENT.set(true);
}

/// Whether one was asked for since the last call.
pub(super) fn take_privileged_agent() -> bool {
    PRIVILEGED_AGENT.replace(false)
}

/// Asks this process to leave gracefully, as SIGQUIT would.
pub fn request_exit() {
    super::signals::raise_quit();
}

pub(super) fn become_kind(kind: ProcessKind, worker: Option<usize>) {
    KIND.set(kind);
    WORKER_ID.set(worker);
}

pub(super) fn set_exiting() {
    EXITING.set(true);
}

/// Maps the table of worker ids; called in the master before the first fork.
pub(super) fn share_worker_pids() {
    WORKER_PIDS.get_or_init(|| SharedNumbers::new(PROCESSES_MAX).ok());
}

/// Records (or with 0 clears) the worker in a slot of the table.
pub(super) fn record_worker(slot: usize, pid: i32) {
    let slots = WORKER_PIDS.get().and_then(Option::as_ref).map(SharedNumbers::slots).unwrap_or_default();
    if let Some(entry) = slots.get(slot) {
        entry.store(pid, Ordering::Relaxed);
    }
}
