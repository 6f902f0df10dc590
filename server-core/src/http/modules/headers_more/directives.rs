//! The directives: options, conditions and headers.

use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use crate::conf::{Arity, Contexts, Directive, Rule, Word};
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{Merge, Scope};
use crate::http::header::HeaderId;

/// Settings of `http { }`.
#[derive(Default)]
pub struct MainConf {
    /// Whether any directive looks at responses.
    pub(super) filters: bool,
}

/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location; those of outer levels run first.
#[derive(Default)]
pub struct LocConf {
    pub(super) output: Rc<Vec<Rc<Command>>>,
    pub(super) input: Rc<Vec<Rc<Command>>>,
}

/// One directive.
pub(super) struct Command {
    pub(super) fields: Vec<Field>,
    /// The media types for which it applies; all when empty.
    pub(super) types: Vec<Box<[u8]>>,
    /// The statuses for which it applies; all when empty.
    pub(super) statuses: Vec<u16>,
}

/// One header of a directive.
pub(super) struct Field {
    pub(super) id: HeaderId,
    pub(super) name: Bytes,
    /// An empty value clears the header.
    pub(super) value: ComplexValue,
    /// The name ends with `*`: what is before it is a prefix.
    pub(super) wildcard: bool,
    /// `-a`: beside headers with the same name.
    pub(super) append: bool,
    /// `-r`: only if there is one already.
    pub(super) replace: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Clear,
    Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Input,
    Output,
}

impl LocConf {
    /// Whether response headers are changed here.
    pub(crate) fn changes_output(&self) -> bool {
        !self.output.is_empty()
    }
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        for (own, outer) in [(&mut self.output, &outer.output), (&mut self.input, &outer.input)] {
            if own.is_empty() {
                *own = Rc::clone(outer);
            } else if !outer.is_empty() {
                *own = Rc::new(outer.iter().chain(own.iter()).cloned().collect());
            }
        }
        Ok(())
    }
}

macro_rules! rule {
    ($name:literal, $direction:expr, $operation:expr) => {
        Rule {
            name: $name,
            contexts: Contexts::HTTP_SERVER_LOCATION_IF,
            args: Arity::Words(1, Arity::MANY),
            apply: |scope, directive| apply(scope, directive, $direction, $operation),
        }
    };
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    rule!("more_set_headers", Direction::Output, Operation::Set),
    rule!("more_clear_headers", Direction::Output, Operation::Clear),
    rule!("more_set_input_headers", Direction::Input, Operation::Set),
    rule!("more_clear_input_headers", Direction::Input, Operation::Clear),
];

fn apply(
    scope: &mut Scope<'_>,
    directive: &Directive,
    direction: Direction,
    operation: Operation,
) -> Result<(), Diagnostic> {
    let mut command = Command { fields: Vec::new(), types: Vec::new(), statuses: Vec::new() };
    let (mut append, mut replace) = (false, false);
    let mut words = directive.args.iter();
    while let Some(word) = words.next() {
        let mut argument = |option: &str| {
            words.next().ok_or_else(|| {
                let message = format!("{}: option {option} takes an argument.", directive.name());
                directive.error_at(word, "missing_argument", message)
            })
        };
        match (&*word.text, direction) {
            (b"", _) => {}
            (b"-t", _) => command.types.extend(types(&argument("-t")?.text)),
            (b"-s", Direction::Output) => command.statuses.extend(statuses(directive, argument("-s")?)?),
            (b"-a", Direction::Output) if operation == Operation::Set => append = true,
            (b"-r", Direction::Input) => replace = true,
            ([b'-', ..], _) => {
                let message = format!("{}: invalid option name: \"{}\"", directive.name(), word.lossy());
                return Err(directive.error_at(word, "invalid_option", message));
            }
            _ => command.fields.push(field(scope, directive, word, operation)?),
        }
    }
    for field in &mut command.fields {
        let builtin = direction == Direction::Output && is_builtin(field.id);
        if append && builtin {
            let name = String::from_utf8_lossy(&field.name);
            let message = format!("{}: can not append builtin headers \"{name}\"", directive.name());
            return Err(directive.error("invalid_option", message));
        }
        field.append = append;
        field.replace = replace;
    }
    let commands = match direction {
        Direction::Input => &mut scope.loc.headers_more.input,
        Direction::Output => {
            scope.main.headers_more.filters = true;
            &mut scope.loc.headers_more.output
        }
    };
    Rc::make_mut(commands).push(Rc::new(command));
    Ok(())
}

/// Headers of which a response has one at most, or that the server writes itself.
fn is_builtin(id: HeaderId) -> bool {
    matches!(
        id,
        HeaderId::Server
            | HeaderId::Date
            | HeaderId::ContentEncoding
            | HeaderId::Location
            | HeaderId::Refresh
            | HeaderId::LastModified
            | HeaderId::ContentRange
            | HeaderId::AcceptRanges
            | HeaderId::WwwAuthenticate
            | HeaderId::Expires
            | HeaderId::ContentLength
            | HeaderId::ContentType
            | HeaderId::CacheControl
    )
}

fn types(text: &[u8]) -> impl Iterator<Item = Box<[u8]>> + '_ {
    let separator = |byte: &u8| byte.is_ascii_whitespace() || *byte == b';';
    text.split(separator).filter(|word| !word.is_empty()).map(Into::into)
}

fn statuses(directive: &Directive, word: &Word) -> Result<Vec<u16>, Diagnostic> {
    let digit = word.text.iter().find(|byte| !byte.is_ascii_digit() && !byte.is_ascii_whitespace());
    if let Some(&byte) = digit {
        let message = format!(
            "{}: invalid digit \"{}\" found in the status code list \"{}\"",
            directive.name(),
            char::from(byte),
            word.lossy()
        );
        return Err(directive.error_at(word, "invalid_value", message));
    }
    let numbers = word.text.split(u8::is_ascii_whitespace).filter(|number| !number.is_empty());
    // A status beyond u16 matches no response.
    Ok(numbers.filter_map(|number| std::str::from_utf8(number).ok()?.parse().ok()).collect())
}

/// Reads `Name: value`, `Name:` or `Name`.
fn field(scope: &mut Scope<'_>, directive: &Directive, word: &Word, operation: Operation) -> Result<Field, Diagnostic> {
    let text = word.text.trim_ascii_start();
    let separator = |byte: &u8| *byte == b':' || byte.is_ascii_whitespace();
    let end = text.iter().position(separator).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let start = rest.iter().position(|byte| !separator(byte)).unwrap_or(rest.len());
    let value = if operation == Operation::Clear { b"" } else { &rest[start..] };
    if name.is_empty() {
        let message = format!("{}: no key found in the header argument: {}", directive.name(), word.lossy());
        return Err(directive.error_at(word, "invalid_value", message));
    }
    if name == b"*" {
        let message = format!("{}: wildcard key too short: {}", directive.name(), word.lossy());
        return Err(directive.error_at(word, "invalid_value", message));
    }
    let value = ComplexValue::compile(&mut scope.main.core.variables, value)
        .map_err(|error| directive.error_at(word, "invalid_variable", error.to_string()))?;
    Ok(Field {
        id: HeaderId::of(name),
        name: Bytes::copy_from_slice(name),
        value,
        wildcard: name.ends_with(b"*"),
        append: false,
        replace: false,
    })
}
