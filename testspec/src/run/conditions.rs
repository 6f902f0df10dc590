//! The sections that keep a block from running: `skip_nginx`, `skip_nginx2`, `skip_openssl`, `skip_slave`,
//! `todo` and `todo_nginx`.
//!
//! Each is a small expression over the server's version. `skip_eval` holds Perl; here only its count is read.

use crate::model::Regex;

/// A version as the original compares it: a number such as `1.022001`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Version(f64);

impl Version {
    /// The version `major.minor.patch`.
    pub fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self::parse(format!("{major}.{minor:03}{patch:03}"))
    }

    /// The version `major.minor.patch` with a letter, as OpenSSL's used to have.
    pub fn with_letter(major: u32, minor: u32, patch: u32, letter: Option<u8>) -> Self {
        match letter {
            Some(letter) => Self::parse(format!("{major}.{minor:03}{patch:03}{:03}", letter.saturating_sub(b'a'))),
            None => Self::new(major, minor, patch),
        }
    }

    fn parse(text: String) -> Self {
        Self(text.parse().unwrap_or(0.0))
    }
}

/// What a condition says about the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// How many assertions it stands for.
    pub count: u32,
    /// Whether the condition holds.
    pub holds: bool,
    /// Why, as written or as made from the condition.
    pub reason: Option<String>,
}

/// A condition that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid --- {section} spec: {text}")]
pub struct InvalidCondition {
    section: &'static str,
    text: String,
}

/// `skip_nginx: COUNT: OP VERSION[: REASON]`.
pub fn skip_nginx(text: &[u8], server: Option<Version>) -> Result<Decision, InvalidCondition> {
    let groups = groups(text, r"\A\s*(\d+)\s*:\s*([<>]=?)\s*(\d+)\.(\d+)\.(\d+)(?:\s*:\s*(.*))?\s*\Z")
        .ok_or_else(|| invalid("skip_nginx", text))?;
    let version = version_at(&groups, 3);
    let holds = match server {
        Some(server) => compare(server, &groups[2], version),
        None => groups[2].starts_with('<'),
    };
    let made = || format!("nginx version {} {}.{}.{}", groups[2], groups[3], groups[4], groups[5]);
    Ok(Decision { count: number(&groups[1]), holds, reason: Some(reason_at(&groups, 6).unwrap_or_else(made)) })
}

/// `skip_nginx2: COUNT: OP VERSION or|and OP VERSION[: REASON]`.
pub fn skip_nginx2(text: &[u8], server: Option<Version>) -> Result<Decision, InvalidCondition> {
    let pattern = r"\A\s*(\d+)\s*:\s*([<>]=?)\s*(\d+)\.(\d+)\.(\d+)\s*(or|and)\s*([<>]=?)\s*(\d+)\.(\d+)\.(\d+)(?:\s*:\s*(.*))?\s*\Z";
    let groups = groups(text, pattern).ok_or_else(|| invalid("skip_nginx2", text))?;
    let holds = server.is_none_or(|server| {
        let first = compare(server, &groups[2], version_at(&groups, 3));
        let second = compare(server, &groups[7], version_at(&groups, 8));
        if groups[6] == "or" { first || second } else { first && second }
    });
    Ok(Decision { count: number(&groups[1]), holds, reason: reason_at(&groups, 11) })
}

/// `skip_openssl: COUNT: OP VERSION[LETTER][: REASON]`; holds for a server without OpenSSL.
pub fn skip_openssl(text: &[u8], openssl: Option<Version>) -> Result<Decision, InvalidCondition> {
    let groups = groups(text, r"\A\s*(\d+)\s*:\s*([<>]=?)\s*(\d+)\.(\d+)\.(\d+)([a-z])?(?:\s*:\s*(.*))?\s*\Z")
        .ok_or_else(|| invalid("skip_openssl", text))?;
    let letter = groups[6].bytes().next();
    let version = Version::with_letter(number(&groups[3]), number(&groups[4]), number(&groups[5]), letter);
    let made = || match openssl {
        None => "Not built with OpenSSL".to_owned(),
        Some(_) => {
            format!("OpenSSL version {} {}.{}.{}{}", groups[2], groups[3], groups[4], groups[5], groups[6])
        }
    };
    let holds = openssl.is_none_or(|openssl| compare(openssl, &groups[2], version));
    Ok(Decision { count: number(&groups[1]), holds, reason: Some(reason_at(&groups, 7).unwrap_or_else(made)) })
}

/// `skip_slave: COUNT: NAME…|all[: REASON]`, about the build machine `name`.
pub fn skip_slave(text: &[u8], name: &str) -> Result<Decision, InvalidCondition> {
    let groups = groups(text, r"\A\s*(\d+)\s*:\s*(\w+)\s*(?:(\w+)\s*)?(?:(\w+)\s*)?(?:\s*:\s*(.*))?\s*\Z")
        .ok_or_else(|| invalid("skip_slave", text))?;
    let holds = groups[2] == "all" || groups[2..5].iter().any(|wanted| wanted == name);
    Ok(Decision { count: number(&groups[1]), holds, reason: reason_at(&groups, 5) })
}

