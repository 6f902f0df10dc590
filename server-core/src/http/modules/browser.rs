//! `ngx_http_browser_module`: variables that tell modern browsers from ancient ones.

use std::rc::Rc;

use bytes::Bytes;
use memchr::memmem::find;
use rsty_diag::Diagnostic;

use crate::conf::value::number;
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{Merge, Scope};
use crate::http::header::HeaderId;
use crate::http::request::Request;
use crate::http::variables::{Flags, VariableDef};

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    modern: Rc<Vec<Modern>>,
    unlisted_are_modern: bool,
    ancient: Rc<Vec<Box<[u8]>>>,
    netscape4: bool,
    modern_value: Option<ComplexValue>,
    ancient_value: Option<ComplexValue>,
}

/// A browser that is modern from a version on.
#[derive(Clone, Copy)]
struct Modern {
    mark: Mark,
    version: u64,
}

/// Where a browser says what it is: behind so many bytes, this name, and so many bytes from the name's start its version.
#[derive(Clone, Copy)]
struct Mark {
    word: &'static str,
    skip: usize,
    name: &'static str,
    version_at: usize,
}

/// Opera comes first, as it calls itself by other names too.
const MARKS: [Mark; 5] = [
    Mark { word: "opera", skip: 0, name: "Opera", version_at: 6 },
    Mark { word: "msie", skip: "Mozilla/4.0 (compatible; ".len(), name: "MSIE ", version_at: 5 },
    Mark { word: "gecko", skip: "Mozilla/5.0 (".len(), name: "rv:", version_at: 3 },
    Mark { word: "safari", skip: "Mozilla/5.0 (".len(), name: "Safari/", version_at: 7 },
    Mark { word: "konqueror", skip: "Mozilla/5.0 (compatible; ".len(), name: "Konqueror/", version_at: 10 },
];

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        if self.modern.is_empty() && !self.unlisted_are_modern {
            self.modern = Rc::clone(&outer.modern);
            self.unlisted_are_modern = outer.unlisted_are_modern;
        }
        if self.ancient.is_empty() && !self.netscape4 {
            self.ancient = Rc::clone(&outer.ancient);
            self.netscape4 = outer.netscape4;
        }
        for (own, outer) in
            [(&mut self.modern_value, &outer.modern_value), (&mut self.ancient_value, &outer.ancient_value)]
        {
            if own.is_none() {
                own.clone_from(outer);
            }
        }
        Ok(())
    }
}

const USUAL: Contexts = Contexts::HTTP_SERVER_LOCATION;

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule { name: "modern_browser", contexts: USUAL, args: Arity::Words(1, 2), apply: modern_browser },
    Rule { name: "ancient_browser", contexts: USUAL, args: Arity::Words(1, Arity::MANY), apply: ancient_browser },
    Rule {
        name: "modern_browser_value",
        contexts: USUAL,
        args: Arity::Words(1, 1),
        apply: |scope, directive| {
            scope.loc.browser.modern_value = value(scope, directive)?;
            Ok(())
        },
    },
    Rule {
        name: "ancient_browser_value",
        contexts: USUAL,
        args: Arity::Words(1, 1),
        apply: |scope, directive| {
            scope.loc.browser.ancient_value = value(scope, directive)?;
            Ok(())
        },
    },
];

fn value(scope: &mut Scope<'_>, directive: &Directive) -> Result<Option<ComplexValue>, Diagnostic> {
    directive.arg(0).map(|word| ComplexValue::of_word(scope, directive, word)).transpose()
}

fn modern_browser(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let conf = &mut scope.loc.browser;
    let Some(word) = directive.arg(0) else { return Ok(()) };
    let Some(version) = directive.arg(1) else {
        if !word.is("unlisted") {
            let message = format!("unknown browser name \"{}\"", word.lossy());
            return Err(directive.error_at(word, "unknown_browser", message));
        }
        conf.unlisted_are_modern = true;
        return Ok(());
    };
    let Some(mark) = MARKS.into_iter().find(|mark| word.is(mark.word)) else {
        let message = format!("unknown browser name \"{}\"", word.lossy());
        return Err(directive.error_at(word, "unknown_browser", message));
    };
    let Some(version) = written_version(&version.text) else {
        let message = format!("invalid browser version \"{}\"", version.lossy());
        return Err(directive.error_at(version, "invalid_value", message));
    };
    let list = Rc::make_mut(&mut conf.modern);
    list.push(Modern { mark, version });
    list.sort_by_key(|modern| MARKS.iter().position(|mark| mark.word == modern.mark.word));
    Ok(())
}

