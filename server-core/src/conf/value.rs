//! Values of directives: numbers, sizes, times, switches, and the setters that record them.
//!
//! A setter fills an unset slot (`None`) or fails with nginx's text: `"x" directive is duplicate`,
//! `"x" directive invalid value`, and so on.

use std::time::Duration;

use rsty_diag::Diagnostic;

use super::tree::{Directive, Word};

/// `proxy_buffers 8 4k` and the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// How many.
    pub count: usize,
    /// How large each.
    pub size: usize,
}

/// A decimal number without sign.
pub fn number(text: &[u8]) -> Option<i64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0i64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// A number of bytes with an optional `k` or `m`.
pub fn size(text: &[u8]) -> Option<usize> {
    let (digits, scale) = match text.split_last()? {
        (b'k' | b'K', rest) => (rest, 1 << 10),
        (b'm' | b'M', rest) => (rest, 1 << 20),
        _ => (text, 1),
    };
    usize::try_from(number(digits)?.checked_mul(scale)?).ok()
}

/// A number of bytes with an optional `k`, `m` or `g`.
pub fn offset(text: &[u8]) -> Option<u64> {
    let (digits, scale) = match text.split_last()? {
        (b'g' | b'G', rest) => (rest, 1 << 30),
        (b'k' | b'K', rest) => (rest, 1 << 10),
        (b'm' | b'M', rest) => (rest, 1 << 20),
        _ => (text, 1),
    };
    u64::try_from(number(digits)?.checked_mul(scale)?).ok()
}

/// The smallest unit of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// `1y 6M 2w 3d 4h 5m 6s`
    Seconds,
    /// `2w 3d 4h 5m 6s 7ms`; a bare number counts seconds.
    Milliseconds,
}

/// A time: numbers with units, largest unit first, each at most once.
pub fn time(text: &[u8], resolution: Resolution) -> Option<Duration> {
    const SECOND: i64 = 1000;
    const DAY: i64 = 86_400 * SECOND;
    let in_seconds = resolution == Resolution::Seconds;
    // Rank of the last unit seen: years are 1, milliseconds 8. A unit must rank below it.
    let mut rank = if in_seconds { 0 } else { 2 };
    let (mut total, mut value, mut seen) = (0i64, 0i64, false);
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte.is_ascii_digit() {
            value = value.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
            seen = true;
            continue;
        }
        let (next, scale) = match byte {
            b'y' => (1, 365 * DAY),
            b'M' => (2, 30 * DAY),
            b'w' => (3, 7 * DAY),
            b'd' => (4, DAY),
            b'h' => (5, 3600 * SECOND),
            b'm' if rest.first() == Some(&b's') => {
                rest = rest.split_first()?.1;
                if in_seconds {
                    return None;
                }
                (8, 1)
            }
            b'm' => (6, 60 * SECOND),
            b's' => (7, SECOND),
            // A space after a bare number: seconds, and nothing may follow.
            b' ' => (9, SECOND),
            _ => return None,
        };
        let limit = if next == 9 { 7 } else { next };
        if rank >= limit {
            return None;
        }
        rank = next;
        total = total.checked_add(value.checked_mul(scale)?)?;
        value = 0;
        while let Some((b' ', tail)) = rest.split_first() {
            rest = tail;
        }
    }
    let total = total.checked_add(value.checked_mul(SECOND)?)?;
    seen.then(|| Duration::from_millis(total.unsigned_abs()))
}

/// `on` or `off`, in any case.
pub fn flag(directive: &Directive, word: &Word) -> Result<bool, Diagnostic> {
    if word.text.eq_ignore_ascii_case(b"on") {
        return Ok(true);
    }
    if word.text.eq_ignore_ascii_case(b"off") {
        return Ok(false);
    }
    let message = format!(
        "invalid value \"{}\" in \"{}\" directive, it must be \"on\" or \"off\"",
        word.lossy(),
        directive.name()
    );
    Err(directive.error_at(word, "invalid_value", message))
}

/// The error `"x" directive is duplicate`.
pub fn duplicate(directive: &Directive) -> Diagnostic {
    directive.complaint("duplicate_directive", "is duplicate")
}

