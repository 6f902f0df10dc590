//! Data in other shapes: digests, Base64, URIs, JSON, `Data::Dumper`, `Encode`, `Storable`, `Text::ParseWords`.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;

use md5::Digest as _;

use crate::model::{HashMap, Object, Value};
use crate::perl::{Interpreter, NativeModule, Outcome, Want};

use super::{first, one};

pub(super) const MODULES: &[NativeModule] = &[
    NativeModule {
        name: "Data::Dumper",
        parents: &[],
        functions: &[("Dumper", dumper, None)],
        exports: &["Dumper"],
        setup: Some(|interpreter| {
            interpreter.set_global("Data::Dumper::Indent", 2_i64);
            Ok(())
        }),
    },
    NativeModule {
        name: "Digest::MD5",
        parents: &[],
        functions: &[
            ("md5", |_, arguments, _| one(Value::str(md5::Md5::digest(joined(&arguments)).to_vec())), None),
            ("md5_hex", |_, arguments, _| one(hex(&md5::Md5::digest(joined(&arguments))).as_str()), None),
        ],
        exports: &["md5", "md5_hex"],
        setup: None,
    },
    NativeModule {
        name: "Digest::SHA",
        parents: &[],
        functions: &[
            ("hmac_sha1_hex", |_, arguments, _| one(hex(&hmac::<sha1::Sha1>(&arguments)).as_str()), None),
            ("hmac_sha256_hex", |_, arguments, _| one(hex(&hmac::<sha2::Sha256>(&arguments)).as_str()), None),
            ("sha1", |_, arguments, _| one(Value::str(sha1::Sha1::digest(joined(&arguments)).to_vec())), None),
            ("sha1_hex", |_, arguments, _| one(hex(&sha1::Sha1::digest(joined(&arguments))).as_str()), None),
            ("sha256", |_, arguments, _| one(Value::str(sha2::Sha256::digest(joined(&arguments)).to_vec())), None),
            ("sha256_hex", |_, arguments, _| one(hex(&sha2::Sha256::digest(joined(&arguments))).as_str()), None),
            ("sha512_hex", |_, arguments, _| one(hex(&sha2::Sha512::digest(joined(&arguments))).as_str()), None),
        ],
        exports: &["sha1", "sha1_hex"],
        setup: None,
    },
    NativeModule {
        name: "Encode",
        parents: &[],
        functions: &[
            ("decode", recoded, None),
            ("decode_utf8", |_, arguments, _| one(first(&arguments)), None),
            ("encode", recoded, None),
            ("encode_utf8", |_, arguments, _| one(first(&arguments)), None),
        ],
        exports: &["decode", "decode_utf8", "encode", "encode_utf8"],
        setup: None,
    },
    JSON_PP,
    NativeModule { name: "JSON", ..JSON_PP },
    NativeModule { name: "JSON::XS", ..JSON_PP },
    NativeModule { name: "Cpanel::JSON::XS", ..JSON_PP },
    NativeModule {
        name: "MIME::Base64",
        parents: &[],
        functions: &[("decode_base64", decode_base64, Some("$")), ("encode_base64", encode_base64, Some("$;$"))],
        exports: &["decode_base64", "encode_base64"],
        setup: None,
    },
    NativeModule {
        name: "Storable",
        parents: &[],
        functions: &[("dclone", |_, arguments, _| one(copied(&first(&arguments), 0)), Some("$"))],
        exports: &[],
        setup: None,
    },
    NativeModule {
        name: "Text::ParseWords",
        parents: &[],
        functions: &[("shellwords", shell_words, None)],
        exports: &["shellwords"],
        setup: None,
    },
    NativeModule {
        name: "URI::Escape",
        parents: &[],
        functions: &[("uri_escape", uri_escape, None), ("uri_unescape", uri_unescape, None)],
        exports: &["uri_escape", "uri_unescape"],
        setup: None,
    },
];

