//! One module a command: its arguments, and what it does with them.

pub(crate) mod config;
pub(crate) mod explain;
pub(crate) mod init;
pub(crate) mod lint;
mod lint_releng;
pub(crate) mod lsp;
pub(crate) mod reindex;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod shell;
pub(crate) mod test;