/// The error `"x" directive invalid value`.
pub fn invalid_value(directive: &Directive) -> Diagnostic {
    directive.complaint("invalid_value", "invalid value")
}

/// The error `invalid value "word"`.
pub fn invalid_word(directive: &Directive, word: &Word) -> Diagnostic {
    directive.error_at(word, "invalid_value", format!("invalid value \"{}\"", word.lossy()))
}

/// Fills `slot` with what `parse` makes of the first argument.
pub fn set_with<T>(
    slot: &mut Option<T>,
    directive: &Directive,
    parse: impl FnOnce(&Word) -> Result<T, Diagnostic>,
) -> Result<(), Diagnostic> {
    if slot.is_some() {
        return Err(duplicate(directive));
    }
    let Some(word) = directive.arg(0) else { return Err(invalid_value(directive)) };
    *slot = Some(parse(word)?);
    Ok(())
}

/// A switch.
pub fn set_flag(slot: &mut Option<bool>, directive: &Directive) -> Result<(), Diagnostic> {
    set_with(slot, directive, |word| flag(directive, word))
}

/// A number.
pub fn set_number<T: TryFrom<i64>>(slot: &mut Option<T>, directive: &Directive) -> Result<(), Diagnostic> {
    set_with(slot, directive, |word| {
        let value = number(&word.text).and_then(|value| T::try_from(value).ok());
        value.ok_or_else(|| directive.complaint_at(word, "invalid_value", "invalid number"))
    })
}

/// A number of bytes (`k`, `m`).
pub fn set_size(slot: &mut Option<usize>, directive: &Directive) -> Result<(), Diagnostic> {
    set_with(slot, directive, |word| {
        size(&word.text).ok_or_else(|| directive.complaint_at(word, "invalid_value", "invalid value"))
    })
}

/// A number of bytes (`k`, `m`, `g`).
pub fn set_offset(slot: &mut Option<u64>, directive: &Directive) -> Result<(), Diagnostic> {
    set_with(slot, directive, |word| {
        offset(&word.text).ok_or_else(|| directive.complaint_at(word, "invalid_value", "invalid value"))
    })
}

/// A time with milliseconds.
pub fn set_msec(slot: &mut Option<Duration>, directive: &Directive) -> Result<(), Diagnostic> {
    set_time(slot, directive, Resolution::Milliseconds)
}

/// A time in whole seconds.
pub fn set_sec(slot: &mut Option<Duration>, directive: &Directive) -> Result<(), Diagnostic> {
    set_time(slot, directive, Resolution::Seconds)
}

fn set_time(slot: &mut Option<Duration>, directive: &Directive, resolution: Resolution) -> Result<(), Diagnostic> {
    set_with(slot, directive, |word| {
        time(&word.text, resolution).ok_or_else(|| directive.complaint_at(word, "invalid_value", "invalid value"))
    })
}

/// A string as written.
pub fn set_string(slot: &mut Option<Box<[u8]>>, directive: &Directive) -> Result<(), Diagnostic> {
    set_with(slot, directive, |word| Ok(word.text.clone()))
}

/// One more string in a list.
pub fn push_string(slot: &mut Option<Vec<Box<[u8]>>>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some(word) = directive.arg(0) else { return Err(invalid_value(directive)) };
    slot.get_or_insert_default().push(word.text.clone());
    Ok(())
}

/// Rights of new files: `user:rw group:rw all:r`; the user may always read and write.
pub fn access(directive: &Directive) -> Result<u32, Diagnostic> {
    let mut mode = 0;
    let mut user = 0o600;
    for word in &directive.args {
        let colon = memchr::memchr(b':', &word.text).ok_or_else(|| invalid_word(directive, word))?;
        let (who, rights) = (&word.text[..colon], &word.text[colon + 1..]);
        let shift = match who {
            b"user" => {
                user = 0;
                6
            }
            b"group" => 3,
            b"all" => 0,
            _ => return Err(invalid_word(directive, word)),
        };
        let rights = match rights {
            b"rw" => 6,
            b"r" => 4,
            _ => return Err(invalid_value(directive)),
        };
        mode |= rights << shift;
    }
    Ok(mode | user)
}

