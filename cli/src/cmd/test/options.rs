//! From arguments and environment to the options of a run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rsty_testspec::load::Shell;
use rsty_testspec::report::coverage;
use rsty_testspec::run::binary::ServerBinary;
use rsty_testspec::run::lane::Options;
use rsty_testspec::run::processors::Jobs;
use rsty_testspec::run::spec_file;

use super::args::Args;
use super::{Failure, failure, supervise};
use crate::exit::Exit;

/// The options of a run on the server that the arguments name.
pub(super) fn options(args: &Args, scratch: &Path, stop: Arc<AtomicBool>) -> Result<Options, Failure> {
    let wanted = args.server.clone().or_else(|| std::env::var_os("TEST_NGINX_BINARY").map(PathBuf::from));
    let binary = match wanted {
        Some(program) => external(&program)?,
        None => built_in(scratch)?,
    };
    options_for(args, scratch, stop, binary)
}

/// An nginx binary.
pub(super) fn external(program: &Path) -> Result<ServerBinary, Failure> {
    let found = ServerBinary::external(program, std::env::var_os("PATH").as_ref());
    found.map_err(|error| failure(Exit::Usage, "use the server", &error))
}

fn built_in(scratch: &Path) -> Result<ServerBinary, Failure> {
    let tool = |action: &str, error: &dyn std::error::Error| failure(Exit::ToolFailure, action, error);
    let program = std::env::current_exe().map_err(|error| tool("find the running program", &error))?;
    let link = scratch.join("nginx");
    std::os::unix::fs::symlink(&program, &link).map_err(|error| tool("link the server", &error))?;
    ServerBinary::built_in(link).map_err(|error| tool("use the built-in server", &error))
}

/// The same options for another server.
pub(super) fn options_for(
    args: &Args,
    scratch: &Path,
    stop: Arc<AtomicBool>,
    binary: ServerBinary,
) -> Result<Options, Failure> {
    let tool = |action: &str, error: &dyn std::error::Error| failure(Exit::ToolFailure, action, error);
    let mut variables: BTreeMap<String, Vec<u8>> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, OsString::into_vec(value))))
        .filter(|(name, _)| !supervise::is_own_variable(name))
        .collect();
    for (name, value) in &args.env {
        variables.entry(name.clone()).or_insert_with(|| value.clone().into_bytes());
    }
    variables.insert("TEST_NGINX_BINARY".to_owned(), binary.program().as_os_str().to_owned().into_vec());
    if args.hup {
        variables.insert("TEST_NGINX_USE_HUP".to_owned(), b"1".to_vec());
    }
    if let Some(samples) = args.check_leak {
        variables.insert("TEST_NGINX_CHECK_LEAK".to_owned(), b"1".to_vec());
        variables.insert("TEST_NGINX_CHECK_LEAK_COUNT".to_owned(), samples.to_string().into_bytes());
    }
    if let Some(load) = &args.benchmark {
        variables.insert("TEST_NGINX_BENCHMARK".to_owned(), load.clone().into_bytes());
    }
    if let Some(timeout) = args.timeout {
        variables.insert("TEST_NGINX_TIMEOUT".to_owned(), timeout.to_string().into_bytes());
    }
    let working_directory = std::env::current_dir().map_err(|error| tool("find the working directory", &error))?;
    if args.coverage.is_some() {
        let code =
            coverage::prepare(scratch, &working_directory).map_err(|error| tool("prepare the coverage", &error))?;
        variables.insert(coverage::VARIABLE.to_owned(), code.into_bytes());
    }
    let mut library_paths = args.include.clone();
    library_paths.extend(std::env::var_os("PERL5LIB").iter().flat_map(std::env::split_paths));
    let processors = std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get);
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_mins(2));
    Ok(Options {
        binary: Arc::new(binary),
        loader: spec_file::loader(),
        jobs: args.jobs.map_or(Jobs::for_processors(processors), |jobs| Jobs::fixed(jobs.into())),
        variables,
        working_directory,
        library_paths,
        shell: if args.no_shell { Shell::Refused } else { Shell::Allowed },
        scratch: scratch.to_owned(),
        block_limit: seconds(args.block_timeout),
        slow: seconds(args.slow),
        keep_logs: args.against.is_some(),
        retries: args.retries,
        durations: BTreeMap::new(),
        max_failures: args.failures_max(),
        stop,
    })
}
