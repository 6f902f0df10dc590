//! Processes: start-up, master, workers, signals, pid file, daemon.
//!
//! The master binds the listeners and maps shared memory, then forks workers before any runtime or thread
//! exists. Signals reach both through a pipe that the handler writes to ([`signals`]). The only unsafe code is
//! in [`aligned`], [`allocator`], [`crypt`], [`sys`] and [`title`].

mod aligned;
mod allocator;
mod console;
pub mod counters;
pub(crate) mod crypt;
pub(crate) mod keep;
mod launch;
mod master;
mod pid_file;
mod signals;
mod sockets;
mod startup_pages;
mod state;
mod sys;
mod title;
mod upgrade;
mod worker;

pub use console::{Console, Wish};
pub use launch::{ConfSource, Failure, Launch, Started, signal, start, start_with, test};
pub use pid_file::Command;
pub use state::{
    ProcessKind, enable_privileged_agent, is_exiting, kind, master_pid, request_exit, worker_id, worker_pids,
};
pub use worker::{BoundListener, Shutdown, Stage, Worker};

#[allow(unused_imports, reason = "modules that report their own start-up failures name it")]
pub(crate) use signals::fail_interrupted_calls;
pub(crate) use sockets::REPORTED;
#[cfg(test)]
pub(crate) use sys::{Fork, fork};
pub(crate) use sys::{LocalTime, local_time, pid, replace_descriptor, stderr_descriptor, trim_memory};
