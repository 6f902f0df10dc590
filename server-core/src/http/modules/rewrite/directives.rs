//! The directives `set`, `rewrite`, `return`, `break`, `if`, `rewrite_log` and `uninitialized_variable_warn`.

use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::condition::{self, Condition};
use super::program::{After, Argument, Function, Op, Rewrite, Test, run};
use crate::conf::value::set_flag;
use crate::conf::{Arity, Contexts, Directive, Rule, Word};
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{self, Merge, Scope};
use crate::http::location::LocRef;
use crate::http::phases::{Handler, Outcome};
use crate::http::regex::{Case, Regex};
use crate::http::request::Request;
use crate::http::variables::{Flags, Source, VarIndex};
use crate::log::Level;

/// Settings of `http { }`.
pub type MainConf = ();

/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location; those of the server level are the program of the server.
#[derive(Default)]
pub struct LocConf {
    /// The program.
    pub(crate) ops: Vec<Op>,
    log: Option<bool>,
    warn: Option<bool>,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        // Programs are not inherited: the server's runs in its own phase.
        self.log = self.log.or(outer.log);
        self.warn = self.warn.or(outer.warn);
        Ok(())
    }
}

/// Where programs may be written.
pub(crate) const PROGRAM: Contexts =
    Contexts::SERVER.or(Contexts::LOCATION).or(Contexts::IF_IN_SERVER).or(Contexts::IF_IN_LOCATION);

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule { name: "rewrite", contexts: PROGRAM, args: Arity::Words(2, 3), apply: rewrite },
    Rule { name: "return", contexts: PROGRAM, args: Arity::Words(1, 2), apply: return_ },
    Rule { name: "break", contexts: PROGRAM, args: Arity::Words(0, 0), apply: break_ },
    Rule {
        name: "if",
        contexts: Contexts::SERVER.or(Contexts::LOCATION),
        args: Arity::Block(1, Arity::MANY),
        apply: if_,
    },
    Rule { name: "set", contexts: PROGRAM, args: Arity::Words(2, 2), apply: set },
    Rule {
        name: "rewrite_log",
        contexts: PROGRAM.or(Contexts::HTTP),
        args: Arity::Flag,
        apply: |scope, directive| set_flag(&mut scope.loc.rewrite.log, directive),
    },
    Rule {
        name: "uninitialized_variable_warn",
        contexts: PROGRAM.or(Contexts::HTTP),
        args: Arity::Flag,
        apply: |scope, directive| set_flag(&mut scope.loc.rewrite.warn, directive),
    },
];

/// Runs the program of the server or of the location.
pub(crate) struct RewriteHandler;

impl Handler for RewriteHandler {
    fn applies(&self, loc: &conf::LocConf) -> bool {
        !loc.rewrite.ops.is_empty()
    }

    fn handle(&self, r: &Rc<Request>) -> Outcome {
        let conf = &r.loc().rewrite;
        run(r, &conf.ops, conf.log.unwrap_or(false)).into()
    }
}

/// Makes a name assignable and gives it a slot, as `set` does. The word must begin with `$`.
pub(crate) fn target(scope: &mut Scope<'_>, directive: &Directive, word: &Word) -> Result<VarIndex, Diagnostic> {
    let Some(name) = word.text.strip_prefix(b"$") else {
        let message = format!("invalid variable name \"{}\"", word.lossy());
        return Err(directive.error_at(word, "invalid_variable", message));
    };
    define(scope, directive, word, name)
}

fn define(scope: &mut Scope<'_>, directive: &Directive, word: &Word, name: &[u8]) -> Result<VarIndex, Diagnostic> {
    let variables = &mut scope.main.core.variables;
    let index = variables.index(name);
    let known = variables.named(&name.to_ascii_lowercase());
    if known.is_none() && variables.is_defined(name) {
        // A member of a family (`$arg_x`) keeps its own value until it is assigned.
        return Ok(index);
    }
    let source = match known {
        Some(known) if !matches!(known.source, Source::Assigned) => Source::Assigned,
        _ => Source::Getter(uninitialized, index.0 as usize),
    };
    let defined = variables.define(name, source, None, Flags::CHANGEABLE.or(Flags::WEAK));
    defined.map_err(|error| directive.error_at(word, "duplicate_variable", error.to_string()))?;
    Ok(index)
}

/// Adds a directive of another module to the program: `function` computes the value of `target` (with `$`).
pub(crate) fn push_call(
    scope: &mut Scope<'_>,
    directive: &Directive,
    target_word: &Word,
    args: Vec<Argument>,
    function: Function,
) -> Result<(), Diagnostic> {
    let target = target(scope, directive, target_word)?;
    scope.loc.rewrite.ops.push(Op::Call { target, args: args.into(), function });
    Ok(())
}

/// The value of a variable that nothing has set.
fn uninitialized(r: &Request, index: usize) -> Option<Bytes> {
    if r.loc().rewrite.warn.unwrap_or(true) {
        let name = r.main_conf().core.variables.name_of(VarIndex(index as u32));
        r.log_bytes(Level::Warn, &[b"using uninitialized \"", name, b"\" variable"]);
    }
    Some(Bytes::new())
}

fn set(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let [name, value] = &directive.args[..] else { return Ok(()) };
    let target = target(scope, directive, name)?;
    let value = ComplexValue::of_word(scope, directive, value)?;
    scope.loc.rewrite.ops.push(Op::Set { target, value });
    Ok(())
}

