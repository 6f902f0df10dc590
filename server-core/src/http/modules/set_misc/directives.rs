//! The `set_*` directives: each computes one variable in the rewrite program.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use rsty_diag::Diagnostic;

use super::super::calendar::Moment;
use super::super::rewrite::directives::{PROGRAM, push_call};
use super::super::rewrite::program::Argument;
use super::base_n::{Base32Alphabet, Padding, decode_base64, decode_base64url, encode_base64, encode_base64url};
use super::quoting;
use crate::conf::value::{number, set_flag};
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::code::Code;
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{Merge, Scope};
use crate::http::request::Request;
use crate::log::Level;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    padding: Option<bool>,
    alphabet: Option<Base32Alphabet>,
    /// The last value that `set_rotate` gave here.
    rotation: Cell<Option<i64>>,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        self.padding = self.padding.or(outer.padding);
        if self.alphabet.is_none() {
            self.alphabet.clone_from(&outer.alphabet);
        }
        Ok(())
    }
}

/// What a computation gets: its arguments as text.
type Args<'a> = &'a [Bytes];
/// A computation; an error is logged and ends the request with 500.
trait Compute: Fn(&Rc<Request>, Args<'_>) -> Result<Vec<u8>, String> + 'static {}
impl<F: Fn(&Rc<Request>, Args<'_>) -> Result<Vec<u8>, String> + 'static> Compute for F {}

const PLACES: Contexts = PROGRAM.or(Contexts::HTTP);

/// A directive `set_x $target [value]`; without a value, the target's own value is the input.
macro_rules! unary {
    ($name:literal) => {
        Rule {
            name: $name,
            contexts: PLACES,
            args: Arity::Words(1, 2),
            apply: |scope, directive| one_input(scope, directive, filter($name)),
        }
    };
}

/// A directive `set_x $target value …` with a fixed number of values.
macro_rules! fixed {
    ($name:literal, $values:literal, $compute:expr) => {
        Rule {
            name: $name,
            contexts: PLACES,
            args: Arity::Words($values + 1, $values + 1),
            apply: |scope, directive| from_values(scope, directive, $compute),
        }
    };
}

/// A directive `set_x $target value …` whose first input is the target's own value.
macro_rules! updating {
    ($name:literal, $values:literal, $compute:expr) => {
        Rule {
            name: $name,
            contexts: PLACES,
            args: Arity::Words($values + 1, $values + 1),
            apply: |scope, directive| from_target_and_values(scope, directive, $compute),
        }
    };
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    unary!("set_encode_base64"),
    unary!("set_decode_base64"),
    unary!("set_encode_base64url"),
    unary!("set_decode_base64url"),
    unary!("set_encode_hex"),
    unary!("set_decode_hex"),
    unary!("set_encode_base32"),
    // What is no base32 decodes to nothing, without an error.
    unary!("set_decode_base32"),
    unary!("set_md5"),
    unary!("set_sha1"),
    unary!("set_unescape_uri"),
    unary!("set_escape_uri"),
    unary!("set_quote_sql_str"),
    unary!("set_quote_pgsql_str"),
    unary!("set_quote_json_str"),
    fixed!("set_hmac_sha1", 2, |_, args| hmac(MessageDigest::sha1(), args)),
    fixed!("set_hmac_sha256", 2, |_, args| hmac(MessageDigest::sha256(), args)),
    updating!("set_if_empty", 1, |_, args| Ok(if_empty(args).to_vec())),
    updating!("set_rotate", 2, rotate),
    fixed!("set_random", 2, random),
    fixed!("set_secure_random_alphanum", 1, |_, args| random_text(input(args), ALPHANUMERIC)),
    fixed!("set_secure_random_lcalpha", 1, |_, args| random_text(input(args), LOWER_CASE)),
    fixed!("set_local_today", 0, |_, _| Ok(local_time(b"%Y-%m-%d"))),
    fixed!("set_formatted_gmt_time", 1, |_, args| Ok(format_time(input(args), 0, "GMT"))),
    fixed!("set_formatted_local_time", 1, |_, args| Ok(local_time(input(args)))),
    fixed!("set_hashed_upstream", 2, hashed_upstream),
    Rule {
        name: "set_base32_padding",
        contexts: PLACES,
        args: Arity::Flag,
        apply: |scope, directive| set_flag(&mut scope.loc.set_misc.padding, directive),
    },
    Rule {
        name: "set_misc_base32_padding",
        contexts: PLACES,
        args: Arity::Flag,
        apply: |scope, directive| set_flag(&mut scope.loc.set_misc.padding, directive),
    },
    Rule { name: "set_base32_alphabet", contexts: PLACES, args: Arity::Words(1, 1), apply: base32_alphabet },
];

/// A function of one input, for callers outside configurations.
pub(crate) type Filter = fn(&Rc<Request>, &[u8]) -> Result<Vec<u8>, String>;

/// The directives that take one input, as functions: what `ndk.set_var` offers to Lua.
pub(crate) static FILTERS: &[(&str, Filter)] = &[
    ("set_encode_base64", |_, input| Ok(encode_base64(input))),
    ("set_decode_base64", |_, input| decode_base64(input).ok_or_else(|| "set_decode_base64: invalid value".into())),
    ("set_encode_base64url", |_, input| Ok(encode_base64url(input))),
    ("set_decode_base64url", |_, input| {
        decode_base64url(input).ok_or_else(|| "set_decode_base64url: invalid value".into())
    }),
    ("set_encode_hex", |_, input| Ok(quoting::encode_hex(input))),
    ("set_decode_hex", |_, input| quoting::decode_hex(input).ok_or_else(|| "set_decode_hex: invalid value".into())),
    ("set_encode_base32", |r, input| Ok(encode_base32(r, input))),
    ("set_decode_base32", |r, input| Ok(alphabet(r).decode(input).unwrap_or_default())),
    ("set_md5", |_, input| digest(MessageDigest::md5(), input)),
    ("set_sha1", |_, input| digest(MessageDigest::sha1(), input)),
    ("set_unescape_uri", |_, input| Ok(quoting::unescape_uri(input))),
    ("set_escape_uri", |_, input| Ok(quoting::escape_uri(input))),
    ("set_quote_sql_str", |_, input| Ok(quoting::quote_sql(input))),
    ("set_quote_pgsql_str", |_, input| Ok(quoting::quote_pgsql(input))),
    ("set_quote_json_str", |_, input| Ok(quoting::quote_json(input))),
    ("set_secure_random_alphanum", |_, input| random_text(input, ALPHANUMERIC)),
    ("set_secure_random_lcalpha", |_, input| random_text(input, LOWER_CASE)),
    ("set_local_today", |_, _| Ok(local_time(b"%Y-%m-%d"))),
    ("set_formatted_gmt_time", |_, input| Ok(format_time(input, 0, "GMT"))),
    ("set_formatted_local_time", |_, input| Ok(local_time(input))),
];

/// A function by its directive's name; rules name only functions that exist.
fn filter(name: &str) -> Filter {
    let known = FILTERS.iter().find(|(known, _)| *known == name);
    known.map_or((|_, _| Err("no such function".into())) as Filter, |(_, filter)| *filter)
}

/// Adds a directive `set_x $target [value]` to the program; without a value, the target's own value is the input.
pub(crate) fn one_input(scope: &mut Scope<'_>, directive: &Directive, filter: Filter) -> Result<(), Diagnostic> {
    let compute = move |r: &Rc<Request>, args: Args<'_>| filter(r, input(args));
    match &directive.args[..] {
        [_] => from_target_and_values(scope, directive, compute),
        _ => from_values(scope, directive, compute),
    }
}

fn from_values(scope: &mut Scope<'_>, directive: &Directive, compute: impl Compute) -> Result<(), Diagnostic> {
    push(scope, directive, Vec::new(), compute)
}

fn from_target_and_values(
    scope: &mut Scope<'_>,
    directive: &Directive,
    compute: impl Compute,
) -> Result<(), Diagnostic> {
    let Some(name) = directive.arg(0).and_then(|word| word.text.strip_prefix(b"$")) else {
        return push(scope, directive, Vec::new(), compute);
    };
    let own = Argument::Variable(scope.main.core.variables.index(name));
    push(scope, directive, vec![own], compute)
}

fn push(
    scope: &mut Scope<'_>,
    directive: &Directive,
    mut args: Vec<Argument>,
    compute: impl Compute,
) -> Result<(), Diagnostic> {
    let [target, values @ ..] = &directive.args[..] else { return Ok(()) };
    for word in values {
        args.push(Argument::Value(ComplexValue::of_word(scope, directive, word)?));
    }
    let function = move |r: &Rc<Request>, args: &[Option<Bytes>]| {
        let args: smallvec::SmallVec<[Bytes; 3]> = args.iter().map(|arg| arg.clone().unwrap_or_default()).collect();
        compute(r, &args).map(|value| Some(value.into())).map_err(|message| {
            r.log(Level::Error, format_args!("{message}"));
            Code::INTERNAL_SERVER_ERROR
        })
    };
    push_call(scope, directive, target, args, Box::new(function))
}

fn base32_alphabet(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some(word) = directive.arg(0) else { return Ok(()) };
    let conf = &mut scope.loc.set_misc;
    if conf.alphabet.is_some() {
        return Err(crate::conf::value::duplicate(directive));
    }
    let Some(alphabet) = Base32Alphabet::new(&word.text) else {
        let message =
            format!("\"set_base32_alphabet\" directive takes an alphabet of {} bytes but 32 expected", word.text.len());
        return Err(directive.error_at(word, "invalid_value", message));
    };
    conf.alphabet = Some(alphabet);
    Ok(())
}

fn input(args: Args<'_>) -> &[u8] {
    args.first().map_or(b"", |value| value)
}

fn alphabet(r: &Request) -> Base32Alphabet {
    r.loc().set_misc.alphabet.clone().unwrap_or_default()
}

fn encode_base32(r: &Request, input: &[u8]) -> Vec<u8> {
    let padding = if r.loc().set_misc.padding.unwrap_or(true) { Padding::Filled } else { Padding::Omitted };
    alphabet(r).encode(input, padding)
}

fn digest(kind: MessageDigest, input: &[u8]) -> Result<Vec<u8>, String> {
    let digest = openssl::hash::hash(kind, input).map_err(|error| error.to_string())?;
    Ok(quoting::encode_hex(&digest))
}

fn hmac(kind: MessageDigest, args: Args<'_>) -> Result<Vec<u8>, String> {
    let [secret, text] = args else { return Ok(Vec::new()) };
    let sign = || {
        // Keys are padded with zeros, so one zero is the same key as none, which OpenSSL refuses.
        let key = PKey::hmac(if secret.is_empty() { b"\0" } else { secret })?;
        Signer::new(kind, &key)?.sign_oneshot_to_vec(text)
    };
    sign().map_err(|error| error.to_string())
}

fn if_empty(args: Args<'_>) -> &[u8] {
    match args {
        [current, _] if !current.is_empty() => current,
        [_, default] => default,
        _ => b"",
    }
}

fn bounds(directive: &str, from: &Bytes, to: &Bytes) -> Result<(i64, i64), String> {
    let bad = |which: &str, value: &Bytes| {
        let value = String::from_utf8_lossy(value);
        match directive {
            "set_rotate" => format!("set_rotate: bad \"{which}\" argument value: \"{value}\""),
            _ => format!("{directive}: bad \"{which}\" argument: {value}"),
        }
    };
    let from = number(from).ok_or_else(|| bad("from", from))?;
    let to = number(to).ok_or_else(|| bad("to", to))?;
    Ok((from.min(to), from.max(to)))
}

fn rotate(r: &Rc<Request>, args: Args<'_>) -> Result<Vec<u8>, String> {
    let [current, from, to] = args else { return Ok(Vec::new()) };
    let (from, to) = bounds("set_rotate", from, to)?;
    let last = &r.loc().set_misc.rotation;
    let before_first = || last.get().unwrap_or(from - 1);
    let current = if current.is_empty() {
        before_first()
    } else {
        number(current).unwrap_or_else(|| {
            let current = String::from_utf8_lossy(current);
            r.log(Level::Error, format_args!("set_rotate: bad current value: \"{current}\""));
            before_first()
        })
    };
    let next = current.saturating_add(1);
    let next = if (from..=to).contains(&next) { next } else { from };
    last.set(Some(next));
    Ok(next.to_string().into_bytes())
}

fn random(_r: &Rc<Request>, args: Args<'_>) -> Result<Vec<u8>, String> {
    let [from, to] = args else { return Ok(Vec::new()) };
    let (from, to) = bounds("set_random", from, to)?;
    let mut bytes = [0; 8];
    openssl::rand::rand_bytes(&mut bytes).map_err(|error| error.to_string())?;
    let span = (to - from).unsigned_abs().saturating_add(1);
    let value = from.saturating_add_unsigned(u64::from_le_bytes(bytes) % span);
    Ok(value.to_string().into_bytes())
}

const LOWER_CASE: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const ALPHANUMERIC: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

fn random_text(text: &[u8], alphabet: &[u8]) -> Result<Vec<u8>, String> {
    let length = number(text)
        .filter(|length| (1..=64).contains(length))
        .ok_or_else(|| format!("set_random: bad \"length\" argument: {}", String::from_utf8_lossy(text)))?;
    let mut bytes = vec![0; length as usize];
    openssl::rand::rand_bytes(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes.into_iter().map(|byte| alphabet[usize::from(byte) % alphabet.len()]).collect())
}

fn local_time(format: &[u8]) -> Vec<u8> {
    let minutes = crate::process::local_time(crate::clock::now().sec).offset_minutes;
    let zone = if minutes == 0 { "UTC" } else { "" };
    format_time(format, i64::from(minutes) * 60, zone)
}

fn format_time(format: &[u8], offset: i64, zone: &str) -> Vec<u8> {
    let now = Moment::new(crate::clock::now().sec, offset);
    now.strftime(&String::from_utf8_lossy(format), zone).into_bytes()
}

fn hashed_upstream(r: &Rc<Request>, args: Args<'_>) -> Result<Vec<u8>, String> {
    let [name, key] = args else { return Ok(Vec::new()) };
    let Some(list) = r.main_conf().ndk.list(name) else {
        let name = String::from_utf8_lossy(name);
        return Err(format!("set_hashed_upstream: upstream list \"{name}\" not defined yet"));
    };
    Ok(list.pick(key).map(|upstream| upstream.to_vec()).unwrap_or_default())
}