/// `todo: COUNT: REASON`; always holds.
pub fn todo(text: &[u8]) -> Result<Decision, InvalidCondition> {
    let (count, reason) = counted(text).ok_or_else(|| invalid("todo", text))?;
    Ok(Decision { count, holds: true, reason: Some(String::from_utf8_lossy(&reason).into_owned()) })
}

/// `todo_nginx: OP VERSION[: REASON]`; stands for one assertion.
pub fn todo_nginx(text: &[u8], server: Option<Version>) -> Result<Decision, InvalidCondition> {
    let groups = groups(text, r"\A\s*([<>]=?)\s*(\d+)\.(\d+)\.(\d+)(?:\s*:\s*(.*))?\s*\Z")
        .ok_or_else(|| invalid("todo_nginx", text))?;
    let holds = match server {
        Some(server) => compare(server, &groups[1], version_at(&groups, 2)),
        None => groups[1].starts_with('<'),
    };
    Ok(Decision { count: 1, holds, reason: reason_at(&groups, 5) })
}

/// `COUNT: REST`, the form of `skip_eval` and `todo`. `None` where the text has another form.
pub fn counted(text: &[u8]) -> Option<(u32, Vec<u8>)> {
    let regex = Regex::new(r"\A\s*(\d+)\s*:\s*(.*)", "s");
    let groups = regex.captures_at(text, 0).ok().flatten()?;
    let slice = |index: usize| groups.get(index).copied().flatten().and_then(|(from, to)| text.get(from..to));
    let count = number(&String::from_utf8_lossy(slice(1)?));
    Some((count, slice(2)?.to_vec()))
}

fn groups(text: &[u8], pattern: &str) -> Option<Vec<String>> {
    let groups = Regex::new(pattern, "").captures_at(text, 0).ok().flatten()?;
    let slice = |group: Option<(usize, usize)>| {
        group.and_then(|(from, to)| text.get(from..to)).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    Some(groups.into_iter().map(|group| slice(group).unwrap_or_default()).collect())
}

fn version_at(groups: &[String], first: usize) -> Version {
    let part = |index: usize| groups.get(index).map_or(0, |text| number(text));
    Version::new(part(first), part(first + 1), part(first + 2))
}

fn reason_at(groups: &[String], index: usize) -> Option<String> {
    groups.get(index).filter(|reason| !reason.is_empty() && *reason != "0").cloned()
}

fn number(text: &str) -> u32 {
    text.parse().unwrap_or(u32::MAX)
}

fn compare(left: Version, operator: &str, right: Version) -> bool {
    match operator {
        "<" => left < right,
        "<=" => left <= right,
        ">" => left > right,
        _ => left >= right,
    }
}

fn invalid(section: &'static str, text: &[u8]) -> InvalidCondition {
    InvalidCondition { section, text: String::from_utf8_lossy(text).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Option<Version> = Some(Version(1.022_001));

    #[test]
    fn skip_nginx_compares_versions() {
        let decision = skip_nginx(b"3: <= 1.22.1", SERVER).unwrap();
        assert_eq!((decision.count, decision.holds), (3, true));
        assert_eq!(decision.reason.as_deref(), Some("nginx version <= 1.22.1"));
        assert!(!skip_nginx(b"3:<1.11.2\n", SERVER).unwrap().holds);
        assert_eq!(skip_nginx(b"3: > 1.0.0: too new", SERVER).unwrap().reason.as_deref(), Some("too new"));
        assert!(skip_nginx(b"3: == 1.0.0", SERVER).is_err());
        assert!(skip_nginx(b"< 1.0.0", SERVER).is_err());
    }

    #[test]
    fn skip_nginx2_joins_two_comparisons() {
        assert!(skip_nginx2(b"2: < 1.0.0 or > 1.20.0", SERVER).unwrap().holds);
        assert!(!skip_nginx2(b"2: < 1.0.0 and > 1.20.0", SERVER).unwrap().holds);
    }

    #[test]
    fn openssl_letters_count() {
        let server = Some(Version::with_letter(1, 0, 2, Some(b'g')));
        assert!(skip_openssl(b"4: < 1.0.2h", server).unwrap().holds);
        assert!(!skip_openssl(b"4: < 1.0.2g", server).unwrap().holds);
        assert!(skip_openssl(b"4: < 1.0.2h", None).unwrap().holds);
    }

    #[test]
    fn counted_splits_at_the_first_colon() {
        assert_eq!(counted(b"8:$ENV{X} eq 'a:b'"), Some((8, b"$ENV{X} eq 'a:b'".to_vec())));
        assert_eq!(counted(b"x"), None);
    }
}
