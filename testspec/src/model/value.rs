//! Perl values as the runner and the evaluator see them.

use std::cell::RefCell;
use std::collections::HashMap as StdHashMap;
use std::fmt;
use std::rc::Rc;

use super::{Block, Regex};
use crate::perl;

/// A Perl array, shared.
pub type Array = Rc<RefCell<Vec<Value>>>;
/// A Perl hash, shared.
pub type Hash = Rc<RefCell<HashMap>>;

/// One scalar value. Strings are bytes. Cloning is cheap: contents are shared, and copied when changed.
#[derive(Clone, Default)]
pub enum Value {
    /// A reference to an array.
    Array(Array),
    /// A test block, as preprocessors get it.
    Block(Block),
    /// A reference to a subroutine.
    Code(Code),
    /// An open file.
    File(perl::File),
    /// A reference to a hash.
    Hash(Hash),
    /// An integer.
    Int(i64),
    /// A floating point number.
    Num(f64),
    /// A reference with a class: an object.
    Object(Rc<Object>),
    /// A pattern made by `qr//`.
    Regex(Regex),
    /// A reference to a scalar.
    Ref(Reference),
    /// A string of bytes.
    Str(Rc<Vec<u8>>),
    /// Nothing.
    #[default]
    Undef,
}

/// A subroutine with what it closes over; call it with [`SpecFile::call`](crate::load::SpecFile::call).
#[derive(Clone)]
pub struct Code(pub(crate) Rc<perl::Sub>);

/// What a reference to a scalar points to.
#[derive(Clone, Debug)]
pub enum Reference {
    /// A variable.
    Cell(Rc<RefCell<Value>>),
    /// An element of an array.
    Element(Array, i64),
    /// A value in a hash.
    Entry(Hash, Vec<u8>),
}

/// A blessed reference.
#[derive(Debug)]
pub struct Object {
    /// The class.
    pub class: String,
    /// The reference itself.
    pub target: Value,
}

/// A hash that remembers the order in which its keys came.
#[derive(Clone, Debug, Default)]
pub struct HashMap {
    entries: Vec<Option<(Rc<[u8]>, Value)>>,
    places: StdHashMap<Rc<[u8]>, usize>,
}

impl Value {
    /// A string value.
    pub fn str(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Str(Rc::new(bytes.into()))
    }

    /// A reference to a new array.
    pub fn array(items: Vec<Self>) -> Self {
        Self::Array(Rc::new(RefCell::new(items)))
    }

    /// Perl's canonical true or false.
    pub fn bool(truth: bool) -> Self {
        if truth { Self::Int(1) } else { Self::str("") }
    }

    /// Whether it is anything but `undef`.
    pub fn is_defined(&self) -> bool {
        !matches!(self, Self::Undef)
    }

