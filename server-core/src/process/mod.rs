//! Processes: start-up, master, workers, signals, pid file, daemon.
//!
//! The master binds the listeners and maps shared memory, then forks workers before any runtime or thread
//! exists. Signals reach both through a pipe that the handler writes to ([`signals`]). The only unsafe code is
//! in [`sys`].

mod sys;

pub(crate) use sys::{LocalTime, local_time, replace_descriptor, stderr_descriptor};
