//! `log_format`, `access_log` and the handler of the log phase.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::escape::Escape;
use super::format::Format;
use super::target::{Buffered, Target};
use crate::conf::value::{self, Resolution};
use crate::conf::{Arity, Contexts, Directive, Rule, Word};
use crate::cycle::Subsystem;
use crate::http::code::Code;
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{Merge, Scope};
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::log::{Level, Syslog};

/// Settings of `http { }`: the formats, in the order of the file.
#[derive(Default)]
pub struct MainConf {
    formats: Vec<Rc<Format>>,
}

/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    logs: Option<Rc<Vec<Rc<Log>>>>,
}

struct Log {
    target: Target,
    format: Rc<Format>,
    condition: Option<ComplexValue>,
}

impl LocConf {
    /// Whether no `access_log` stood at this level.
    pub(crate) fn is_unset(&self) -> bool {
        self.logs.is_none()
    }
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        if self.logs.is_none() {
            self.logs.clone_from(&outer.logs);
        }
        Ok(())
    }
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule { name: "log_format", contexts: Contexts::HTTP, args: Arity::Words(2, Arity::MANY), apply: log_format },
    Rule {
        name: "access_log",
        contexts: Contexts::HTTP_SERVER_LOCATION_IF.or(Contexts::LIMIT_EXCEPT),
        args: Arity::Words(1, Arity::MANY),
        apply: access_log,
    },
    Rule {
        name: "open_log_file_cache",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Words(1, 4),
        // Files with variables in their paths are opened for each line.
        apply: |_, _| Ok(()),
    },
];

fn log_format(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let [name, texts @ ..] = &directive.args[..] else { return Ok(()) };
    if scope.main.access_log.formats.iter().any(|format| format.name == *name.text) {
        let message = format!("duplicate \"log_format\" name \"{}\"", name.lossy());
        return Err(directive.error_at(name, "duplicate_value", message));
    }
    let (escape, texts) = match texts.split_first() {
        Some((first, rest)) if first.text.starts_with(b"escape=") => {
            let escape = match &first.text[7..] {
                b"default" => Escape::Default,
                b"json" => Escape::Json,
                b"none" => Escape::None,
                other => {
                    let message = format!("unknown log format escaping \"{}\"", String::from_utf8_lossy(other));
                    return Err(directive.error_at(first, "invalid_parameter", message));
                }
            };
            (escape, rest)
        }
        _ => (Escape::Default, texts),
    };
    let text: Vec<u8> = texts.iter().flat_map(|word| word.text.iter().copied()).collect();
    let format = Format::compile(&mut scope.main.core.variables, &name.text, escape, &text)
        .map_err(|error| directive.error("invalid_variable", error.to_string()))?;
    scope.main.access_log.formats.push(Rc::new(format));
    Ok(())
}

/// The format with a name; `combined` is always there.
fn format(scope: &mut Scope<'_>, directive: &Directive, name: &[u8]) -> Result<Rc<Format>, Diagnostic> {
    let conf = &mut scope.main.access_log;
    if let Some(format) = conf.formats.iter().find(|format| format.name == *name) {
        return Ok(Rc::clone(format));
    }
    if name != b"combined" {
        let message = format!("unknown log format \"{}\"", String::from_utf8_lossy(name));
        return Err(directive.error("unknown_log_format", message));
    }
    let compiled = Format::compile(&mut scope.main.core.variables, name, Escape::Default, Format::COMBINED);
    let format = Rc::new(compiled.map_err(|error| directive.error("invalid_variable", error.to_string()))?);
    scope.main.access_log.formats.push(Rc::clone(&format));
    Ok(format)
}

fn access_log(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let [target, rest @ ..] = &directive.args[..] else { return Ok(()) };
    if target.is("off") {
        if let Some(word) = rest.first() {
            return Err(directive.error_at(
                word,
                "invalid_parameter",
                format!("invalid parameter \"{}\"", word.lossy()),
            ));
        }
        scope.loc.access_log.logs.get_or_insert_default();
        return Ok(());
    }
    if rest.is_empty() && scope.main.core.subsystem == Subsystem::Stream {
        return Err(directive.error("missing_log_format", "log format is not specified"));
    }
    let (format_name, parameters) = match rest {
        [first, parameters @ ..] if !first.text.contains(&b'=') && !first.is("gzip") => (&*first.text, parameters),
        _ => (&b"combined"[..], rest),
    };
    let format = format(scope, directive, format_name)?;
    let parameters = Parameters::parse(scope, directive, parameters)?;
    let log =
        Rc::new(Log { target: parameters.target(scope, directive, target)?, format, condition: parameters.condition });
    let logs = scope.loc.access_log.logs.get_or_insert_default();
    Rc::make_mut(logs).push(log);
    Ok(())
}

