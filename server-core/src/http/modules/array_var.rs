//! `array_var`: variables that hold lists (`array_split`, `array_join`, `array_map`, `array_map_op`).
//!
//! The value of a variable is bytes, so a list is bytes, too: a mark, then each element behind its length. Only these
//! directives and `set_form_input_multi` make sense of it; whoever shows it must join it first.

use std::rc::Rc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use rsty_diag::Diagnostic;

use super::ndk;
use super::rewrite::directives::PROGRAM;
use super::rewrite::{Argument, push_call};
use crate::conf::value::number;
use crate::conf::{Arity, Contexts, Directive, Rule, Word};
use crate::http::code::Code;
use crate::http::complex_value::ComplexValue;
use crate::http::conf::Scope;
use crate::http::request::Request;
use crate::http::variables::{Flags, VariableDef};
use crate::log::Level;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();
/// Settings of a location.
pub type LocConf = ();

const PLACES: Contexts = PROGRAM.or(Contexts::HTTP);

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule { name: "array_split", contexts: PLACES, args: Arity::Words(2, Arity::MANY), apply: array_split },
    Rule { name: "array_join", contexts: PLACES, args: Arity::Words(2, 3), apply: array_join },
    Rule { name: "array_map", contexts: PLACES, args: Arity::Words(2, 3), apply: array_map },
    Rule { name: "array_map_op", contexts: PLACES, args: Arity::Words(2, 3), apply: array_map_op },
];

/// The element that `array_map` is at; it has a value only there.
const ELEMENT: &str = "array_it";

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] = &[VariableDef::new(ELEMENT, |_, _| None).with(Flags::CHANGEABLE)];

/// What a list begins with.
const MARK: &[u8] = b"\0list\0";

/// The value of a variable that holds a list.
pub(crate) fn encode<T: AsRef<[u8]>>(elements: impl IntoIterator<Item = T>) -> Bytes {
    let mut list = BytesMut::from(MARK);
    for element in elements {
        let element = element.as_ref();
        list.put_u64(element.len() as u64);
        list.put_slice(element);
    }
    list.freeze()
}

/// The elements of a list; `None` when the value is none.
fn decode(value: &Bytes) -> Option<Vec<Bytes>> {
    let mut rest = value.slice(value.strip_prefix(MARK).map(|_| MARK.len())?..);
    let mut elements = Vec::new();
    while !rest.is_empty() {
        let length = usize::try_from(rest.try_get_u64().ok()?).ok().filter(|&length| length <= rest.len())?;
        elements.push(rest.split_to(length));
    }
    Some(elements)
}

/// The elements of an argument, or the end of the request.
fn elements(r: &Request, directive: &str, value: &Bytes) -> Result<Vec<Bytes>, Code> {
    decode(value).ok_or_else(|| {
        let value = String::from_utf8_lossy(value);
        r.log(Level::Error, format_args!("{directive}: invalid array variable value in the 2nd argument: \"{value}\""));
        Code::INTERNAL_SERVER_ERROR
    })
}

fn argument(args: &[Option<Bytes>], at: usize) -> Bytes {
    args.get(at).cloned().flatten().unwrap_or_default()
}

fn value(scope: &mut Scope<'_>, directive: &Directive, word: &Word) -> Result<Argument, Diagnostic> {
    Ok(Argument::Value(ComplexValue::of_word(scope, directive, word)?))
}

/// `to=$name` as a word `$name`.
fn destination(word: &Word) -> Option<Word> {
    let name = word.text.strip_prefix(b"to=")?;
    Some(Word { text: name.into(), ..word.clone() })
}

fn unexpected(directive: &Directive, word: &Word) -> Diagnostic {
    let message = format!("{}: unexpected argument \"{}\"", directive.name(), word.lossy());
    directive.error_at(word, "invalid_value", message)
}

fn not_destination(directive: &Directive, word: &Word, place: &str) -> Diagnostic {
    let name = directive.name();
    let message = format!("{name}: expecting the \"to\" option at the {place} argument: \"{}\"", word.lossy());
    directive.error_at(word, "invalid_value", message)
}

/// `array_split separator text [most] [to=$list]`; without `to=`, the text is a variable and becomes the list.
fn array_split(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let [separator, text, options @ ..] = &directive.args[..] else { return Ok(()) };
    let (most, target) = match options {
        [] => (None, text.clone()),
        [one] => match destination(one) {
            Some(target) => (None, target),
            None => (Some(one), text.clone()),
        },
        [first, second, ..] if destination(first).is_some() => return Err(unexpected(directive, second)),
        [_, _, third, ..] => return Err(unexpected(directive, third)),
        [most, to] => {
            let target = destination(to).ok_or_else(|| not_destination(directive, to, "4th"))?;
            (Some(most), target)
        }
    };
    let mut args = vec![value(scope, directive, separator)?, value(scope, directive, text)?];
    if let Some(most) = most {
        args.push(value(scope, directive, most)?);
    }
    let split = |r: &Rc<Request>, args: &[Option<Bytes>]| {
        let most = match args.get(2).cloned().flatten() {
            None => usize::MAX,
            Some(most) => match number(&most).and_then(|most| usize::try_from(most).ok()) {
                Some(0) => usize::MAX,
                Some(most) => most,
                None => {
                    let most = String::from_utf8_lossy(&most);
                    r.log(Level::Error, format_args!("array_split: invalid max items: \"{most}\""));
                    return Err(Code::INTERNAL_SERVER_ERROR);
                }
            },
        };
        Ok(Some(encode(split(&argument(args, 0), &argument(args, 1), most))))
    };
    push_call(scope, directive, &target, args, Box::new(split))
}

