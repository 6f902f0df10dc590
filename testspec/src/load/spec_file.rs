//! A loaded file, and the Perl in it that is still to be called.

use std::cell::RefCell;
use std::collections::BTreeMap;

use rsty_diag::{Diagnostic, Severity, Source};

use crate::model::{Block, Code, Flavour, Plan, Regex, Settings, Value};
use crate::perl::{Interpreter, Outcome, Output, PerlError, Stop, Want};
use crate::report::coverage::VARIABLE as COVERAGE;
use crate::syntax::Document;

use super::environment::{Environment, Package};
use super::native::UTIL;

/// A loaded file: its chosen blocks with filtered values, and the Perl that is still to be called.
#[derive(Debug)]
pub struct SpecFile {
    document: Document,
    only: bool,
    blocks: Vec<Block>,
    environment: Environment,
    interpreter: RefCell<Interpreter>,
    whole: RefCell<Option<Whole>>,
}

/// What came out of a file that ran all its blocks by itself.
#[derive(Debug)]
struct Whole {
    /// As [`SpecFile::take_assertions`] finds them.
    assertions: Vec<Value>,
    result: Result<(), PerlError>,
}

/// An assertion that Perl code made itself, by `ok`, `is` and their kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// Whether it holds.
    pub passed: bool,
    /// Its name.
    pub name: Vec<u8>,
    /// What to say about it; `skip` for one that was skipped.
    pub diagnostics: Vec<u8>,
}

/// The most repetitions of a block: more is a mistake, or meant to fill the machine.
const REPEATS_MAX: u32 = 10_000;

impl SpecFile {
    pub(super) fn new(
        document: Document,
        only: bool,
        blocks: Vec<Block>,
        environment: Environment,
        interpreter: RefCell<Interpreter>,
    ) -> Self {
        Self { document, only, blocks, environment, interpreter, whole: RefCell::new(None) }
    }

    /// The file.
    pub fn source(&self) -> &Source {
        &self.document.source
    }

    /// The file's syntax tree, with every block, dropped ones included.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The world the file was loaded in.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The chosen blocks (after `ONLY`, `SKIP`, `LAST`) in the file's order. Empty where the plan says
    /// `skip_all`, or where the prologue never runs its tests.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Whether a block was chosen because of `ONLY`; the original says so.
    pub fn has_only(&self) -> bool {
        self.only
    }

    /// What the prologue decided about the run. Callbacks may change it, so ask when it is needed.
    pub fn settings(&self) -> Settings {
        let mut interpreter = self.interpreter.borrow_mut();
        let environment_list = interpreter.array(&format!("{UTIL}::EnvToNginx").into());
        let env_to_nginx = environment_list.borrow().iter().map(|value| value.to_bytes().to_vec()).collect();
        let no_diff =
            interpreter.hash(&"main::ENV".into()).borrow().get(b"TEST_SHOW_NO_DIFFS").is_some_and(Value::is_true);
        let get = |name: &str| interpreter.global(&format!("{UTIL}::{name}"));
        let bytes = |name: &str| get(name).to_bytes().to_vec();
        let port = |name: &str, default: u16| u16::try_from(get(name).to_int()).unwrap_or(default);
        let is_true = |name: &str| get(name).is_true();
        Settings {
            flavour: match interpreter.global("rsty::flavour").to_text().as_str() {
                "Socket" => Flavour::Socket,
                "Stream" => Flavour::Stream,
                "Dgram" => Flavour::Dgram,
                "LWP" => Flavour::Lwp,
                "Plain" => Flavour::Plain,
                _ => Flavour::Lua,
            },
            repeat_each: u32::try_from(get("RepeatEach").to_int().min(REPEATS_MAX.into())).unwrap_or(1),
            workers: bytes("Workers"),
            worker_connections: bytes("WorkerConnections"),
            master_process: match get("MasterProcessEnabled") {
                Value::Undef => None,
                value => Some(*value.to_bytes() == b"on"),
            },
            log_level: bytes("LogLevel"),
            shuffle: !is_true("NoShuffle"),
            root_location: !is_true("NoRootLocation"),
            server_name: bytes("ServerName"),
            server_addr: bytes("ServerAddr"),
            server_port: port("ServerPort", self.environment.server_port),
            server_port_for_client: port("ServerPortForClient", self.environment.server_port_for_client),
            working_directory: interpreter.host.working_directory().to_path_buf(),
            server_root: bytes("ServRoot"),
            timeout: get("Timeout").to_number(),
            config_preamble: bytes("ConfigPreamble"),
            env_to_nginx,
            check_accum_error_log: is_true("CheckAccumErrLog"),
            use_hup: is_true("UseHup"),
            nginx_manager: !is_true("NoNginxManager"),
            no_long_string: is_true("NoLongString"),
            no_diff,
        }
    }

    /// The promised number of assertions.
    pub fn plan(&self) -> Plan {
        let plan = self.interpreter.borrow_mut().array(&"rsty::plan".into());
        let plan = plan.borrow();
        let value = plan.get(1).cloned().unwrap_or_default();
        match plan.first().map(Value::to_text).as_deref() {
            Some("tests") => Plan::Tests(value.to_int()),
            Some("skip_all") => Plan::SkipAll(value.to_bytes().to_vec()),
            _ => Plan::NoPlan,
        }
    }

