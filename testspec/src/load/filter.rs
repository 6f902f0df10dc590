//! Section filters: `norm` and `trim` for every section, then those that the file asks for.
//!
//! A filter takes the list of values that the filter before it left; a section's value is the first
//! of the list that the last filter leaves.

use std::rc::Rc;

use base64::Engine as _;
use rsty_diag::{Diagnostic, Source};

use crate::model::{Block, Object, Value};
use crate::perl::{Interpreter, Outcome, Stop, Want};

/// Runs all filters of a section on its raw value.
pub(super) fn run(
    interpreter: &mut Interpreter,
    block: &Block,
    section: &str,
    filters: &[String],
    raw: Value,
) -> Outcome<Value> {
    let mut values = vec![raw];
    for filter in queue(interpreter, section, filters) {
        let (name, argument) = match filter.split_once('=') {
            Some((name, argument)) => (name.to_owned(), Value::from(argument)),
            None => (filter, Value::Undef),
        };
        interpreter.set_global("Test::Base::Filter::arguments", argument.clone());
        values = one(interpreter, block, &name, &argument, values)?;
    }
    Ok(values.into_iter().next().unwrap_or_default())
}

/// The filters of a section in order: defaults, those of `filters()`, those of the header; `-x` takes
/// one out, `+x` puts it at the end.
fn queue(interpreter: &mut Interpreter, section: &str, header: &[String]) -> Vec<String> {
    let mut names = vec!["norm".to_owned(), "trim".to_owned()];
    names.extend(interpreter.array(&"rsty::filters".into()).borrow().iter().map(Value::to_text));
    if let Value::Hash(map) = interpreter.global("rsty::filters_map") {
        match map.borrow().get(section.as_bytes()) {
            Some(Value::Array(list)) => names.extend(list.borrow().iter().map(Value::to_text)),
            Some(Value::Undef) | None => {}
            Some(one) => names.push(one.to_text()),
        }
    }
    names.extend(header.iter().cloned());
    let (mut queue, mut last): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for name in names {
        if let Some(removed) = name.strip_prefix('-') {
            queue.retain(|queued| queued != removed);
        } else if let Some(late) = name.strip_prefix('+') {
            last.push(late.to_owned());
        } else {
            queue.push(name);
        }
    }
    queue.append(&mut last);
    queue
}

fn one(
    interpreter: &mut Interpreter,
    block: &Block,
    name: &str,
    argument: &Value,
    values: Vec<Value>,
) -> Outcome<Vec<Value>> {
    if let Some(code) = interpreter.code(&format!("main::{name}")) {
        return own(interpreter, &code, values);
    }
    if let Some(code) = interpreter.code(&format!("Test::Base::Filter::{name}")) {
        interpreter.set_global("Test::Base::Filter::block", Value::Block(block.clone()));
        let object = Object { class: "Test::Base::Filter".to_owned(), target: Value::Undef };
        let mut arguments = vec![Value::Object(Rc::new(object))];
        arguments.extend(values);
        return interpreter.call(&code, arguments, Want::List);
    }
    let map = |change: &dyn Fn(&[u8]) -> Vec<u8>| {
        values
            .iter()
            .map(|value| if value.is_defined() { Value::str(change(&value.to_bytes())) } else { Value::Undef })
            .collect()
    };
    let whole = || values.first().map(Value::to_bytes).unwrap_or_default();
    let argument_text = argument.to_bytes();
    Ok(match name {
        "norm" => vec![Value::str(normalized(&whole()))],
        "trim" => map(&trimmed),
        "eval" => return eval(interpreter, &whole()),
        "chomp" => map(&|text| text.strip_suffix(b"\n").unwrap_or(text).to_vec()),
        "chop" => map(&|text| text.split_last().map_or(&[][..], |(_, rest)| rest).to_vec()),
        "unchomp" => map(&|text| [text, b"\n"].concat()),
        "append" => map(&|text| [text, argument_text.as_slice()].concat()),
        "prepend" => map(&|text| [argument_text.as_slice(), text].concat()),
        "lines" => whole().split_inclusive(|byte| *byte == b'\n').map(Value::str).collect(),
        "array" => vec![Value::array(values)],
        "join" => {
            let parts: Vec<Vec<u8>> = values.iter().map(|value| value.to_bytes().to_vec()).collect();
            vec![Value::str(parts.join(argument_text.as_slice()))]
        }
        "split" => {
            let text = whole();
            let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            words.map(Value::str).collect()
        }
        "reverse" => values.into_iter().rev().collect(),
        "sort" => {
            let mut values = values;
            values.sort_by_key(Value::to_bytes);
            values
        }
        "head" => {
            let count = usize::try_from(argument.to_int()).unwrap_or(0).max(1);
            values.into_iter().take(count).collect()
        }
        "tail" => {
            let count = usize::try_from(argument.to_int()).unwrap_or(0).max(1);
            let skipped = values.len().saturating_sub(count);
            values.into_iter().skip(skipped).collect()
        }
        "base64_encode" => {
            let encoded = base64::engine::general_purpose::STANDARD.encode(whole().as_slice());
            let lines = encoded.as_bytes().chunks(76).map(|line| [line, b"\n"].concat());
            vec![Value::str(lines.collect::<Vec<_>>().concat())]
        }
        "base64_decode" => {
            let digits: Vec<u8> =
                whole().iter().filter(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(byte)).copied().collect();
            vec![Value::str(base64::engine::general_purpose::STANDARD_NO_PAD.decode(digits).unwrap_or_default())]
        }
        "hash" => {
            let mut map = crate::model::HashMap::default();
            for pair in values.chunks(2) {
                map.insert(
                    &pair.first().map(Value::to_bytes).unwrap_or_default(),
                    pair.get(1).cloned().unwrap_or_default(),
                );
            }
            vec![Value::Hash(Rc::new(std::cell::RefCell::new(map)))]
        }
        "regexp" => {
            let flags = argument.to_text();
            vec![Value::Regex(crate::model::Regex::new(
                whole().to_vec(),
                if flags.is_empty() { "xism" } else { &flags },
            ))]
        }
        "read_file" => {
            let path = interpreter.path(whole().trim_ascii());
            let text = std::fs::read(&path);
            vec![Value::str(text.map_err(|error| interpreter.die(format!("can't read {}: {error}", path.display())))?)]
        }
        "strict" => {
            let text = whole();
            if !text.starts_with(b"use strict") && text.starts_with(b"use ") {
                return Ok(vec![Value::str([b"use strict;\n".as_slice(), &text].concat())]);
            }
            values
        }
        _ => return Err(Stop::Die(format!("Can't find a function or method for '{name}' filter\n").as_str().into())),
    })
}

