//! From the bytes of a spec file to blocks with values.
//!
//! [`load`] evaluates the prologue, chooses the blocks, and runs all filters, in the original's order.
//! What remains for later is what the original also does later: the block preprocessors run just
//! before a block's test ([`SpecFile::preprocess`]), and code values are called during it
//! ([`SpecFile::call`]). A file is loaded once for each lane that runs it, because its values depend
//! on the lane's port and server root.
//!
//! # Interface to come
//!
//! ```text
//! /// Whether a block with `ONLY` was chosen; the original says so.
//! pub fn has_only(&self) -> bool;
//! /// What the prologue decided about the run.
//! pub fn settings(&self) -> Settings;
//! /// The promised number of assertions.
//! pub fn plan(&self) -> Plan;
//! /// `%ENV` as the prologue left it: the environment of the server and of env expansion.
//! pub fn variables(&self) -> BTreeMap<String, Vec<u8>>;
//! /// Findings that do not stop the file: unknown sections, Perl warnings (`warn`), diag().
//! pub fn warnings(&self) -> Vec<Diagnostic>;
//! /// Runs the block preprocessors, last registered first. Once per block; a second call does nothing.
//! pub fn preprocess(&self, block: &Block) -> Result<(), PerlError>;
//! /// Calls a code value in list context.
//! pub fn call(&self, code: &Code, arguments: Vec<Value>) -> Result<Vec<Value>, PerlError>;
//! /// Evaluates Perl text as the sections `init`, `skip_eval`, `request_eval`, … want it (package Test::Nginx::Util / Socket); scalar result.
//! pub fn eval(&self, text: &[u8]) -> Result<Value, PerlError>;
//! /// The callbacks of add_response_body_check, in order (args: block, body, req_idx, repeat_idx, dry_run).
//! pub fn response_body_checks(&self) -> Vec<Code>;
//! /// TAP lines recorded by ok()/is()/… called from such callbacks since the last call.
//! pub fn take_assertions(&self) -> Vec<Assertion { passed, name, diagnostics, skip: Option<..> }>;
//! /// The callbacks of add_test_cleanup_handler (args: block), last registered first.
//! pub fn test_cleanup_handlers(&self) -> Vec<Code>;
//! /// The callbacks of add_cleanup_handler (no args), last registered first; then END blocks.
//! pub fn run_cleanup(&self) -> Result<(), PerlError>;
//! /// TEST_NGINX_INIT_BY_LUA's filter for http_config (identity unless set).
//! pub fn filter_http_config(&self, config: Vec<u8>) -> Vec<u8>;
//! ```

mod environment;

use rsty_diag::{Diagnostic, Source};

use crate::model::Block;
use crate::syntax::Document;

pub use environment::{Environment, Shell, VersionText};

/// A loaded file: its chosen blocks with filtered values, and the Perl that is still to be called.
#[derive(Debug)]
pub struct SpecFile {
    source: Source,
    document: Document,
    blocks: Vec<Block>,
    environment: Environment,
}

/// Evaluates a spec file in `environment`.
///
/// Fails with the diagnostics that make the file unusable: a malformed block, a prologue that dies or
/// uses a construct outside the subset. A failing `eval` filter is no failure; its value becomes
/// Perl's message, as in the original.
pub fn load(source: &Source, environment: Environment) -> Result<SpecFile, Vec<Diagnostic>> {
    let _ = (source, environment);
    Err(vec![Diagnostic::error("perl_unsupported", "specs can't be evaluated yet")])
}

impl SpecFile {
    /// The file.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The file's syntax tree, with every block, dropped ones included.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The world the file was loaded in.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The chosen blocks (after `ONLY`, `SKIP`, `LAST`) in the file's order.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }
}
