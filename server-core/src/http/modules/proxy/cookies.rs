//! Cookies that servers set, as clients must see them: `proxy_cookie_domain`, `_path` and `_flags`.

use std::rc::Rc;

use bytes::Bytes;

use super::conf::LocConf;
use crate::http::complex_value::ComplexValue;
use crate::http::regex::Regex;
use crate::http::request::Request;

/// One rule of `proxy_cookie_domain` or `proxy_cookie_path`.
pub(super) enum Rewrite {
    /// A domain, or the beginning of a path, and what it becomes.
    Plain(ComplexValue, ComplexValue),
    /// A pattern and what the whole becomes.
    Regex(Regex, ComplexValue),
}

/// One rule of `proxy_cookie_flags`.
pub(super) struct FlagRule {
    /// The cookies it is for.
    pub(super) name: CookieName,
    /// What is done with them.
    pub(super) flags: Vec<ComplexValue>,
}

/// Which cookies a rule of `proxy_cookie_flags` is for.
pub(super) enum CookieName {
    /// A name.
    Plain(ComplexValue),
    /// A pattern.
    Regex(Regex),
}

/// An attribute of a cookie: its name, and its value if it has one.
type Attribute = (Bytes, Option<Bytes>);

/// A `Set-Cookie` header as clients must see it; `None` when nothing changes.
pub(super) fn rewrite(r: &Rc<Request>, conf: &LocConf, header: &Bytes) -> Option<Bytes> {
    let lists = [&conf.cookie_domains, &conf.cookie_paths];
    if lists.iter().all(|list| list.is_none()) && conf.cookie_flags.is_none() {
        return None;
    }
    let mut attributes = parse(header);
    let mut changed = false;
    for (list, name) in lists.into_iter().zip([&b"domain"[..], b"path"]) {
        let rules = list.as_deref().map(Vec::as_slice).unwrap_or_default();
        let found = attributes.iter_mut().skip(1).find(|(known, _)| known.eq_ignore_ascii_case(name));
        let Some((_, Some(value))) = found else { continue };
        let rewritten = rules.iter().find_map(|rule| apply(r, rule, value, name == b"domain"));
        if let Some(rewritten) = rewritten {
            *value = rewritten;
            changed = true;
        }
    }
    let rules = conf.cookie_flags.as_deref().map(Vec::as_slice).unwrap_or_default();
    if let Some(rule) = rules.iter().find(|rule| is_named(r, &rule.name, &attributes)) {
        changed |= set_flags(r, rule, &mut attributes);
    }
    changed.then(|| join(&attributes))
}

fn apply(r: &Rc<Request>, rule: &Rewrite, value: &Bytes, is_domain: bool) -> Option<Bytes> {
    match rule {
        Rewrite::Plain(pattern, replacement) if is_domain => {
            // A dot in front stays there.
            let (dot, bare) = value.split_at(usize::from(value.first() == Some(&b'.')));
            pattern.eval(r).eq_ignore_ascii_case(bare).then(|| [dot, &replacement.eval(r)[..]].concat().into())
        }
        Rewrite::Plain(pattern, replacement) => {
            let rest = value.strip_prefix(&pattern.eval(r)[..])?;
            Some([&replacement.eval(r)[..], rest].concat().into())
        }
        Rewrite::Regex(regex, replacement) => match regex.exec(r, value) {
            Ok(true) => Some(replacement.eval(r)),
            Ok(false) | Err(_) => None,
        },
    }
}

fn is_named(r: &Rc<Request>, name: &CookieName, attributes: &[Attribute]) -> bool {
    let Some((cookie, _)) = attributes.first() else { return false };
    match name {
        CookieName::Plain(name) => name.eval(r).eq_ignore_ascii_case(cookie),
        CookieName::Regex(regex) => regex.exec(r, cookie).unwrap_or(false),
    }
}

fn set_flags(r: &Rc<Request>, rule: &FlagRule, attributes: &mut Vec<Attribute>) -> bool {
    let mut changed = false;
    for flag in &rule.flags {
        let flag = flag.eval(r).to_ascii_lowercase();
        let (off, flag) = match flag.strip_prefix(b"no") {
            Some(name) if matches!(name, b"secure" | b"httponly" | b"samesite") => (true, name.to_vec()),
            _ => (false, flag.clone()),
        };
        let (name, value): (&'static [u8], Option<&'static [u8]>) = match &flag[..] {
            b"secure" => (b"Secure", None),
            b"httponly" => (b"HttpOnly", None),
            b"samesite" => (b"SameSite", None),
            b"samesite=strict" => (b"SameSite", Some(b"Strict")),
            b"samesite=lax" => (b"SameSite", Some(b"Lax")),
            b"samesite=none" => (b"SameSite", Some(b"None")),
            _ => continue,
        };
        let before = attributes.len();
        let mut at = 0;
        attributes.retain(|(known, _)| {
            at += 1;
            at == 1 || !known.eq_ignore_ascii_case(name)
        });
        changed |= attributes.len() != before;
        if !off {
            attributes.push((Bytes::from_static(name), value.map(Bytes::from_static)));
            changed = true;
        }
    }
    changed
}

fn parse(header: &Bytes) -> Vec<Attribute> {
    let part = |part: &[u8]| {
        let part = part.trim_ascii();
        match memchr::memchr(b'=', part) {
            Some(equals) => {
                let (name, value) = (part[..equals].trim_ascii_end(), part[equals + 1..].trim_ascii_start());
                (header.slice_ref(name), Some(header.slice_ref(value)))
            }
            None => (header.slice_ref(part), None),
        }
    };
    header.split(|byte| *byte == b';').map(part).collect()
}

fn join(attributes: &[Attribute]) -> Bytes {
    let mut out = Vec::new();
    for (at, (name, value)) in attributes.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(b"; ");
        }
        out.extend_from_slice(name);
        if let Some(value) = value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_survive_a_round_trip() {
        let header = Bytes::from_static(b"id=a=b;  Path=/x ;HttpOnly; Domain = e.example");
        assert_eq!(&join(&parse(&header))[..], b"id=a=b; Path=/x; HttpOnly; Domain=e.example");
    }
}
