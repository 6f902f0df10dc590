//! From the bytes of a spec file to blocks with values.
//!
//! [`load`] evaluates the prologue, chooses the blocks, and runs all filters, in the original's order.
//! What remains for later is what the original also does later: the block preprocessors run just
//! before a block's test ([`SpecFile::preprocess`]), and code values are called during it
//! ([`SpecFile::call`]). A file is loaded once for each lane that runs it, because its values depend
//! on the lane's port and server root.

mod defaults;
mod environment;
mod filter;
mod host;
mod native;
mod spec_file;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;

use rsty_diag::{Diagnostic, Severity, Source, Span};

use crate::model::{Block, Section, Value};
use crate::perl::{Interpreter, Stop};
use crate::syntax::{self, BlockNode, Document, SectionNode};

pub(crate) use defaults::INHERITED;
pub use environment::{Environment, Package, Shell, VersionText};
pub(crate) use filter::{normalized, trimmed};
pub(crate) use host::normal;
#[cfg(test)]
pub(crate) use native::prologue_functions;
pub use spec_file::{Assertion, SpecFile};

/// Evaluates a spec file in `environment`.
///
/// Fails with the diagnostics that make the file unusable: a malformed block, a prologue that dies or
/// uses a construct outside the subset. A failing `eval` filter is no failure; its value becomes
/// Perl's message, as in the original; one that is outside the subset is its block's problem. A file that promises nothing to run (`skip_all`) has no blocks.
///
/// Evaluation nests as the Perl does; give the calling thread a stack of at least 8 MiB.
pub fn load(source: &Source, environment: Environment) -> Result<SpecFile, Vec<Diagnostic>> {
    let document = syntax::parse(source);
    let selection = document.selection();
    let mut problems: Vec<Diagnostic> = document.problems.clone();
    for block in document.blocks.iter().take(selection.examined) {
        problems.extend(block.problems.iter().cloned());
    }
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(problems);
    }
    let limits = environment.limits;
    let world = host::World::new(environment.clone(), source.path());
    let mut interpreter = Interpreter::new(Box::new(world), limits);
    define_globals(&mut interpreter, &environment);
    interpreter.set_global("rsty::block_count", selection.blocks.len() as i64);

    let mut inherited = Vec::new();
    let runs = match document.prologue {
        Some(prologue) => run_prologue(&mut interpreter, &document, prologue)?,
        None => {
            let module = defaults::flavour_module(&document);
            let used = interpreter.use_module(module, None, &"main".into());
            used.map_err(|stop| vec![failure(&interpreter, stop, &document)])?;
            native::set_versions(&mut interpreter);
            interpreter.set_global("rsty::started", 1);
            inherited = defaults::apply(&document, &mut interpreter, &mut problems);
            if !problems.is_empty() {
                return Err(problems);
            }
            true
        }
    };
    ", <DATA> line 1".clone_into(&mut interpreter.read_note);
    let mut blocks = Vec::new();
    if runs {
        for &index in &selection.blocks {
            if let Some(node) = document.blocks.get(index) {
                let inherited =
                    inherited.iter().filter(|section| !document.has_section(node, document.section_name(section)));
                blocks.push(block(&document, node, index + 1, &inherited.copied().collect::<Vec<_>>()));
            }
        }
        let list = interpreter.array(&"rsty::blocks".into());
        *list.borrow_mut() = blocks.iter().cloned().map(Value::Block).collect();
        for block in &blocks {
            run_filters(&mut interpreter, source, block);
        }
    }
    interpreter.read_note.clear();
    Ok(SpecFile::new(document, selection.only, blocks, environment, RefCell::new(interpreter)))
}

/// Runs the prologue up to `run_tests`. `false` where it ended without: `skip_all`, or no tests at all.
fn run_prologue(interpreter: &mut Interpreter, document: &Document, prologue: Span) -> Result<bool, Vec<Diagnostic>> {
    let name = document.source.name();
    match interpreter.run_main(&name, document.slice(prologue), &document.source) {
        Ok(()) | Err(Stop::Exit(0)) => Ok(interpreter.global("rsty::started").is_true()),
        Err(stop) => Err(vec![failure(interpreter, stop, document)]),
    }
}

fn failure(interpreter: &Interpreter, stop: Stop, document: &Document) -> Diagnostic {
    match stop {
        Stop::Unsupported(diagnostic) => *diagnostic,
        Stop::Exit(_) if interpreter.global("rsty::bailed_out").is_defined() => {
            Diagnostic::error("bail_out", interpreter.global("rsty::bailed_out").to_text())
        }
        other => {
            let error = Interpreter::error(other);
            let diagnostic = Diagnostic::error("prologue_failed", error.to_string());
            let (source, span) = interpreter
                .main_place()
                .unwrap_or_else(|| (document.source.clone(), place_in(&error.message, document)));
            diagnostic.at(&source, span)
        }
    }
}

