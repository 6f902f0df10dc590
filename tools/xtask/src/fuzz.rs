//! `fuzz`: the targets of `tools/fuzz`, without a nightly compiler.
//!
//! They are a program of their own, so that this one is built without the server.

use std::process::Command;

use crate::{Failure, Outcome};

/// Builds and runs the driver, which tells what it finds.
pub(crate) fn run(options: &[&str]) -> Outcome {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(["run", "--quiet", "--package", "rsty-fuzz", "--"]).args(options).status()?;
    match status.code() {
        Some(0) => Ok(()),
        Some(1) => Err(Failure::Findings("write a unit test of this input".to_owned())),
        _ => Err(Failure::Tool(format!("the driver ended with {status}"))),
    }
}