fn ancient_browser(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    for word in &directive.args {
        if word.is("netscape4") {
            scope.loc.browser.netscape4 = true;
        } else {
            Rc::make_mut(&mut scope.loc.browser.ancient).push(word.text.clone());
        }
    }
    Ok(())
}

/// `1`, `1.2`, `1.2.3` or `1.2.3.4` as one number: two digits a part behind the first.
fn written_version(text: &[u8]) -> Option<u64> {
    let mut version = 0;
    let mut scale = 1_000_000;
    let parts: Vec<&[u8]> = text.split(|&byte| byte == b'.').collect();
    if parts.len() > 4 {
        return None;
    }
    for part in parts {
        version += u64::try_from(number(part)?).ok()?.checked_mul(scale)?;
        scale /= 100;
    }
    Some(version)
}

/// The version at the front of a text, as far as there is one.
fn found_version(text: &[u8]) -> u64 {
    let end = text.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.').unwrap_or(text.len());
    let mut version = 0_u64;
    let mut scale = 1_000_000;
    for part in text[..end].split(|&byte| byte == b'.') {
        let digits = number(part).and_then(|digits| u64::try_from(digits).ok()).unwrap_or(0);
        version = version.saturating_add(digits.saturating_mul(scale));
        scale /= 100;
    }
    version
}

/// Whether the client's browser is modern.
fn is_modern(conf: &LocConf, agent: Option<&[u8]>) -> bool {
    let Some(agent) = agent else { return conf.unlisted_are_modern };
    for modern in conf.modern.iter() {
        let Some(rest) = agent.get(modern.mark.skip..) else { continue };
        let Some(at) = find(rest, modern.mark.name.as_bytes()) else { continue };
        let Some(version) = rest.get(at + modern.mark.version_at..).filter(|rest| !rest.is_empty()) else { continue };
        return found_version(version) >= modern.version;
    }
    if !conf.modern.is_empty() && !conf.unlisted_are_modern {
        return false;
    }
    let netscape = conf.netscape4
        && agent.len() > "Mozilla/4.72 ".len()
        && agent.strip_prefix(b"Mozilla/").is_some_and(|rest| matches!(rest.first(), Some(b'1'..=b'4')));
    let listed = conf.ancient.iter().any(|name| find(agent, name).is_some());
    !netscape && !listed && conf.unlisted_are_modern
}

fn variable(r: &Request, wants_modern: usize) -> Option<Bytes> {
    let conf = &r.loc().browser;
    let modern = is_modern(conf, r.headers_in.value(HeaderId::UserAgent).as_deref());
    let value = if modern { &conf.modern_value } else { &conf.ancient_value };
    match (modern == (wants_modern == 1), value) {
        (false, _) => Some(Bytes::new()),
        (true, Some(value)) => Some(value.eval(r)),
        (true, None) => Some(Bytes::from_static(b"1")),
    }
}

fn msie(r: &Request, _: usize) -> Option<Bytes> {
    Some(Bytes::from_static(if r.headers_in.msie.get() { b"1" } else { b"" }))
}

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] = &[
    VariableDef::new("msie", msie).with(Flags::CHANGEABLE),
    VariableDef::new("modern_browser", variable).data(1).with(Flags::CHANGEABLE),
    VariableDef::new("ancient_browser", variable).with(Flags::CHANGEABLE),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_decide() {
        assert_eq!(written_version(b"5.5"), Some(5_050_000));
        assert_eq!((written_version(b"x"), written_version(b"1.2.3.4.5")), (None, None));
        let modern =
            |word, version| Modern { mark: MARKS.into_iter().find(|mark| mark.word == word).unwrap(), version };
        let conf = LocConf {
            modern: Rc::new(vec![modern("opera", 7_000_000), modern("msie", 5_050_000)]),
            ancient: Rc::new(vec![b"Links".as_slice().into()]),
            ..LocConf::default()
        };
        let judge = |agent: &str| is_modern(&conf, Some(agent.as_bytes()));
        assert!(judge("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)"));
        assert!(!judge("Mozilla/4.0 (compatible; MSIE 5.01; Windows NT 5.1)"));
        assert!(!judge("Mozilla/4.0 (compatible; MSIE 6.0; X11) Opera 6.50  [en]"));
        assert!(!judge("Anything/1.0") && !is_modern(&conf, None));
        let unlisted = LocConf { unlisted_are_modern: true, ..conf };
        assert!(is_modern(&unlisted, Some(b"Anything/1.0")) && !is_modern(&unlisted, Some(b"Links (2.1)")));
    }
}