/// The line that a message names, `… at FILE line N…`, where FILE is the spec.
fn place_in(message: &[u8], document: &Document) -> Span {
    let text = String::from_utf8_lossy(message);
    let mark = format!(" at {} line ", document.source.name());
    let line = text
        .rsplit_once(&mark)
        .map_or(String::new(), |(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect());
    let line: usize = line.parse().unwrap_or(1);
    let start = document.source.line_start(line).unwrap_or(0);
    Span::new(start, start + document.source.line(line).map_or(0, <[u8]>::len))
}

/// Sets the package variables that the original sets when its modules are loaded.
fn define_globals(interpreter: &mut Interpreter, environment: &Environment) {
    use std::os::unix::ffi::OsStrExt as _;
    let path = |path: &std::path::Path| Value::str(path.as_os_str().as_bytes());
    let root = &environment.server_root;
    let hash = interpreter.hash(&"main::ENV".into());
    for (name, value) in &environment.variables {
        hash.borrow_mut().insert(name.as_bytes(), Value::str(value.clone()));
    }
    hash.borrow_mut().insert(b"TEST_NGINX_SERVER_ROOT", path(root));
    let variable = |name: &str| environment.variables.get(name).map_or(Value::Undef, |value| Value::str(value.clone()));
    let or = |name: &str, default: Value| Some(variable(name)).filter(Value::is_true).unwrap_or(default);
    let connections = if variable("TEST_NGINX_USE_HTTP3").is_true() { 1024 } else { 64 };
    for (name, value) in [
        ("AccLogFile", path(&root.join("logs/access.log"))),
        ("Benchmark", or("TEST_NGINX_BENCHMARK", Value::Int(0))),
        ("BenchmarkWarmup", or("TEST_NGINX_BENCHMARK_WARMUP", Value::Int(0))),
        ("BuildSlaveName", variable("TEST_NGINX_BUILDSLAVE")),
        ("CheckAccumErrLog", variable("TEST_NGINX_CHECK_ACCUM_ERR_LOG")),
        ("CheckLeak", or("TEST_NGINX_CHECK_LEAK", Value::Int(0))),
        ("ConfFile", path(&root.join("conf/nginx.conf"))),
        ("ConfigPreamble", Value::from("")),
        ("ErrLogFile", path(&root.join("logs/error.log"))),
        ("HtmlDir", path(&root.join("html"))),
        ("LogLevel", or("TEST_NGINX_LOG_LEVEL", "debug".into())),
        ("MasterProcessEnabled", or("TEST_NGINX_MASTER_PROCESS", Value::Undef)),
        ("NginxBinary", or("TEST_NGINX_BINARY", "nginx".into())),
        ("NginxVersion", Value::Undef),
        ("NoLongString", Value::Undef),
        ("NoNginxManager", or("TEST_NGINX_NO_NGINX_MANAGER", Value::Int(0))),
        ("NoRootLocation", Value::Int(0)),
        ("NoShuffle", or("TEST_NGINX_NO_SHUFFLE", Value::Int(0))),
        ("PcreVersion", Value::Undef),
        ("PidFile", path(&root.join("logs/nginx.pid"))),
        ("RandPorts", Value::Undef),
        ("RepeatEach", Value::Int(1)),
        ("ReusePort", variable("TEST_NGINX_REUSE_PORT")),
        ("ServRoot", path(root)),
        ("ServerAddr", "127.0.0.1".into()),
        ("ServerName", "localhost".into()),
        ("ServerPort", Value::Int(i64::from(environment.server_port))),
        ("ServerPortForClient", Value::Int(i64::from(environment.server_port_for_client))),
        ("TestNginxSleep", or("TEST_NGINX_SLEEP", "0.015".into())),
        ("Timeout", or("TEST_NGINX_TIMEOUT", Value::Int(3))),
        ("UseHttp2", variable("TEST_NGINX_USE_HTTP2")),
        ("UseHttp3", variable("TEST_NGINX_USE_HTTP3")),
        ("UseHup", variable("TEST_NGINX_USE_HUP")),
        ("UseRr", variable("TEST_NGINX_USE_RR")),
        ("UseStap", variable("TEST_NGINX_USE_STAP")),
        ("UseValgrind", variable("TEST_NGINX_USE_VALGRIND")),
        ("Verbose", variable("TEST_NGINX_VERBOSE")),
        ("WorkerConnections", Value::Int(connections)),
        ("Workers", Value::Int(1)),
    ] {
        interpreter.set_global(&format!("{}::{name}", native::UTIL), value);
    }
}

/// A block with raw values. Of sections that occur twice, the last one's text and filters count.
fn block(document: &Document, node: &BlockNode, number: usize, inherited: &[&SectionNode]) -> Block {
    let bytes = |span: Span| document.slice(span).to_vec();
    let name = bytes(node.name);
    let description = document.slice(node.description).trim_ascii_end();
    let description = if description.is_empty() { name.trim_ascii_end() } else { description }.to_vec();
    let line = document.source.location(node.span.start).line;
    let block = Block::new(name, description, node.span, line, number);
    for section in node.sections.iter().chain(inherited.iter().copied()) {
        let raw = Rc::new(bytes(section.value_span()));
        block.push_or_replace(Section {
            name: document.section_name(section).to_owned(),
            filters: section
                .filters
                .iter()
                .map(|span| String::from_utf8_lossy(document.slice(*span)).into_owned())
                .collect(),
            value: Value::Str(Rc::clone(&raw)),
            raw,
            span: Some(section.value_span()),
            header_span: Some(section.header),
        });
    }
    block
}

fn run_filters(interpreter: &mut Interpreter, source: &Source, block: &Block) {
    for section in block.sections() {
        // A section that stands twice is filtered twice, the second time from its own result.
        for _ in 0..block.occurrences(&section.name) {
            let current = block.section(&section.name).map(|section| section.value).unwrap_or_default();
            match filter::run(interpreter, block, &section.name, &section.filters, current) {
                Ok(value) => block.set_value(&section.name, value),
                Err(stop) => block.set_problem(filter::diagnostic(stop, source, &section)),
            }
        }
    }
}