/// A filter that the test program defines: it gets the values, and `$_` with all of them joined; a
/// result that is no text means that it changed `$_`.
fn own(interpreter: &mut Interpreter, code: &crate::model::Code, values: Vec<Value>) -> Outcome<Vec<Value>> {
    let joined: Vec<u8> = values.iter().flat_map(|value| value.to_bytes().to_vec()).collect();
    let outer = interpreter.global("main::_");
    interpreter.set_global("main::_", Value::str(joined));
    let result = interpreter.call(code, values, Want::List);
    let topic = interpreter.global("main::_");
    interpreter.set_global("main::_", outer);
    let result = result?;
    let is_count = match result.as_slice() {
        [] => true,
        [one] => one.is_defined() && one.to_bytes().iter().all(u8::is_ascii_digit) && one.reference_kind().is_empty(),
        _ => false,
    };
    Ok(if is_count { vec![topic] } else { result })
}

/// `eval`: strict, in the filter's package, seeing no lexical variables. An error becomes the value.
fn eval(interpreter: &mut Interpreter, text: &[u8]) -> Outcome<Vec<Value>> {
    match interpreter.eval_apart(text, "Test::Base::Filter", Want::List)? {
        Ok(values) => Ok(values),
        Err(message) => Ok(vec![Value::str(message)]),
    }
}

/// CRLF and CR become LF.
pub(crate) fn normalized(text: &[u8]) -> Vec<u8> {
    if memchr::memchr(b'\r', text).is_none() {
        return text.to_vec();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'\r' {
            bytes.next_if_eq(&b'\n');
            out.push(b'\n');
        } else {
            out.push(byte);
        }
    }
    out
}

/// Drops blank lines at the start, and blanks behind the last line with content. A text without a line
/// end keeps its tail.
pub(crate) fn trimmed(text: &[u8]) -> Vec<u8> {
    let is_space = |byte: u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let blank = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n')).count();
    let start = text.get(..blank).and_then(|blank| memchr::memrchr(b'\n', blank)).map_or(0, |at| at + 1);
    let text = text.get(start..).unwrap_or_default();
    let content = text.iter().rposition(|byte| !is_space(*byte)).map_or(0, |at| at + 1);
    let tail = text.get(content..).unwrap_or_default();
    match memchr::memchr(b'\n', tail) {
        Some(at) => text.get(..content + at + 1).unwrap_or_default().to_vec(),
        None => text.to_vec(),
    }
}

/// The diagnostic for a filter that stopped the file.
pub(super) fn diagnostic(stop: Stop, source: &Source, section: &crate::model::Section) -> Diagnostic {
    let span = section.header_span.unwrap_or_default();
    match stop {
        Stop::Unsupported(diagnostic) if diagnostic.primary.is_some() => *diagnostic,
        Stop::Unsupported(diagnostic) => {
            let mut diagnostic = diagnostic.at(source, section.span.unwrap_or(span));
            diagnostic.help.clear();
            diagnostic
        }
        other => {
            let error = Interpreter::error(other);
            Diagnostic::error("filter_failed", error.to_string()).at(source, span)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trim_keeps_one_line_end() {
        for (raw, kept) in [
            ("\n \n  a\n b \n\n \n", "  a\n b \n"),
            ("a", "a"),
            ("  a  ", "  a  "),
            ("a\n  ", "a\n"),
            ("\n\n", ""),
            ("", ""),
            ("a \n", "a \n"),
        ] {
            assert_eq!(String::from_utf8(trimmed(raw.as_bytes())).unwrap(), kept, "{raw:?}");
        }
    }

    #[test]
    fn norm_leaves_only_line_feeds() {
        assert_eq!(normalized(b"a\r\nb\rc\n\r\n"), b"a\nb\nc\n\n");
    }
}
