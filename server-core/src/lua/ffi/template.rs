//! Replacement templates of `ngx.re.sub`: text with `$1`, `${1}` and `$$`.

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text as it is.
    Text(Vec<u8>),
    /// What a group matched.
    Group(usize),
}

/// Why a template is bad; the text is for the error log.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateError {
    /// A `$` at the end, or before something that is no name.
    #[error("lua script: invalid capturing variable name found in \"{0}\"")]
    InvalidName(String),
    /// `${1` without end.
    #[error("the closing bracket in \"{0}\" variable is missing")]
    MissingBracket(String),
    /// `$name`; groups have numbers only.
    #[error("attempt to use named capturing variable \"{0}\" (named captures not supported yet)")]
    NamedGroup(String),
}

/// A template in parts, or none when it is plain text.
pub fn parse(source: &[u8]) -> Result<Option<Vec<Part>>, TemplateError> {
    if !source.contains(&b'$') {
        return Ok(None);
    }
    let mut parts = Vec::new();
    let mut text = Vec::new();
    let mut rest = source;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'$' {
            text.push(*byte);
            continue;
        }
        if let [b'$', tail @ ..] = rest {
            rest = tail;
            text.push(b'$');
            continue;
        }
        let (group, tail) = parse_group(source, rest)?;
        rest = tail;
        if !text.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut text)));
        }
        parts.push(Part::Group(group));
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(Some(parts))
}

/// Reads what follows a `$`.
fn parse_group<'a>(source: &[u8], rest: &'a [u8]) -> Result<(usize, &'a [u8]), TemplateError> {
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let invalid = || TemplateError::InvalidName(shown(source));
    let (bracket, rest) = match rest {
        [b'{', tail @ ..] => (true, tail),
        _ => (false, rest),
    };
    let first = rest.first().ok_or_else(invalid)?;
    let numeric = first.is_ascii_digit();
    let is_member =
        |byte: &u8| if numeric { byte.is_ascii_digit() } else { byte.is_ascii_alphanumeric() || *byte == b'_' };
    let len = rest.iter().take_while(|byte| is_member(byte)).count();
    let (name, mut tail) = rest.split_at(len);
    if bracket {
        match tail {
            [b'}', after @ ..] => tail = after,
            _ => return Err(TemplateError::MissingBracket(shown(name))),
        }
    }
    if name.is_empty() {
        return Err(invalid());
    }
    if !numeric {
        return Err(TemplateError::NamedGroup(shown(name)));
    }
    let group =
        name.iter().fold(0_usize, |value, byte| value.saturating_mul(10).saturating_add(usize::from(byte - b'0')));
    Ok((group, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_text_and_dollars() {
        let text = |text: &str| Part::Text(text.as_bytes().to_vec());
        assert_eq!(parse(b"plain"), Ok(None));
        assert_eq!(
            parse(b"[$0][${12}]"),
            Ok(Some(vec![text("["), Part::Group(0), text("]["), Part::Group(12), text("]")]))
        );
        assert_eq!(parse(b"$$1"), Ok(Some(vec![text("$1")])));
    }

    #[test]
    fn bad_templates_are_told_apart() {
        let error = |source: &[u8]| parse(source).unwrap_err().to_string();
        assert_eq!(error(b"a$"), "lua script: invalid capturing variable name found in \"a$\"");
        assert_eq!(error(b"[$b"), "attempt to use named capturing variable \"b\" (named captures not supported yet)");
        assert_eq!(error(b"${1a"), "the closing bracket in \"1\" variable is missing");
        assert_eq!(error(b"${"), "lua script: invalid capturing variable name found in \"${\"");
        assert_eq!(error(b"$}"), "lua script: invalid capturing variable name found in \"$}\"");
    }
}