    /// Perl's truth: everything but undef, "", "0" and zero.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Undef => false,
            Self::Int(number) => *number != 0,
            Self::Num(number) => *number != 0.0,
            Self::Str(bytes) => !bytes.is_empty() && bytes.as_slice() != b"0",
            _ => true,
        }
    }

    /// The value as Perl prints it. References print their kind with a fixed address.
    pub fn to_bytes(&self) -> Rc<Vec<u8>> {
        let text = match self {
            Self::Str(bytes) => return Rc::clone(bytes),
            Self::Undef => Vec::new(),
            Self::Int(number) => number.to_string().into_bytes(),
            Self::Num(number) => format_number(*number).into_bytes(),
            Self::Regex(regex) => regex.to_text(),
            Self::Array(array) => address("ARRAY", Rc::as_ptr(array).cast::<()>()),
            Self::Hash(hash) => address("HASH", Rc::as_ptr(hash).cast::<()>()),
            Self::Code(code) => address("CODE", Rc::as_ptr(&code.0).cast::<()>()),
            Self::Ref(Reference::Cell(cell)) => address("SCALAR", Rc::as_ptr(cell).cast::<()>()),
            Self::Ref(Reference::Element(array, _)) => address("SCALAR", Rc::as_ptr(array).cast::<()>()),
            Self::Ref(Reference::Entry(hash, _)) => address("SCALAR", Rc::as_ptr(hash).cast::<()>()),
            Self::File(_) => b"GLOB(0x1)".to_vec(),
            Self::Block(_) => b"Test::Base::Block=HASH(0x1)".to_vec(),
            Self::Object(object) => {
                let mut text = object.class.clone().into_bytes();
                text.push(b'=');
                text.extend_from_slice(&object.target.to_bytes());
                text
            }
        };
        Rc::new(text)
    }

    /// The value as text, with invalid UTF-8 replaced; for messages and names.
    pub fn to_text(&self) -> String {
        String::from_utf8_lossy(&self.to_bytes()).into_owned()
    }

    /// The value as a number; text counts as far as it looks like one.
    pub fn to_number(&self) -> f64 {
        match self {
            Self::Int(number) => *number as f64,
            Self::Num(number) => *number,
            Self::Str(bytes) => parse_number(bytes).to_number(),
            Self::Undef => 0.0,
            _ => 1.0,
        }
    }

    /// The value as an integer, truncated.
    pub fn to_int(&self) -> i64 {
        match self.numeric() {
            Self::Int(number) => number,
            Self::Num(number) => number as i64,
            _ => 0,
        }
    }

    /// The value as `Int` or `Num`.
    #[must_use]
    pub fn numeric(&self) -> Self {
        match self {
            Self::Int(number) => Self::Int(*number),
            Self::Num(number) => Self::Num(*number),
            Self::Str(bytes) => parse_number(bytes),
            Self::Undef => Self::Int(0),
            _ => Self::Int(1),
        }
    }

    /// What `ref` says: the kind of a reference or its class, "" for other values.
    pub fn reference_kind(&self) -> &str {
        match self {
            Self::Array(_) => "ARRAY",
            Self::Hash(_) => "HASH",
            Self::Code(_) => "CODE",
            Self::Ref(_) => "SCALAR",
            Self::Regex(_) => "Regexp",
            Self::File(_) => "GLOB",
            Self::Block(_) => "Test::Base::Block",
            Self::Object(object) => &object.class,
            Self::Int(_) | Self::Num(_) | Self::Str(_) | Self::Undef => "",
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undef => f.write_str("undef"),
            Self::Array(array) => match array.try_borrow() {
                Ok(items) => f.debug_list().entries(items.iter()).finish(),
                Err(_) => f.write_str("[…]"),
            },
            Self::Hash(hash) => match hash.try_borrow() {
                Ok(map) => f
                    .debug_map()
                    .entries(map.iter().map(|(key, value)| (key.escape_ascii().to_string(), value)))
                    .finish(),
                Err(_) => f.write_str("{…}"),
            },
            Self::Regex(regex) => regex.fmt(f),
            Self::Str(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            other => write!(f, "{}", other.to_text()),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sub {…}")
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::str(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl HashMap {
    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Option<&Value> {
        let place = *self.places.get(key)?;
        self.entries.get(place)?.as_ref().map(|(_, value)| value)
    }

    /// The value of a key, to be changed; a new key starts undefined.
    pub fn entry(&mut self, key: &[u8]) -> &mut Value {
        let place = match self.places.get(key) {
            Some(place) => *place,
            None => {
                let key: Rc<[u8]> = key.into();
                self.entries.push(Some((Rc::clone(&key), Value::Undef)));
                self.places.insert(key, self.entries.len() - 1);
                self.entries.len() - 1
            }
        };
        let slot = &mut self.entries[place];
        &mut slot.as_mut().expect("a place in the table points at a live entry").1
    }

    /// Sets a key.
    pub fn insert(&mut self, key: &[u8], value: Value) {
        *self.entry(key) = value;
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &[u8]) -> Option<Value> {
        let place = self.places.remove(key)?;
        self.entries.get_mut(place)?.take().map(|(_, value)| value)
    }

    /// Whether the key exists.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.places.contains_key(key)
    }

    /// Keys and values in the order in which the keys came.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Value)> {
        self.entries.iter().flatten().map(|(key, value)| (&**key, value))
    }

    /// The first entry at or behind a place, with its place.
    pub(crate) fn next_from(&self, place: usize) -> Option<(usize, &[u8], &Value)> {
        let mut entries = self.entries.iter().enumerate().skip(place);
        entries.find_map(|(place, entry)| entry.as_ref().map(|(key, value)| (place, &**key, value)))
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// The number at the start of a string, as Perl reads it: blanks, sign, digits, fraction, exponent.
pub fn parse_number(bytes: &[u8]) -> Value {
    let text = bytes.trim_ascii_start();
    let mut at = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let digits = |from: usize| text.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(at);
    at += whole;
    let mut fraction = 0;
    let mut is_float = false;
    if text.get(at) == Some(&b'.') {
        fraction = digits(at + 1);
        if whole + fraction > 0 {
            is_float = true;
            at += 1 + fraction;
        }
    }
    if whole + fraction == 0 {
        let lower: Vec<u8> = text.iter().take(4).map(u8::to_ascii_lowercase).collect();
        let (sign, word) = match lower.split_first() {
            Some((b'-', rest)) => (-1.0, rest),
            Some((b'+', rest)) => (1.0, rest),
            _ => (1.0, lower.as_slice()),
        };
        return match word.get(..3) {
            Some(b"inf") => Value::Num(sign * f64::INFINITY),
            Some(b"nan") => Value::Num(f64::NAN),
            _ => Value::Int(0),
        };
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + sign);
        if exponent > 0 {
            is_float = true;
            at += 1 + sign + exponent;
        }
    }
    let number = std::str::from_utf8(text.get(..at).unwrap_or_default()).unwrap_or("0");
    if !is_float && let Ok(number) = number.parse::<i64>() {
        return Value::Int(number);
    }
    Value::Num(number.parse().unwrap_or(0.0))
}

/// A number as Perl prints it: fifteen significant digits, no trailing zeros.
pub fn format_number(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Inf".to_owned() } else { "-Inf".to_owned() };
    }
    if number.fract().abs() < f64::MIN_POSITIVE && number.abs() < 1e15 {
        return format!("{}", number as i64);
    }
    let scientific = format!("{number:.14e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| -> String {
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
    };
    if (-4..15).contains(&exponent) {
        let places = usize::try_from(14 - exponent).unwrap_or(0);
        return trim(&format!("{number:.places$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
}

fn address(kind: &str, at: *const ()) -> Vec<u8> {
    format!("{kind}(0x{:x})", at.addr()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_in_perl() {
        for (number, text) in [
            (3.0, "3"),
            (0.015, "0.015"),
            (1e15, "1e+15"),
            (1e20, "1e+20"),
            (0.1 + 0.2, "0.3"),
            (1.0 / 3.0, "0.333333333333333"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (123_456_789.125, "123456789.125"),
        ] {
            assert_eq!(format_number(number), text);
        }
    }

    #[test]
    fn text_counts_as_far_as_it_looks_like_a_number() {
        assert_eq!(Value::from(" 12abc").to_int(), 12);
        assert_eq!(Value::from("1.5e3x").to_int(), 1500);
        assert_eq!(Value::from("abc").to_int(), 0);
        assert_eq!(format_number(Value::from(".5").to_number()), "0.5");
        assert_eq!(Value::from("-7").to_int(), -7);
        assert_eq!(Value::from("").to_int(), 0);
    }

    #[test]
    fn truth_is_perls() {
        for (value, truth) in [("", false), ("0", false), ("0.0", true), ("00", true), ("a", true)] {
            assert_eq!(Value::from(value).is_true(), truth, "{value:?}");
        }
        assert!(!Value::Undef.is_true());
    }

    #[test]
    fn a_hash_keeps_the_order_of_its_keys() {
        let mut map = HashMap::default();
        for key in ["b", "a", "c"] {
            map.insert(key.as_bytes(), Value::from(key));
        }
        map.remove(b"a");
        map.insert(b"a", Value::Int(1));
        let keys: Vec<_> = map.iter().map(|(key, _)| key.to_vec()).collect();
        assert_eq!(keys, [b"b", b"c", b"a"]);
        assert_eq!(map.len(), 3);
    }
}
