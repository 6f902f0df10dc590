//! Text encodings as nginx, its modules and the Lua API define them: percent escapes, base64, SQL quotes, hexadecimal.
//!
//! Pure functions on bytes. Outputs are appended to a `Vec` or written to a buffer whose size the caller computed
//! with the function's `…_len` sibling.

use std::borrow::Cow;

/// What percent escaping protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// A whole URI.
    Uri,
    /// The query string as a whole.
    Args,
    /// One component: an argument's name or value. The default of `ngx.escape_uri`.
    Component,
    /// A URI in an HTML page.
    Html,
    /// A URI in a `Refresh` header.
    Refresh,
    /// A memcached key; mail authentication uses the same.
    Memcached,
    /// The name of a header.
    HeaderName,
    /// The value of a header.
    HeaderValue,
}

impl Escape {
    /// The type numbers of `ngx.escape_uri`'s second argument and of nginx's `ngx_escape_uri`.
    pub fn from_number(number: i32) -> Self {
        match number {
            0 => Self::Uri,
            1 => Self::Args,
            3 => Self::Html,
            4 => Self::Refresh,
            5 | 6 => Self::Memcached,
            8 => Self::HeaderName,
            9 => Self::HeaderValue,
            _ => Self::Component,
        }
    }

    /// The bytes that the Lua API escapes.
    fn lua_table(self) -> &'static Table {
        const URI: Table = table(b" #%?", Others::AllButAscii);
        const ARGS: Table = table(b" #%+?", Others::AllButAscii);
        const COMPONENT: Table = table(b" \"#$%&+,/:;<=>?@[\\]^`{|}", Others::AllButAscii);
        const HTML: Table = table(b" \"#%'", Others::AllButAscii);
        const REFRESH: Table = table(b" \"'", Others::AllButAscii);
        const MEMCACHED: Table = table(b" %", Others::Controls);
        const HEADER_NAME: Table = table(b" \"(),/:;<=>?@[\\]{}", Others::AllButAscii);
        const HEADER_VALUE: Table = table(b"\x7f", Others::ControlsButTab);
        match self {
            Self::Uri => &URI,
            Self::Args => &ARGS,
            Self::Component => &COMPONENT,
            Self::Html => &HTML,
            Self::Refresh => &REFRESH,
            Self::Memcached => &MEMCACHED,
            Self::HeaderName => &HEADER_NAME,
            Self::HeaderValue => &HEADER_VALUE,
        }
    }

    /// The bytes that nginx itself escapes: more than the Lua API does.
    fn nginx_table(self) -> &'static Table {
        const URI: Table = table(b" \"#%<>?\\^`{|}", Others::AllButAscii);
        const ARGS: Table = table(b" \"#%&+;<>?\\^`{|}", Others::AllButAscii);
        const COMPONENT: Table = table(b" !\"#$%&'()*+,/:;<=>?@[\\]^`{|}", Others::AllButAscii);
        const HTML: Table = table(b" \"#%'<>\\^`{|}", Others::AllButAscii);
        const REFRESH: Table = table(b" \"'<>\\^`{|~", Others::AllButAscii);
        match self {
            Self::Uri => &URI,
            Self::Args => &ARGS,
            Self::Component => &COMPONENT,
            Self::Html => &HTML,
            Self::Refresh => &REFRESH,
            other => other.lua_table(),
        }
    }
}

type Table = [bool; 256];

#[derive(Clone, Copy)]
enum Others {
    /// Control bytes, DEL and everything above ASCII.
    AllButAscii,
    Controls,
    ControlsButTab,
}

const fn table(listed: &[u8], others: Others) -> Table {
    let mut table = [false; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = match others {
            Others::AllButAscii => i < 0x20 || i >= 0x7f,
            Others::Controls => i < 0x20,
            Others::ControlsButTab => i < 0x20 && i != 0x09,
        };
        i += 1;
    }
    let mut i = 0;
    while i < listed.len() {
        table[listed[i] as usize] = true;
        i += 1;
    }
    table
}

/// Which of the two sets of rules applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Those of the Lua API.
    Lua,
    /// Those of nginx's own `ngx_escape_uri`.
    Nginx,
}

fn rules_table(kind: Escape, rules: Rules) -> &'static Table {
    match rules {
        Rules::Lua => kind.lua_table(),
        Rules::Nginx => kind.nginx_table(),
    }
}

/// How many bytes of `src` have to be escaped.
pub fn escape_count(src: &[u8], kind: Escape, rules: Rules) -> usize {
    let table = rules_table(kind, rules);
    src.iter().filter(|&&byte| table[usize::from(byte)]).count()
}