/// The log that nginx writes where no `access_log` says otherwise: `logs/access.log`, in the format `combined`. Without
/// that folder there is none, which is told.
pub(crate) fn default_log(scope: &mut Scope<'_>, loc: &mut LocConf, directive: &Directive) -> Result<(), Diagnostic> {
    let path = scope.cycle.full_path(b"logs/access.log");
    if !path.parent().is_some_and(std::path::Path::is_dir) {
        let message = format!("no access log is written: \"{}\" has no folder", path.display());
        scope.cycle.notice(Level::Notice, directive.error("access_log", message));
        return Ok(());
    }
    let format = format(scope, directive, b"combined")?;
    let target = Target::File(scope.cycle.files.file(path));
    loc.logs = Some(Rc::new(vec![Rc::new(Log { target, format, condition: None })]));
    Ok(())
}

#[derive(Default)]
struct Parameters {
    buffer: Option<usize>,
    flush: Option<std::time::Duration>,
    gzip: Option<u32>,
    condition: Option<ComplexValue>,
}

impl Parameters {
    fn parse(scope: &mut Scope<'_>, directive: &Directive, words: &[Word]) -> Result<Self, Diagnostic> {
        let mut parameters = Self::default();
        for word in words {
            let invalid = |what: &str| {
                let message = format!("invalid {what} \"{}\"", word.lossy());
                directive.error_at(word, "invalid_parameter", message)
            };
            let (name, text) = match memchr::memchr(b'=', &word.text) {
                Some(at) => word.text.split_at(at + 1),
                None => (&*word.text, &b""[..]),
            };
            match name {
                b"buffer=" => {
                    let size = value::size(text).filter(|&size| size > 0);
                    parameters.buffer = Some(size.ok_or_else(|| invalid("buffer size"))?);
                }
                b"flush=" => {
                    let time = value::time(text, Resolution::Milliseconds).filter(|time| !time.is_zero());
                    parameters.flush = Some(time.ok_or_else(|| invalid("flush time"))?);
                }
                b"gzip" | b"gzip=" => {
                    let level = if name == b"gzip" { Some(1) } else { value::number(text) };
                    let level =
                        level.and_then(|level| u32::try_from(level).ok()).filter(|level| (1..=9).contains(level));
                    parameters.gzip = Some(level.ok_or_else(|| invalid("compression level"))?);
                }
                b"if=" => {
                    let compiled = ComplexValue::compile(&mut scope.main.core.variables, text);
                    parameters.condition = Some(
                        compiled.map_err(|error| directive.error_at(word, "invalid_variable", error.to_string()))?,
                    );
                }
                _ => return Err(invalid("parameter")),
            }
        }
        if parameters.flush.is_some() && parameters.buffer.is_none() && parameters.gzip.is_none() {
            let name = directive.arg(0).map(Word::lossy).unwrap_or_default();
            let message = format!("no buffer is defined for access_log \"{name}\"");
            return Err(directive.error("missing_buffer", message));
        }
        Ok(parameters)
    }

    fn target(&self, scope: &mut Scope<'_>, directive: &Directive, word: &Word) -> Result<Target, Diagnostic> {
        if word.text.starts_with(b"syslog:") {
            let parsed = Syslog::parse(&word.lossy());
            let syslog = parsed.map_err(|message| directive.error_at(word, "invalid_value", message))?;
            return Ok(Target::Syslog(Arc::new(syslog)));
        }
        let path = ComplexValue::of_word(scope, directive, word)?;
        if path.constant().is_none() {
            if self.buffer.is_some() || self.gzip.is_some() {
                let message = "buffered logs cannot have variables in name";
                return Err(directive.error_at(word, "invalid_parameter", message));
            }
            return Ok(Target::Path(path));
        }
        let full = scope.cycle.full_path(&word.text);
        let file = scope.cycle.files.file(full);
        Ok(match self.buffer.or(self.gzip.map(|_| 64 * 1024)) {
            None => Target::File(file),
            Some(size) => Target::Buffered(Buffered::new(file, size, self.flush, self.gzip)),
        })
    }
}

thread_local! {
    /// The memory of lines.
    static LINE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Writes the lines of a request.
pub(crate) struct LogHandler;

impl Handler for LogHandler {
    fn handle(&self, r: &Rc<Request>) -> Outcome {
        let Some(logs) = &r.loc().access_log.logs else { return Code::OK.into() };
        for log in logs.iter() {
            if let Some(condition) = &log.condition {
                let value: Bytes = condition.eval(r);
                if value.is_empty() || value == "0" {
                    continue;
                }
            }
            let mut line = LINE.take();
            log.format.append(r, &mut line);
            line.push(b'\n');
            log.target.write(r, &line);
            line.clear();
            LINE.set(line);
        }
        Code::OK.into()
    }
}
