//! The HTTP server's part in the life of a cycle and of a worker.

use rsty_diag::Diagnostic;

use super::cache::manager::{self, Where};
use super::modules::limit_zones;
use super::modules::lua::startup::{self, StartError};
use super::modules::lua::timers;
use crate::cycle::Cycle;
use crate::log::Level;
use crate::lua::next_turn::next_turn;
use crate::process::{ProcessKind, REPORTED, Stage, Worker};

/// Runs in the process that reads the configuration, after all addresses are bound and before workers are forked:
/// shared memory, `init_by_lua`.
pub(crate) fn init(cycle: &'static Cycle) -> Result<(), Diagnostic> {
    if cycle.conf.testing {
        return Ok(());
    }
    hand_over_folders(cycle)?;
    let opened = limit_zones::open_all(cycle);
    opened.map_err(|error| Diagnostic::error("shared_memory", format!("mmap() of a limit's zone failed: {error}")))?;
    startup::start(cycle).map_err(|error| match error {
        // Logged already, with its traceback.
        StartError::Init => Diagnostic::error(REPORTED, error.to_string()),
        error => Diagnostic::error("lua_start", error.to_string()),
    })
}

/// Goes on with a cycle after one that was to take its place has failed in [`init`].
pub(crate) fn remain(cycle: &'static Cycle) {
    startup::make_present(cycle);
}

/// Makes the folders of caches and temporary files and gives them to the workers' account: once workers have become that,
/// they may not make folders beside files of the master any more.
fn hand_over_folders(cycle: &Cycle) -> Result<(), Diagnostic> {
    // A server of one process stays who it is, and makes folders when it needs them.
    let changes_account = nix::unistd::geteuid().is_root() && cycle.conf.master_process != Some(false);
    let Some(account) = cycle.conf.user.as_ref().filter(|_| changes_account) else { return Ok(()) };
    let caches = cycle.http.upstream.caches.iter().map(|cache| cache.folder.clone());
    let loc = cycle.http.core.fallback.and_then(|srv| srv.core.loc.get().copied());
    let temporary = loc.into_iter().flat_map(|loc| {
        let conf = [&loc.fastcgi.upstream, &loc.proxy.upstream, &loc.scgi.upstream, &loc.uwsgi.upstream];
        let folders = conf.into_iter().filter_map(|conf| Some(conf.temp_path.as_ref()?.folder.clone()));
        folders.chain([(*loc.core.client_body_temp_path).clone()]).collect::<Vec<_>>()
    });
    for folder in caches.chain(temporary) {
        let made = std::fs::create_dir_all(&folder)
            .and_then(|()| std::os::unix::fs::chown(&folder, Some(account.user), Some(account.group)));
        made.map_err(|error| {
            let text = format!("mkdir() or chown() of \"{}\" failed ({error})", folder.display());
            Diagnostic::error("folder", text)
        })?;
    }
    Ok(())
}

/// Looks after the caches, for ever or once, until the process is told to leave.
async fn help(cycle: &'static Cycle, kind: ProcessKind, mut worker: Worker) {
    for main in cycle.mains() {
        if let Some(vm) = main.lua.vm.get() {
            vm.give_up();
        }
    }
    let caches = cycle.http.upstream.caches.clone();
    tokio::select! {
        () = worker.shutdown.reached(Stage::Graceful) => {}
        () = async {
            match kind {
                ProcessKind::CacheLoader => manager::load(caches).await,
                _ => manager::run(caches, Where::Here).await,
            }
        } => {}
    }
}

/// Serves on the worker's listeners until it is told to leave and the last request is done.
pub(crate) async fn worker(cycle: &'static Cycle, mut worker: Worker) {
    if cycle.http.lua.sa_restart == Some(false)
        && let Err(error) = crate::process::fail_interrupted_calls()
    {
        let errno = error.raw_os_error().unwrap_or(0);
        cycle.log.write_errno(Level::Error, errno, format_args!("sigaction() failed"));
    }
    let kind = crate::process::kind();
    if matches!(kind, ProcessKind::CacheManager | ProcessKind::CacheLoader) {
        return help(cycle, kind, worker).await;
    }
    startup::init_worker(cycle);
    if cycle.conf.watch {
        tokio::task::spawn_local(crate::dev::reload::watch(cycle));
    }
    let caches = &cycle.http.upstream.caches;
    if !caches.is_empty() && kind == ProcessKind::Single {
        // Nobody else looks after the caches; this process has other things to do meanwhile.
        tokio::task::spawn_local(manager::run(caches.clone(), Where::Beside));
    }
    // Timers without delay run before the first connection is accepted.
    if timers::any_pending() {
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