/// Feeds the percent-escaped form of `src` to `out`, byte by byte.
pub fn escape(src: &[u8], kind: Escape, rules: Rules, mut out: impl FnMut(u8)) {
    let table = rules_table(kind, rules);
    for &byte in src {
        if table[usize::from(byte)] {
            out(b'%');
            out(HEX_UPPER[usize::from(byte >> 4)]);
            out(HEX_UPPER[usize::from(byte & 15)]);
        } else {
            out(byte);
        }
    }
}

/// The percent-escaped form of `src` by the rules of the Lua API: `src` itself when there is nothing to escape.
pub fn escaped(src: &[u8], kind: Escape) -> Cow<'_, [u8]> {
    let count = escape_count(src, kind, Rules::Lua);
    if count == 0 {
        return Cow::Borrowed(src);
    }
    let mut dst = Vec::with_capacity(src.len() + 2 * count);
    escape(src, kind, Rules::Lua, |byte| dst.push(byte));
    Cow::Owned(dst)
}

/// The percent-escaped form of `src`.
pub fn escaped_by(src: &[u8], kind: Escape, rules: Rules) -> Vec<u8> {
    let mut dst = Vec::with_capacity(src.len() + 16);
    escape(src, kind, rules, |byte| dst.push(byte));
    dst
}

/// Feeds the unescaped form of an argument to `out`: `+` is a space, and a `%` without two digits stands for itself.
pub fn unescape_component(src: &[u8], mut out: impl FnMut(u8)) {
    let mut rest = src;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match (byte, tail) {
            (b'%', [high, low, after @ ..]) => match (hex_value(*high), hex_value(*low)) {
                (Some(high), Some(low)) => {
                    out(high << 4 | low);
                    rest = after;
                }
                _ => out(b'%'),
            },
            (b'+', _) => out(b' '),
            _ => out(*byte),
        }
    }
}

/// The value of a hexadecimal digit.
pub const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

const HEX_UPPER: &[u8; 16] = b"0123456789ABCDEF";
const HEX_LOWER: &[u8; 16] = b"0123456789abcdef";

/// Feeds lower-case hexadecimal digits to `out`.
pub fn hex(src: &[u8], mut out: impl FnMut(u8)) {
    for &byte in src {
        out(HEX_LOWER[usize::from(byte >> 4)]);
        out(HEX_LOWER[usize::from(byte & 15)]);
    }
}

/// The alphabets of base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// With `+` and `/`.
    Standard,
    /// With `-` and `_`, for URLs.
    Url,
}

impl Alphabet {
    const fn digits(self) -> &'static [u8; 64] {
        match self {
            Self::Standard => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
            Self::Url => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
        }
    }

    const fn values(self) -> &'static [u8; 256] {
        const STANDARD: [u8; 256] = values(Alphabet::Standard.digits());
        const URL: [u8; 256] = values(Alphabet::Url.digits());
        match self {
            Self::Standard => &STANDARD,
            Self::Url => &URL,
        }
    }
}

const NO_DIGIT: u8 = 0xff;

const fn values(digits: &[u8; 64]) -> [u8; 256] {
    let mut values = [NO_DIGIT; 256];
    let mut i = 0;
    while i < 64 {
        values[digits[i] as usize] = i as u8;
        i += 1;
    }
    values
}

/// Whether base64 is filled up with `=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// To a multiple of four.
    Equals,
    /// Not at all.
    Omitted,
}

/// The length of the base64 form of `len` bytes.
pub const fn base64_len(len: usize, padding: Padding) -> usize {
    match padding {
        Padding::Equals => len.div_ceil(3) * 4,
        Padding::Omitted => (len * 4).div_ceil(3),
    }
}

/// Feeds the base64 form of `src` to `out`.
pub fn base64_encode(src: &[u8], alphabet: Alphabet, padding: Padding, mut out: impl FnMut(u8)) {
    let digits = alphabet.digits();
    let mut digit = |bits: u32, shift: u32| out(digits[(bits >> shift & 63) as usize]);
    let mut chunks = src.chunks_exact(3);
    for chunk in &mut chunks {
        let bits = chunk.iter().fold(0, |bits, &byte| bits << 8 | u32::from(byte));
        for shift in [18, 12, 6, 0] {
            digit(bits, shift);
        }
    }
    let fill = match *chunks.remainder() {
        [a] => {
            digit(u32::from(a), 2);
            digit(u32::from(a) << 4, 0);
            2
        }
        [a, b] => {
            let bits = u32::from(a) << 8 | u32::from(b);
            digit(bits, 10);
            digit(bits, 4);
            digit(bits << 2, 0);
            1
        }
        _ => 0,
    };
    if padding == Padding::Equals {
        (0..fill).for_each(|_| out(b'='));
    }
}

