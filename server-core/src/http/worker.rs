//! The HTTP server's part in the life of a cycle and of a worker.

use rsty_diag::Diagnostic;

use crate::cycle::Cycle;
use crate::process::{Stage, Worker};

/// Runs in the process that reads the configuration, after all addresses are bound and before workers are forked:
/// shared memory, `init_by_lua`.
pub(crate) fn init(_cycle: &'static Cycle) -> Result<(), Diagnostic> {
    Ok(())
}

/// Serves on the worker's listeners until it is told to leave and the last request is done.
pub(crate) async fn worker(_cycle: &'static Cycle, mut worker: Worker) {
    worker.shutdown.reached(Stage::Graceful).await;
}