    /// `%ENV` as it is now: the server's environment, and what `$TEST_NGINX_…` expands to.
    pub fn variables(&self) -> BTreeMap<String, Vec<u8>> {
        let environment = self.interpreter.borrow_mut().hash(&"main::ENV".into());
        let environment = environment.borrow();
        let defined = environment.iter().filter(|(_, value)| value.is_defined());
        defined.map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.to_bytes().to_vec())).collect()
    }

    /// What the file's Perl wrote to its standard error since the last call (`warn`, `diag`, `print STDERR`).
    pub fn take_warnings(&self) -> Vec<Diagnostic> {
        let output = std::mem::take(&mut self.interpreter.borrow_mut().output);
        let errors = output.into_iter().filter_map(|output| match output {
            Output::Err(text) => Some(text),
            Output::Out(_) => None,
        });
        let text = |text: Vec<u8>| String::from_utf8_lossy(&text).trim_end().to_owned();
        errors.map(|message| Diagnostic::new("perl_warning", Severity::Warning, text(message))).collect()
    }

    /// Runs the block preprocessors, last registered first. Once per block; a second call does nothing.
    pub fn preprocess(&self, block: &Block) -> Result<(), PerlError> {
        if block.is_preprocessed() {
            return Ok(());
        }
        block.mark_preprocessed();
        if let Some(problem) = block.problem() {
            return Err(PerlError { message: format!("{problem}\n").into_bytes() });
        }
        for code in self.codes(&format!("{UTIL}::BlockPreprocessors")) {
            self.run(|interpreter| interpreter.call(&code, vec![Value::Block(block.clone())], Want::Void))?;
        }
        Ok(())
    }

    /// Calls a code value in list context.
    pub fn call(&self, code: &Code, arguments: Vec<Value>) -> Result<Vec<Value>, PerlError> {
        self.run(|interpreter| interpreter.call(code, arguments, Want::List))
    }

    /// Evaluates Perl text of a section (`init`, `skip_eval`, `request_eval`, …); the value is that of
    /// the last statement.
    pub fn eval(&self, package: Package, text: &[u8]) -> Result<Value, PerlError> {
        let result = self.run(|interpreter| interpreter.eval_apart(text, package.name(), Want::Scalar))?;
        match result {
            Ok(mut values) => Ok(values.pop().unwrap_or_default()),
            Err(message) => Err(PerlError { message }),
        }
    }

    /// Runs a block of a file whose own Perl does all the work ([`Flavour::Plain`]).
    ///
    /// A file that walks over its blocks does so again for this one alone. One that keeps the list of its blocks runs
    /// once, to its end; of its assertions a block has those that name it.
    pub fn run_plain(&self, block: &Block) -> Result<(), PerlError> {
        if self.whole.borrow().is_some() || self.interpreter.borrow().stands_at_assignment() {
            return self.run_whole(block);
        }
        self.run(|interpreter| {
            *interpreter.array(&"rsty::blocks".into()).borrow_mut() = vec![Value::Block(block.clone())];
            interpreter.run_again()
        })
    }

    fn run_whole(&self, block: &Block) -> Result<(), PerlError> {
        let mut whole = self.whole.borrow_mut();
        let whole = whole.get_or_insert_with(|| {
            let result = self.run(|interpreter| {
                let blocks = self.blocks.iter().cloned().map(Value::Block).collect();
                *interpreter.array(&"rsty::blocks".into()).borrow_mut() = blocks;
                interpreter.run_to_end()
            });
            let made = self.interpreter.borrow_mut().array(&"rsty::assertions".into());
            Whole { assertions: std::mem::take(&mut *made.borrow_mut()), result }
        });
        let own = whole.assertions.iter().filter(|made| self.named(made) == Some(block.number()));
        let made = self.interpreter.borrow_mut().array(&"rsty::assertions".into());
        made.borrow_mut().extend(own.cloned());
        whole.result.clone()
    }

    /// The block that an assertion names, or the first one.
    fn named(&self, made: &Value) -> Option<usize> {
        let Value::Array(parts) = made else { return None };
        let name = parts.borrow().get(1).map(Value::to_bytes).unwrap_or_default();
        let is_named = |block: &&Block| memchr::memmem::find(&name, &block.name()).is_some();
        let named = self.blocks.iter().filter(is_named).max_by_key(|block| block.name().len());
        named.or(self.blocks.first()).map(Block::number)
    }

    /// The callbacks of `add_response_body_check`, in order. Their arguments are the block, the body,
    /// the number of the request, the number of the repetition, and whether it is a dry run.
    pub fn response_body_checks(&self) -> Vec<Code> {
        self.codes("Test::Nginx::Socket::ResponseBodyChecks")
    }

    /// The callbacks of `add_test_cleanup_handler`, last registered first; their argument is the block.
    pub fn test_cleanup_handlers(&self) -> Vec<Code> {
        self.codes(&format!("{UTIL}::TestCleanupHandlers"))
    }

    /// Assertions that Perl code made itself since the last call.
    pub fn take_assertions(&self) -> Vec<Assertion> {
        let list = self.interpreter.borrow_mut().array(&"rsty::assertions".into());
        let entries = std::mem::take(&mut *list.borrow_mut());
        let assertion = |entry: &Value| {
            let Value::Array(parts) = entry else {
                return None;
            };
            let parts = parts.borrow();
            let bytes = |at: usize| parts.get(at).map_or_else(Vec::new, |value| value.to_bytes().to_vec());
            Some(Assertion { passed: parts.first().is_some_and(Value::is_true), name: bytes(1), diagnostics: bytes(2) })
        };
        entries.iter().filter_map(assertion).collect()
    }

    /// Ends the file: the callbacks of `add_cleanup_handler`, last registered first, then what stands
    /// behind `run_tests` in the prologue, then `END` blocks. Temporary request files are removed.
    pub fn finish(&self) -> Result<(), PerlError> {
        let mut result = Ok(());
        for code in self.codes(&format!("{UTIL}::CleanupHandlers")) {
            result = result.and(self.run(|interpreter| interpreter.call(&code, Vec::new(), Want::Void)).map(|_| ()));
        }
        self.interpreter.borrow_mut().end_repetition();
        result = result.and(self.run(|interpreter| match interpreter.resume() {
            Err(Stop::Exit(_)) => Ok(()),
            other => other,
        }));
        result = result.and(self.run(Interpreter::run_end_blocks));
        let mut interpreter = self.interpreter.borrow_mut();
        let files = interpreter.array(&"rsty::temporary_files".into());
        for file in std::mem::take(&mut *files.borrow_mut()) {
            let path = interpreter.path(&file.to_bytes());
            // The directory goes with its last file; both may be gone already.
            let _ = std::fs::remove_file(&path);
            if let Some(directory) = path.parent() {
                let _ = std::fs::remove_dir(directory);
            }
        }
        result
    }

    /// `TEST_NGINX_INIT_BY_LUA`: puts its code in front of the `init_by_lua` of an http configuration. So is done with
    /// the code that notes what runs. A filter that the file sets itself (`set_http_config_filter`) takes the former's
    /// place.
    pub fn filter_http_config(&self, config: Vec<u8>) -> Result<Vec<u8>, PerlError> {
        let config = match self.environment.variables.get(COVERAGE) {
            Some(code) => with_init_by_lua(config, code),
            None => config,
        };
        let filter = self.interpreter.borrow_mut().global(&format!("{UTIL}::FilterHttpConfig"));
        if let Value::Code(filter) = filter {
            let filtered = self.call(&filter, vec![Value::str(config)])?;
            return Ok(filtered.last().map(|value| value.to_bytes().to_vec()).unwrap_or_default());
        }
        let is_lua = !matches!(self.settings().flavour, Flavour::Socket | Flavour::Lwp | Flavour::Plain);
        let code = self.environment.variables.get("TEST_NGINX_INIT_BY_LUA").filter(|code| !code.is_empty() && is_lua);
        Ok(match code {
            Some(code) => with_init_by_lua(config, code),
            None => config,
        })
    }

    fn codes(&self, list: &str) -> Vec<Code> {
        let array = self.interpreter.borrow_mut().array(&list.into());
        let array = array.borrow();
        array.iter().filter_map(|value| if let Value::Code(code) = value { Some(code.clone()) } else { None }).collect()
    }

    fn run<T>(&self, run: impl FnOnce(&mut Interpreter) -> Outcome<T>) -> Result<T, PerlError> {
        run(&mut self.interpreter.borrow_mut()).map_err(Interpreter::error)
    }
}

