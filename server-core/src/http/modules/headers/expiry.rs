//! The argument of `expires`: when a response stops being fresh.

/// When a response expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// Say nothing.
    Off,
    /// Already expired: 1970.
    Epoch,
    /// In 2037.
    Max,
    /// So many seconds after the response is sent.
    Access(i64),
    /// So many seconds after the last modification.
    Modified(i64),
    /// At this second of the day, local time.
    Daily(i64),
}

/// Whether `modified` stood before the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Access,
    Modified,
}

/// Parses the time of `expires`; the error is nginx's text.
pub(crate) fn parse(text: &[u8], base: Base) -> Result<Expiry, &'static str> {
    if base == Base::Access {
        match text {
            b"epoch" => return Ok(Expiry::Epoch),
            b"max" => return Ok(Expiry::Max),
            b"off" => return Ok(Expiry::Off),
            _ => {}
        }
    }
    if let Some(time) = text.strip_prefix(b"@") {
        if base == Base::Modified {
            return Err("daily time cannot be used with \"modified\" parameter");
        }
        let seconds = seconds(time).ok_or("invalid value")?;
        return if seconds > 24 * 60 * 60 {
            Err("daily time value must be less than 24 hours")
        } else {
            Ok(Expiry::Daily(seconds))
        };
    }
    let seconds = match text {
        [b'+', rest @ ..] => seconds(rest),
        [b'-', rest @ ..] => seconds(rest).map(|value| -value),
        _ => seconds(text),
    }
    .ok_or("invalid value")?;
    Ok(match base {
        Base::Access => Expiry::Access(seconds),
        Base::Modified => Expiry::Modified(seconds),
    })
}

/// A time as nginx writes it, in whole seconds: units from large to small, each at most once.
fn seconds(text: &[u8]) -> Option<i64> {
    const UNITS: [(u8, i64); 7] = [
        (b'y', 365 * 24 * 3600),
        (b'M', 30 * 24 * 3600),
        (b'w', 7 * 24 * 3600),
        (b'd', 24 * 3600),
        (b'h', 3600),
        (b'm', 60),
        (b's', 1),
    ];
    let mut total = 0i64;
    let mut number: Option<i64> = None;
    let mut next_unit = 0;
    for &byte in text {
        if byte.is_ascii_digit() {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(i64::from(byte - b'0'))?);
        } else if byte != b' ' {
            let unit = UNITS.iter().position(|unit| unit.0 == byte)?;
            if unit < next_unit {
                return None;
            }
            next_unit = unit + 1;
            total = total.checked_add(number.take()?.checked_mul(UNITS[unit].1)?)?;
        }
    }
    match number {
        Some(rest) => total.checked_add(rest),
        None => (next_unit > 0).then_some(total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_keywords_are_told_apart() {
        assert_eq!(parse(b"epoch", Base::Access), Ok(Expiry::Epoch));
        assert_eq!(parse(b"max", Base::Access), Ok(Expiry::Max));
        assert_eq!(parse(b"off", Base::Access), Ok(Expiry::Off));
        assert_eq!(parse(b"-1", Base::Access), Ok(Expiry::Access(-1)));
        assert_eq!(parse(b"+1h30m", Base::Modified), Ok(Expiry::Modified(5400)));
        assert_eq!(parse(b"@15h30m", Base::Access), Ok(Expiry::Daily(55800)));
    }

    #[test]
    fn bad_times_have_texts() {
        assert_eq!(parse(b"max", Base::Modified), Err("invalid value"));
        assert_eq!(parse(b"1m1h", Base::Access), Err("invalid value"));
        assert_eq!(parse(b"", Base::Access), Err("invalid value"));
        assert_eq!(parse(b"@25h", Base::Access), Err("daily time value must be less than 24 hours"));
        assert_eq!(parse(b"@1h", Base::Modified), Err("daily time cannot be used with \"modified\" parameter"));
    }
}