/// A list of names with their values.
pub type KeyValues = Vec<(Box<[u8]>, Box<[u8]>)>;

/// One more name and value in a list.
pub fn push_key_value(slot: &mut Option<KeyValues>, directive: &Directive) -> Result<(), Diagnostic> {
    let (Some(key), Some(value)) = (directive.arg(0), directive.arg(1)) else {
        return Err(invalid_value(directive));
    };
    slot.get_or_insert_default().push((key.text.clone(), value.text.clone()));
    Ok(())
}

/// A number of buffers and their size.
pub fn set_buffers(slot: &mut Option<Buffers>, directive: &Directive) -> Result<(), Diagnostic> {
    set_with(slot, directive, |count| {
        let count = number(&count.text).and_then(|count| usize::try_from(count).ok());
        let size = directive.arg(1).and_then(|word| size(&word.text));
        match (count, size) {
            (Some(count), Some(size)) if count > 0 && size > 0 => Ok(Buffers { count, size }),
            _ => Err(invalid_value(directive)),
        }
    })
}

/// One of a list of words, in any case.
pub fn set_enum<T: Copy>(slot: &mut Option<T>, directive: &Directive, words: &[(&str, T)]) -> Result<(), Diagnostic> {
    set_with(slot, directive, |word| find_word(directive, word, words))
}

/// Any of a list of words, each a bit; a repeated word is a warning.
pub fn set_bits(
    slot: &mut Option<u32>,
    directive: &Directive,
    words: &[(&str, u32)],
) -> Result<Vec<Diagnostic>, Diagnostic> {
    let mut warnings = Vec::new();
    for word in &directive.args {
        let bit = find_word(directive, word, words)?;
        let bits = slot.get_or_insert(0);
        if *bits & bit != 0 {
            let message = format!("duplicate value \"{}\"", word.lossy());
            warnings.push(Diagnostic::warning("duplicate_value", message).at(&directive.source, word.span));
        }
        *bits |= bit;
    }
    Ok(warnings)
}

fn find_word<T: Copy>(directive: &Directive, word: &Word, words: &[(&str, T)]) -> Result<T, Diagnostic> {
    let found = words.iter().find(|(name, _)| word.text.eq_ignore_ascii_case(name.as_bytes()));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names = words.iter().map(|(name, _)| *name);
        let error = invalid_word(directive, word);
        match rsty_diag::closest(&word.lossy(), names.clone()) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("one of: {}", names.collect::<Vec<_>>().join(", "))),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_sizes() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"9223372036854775807"), Some(i64::MAX));
        for bad in [&b""[..], b"-1", b"1k", b"9223372036854775808", b" 1"] {
            assert_eq!(number(bad), None);
        }
        assert_eq!((size(b"8k"), size(b"2M"), size(b"7"), size(b"1g")), (Some(8192), Some(2 << 20), Some(7), None));
        assert_eq!((offset(b"1g"), offset(b"k"), offset(b"9999999999g")), (Some(1 << 30), None, None));
    }

    #[test]
    fn times_in_both_resolutions() {
        let ms = |text: &str| time(text.as_bytes(), Resolution::Milliseconds).map(|time| time.as_millis());
        assert_eq!((ms("5"), ms("5s"), ms("5ms"), ms("1m 30s")), (Some(5000), Some(5000), Some(5), Some(90_000)));
        assert_eq!((ms("1d2h"), ms("1w")), (Some(93_600_000), Some(604_800_000)));
        assert_eq!(
            (ms(""), ms("1y"), ms("1M"), ms("1s1m"), ms("1s 2"), ms("s")),
            (None, None, None, None, Some(3000), None)
        );
        let s = |text: &str| time(text.as_bytes(), Resolution::Seconds).map(|time| time.as_secs());
        assert_eq!((s("1y"), s("1M"), s("10ms"), s("90")), (Some(31_536_000), Some(2_592_000), None, Some(90)));
        assert_eq!(ms("99999999999999999999"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)) {
            let _ = (number(&bytes), size(&bytes), offset(&bytes));
            let _ = (time(&bytes, Resolution::Seconds), time(&bytes, Resolution::Milliseconds));
        }
    }
}
