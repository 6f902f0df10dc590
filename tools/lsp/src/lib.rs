//! The language server behind `rsty lsp`.
//!
//! It speaks the Language Server Protocol on stdin and stdout: findings of `rsty lint` while typing, quick fixes,
//! formatting of spec files as `rsty reindex` does it, hover texts for sections and the `ngx` API, and definitions
//! of locals and required modules. [`server`] answers messages, [`documents`] holds the open files and turns places of
//! the protocol into offsets. Nothing of what is read is ever executed.

#![forbid(unsafe_code)]

mod definition;
pub mod documents;
mod findings;
mod hover;
mod sections;
pub mod server;

pub use server::{Failure, run};

/// Talks to the editor on stdin and stdout until it says goodbye. The error is a text for the user.
pub fn serve_stdio() -> Result<(), String> {
    let (connection, threads) = lsp_server::Connection::stdio();
    let ended = run(&connection).map_err(|error| format!("the editor broke off: {error}"));
    // The writer ends when nobody can send any more.
    drop(connection);
    threads.join().map_err(|error| format!("stdin or stdout failed: {error}"))?;
    ended
}
