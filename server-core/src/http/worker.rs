//! The HTTP server's part in the life of a cycle and of a worker.

use rsty_diag::Diagnostic;

use super::modules::limit_zones;
use super::modules::lua::startup::{self, StartError};
use super::modules::lua::timers;
use crate::cycle::Cycle;
use crate::log::Level;
use crate::lua::next_turn::next_turn;
use crate::process::{REPORTED, Stage, Worker};

/// Runs in the process that reads the configuration, after all addresses are bound and before workers are forked:
/// shared memory, `init_by_lua`.
pub(crate) fn init(cycle: &'static Cycle) -> Result<(), Diagnostic> {
    if cycle.conf.testing {
        return Ok(());
    }
    let opened = limit_zones::open_all(cycle);
    opened.map_err(|error| Diagnostic::error("shared_memory", format!("mmap() of a limit's zone failed: {error}")))?;
    startup::start(cycle).map_err(|error| match error {
        // Logged already, with its traceback.
        StartError::Init => Diagnostic::error(REPORTED, error.to_string()),
        error => Diagnostic::error("lua_start", error.to_string()),
    })
}

/// Serves on the worker's listeners until it is told to leave and the last request is done.
pub(crate) async fn worker(cycle: &'static Cycle, mut worker: Worker) {
    if cycle.http.lua.sa_restart == Some(false)
        && let Err(error) = crate::process::fail_interrupted_calls()
    {
        let errno = error.raw_os_error().unwrap_or(0);
        cycle.log.write_errno(Level::Error, errno, format_args!("sigaction() failed"));
    }
    startup::init_worker(cycle);
    if cycle.conf.watch {
        tokio::task::spawn_local(crate::dev::reload::watch(cycle));
    }
    let caches = &cycle.http.upstream.caches;
    if !caches.is_empty() && crate::process::worker_id().unwrap_or(0) == 0 {
        tokio::task::spawn_local(super::cache::manager::run(caches.clone()));
    }
    // Timers without delay run before the first connection is accepted.
    if timers::pending() > 0 {
        next_turn().await;
        next_turn().await;
    }
    let server = match super::server::serve(cycle, std::mem::take(&mut worker.listeners)) {
        Ok(server) => server,
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(0);
            cycle.log.write_errno(Level::Emerg, errno, format_args!("could not accept on a listening socket"));
            return;
        }
    };
    worker.shutdown.reached(Stage::Graceful).await;
    server.quit();
    timers::begin_exit();
    let mut shutdown = worker.shutdown.clone();
    tokio::select! {
        () = async { server.drained().await; timers::drained().await } => {}
        () = shutdown.reached(Stage::Immediate) => server.terminate(),
    }
    super::modules::access_log::flush_all();
    startup::exit_worker(cycle);
}
