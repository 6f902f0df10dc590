//! What the runner asks of a spec file's Perl while a block runs.

use std::collections::BTreeMap;

use crate::load::Package;
use crate::model::{Block, Code, Plan, Settings, Value};
use crate::run::check::Assertion;

/// Makes the pieces of a reply from a query.
pub type ReplyMaker = Box<dyn FnOnce(&[u8]) -> Vec<Vec<u8>> + Send>;

/// Calls into the Perl of a loaded spec file. Errors are Perl's messages.
pub trait PerlSide {
    /// Calls a subroutine in list context.
    fn call(&self, code: &Code, arguments: Vec<Value>) -> Result<Vec<Value>, String>;
    /// Evaluates text of a section, compiled in the package whose code evaluates it in the original.
    fn eval(&self, package: Package, text: &[u8]) -> Result<Value, String>;
    /// The callbacks of `add_response_body_check`.
    fn response_body_checks(&self) -> Vec<Code>;
    /// Assertions that callbacks have made since the last call.
    fn take_assertions(&self) -> Vec<Assertion>;
}

/// A loaded spec file, as far as the runner needs it.
pub trait Spec: PerlSide {
    /// The chosen blocks, in the file's order.
    fn blocks(&self) -> &[Block];
    /// What the prologue decided about the run.
    fn settings(&self) -> Settings;
    /// The promised number of assertions.
    fn plan(&self) -> Plan;
    /// The environment as the prologue left it.
    fn variables(&self) -> BTreeMap<String, Vec<u8>>;
    /// Runs the preprocessors on a block, once.
    fn preprocess(&self, block: &Block) -> Result<(), String>;
    /// Runs a block of a file whose own Perl does all the work.
    fn run_plain(&self, block: &Block) -> Result<(), String>;
    /// Runs the handlers that want to know when a block is done.
    fn test_cleanup(&self, block: &Block) -> Result<(), String>;
    /// Runs the handlers that want to know when the file is done.
    fn cleanup(&self) -> Result<(), String>;
    /// A function that makes a mock server's reply by calling the code in a section, in another thread.
    fn reply_maker(&self, block: &Block, section: &str) -> Option<ReplyMaker>;
    /// The `http_config` with what the file's flavour adds to it, or a filter of its own changes.
    fn filter_http_config(&self, config: Vec<u8>) -> Result<Vec<u8>, String>;
}
