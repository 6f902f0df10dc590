//! The loaded spec file as the runner's [`Spec`].

use std::collections::BTreeMap;
use std::sync::Arc;

use rsty_diag::Source;

use crate::load::{Environment, Package, SpecFile, VersionText, load};
use crate::model::{Block, Code, Plan, Settings, Value};
use crate::run::check::{Assertion, Detail, Verdict};
use crate::run::lane::Loader;
use crate::run::perl_side::{PerlSide, ReplyMaker, Spec};

/// Loads spec files with this crate's own evaluator.
pub fn loader() -> Loader {
    Arc::new(|source, environment| Ok(Box::new(load(source, environment)?)))
}

impl PerlSide for SpecFile {
    fn call(&self, code: &Code, arguments: Vec<Value>) -> Result<Vec<Value>, String> {
        self.call(code, arguments).map_err(|error| error.to_string())
    }

    fn eval(&self, package: Package, text: &[u8]) -> Result<Value, String> {
        self.eval(package, text).map_err(|error| error.to_string())
    }

    fn response_body_checks(&self) -> Vec<Code> {
        self.response_body_checks()
    }

    fn take_assertions(&self) -> Vec<Assertion> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let assertion = |made: crate::load::Assertion| {
            let verdict = match (made.passed, made.diagnostics.as_slice()) {
                (true, b"skip") => Verdict::Skipped,
                (true, _) => Verdict::Passed,
                (false, _) => Verdict::Failed,
            };
            let detail = (verdict == Verdict::Failed).then(|| Detail::Note(text(made.diagnostics)));
            Assertion { verdict, name: text(made.name), section: None, line: None, detail }
        };
        self.take_assertions().into_iter().map(assertion).collect()
    }
}

impl Spec for SpecFile {
    fn blocks(&self) -> &[Block] {
        self.blocks()
    }

    fn settings(&self) -> Settings {
        self.settings()
    }

    fn plan(&self) -> Plan {
        self.plan()
    }

    fn variables(&self) -> BTreeMap<String, Vec<u8>> {
        self.variables()
    }

    fn preprocess(&self, block: &Block) -> Result<(), String> {
        self.preprocess(block).map_err(|error| error.to_string())
    }

    fn run_plain(&self, block: &Block) -> Result<(), String> {
        self.run_plain(block).map_err(|error| error.to_string())
    }

    fn test_cleanup(&self, block: &Block) -> Result<(), String> {
        for code in self.test_cleanup_handlers() {
            self.call(&code, vec![Value::Block(block.clone())]).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn cleanup(&self) -> Result<(), String> {
        self.finish().map_err(|error| error.to_string())
    }

    fn reply_maker(&self, block: &Block, section: &str) -> Option<ReplyMaker> {
        let copy = Copy::of(self, block, section);
        Some(Box::new(move |query| copy.reply(query).unwrap_or_default()))
    }

    fn filter_http_config(&self, config: Vec<u8>) -> Result<Vec<u8>, String> {
        self.filter_http_config(config).map_err(|error| error.to_string())
    }
}

/// What another thread needs to load the file again and call the code in one of its sections. Perl values belong
/// to one thread; in the original, a mock server is a forked process and has its own copy too.
struct Copy {
    source: Source,
    environment: EnvironmentParts,
    number: usize,
    section: String,
}

/// The parts of an [`Environment`] that may move to another thread.
struct EnvironmentParts {
    variables: BTreeMap<String, Vec<u8>>,
    ports: (u16, u16),
    server_root: std::path::PathBuf,
    working_directory: std::path::PathBuf,
    library_paths: Vec<std::path::PathBuf>,
    version: Vec<u8>,
    shell: crate::load::Shell,
    limits: crate::perl::Limits,
}

impl Copy {
    fn of(spec: &SpecFile, block: &Block, section: &str) -> Self {
        let environment = spec.environment();
        Self {
            source: spec.source().clone(),
            environment: EnvironmentParts {
                variables: environment.variables.clone(),
                ports: (environment.server_port, environment.server_port_for_client),
                server_root: environment.server_root.clone(),
                working_directory: environment.working_directory.clone(),
                library_paths: environment.library_paths.clone(),
                version: environment.nginx_version.text().to_vec(),
                shell: environment.shell,
                limits: environment.limits,
            },
            number: block.number(),
            section: section.to_owned(),
        }
    }

    /// The pieces of the reply to `query`; none where the code fails.
    fn reply(self, query: &[u8]) -> Option<Vec<Vec<u8>>> {
        let parts = self.environment;
        let mut environment = Environment::new(parts.working_directory);
        environment.variables = parts.variables;
        (environment.server_port, environment.server_port_for_client) = parts.ports;
        environment.server_root = parts.server_root;
        environment.library_paths = parts.library_paths;
        environment.nginx_version = VersionText::new(move || parts.version.clone());
        environment.shell = parts.shell;
        environment.limits = parts.limits;
        let spec = load(&self.source, environment).ok()?;
        let block = spec.blocks().iter().find(|block| block.number() == self.number)?;
        spec.preprocess(block).ok()?;
        let Some(Value::Code(code)) = block.value(&self.section) else { return None };
        let reply = spec.call(&code, vec![Value::str(query.to_vec())]).ok()?;
        Some(match reply.into_iter().last()? {
            Value::Array(items) => items.borrow().iter().map(|item| item.to_bytes().to_vec()).collect(),
            other => vec![other.to_bytes().to_vec()],
        })
    }
}
