//! `gen`: files that are made from what the server itself says.
//!
//! The linter knows the libraries of a running server with their fields (`tables`), and which functions each phase
//! refuses, found by calling them there (`phases`); both of HTTP and of stream.

use std::fs;
use std::path::Path;

use crate::{Failure, Outcome};

mod phases;
mod tables;

/// Binaries to ask; the one that was built last is taken.
const SERVERS: [&str; 2] = ["release/rsty", "debug/rsty"];

/// The two flavours of the API.
const SUBSYSTEMS: [&str; 2] = ["http", "stream"];

/// Makes a file's text by asking the server.
type Make = fn(&Path) -> Result<String, Failure>;

/// The generated files.
const FILES: [(&str, Make); 2] =
    [("tools/lint/src/standard/api.tsv", tables::ask), ("tools/lint/src/standard/phases.tsv", phases::ask)];

/// Writes the generated files, or with `check` only compares them.
pub(crate) fn write(check: bool) -> Outcome {
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), std::path::PathBuf::from);
    let built = |path: &str| {
        let path = folder.join(path);
        Some((fs::metadata(&path).ok()?.modified().ok()?, path))
    };
    let Some((_, server)) = SERVERS.into_iter().filter_map(built).max() else {
        return Err(Failure::Tool("there is no binary to ask; run `cargo build` first".to_owned()));
    };
    let server = fs::canonicalize(server)?;
    let mut stale = Vec::new();
    for (path, make) in FILES {
        let text = make(&server)?;
        if !check {
            fs::write(path, text)?;
            println!("gen: {path}");
        } else if fs::read_to_string(path)? == text {
            println!("gen: {path} is what the server has");
        } else {
            stale.push(format!("{path} is not what the server has; run `cargo xtask gen`"));
        }
    }
    if stale.is_empty() { Ok(()) } else { Err(Failure::Findings(stale.join("\n"))) }
}