fn break_(scope: &mut Scope<'_>, _directive: &Directive) -> Result<(), Diagnostic> {
    scope.loc.rewrite.ops.push(Op::Break);
    Ok(())
}

fn return_(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some(first) = directive.arg(0) else { return Ok(()) };
    let invalid = || {
        let message = format!("invalid return code \"{}\"", first.lossy());
        directive.error_at(first, "invalid_value", message)
    };
    let (status, text) = match crate::conf::value::number(&first.text) {
        Some(status) if status <= 999 => (status as i32, directive.arg(1)),
        Some(_) => return Err(invalid()),
        None if directive.args.len() == 1 && is_address(&first.text) => (302, Some(first)),
        None => return Err(invalid()),
    };
    let text = text.map(|word| ComplexValue::of_word(scope, directive, word)).transpose()?;
    scope.loc.rewrite.ops.push(Op::Return { status, text });
    Ok(())
}

/// Whether a replacement leads to another server.
fn is_address(text: &[u8]) -> bool {
    [&b"http://"[..], b"https://", b"$scheme"].iter().any(|prefix| text.starts_with(prefix))
}

fn rewrite(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let [pattern, replacement, flags @ ..] = &directive.args[..] else { return Ok(()) };
    if replacement.text.is_empty() {
        return Err(directive.error_at(replacement, "invalid_value", "empty replacement"));
    }
    let regex = Regex::of_word(scope, directive, pattern, &pattern.text, Case::Sensitive)?;
    let text = &*replacement.text;
    let mut after = if is_address(text) { After::Redirect(302) } else { After::Continue };
    if let [flag] = flags {
        after = match (&*flag.text, after) {
            (b"redirect", _) => After::Redirect(302),
            (b"permanent", _) => After::Redirect(301),
            (b"last" | b"break", After::Redirect(_)) => after,
            (b"last", _) => After::Last,
            (b"break", _) => After::Break,
            _ => {
                let message = format!("invalid parameter \"{}\"", flag.lossy());
                return Err(directive.error_at(flag, "invalid_parameter", message));
            }
        };
    }
    // A `?` at the very end drops the original arguments.
    let (text, keep_args) = match text.strip_suffix(b"?") {
        Some(text) => (text, false),
        None => (text, true),
    };
    let question = memchr::memchr(b'?', text);
    let (path, args) = match (question, after) {
        (Some(at), After::Break | After::Continue | After::Last) => (&text[..at], Some(&text[at + 1..])),
        _ => (text, None),
    };
    let mut compile = |text: &[u8]| {
        ComplexValue::compile(&mut scope.main.core.variables, text)
            .map_err(|error| directive.error_at(replacement, "invalid_variable", error.to_string()))
    };
    let path = compile(path)?;
    let args = args.map(&mut compile).transpose()?;
    let rewrite = Rewrite { regex, path, args, has_args: question.is_some(), keep_args, after };
    scope.loc.rewrite.ops.push(Op::Rewrite(Box::new(rewrite)));
    Ok(())
}

fn if_(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let test = compile_test(scope, directive)?;
    let in_location = scope.context.intersects(Contexts::LOCATION);
    let reference = in_location.then(LocRef::default);
    let at = scope.loc.rewrite.ops.len();
    scope.loc.rewrite.ops.push(Op::If { test, loc: reference.clone(), end: 0 });

    // The directives inside belong to the program around them; their other settings to a location of their own.
    let mut inner = conf::LocConf::default();
    inner.rewrite.ops = std::mem::take(&mut scope.loc.rewrite.ops);
    let context = if in_location { Contexts::IF_IN_LOCATION } else { Contexts::IF_IN_SERVER };
    let result = scope.nested_location(context, &mut inner, directive);
    scope.loc.rewrite.ops = std::mem::take(&mut inner.rewrite.ops);
    result?;

    let behind = scope.loc.rewrite.ops.len();
    if let Some(Op::If { end, .. }) = scope.loc.rewrite.ops.get_mut(at) {
        *end = behind;
    }
    if let Some(reference) = reference {
        scope.loc.core.add_if(inner, reference);
    }
    Ok(())
}

fn compile_test(scope: &mut Scope<'_>, directive: &Directive) -> Result<Test, Diagnostic> {
    let condition = condition::parse(directive)?;
    let compile = |scope: &mut Scope<'_>, text: &[u8]| {
        ComplexValue::compile(&mut scope.main.core.variables, text)
            .map_err(|error| directive.error("invalid_variable", error.to_string()))
    };
    Ok(match condition {
        Condition::Variable(name) => Test::Variable(scope.main.core.variables.index(&name)),
        Condition::Equal { variable, value, sense } => {
            let value = compile(scope, &value)?;
            Test::Equal(scope.main.core.variables.index(&variable), value, sense)
        }
        Condition::File { test, path, sense } => Test::File(test, compile(scope, &path)?, sense),
        Condition::Regex { variable, pattern, case, sense } => {
            let index = scope.main.core.variables.index(&variable);
            let regex = Regex::compile(&mut scope.main.core.variables, &pattern, case)
                .map_err(|error| directive.error("invalid_regex", error.to_string()))?;
            Test::Regex(index, regex, sense)
        }
    })
}