fn with_init_by_lua(config: Vec<u8>, code: &[u8]) -> Vec<u8> {
    if memchr::memmem::find(&config, b"init_by_lua_file").is_some() {
        return config;
    }
    let mut escaped = Vec::with_capacity(code.len());
    for &byte in code {
        if matches!(byte, b'\\' | b'\'' | b'"') {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    let uncommented = r"(?<!\#  )(?<!\# )(?<!\#)";
    let quoted = Regex::new(format!(r#"{uncommented}init_by_lua\s*(['"])((?:\\.|.)*)\1\s*;"#), "s");
    if let Ok(Some(groups)) = quoted.captures_at(&config, 0)
        && let Some(Some((start, _))) = groups.get(2)
    {
        return insert(config, *start, &escaped);
    }
    let block = Regex::new(format!(r"{uncommented}init_by_lua_block\s*\{{"), "s");
    if let Ok(Some((_, end))) = block.find_at(&config, 0) {
        return insert(config, end, &[b" ", code, b" "].concat());
    }
    [config.as_slice(), b"init_by_lua '", &escaped, b"';"].concat()
}

fn insert(mut text: Vec<u8>, at: usize, what: &[u8]) -> Vec<u8> {
    let at = at.min(text.len());
    text.splice(at..at, what.iter().copied());
    text
}