/// `encode_json`, `decode_json`, and an object that carries its options.
const JSON_PP: NativeModule = NativeModule {
    name: "JSON::PP",
    parents: &[],
    functions: &[
        ("allow_nonref", option, None),
        ("ascii", option, None),
        ("canonical", option, None),
        ("decode", |it, arguments, _| from_json(it, arguments.get(1)), None),
        ("decode_json", |it, arguments, _| from_json(it, arguments.first()), Some("$")),
        ("encode", |it, arguments, _| to_json(it, arguments.get(1), is_pretty(arguments.first())), None),
        ("encode_json", |it, arguments, _| to_json(it, arguments.first(), false), Some("$")),
        ("from_json", |it, arguments, _| from_json(it, arguments.first()), Some("$@")),
        ("indent", option, None),
        ("latin1", option, None),
        ("new", new_json, None),
        ("pretty", set_pretty, None),
        ("relaxed", option, None),
        ("to_json", |it, arguments, _| to_json(it, arguments.first(), false), Some("$@")),
        ("utf8", option, None),
    ],
    exports: &["decode_json", "encode_json", "from_json", "to_json"],
    setup: None,
};

/// How deep data may be.
const DEPTH_MAX: usize = 200;

fn joined(values: &[Value]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_bytes().to_vec()).collect()
}

/// RFC 2104, for digests of 64 byte blocks. The key is the last argument.
fn hmac<D: md5::Digest>(arguments: &[Value]) -> Vec<u8> {
    let (key, text) = arguments.split_last().map_or_else(Default::default, |(key, text)| (key.to_bytes(), text));
    let key = if key.len() > 64 { D::digest(key.as_slice()).to_vec() } else { key.to_vec() };
    let padded = |pad: u8| (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ pad).collect::<Vec<u8>>();
    let inner = D::digest([padded(0x36), joined(text)].concat());
    D::digest([padded(0x5c), inner.to_vec()].concat()).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// `encode` and `decode` between bytes and UTF-8: strings are bytes here, so there is nothing to do.
fn recoded(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let name = first(&arguments).to_text().to_ascii_lowercase();
    if !matches!(name.as_str(), "utf-8" | "utf8" | "utf-8-strict") {
        return Err(interpreter.die(format!("Unknown encoding '{name}'")));
    }
    one(arguments.get(1).cloned().unwrap_or_default())
}

/// A copy that shares nothing with the original.
fn copied(value: &Value, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Undef;
    }
    match value {
        Value::Array(items) => Value::array(items.borrow().iter().map(|item| copied(item, depth + 1)).collect()),
        Value::Hash(map) => {
            let mut copy = HashMap::default();
            for (key, value) in map.borrow().iter() {
                copy.insert(key, copied(value, depth + 1));
            }
            Value::Hash(Rc::new(RefCell::new(copy)))
        }
        Value::Object(object) => {
            Value::Object(Rc::new(Object { class: object.class.clone(), target: copied(&object.target, depth + 1) }))
        }
        other => other.clone(),
    }
}

fn shell_words(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let mut words = Vec::new();
    let (mut word, mut quote, mut escaped) = (None::<Vec<u8>>, None, false);
    for byte in joined(&arguments) {
        if std::mem::take(&mut escaped) {
            word.get_or_insert_default().push(byte);
        } else if byte == b'\\' && quote != Some(b'\'') {
            escaped = true;
        } else if quote == Some(byte) {
            quote = None;
        } else if quote.is_none() && matches!(byte, b'"' | b'\'') {
            quote = Some(byte);
            word.get_or_insert_default();
        } else if quote.is_none() && byte.is_ascii_whitespace() {
            words.extend(word.take().map(Value::str));
        } else {
            word.get_or_insert_default().push(byte);
        }
    }
    words.extend(word.map(Value::str));
    Ok(words)
}

/// `Data::Dumper` with `$Indent`, `$Sortkeys` and `$Terse`.
fn dumper(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let option = |name: &str| interpreter.global(&format!("Data::Dumper::{name}"));
    let dump = Dump { indent: option("Indent").to_int(), sorted: option("Sortkeys").is_true() };
    let terse = option("Terse").is_true();
    let mut out = String::new();
    for (index, value) in arguments.iter().enumerate() {
        let start = if terse { String::new() } else { format!("$VAR{} = ", index + 1) };
        out.push_str(&start);
        dump.value(value, start.len(), 0, &mut out);
        out.push_str(if terse { "" } else { ";" });
        out.push_str(if dump.indent > 0 || !terse { "\n" } else { "" });
    }
    one(out.as_str())
}