/// At most `most` parts of a text, the last one with what is left. Without separator, each byte is a part.
fn split<'a>(separator: &[u8], text: &'a [u8], most: usize) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let mut rest = text;
    while parts.len() + 1 < most {
        let cut = match separator {
            [] if rest.len() > 1 => Some(1),
            [] => None,
            _ => memchr::memmem::find(rest, separator),
        };
        let Some((part, behind)) = cut.and_then(|cut| rest.split_at_checked(cut)) else { break };
        parts.push(part);
        rest = behind.get(separator.len()..).unwrap_or_default();
    }
    parts.push(rest);
    parts
}

/// The target of a directive whose second word is a list: that variable, or `to=$other`.
fn list_target(directive: &Directive) -> Result<Option<Word>, &Word> {
    match &directive.args[..] {
        [_, list] => Ok(Some(list.clone())),
        [_, _, to] => destination(to).map(Some).ok_or(to),
        _ => Ok(None),
    }
}

/// `array_join separator $list [to=$text]`
fn array_join(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let [separator, list, ..] = &directive.args[..] else { return Ok(()) };
    let target = list_target(directive).map_err(|word| unexpected(directive, word))?;
    let Some(target) = target else { return Ok(()) };
    let args = vec![value(scope, directive, separator)?, value(scope, directive, list)?];
    let join = |r: &Rc<Request>, args: &[Option<Bytes>]| {
        let elements = elements(r, "array_join", &argument(args, 1))?;
        Ok(Some(elements.join(&argument(args, 0)[..]).into()))
    };
    push_call(scope, directive, &target, args, Box::new(join))
}

/// `array_map template $list [to=$other]`
fn array_map(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let [template, list, ..] = &directive.args[..] else { return Ok(()) };
    let target = list_target(directive).map_err(|word| not_destination(directive, word, "3rd"))?;
    let Some(target) = target else { return Ok(()) };
    let template = ComplexValue::of_word(scope, directive, template)?;
    let element = scope.main.core.variables.index(ELEMENT.as_bytes());
    let args = vec![value(scope, directive, list)?];
    let map = move |r: &Rc<Request>, args: &[Option<Bytes>]| {
        let mapped: Vec<Bytes> = elements(r, "array_map", &argument(args, 0))?
            .into_iter()
            .map(|value| {
                r.assign_variable(element, Some(value));
                template.eval(r)
            })
            .collect();
        r.assign_variable(element, None);
        Ok(Some(encode(mapped)))
    };
    push_call(scope, directive, &target, args, Box::new(map))
}

/// `array_map_op directive $list [to=$other]`
fn array_map_op(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let [operation, list, ..] = &directive.args[..] else { return Ok(()) };
    let target = list_target(directive).map_err(|word| unexpected(directive, word))?;
    let Some(target) = target else { return Ok(()) };
    let args = vec![value(scope, directive, operation)?, value(scope, directive, list)?];
    let map = |r: &Rc<Request>, args: &[Option<Bytes>]| {
        let name = argument(args, 0);
        let Some(filter) = ndk::filter(&name) else {
            let name = String::from_utf8_lossy(&name);
            r.log(
                Level::Error,
                format_args!("array_map_op: directive \"{name}\" not found or does not use ndk_set_var_value"),
            );
            return Err(Code::INTERNAL_SERVER_ERROR);
        };
        let elements = elements(r, "array_map_op", &argument(args, 1))?;
        let mapped: Result<Vec<Vec<u8>>, String> = elements.iter().map(|element| filter(r, element)).collect();
        match mapped {
            Ok(mapped) => Ok(Some(encode(mapped))),
            Err(message) => {
                r.log(Level::Error, format_args!("{message}"));
                Err(Code::INTERNAL_SERVER_ERROR)
            }
        }
    };
    push_call(scope, directive, &target, args, Box::new(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_survive_as_values() {
        for list in [vec![], vec![&b""[..]], vec![b"a".as_slice(), b"", b"\0list\0"]] {
            assert_eq!(
                decode(&encode(&list)).as_deref(),
                Some(&list.iter().map(|e| Bytes::from_static(e)).collect::<Vec<_>>()[..])
            );
        }
    }

    #[test]
    fn other_values_are_no_lists() {
        for value in [
            &b""[..],
            b"text",
            b"\0list\0short",
            b"\0list\0\0\0\0\0\0\0\0\x09x",
            b"\0list\0\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(decode(&Bytes::from_static(value)), None);
        }
    }

    #[test]
    fn texts_split_at_separators_and_bytes() {
        let all = usize::MAX;
        assert_eq!(split(b",", b"a,,b", all), [&b"a"[..], b"", b"b"]);
        assert_eq!(split(b",", b"a,b,c", 2), [&b"a"[..], b"b,c"]);
        assert_eq!(split(b"->", b"a->", all), [&b"a"[..], b""]);
        assert_eq!(split(b"", b"abc", all), [b"a", b"b", b"c"]);
        assert_eq!(split(b"", b"abc", 2), [&b"a"[..], b"bc"]);
        assert_eq!(split(b"", b"", all), [b""]);
    }
}