/// What to do with bytes that are no base64 digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strangers {
    /// The text is bad.
    Refused,
    /// They are passed over, as MIME wants it.
    Skipped,
}

/// Feeds the bytes that `src` stands for to `out`. Reading ends at the first `=`. False when the text is bad; nothing
/// has been produced then.
pub fn base64_decode(src: &[u8], alphabet: Alphabet, strangers: Strangers, mut out: impl FnMut(u8)) -> bool {
    let values = alphabet.values();
    let text = src.split(|&byte| byte == b'=').next().unwrap_or_default();
    let digits = text.iter().filter(|&&byte| values[usize::from(byte)] != NO_DIGIT).count();
    if digits % 4 == 1 || (strangers == Strangers::Refused && digits != text.len()) {
        return false;
    }
    let (mut bits, mut held) = (0_u32, 0_u32);
    for &byte in text {
        let value = values[usize::from(byte)];
        if value == NO_DIGIT {
            continue;
        }
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out((bits >> held) as u8);
        }
    }
    true
}

/// The longest result of decoding `len` digits.
pub const fn base64_decoded_len(len: usize) -> usize {
    len.div_ceil(4) * 3
}

/// The two lower-case hexadecimal digits of each byte.
pub fn to_hex(src: &[u8]) -> Vec<u8> {
    let mut digits = Vec::with_capacity(src.len() * 2);
    hex(src, |digit| digits.push(digit));
    digits
}

/// Which bytes of a string literal get a backslash besides those of MySQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dollars {
    /// `$` too: the literal may be read by a shell or a template.
    Escaped,
    /// None.
    Kept,
}

/// A string literal for MySQL, with its quotes.
pub fn quote_sql(src: &[u8], dollars: Dollars) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(src.len() + 8);
    quoted.push(b'\'');
    for &byte in src {
        let short = match byte {
            0 => b'0',
            8 => b'b',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            26 => b'Z',
            b'\\' | b'\'' | b'"' => byte,
            b'$' if dollars == Dollars::Escaped => byte,
            _ => {
                quoted.push(byte);
                continue;
            }
        };
        quoted.extend([b'\\', short]);
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unescaped(src: &[u8]) -> Vec<u8> {
        let mut dst = Vec::new();
        unescape_component(src, |byte| dst.push(byte));
        dst
    }

    #[test]
    fn components_keep_marks_of_javascript() {
        assert_eq!(&*escaped(b"a b/c!'()*-._~\xe4", Escape::Component), b"a%20b%2Fc!'()*-._~%E4");
    }

    #[test]
    fn nginx_escapes_more_than_lua() {
        assert_eq!(escape_count(b"!<", Escape::Component, Rules::Lua), 1);
        assert_eq!(escape_count(b"!<", Escape::Component, Rules::Nginx), 2);
    }

    #[test]
    fn lone_percent_signs_stay() {
        assert_eq!(unescaped(b"%41+%zz%4"), b"A %zz%4");
        assert_eq!(unescaped(b"%%41"), b"%A");
    }

    #[test]
    fn base64_round_trips_with_both_paddings() {
        for text in [&b""[..], b"a", b"ab", b"abc", b"\xff\xfe\xfd\xfc"] {
            for padding in [Padding::Equals, Padding::Omitted] {
                let mut encoded = Vec::new();
                base64_encode(text, Alphabet::Url, padding, |byte| encoded.push(byte));
                assert_eq!(encoded.len(), base64_len(text.len(), padding));
                let mut decoded = Vec::new();
                assert!(base64_decode(&encoded, Alphabet::Url, Strangers::Refused, |byte| decoded.push(byte)));
                assert_eq!(decoded, text);
            }
        }
    }

    #[test]
    fn base64_refuses_strangers_unless_mime() {
        let mut decoded = Vec::new();
        assert!(!base64_decode(b"YW\nI", Alphabet::Standard, Strangers::Refused, |_| ()));
        assert!(base64_decode(b"YW\nI=", Alphabet::Standard, Strangers::Skipped, |byte| decoded.push(byte)));
        assert_eq!(decoded, b"ab");
        assert!(!base64_decode(b"YWJjZ", Alphabet::Standard, Strangers::Refused, |_| ()));
    }

    #[test]
    fn sql_quotes_escape_control_bytes() {
        assert_eq!(quote_sql(b"a'\0\x1a\n$", Dollars::Kept), b"'a\\'\\0\\Z\\n$'");
        assert_eq!(quote_sql(b"$", Dollars::Escaped), b"'\\$'");
        assert_eq!(quote_sql(b"", Dollars::Kept), b"''");
    }
}