struct Dump {
    indent: i64,
    sorted: bool,
}

impl Dump {
    /// `column` is where the value begins.
    fn value(&self, value: &Value, column: usize, depth: usize, out: &mut String) {
        if depth > DEPTH_MAX {
            out.push_str("'...'");
            return;
        }
        match value {
            Value::Undef => out.push_str("undef"),
            Value::Int(number) => out.push_str(&number.to_string()),
            Value::Array(items) => {
                let items = items.borrow();
                self.group('[', ']', items.len(), column, depth, out, |index, column, out| {
                    if let Some(item) = items.get(index) {
                        self.value(item, column, depth + 1, out);
                    }
                });
            }
            Value::Hash(map) => {
                let map = map.borrow();
                let mut entries: Vec<(&[u8], &Value)> = map.iter().collect();
                if self.sorted {
                    entries.sort_by_key(|(key, _)| *key);
                }
                self.group('{', '}', entries.len(), column, depth, out, |index, column, out| {
                    let Some((key, value)) = entries.get(index) else { return };
                    let key = quoted(key);
                    let _ = write!(out, "{key} => ");
                    self.value(value, column + key.chars().count() + 4, depth + 1, out);
                });
            }
            Value::Object(object) => {
                out.push_str("bless( ");
                self.value(&object.target, column + 7, depth + 1, out);
                let _ = write!(out, ", {} )", quoted(object.class.as_bytes()));
            }
            Value::Code(_) => out.push_str("sub { \"DUMMY\" }"),
            Value::Regex(_) => {
                let _ = write!(out, "qr/{}/", value.to_text());
            }
            other => out.push_str(&quoted(&other.to_bytes())),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the state of one recursion")]
    fn group(
        &self,
        open: char,
        close: char,
        len: usize,
        column: usize,
        depth: usize,
        out: &mut String,
        item: impl Fn(usize, usize, &mut String),
    ) {
        let inner = if self.indent >= 2 { column + 2 } else { (depth + 1) * 2 };
        let line_end = |out: &mut String, column: usize| {
            if self.indent > 0 {
                let _ = write!(out, "\n{:column$}", "");
            }
        };
        out.push(open);
        for index in 0..len {
            line_end(out, inner);
            item(index, inner, out);
            out.push_str(if index + 1 < len { "," } else { "" });
        }
        if len > 0 {
            line_end(out, inner - 2);
        }
        out.push(close);
    }
}

fn quoted(bytes: &[u8]) -> String {
    format!("'{}'", String::from_utf8_lossy(bytes).replace('\\', "\\\\").replace('\'', "\\'"))
}

fn new_json(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let target = Value::Hash(Rc::new(RefCell::new(HashMap::default())));
    one(Value::Object(Rc::new(Object { class: first(&arguments).to_text(), target })))
}

/// An option that changes nothing: keys are always sorted, and strings are bytes.
fn option(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    one(first(&arguments))
}

fn set_pretty(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    if let Value::Object(object) = first(&arguments)
        && let Value::Hash(options) = &object.target
    {
        let on = arguments.get(1).is_none_or(Value::is_true);
        options.borrow_mut().insert(b"pretty", Value::bool(on));
    }
    one(first(&arguments))
}

fn is_pretty(object: Option<&Value>) -> bool {
    match object {
        Some(Value::Object(object)) => match &object.target {
            Value::Hash(options) => options.borrow().get(b"pretty").is_some_and(Value::is_true),
            _ => false,
        },
        _ => false,
    }
}

fn to_json(interpreter: &mut Interpreter, value: Option<&Value>, pretty: bool) -> Outcome<Vec<Value>> {
    let json = value.and_then(|value| json_of(value, 0)).ok_or_else(|| interpreter.die("this value has no JSON"))?;
    let text = if pretty { pretty_json(&json, 0) + "\n" } else { json.to_string() };
    one(text.as_str())
}

/// Three blanks a level, and blanks around the colon.
fn pretty_json(json: &serde_json::Value, depth: usize) -> String {
    let lines = |open: &str, items: Vec<String>, close: &str| {
        if items.is_empty() {
            return format!("{open}{close}");
        }
        let (inner, outer) = ("   ".repeat(depth + 1), "   ".repeat(depth));
        format!("{open}\n{inner}{}\n{outer}{close}", items.join(&format!(",\n{inner}")))
    };
    match json {
        serde_json::Value::Array(items) => {
            lines("[", items.iter().map(|item| pretty_json(item, depth + 1)).collect(), "]")
        }
        serde_json::Value::Object(entries) => {
            let entry = |(key, value): (&String, _)| {
                format!("{} : {}", serde_json::Value::from(key.as_str()), pretty_json(value, depth + 1))
            };
            lines("{", entries.iter().map(entry).collect(), "}")
        }
        other => other.to_string(),
    }
}

fn json_of(value: &Value, depth: usize) -> Option<serde_json::Value> {
    if depth > DEPTH_MAX {
        return None;
    }
    Some(match value {
        Value::Undef => serde_json::Value::Null,
        Value::Int(number) => (*number).into(),
        Value::Num(number) => serde_json::Number::from_f64(*number)?.into(),
        Value::Str(_) => value.to_text().into(),
        Value::Array(items) => {
            let items: Option<Vec<_>> = items.borrow().iter().map(|item| json_of(item, depth + 1)).collect();
            items?.into()
        }
        Value::Hash(map) => {
            let map = map.borrow();
            let mut entries: Vec<(&[u8], &Value)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let entry = |(key, value): (&[u8], &Value)| {
                Some((String::from_utf8_lossy(key).into_owned(), json_of(value, depth + 1)?))
            };
            let entries: Option<serde_json::Map<_, _>> = entries.into_iter().map(entry).collect();
            entries?.into()
        }
        // `\1` and `\0` are the truth values.
        Value::Ref(crate::model::Reference::Cell(cell)) => cell.borrow().is_true().into(),
        _ => return None,
    })
}

fn from_json(interpreter: &mut Interpreter, text: Option<&Value>) -> Outcome<Vec<Value>> {
    let text = text.map(Value::to_bytes).unwrap_or_default();
    let json =
        serde_json::from_slice(&text).map_err(|error| interpreter.die(format!("malformed JSON string: {error}")))?;
    one(value_of(json))
}

fn value_of(json: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::Undef,
        Json::Bool(truth) => Value::Int(i64::from(truth)),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Num(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => Value::str(text),
        Json::Array(items) => Value::array(items.into_iter().map(value_of).collect()),
        Json::Object(entries) => {
            let mut map = HashMap::default();
            for (key, value) in entries {
                map.insert(key.as_bytes(), value_of(value));
            }
            Value::Hash(Rc::new(RefCell::new(map)))
        }
    }
}

fn encode_base64(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(first(&arguments).to_bytes().as_slice());
    let end = arguments.get(1).map_or_else(|| "\n".to_owned(), Value::to_text);
    let lines: Vec<&str> = encoded.as_bytes().chunks(76).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    one(lines.iter().flat_map(|line| [*line, end.as_str()]).collect::<String>().as_str())
}

fn decode_base64(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    use base64::Engine as _;
    let is_digit = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let digits: Vec<u8> = first(&arguments).to_bytes().iter().filter(is_digit).copied().collect();
    one(Value::str(base64::engine::general_purpose::STANDARD_NO_PAD.decode(digits).unwrap_or_default()))
}

fn uri_escape(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let mut out = String::new();
    for &byte in first(&arguments).to_bytes().iter() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    one(out.as_str())
}

fn uri_unescape(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let text = first(&arguments).to_bytes();
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let digits = text.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| byte == b'%') {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    one(Value::str(out))
}
