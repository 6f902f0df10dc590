//! `error_page`: what to answer in place of an error.

use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use crate::conf::{Directive, value};
use crate::http::complex_value::ComplexValue;
use crate::http::conf::Scope;

/// One status of an `error_page` line.
#[derive(Clone, Debug)]
pub struct ErrorPage {
    /// The status it stands in for.
    pub status: u16,
    /// `=code`; `None` keeps the status, `Some(0)` is a bare `=` and takes what the page answers.
    pub overwrite: Option<u16>,
    /// Where to go: a path, a named location or an address.
    pub value: Rc<ComplexValue>,
    /// Arguments that were written with a constant path.
    pub args: Bytes,
}

pub(super) fn apply(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some((target, statuses)) = directive.args.split_last() else { return Ok(()) };
    let (overwrite, statuses) = match statuses.split_last() {
        Some((word, rest)) if word.text.first() == Some(&b'=') => {
            if rest.is_empty() {
                return Err(value::invalid_word(directive, word));
            }
            let code = match &word.text[1..] {
                b"" => 0,
                digits => value::number(digits)
                    .and_then(|code| u16::try_from(code).ok())
                    .ok_or_else(|| value::invalid_word(directive, word))?,
            };
            (Some(code), rest)
        }
        _ => (None, statuses),
    };
    let compiled = ComplexValue::of_word(scope, directive, target)?;
    let (page, args) = split_args(compiled);
    let page = Rc::new(page);
    let mut pages = scope.loc.core.error_pages.slot().take().map_or_else(Vec::new, |pages| pages.to_vec());
    for word in statuses {
        let status = value::number(&word.text).and_then(|status| u16::try_from(status).ok());
        let Some(status) = status.filter(|status| *status != 499) else {
            return Err(value::invalid_word(directive, word));
        };
        if !(300..=599).contains(&status) {
            let message = format!("value \"{status}\" must be between 300 and 599");
            return Err(directive.error_at(word, "invalid_value", message));
        }
        let overwrite = overwrite.or(match status {
            // Their own statuses mean 400 to the client.
            494..=497 => Some(400),
            _ => None,
        });
        pages.push(ErrorPage { status, overwrite, value: Rc::clone(&page), args: args.clone() });
    }
    *scope.loc.core.error_pages.slot() = Some(pages.into());
    Ok(())
}

/// A constant path is split from its arguments at once.
fn split_args(page: ComplexValue) -> (ComplexValue, Bytes) {
    let Some(text) = page.constant().filter(|text| text.first() == Some(&b'/')) else { return (page, Bytes::new()) };
    match memchr::memchr(b'?', text) {
        Some(at) => (ComplexValue::literal(text.slice(..at)), text.slice(at + 1..)),
        None => (page, Bytes::new()),
    }
}
