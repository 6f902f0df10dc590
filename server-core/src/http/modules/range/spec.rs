//! The value of a `Range` header against the length of a response: pure arithmetic.

/// What to do about a `Range` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// Answer as if there were no header.
    Everything,
    /// Answer 416.
    NotSatisfiable,
    /// Answer 206 with these parts, `start..end` each; at least one.
    Parts(Vec<(u64, u64)>),
}

/// `max_ranges` when the configuration sets none.
pub(crate) const UNLIMITED: usize = usize::MAX;

/// Reads `bytes=…`. Parts are kept in the order asked for; at most `max_ranges` of them.
pub(crate) fn select(value: &[u8], length: u64, max_ranges: usize) -> Selection {
    let Some(mut rest) =
        value.split_at_checked(6).filter(|(unit, _)| unit.eq_ignore_ascii_case(b"bytes=")).map(|v| v.1)
    else {
        return Selection::Everything;
    };
    let mut parts = Vec::new();
    let mut total = 0u64;
    loop {
        let Some((spec, after)) = parse_spec(rest) else { return Selection::NotSatisfiable };
        let (start, end) = match spec {
            Spec::From(start) => (start, length),
            Spec::Between(start, last) => (start, if last >= length { length } else { last + 1 }),
            Spec::Suffix(count) => (length.saturating_sub(count), length),
        };
        if start < end {
            if parts.len() == max_ranges {
                return Selection::Everything;
            }
            parts.push((start, end));
            total = total.saturating_add(end - start);
        } else if start == 0 {
            return Selection::Everything;
        }
        match after {
            Some(more) => rest = more,
            None => break,
        }
    }
    let unlimited = max_ranges == UNLIMITED;
    // Without a limit, many small parts must not cost much more than the whole.
    let with_heads = total.saturating_add(parts.len() as u64 * 256);
    if parts.is_empty() {
        Selection::NotSatisfiable
    } else if parts.len() > 1 && (total > length || unlimited && with_heads > length.saturating_add(4096)) {
        Selection::Everything
    } else {
        Selection::Parts(parts)
    }
}

enum Spec {
    From(u64),
    Between(u64, u64),
    Suffix(u64),
}

/// One specification and what follows its comma.
fn parse_spec(text: &[u8]) -> Option<(Spec, Option<&[u8]>)> {
    let text = trim(text);
    let (spec, rest) = if let Some(rest) = text.strip_prefix(b"-") {
        let (count, rest) = digits(rest)?;
        (Spec::Suffix(count), rest)
    } else {
        let (start, rest) = digits(text)?;
        let rest = trim(trim(rest).strip_prefix(b"-")?);
        match rest.first() {
            None | Some(b',') => (Spec::From(start), rest),
            Some(_) => {
                let (last, rest) = digits(rest)?;
                (Spec::Between(start, last), rest)
            }
        }
    };
    match trim(rest) {
        [] => Some((spec, None)),
        [b',', more @ ..] => Some((spec, Some(more))),
        _ => None,
    }
}

fn digits(text: &[u8]) -> Option<(u64, &[u8])> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = text.split_at(count);
    let value = std::str::from_utf8(number).ok()?.parse::<u64>().ok()?;
    (value < i64::MAX as u64).then_some((value, rest))
}

fn trim(text: &[u8]) -> &[u8] {
    let spaces = text.iter().take_while(|&&byte| byte == b' ').count();
    &text[spaces..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(value: &str, length: u64) -> Vec<(u64, u64)> {
        match select(value.as_bytes(), length, UNLIMITED) {
            Selection::Parts(parts) => parts,
            other => panic!("{value}: {other:?}"),
        }
    }

    #[test]
    fn single_and_multiple_parts_are_half_open() {
        assert_eq!(parts("bytes=0-4", 10), [(0, 5)]);
        assert_eq!(parts("bytes=5-", 10), [(5, 10)]);
        assert_eq!(parts("bytes=-3", 10), [(7, 10)]);
        assert_eq!(parts("bytes=8-99", 10), [(8, 10)]);
        assert_eq!(parts("Bytes= 0 - 1 , 3-4", 10), [(0, 2), (3, 5)]);
        assert_eq!(parts("bytes=1-2,100-", 10), [(1, 3)]);
    }

    #[test]
    fn what_cannot_be_satisfied_is_told_from_what_is_ignored() {
        for value in ["bytes=10-", "bytes=a-b", "bytes=", "bytes=3", "bytes=99999999999999999999-", "bytes=1-2;"] {
            assert_eq!(select(value.as_bytes(), 10, 9), Selection::NotSatisfiable, "{value}");
        }
        for value in ["items=0-1", "bytes=0-9,0-9", "bytes=0-0,1-1,2-2"] {
            assert_eq!(select(value.as_bytes(), 10, 2), Selection::Everything, "{value}");
        }
        assert_eq!(select(b"bytes=0-", 0, 9), Selection::Everything);
    }
}
