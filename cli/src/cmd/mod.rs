//! One module a command: its arguments, and what it does with them.

pub(crate) mod init;
pub(crate) mod lint;
mod lint_releng;
pub(crate) mod reindex;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod test;
