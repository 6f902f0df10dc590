//! Regular expressions of the configuration: `rewrite`, `if`, `map`, `location ~`, `server_name ~`.
//!
//! Named groups become variables, and a match leaves its groups in the request for `$1` … `$9`.

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use pcre2::bytes::{CaptureLocations, Regex as Pcre, RegexBuilder};
use rsty_diag::Diagnostic;

use super::conf::Scope;
use super::request::{Captures, Request};
use super::variables::{Flags, Source, VarIndex, Variables};
use crate::conf::{Directive, Word};

/// Whether a pattern regards case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// `~`
    Sensitive,
    /// `~*`
    Insensitive,
}

/// A compiled pattern.
pub struct Regex {
    source: Bytes,
    pcre: Pcre,
    locations: RefCell<CaptureLocations>,
    named: Box<[(usize, VarIndex)]>,
}

/// Why a pattern can't be compiled or matched.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegexError {
    /// It isn't a regular expression.
    #[error("pcre2_compile() failed: {0}")]
    Invalid(String),
    /// Matching hit a limit of the engine.
    #[error("pcre2_match() failed: {0}")]
    MatchFailed(String),
}

impl Regex {
    /// Compiles a pattern; its named groups become variables.
    pub fn compile(variables: &mut Variables, pattern: &[u8], case: Case) -> Result<Self, RegexError> {
        let lossy = String::from_utf8_lossy(pattern);
        let mut builder = RegexBuilder::new();
        builder.caseless(case == Case::Insensitive).jit_if_available(true);
        let pcre = builder.build(&lossy).map_err(|error| RegexError::Invalid(describe(&error, &lossy)))?;
        let names = pcre.capture_names().iter().enumerate();
        let named = names.filter_map(|(group, name)| Some((group, name.as_ref()?)));
        let named = named.map(|(group, name)| {
            // Another definition of the name is fine as long as it is assignable.
            let defined = variables.define(name.as_bytes(), Source::Assigned, None, Flags::CHANGEABLE);
            defined.map_err(|error| RegexError::Invalid(error.to_string()))?;
            Ok((group, variables.index(name.as_bytes())))
        });
        let named = named.collect::<Result<_, RegexError>>()?;
        let locations = RefCell::new(pcre.capture_locations());
        Ok(Self { source: Bytes::copy_from_slice(pattern), pcre, locations, named })
    }

    /// Compiles a word of a directive.
    pub fn of_word(
        scope: &mut Scope<'_>,
        directive: &Directive,
        word: &Word,
        pattern: &[u8],
        case: Case,
    ) -> Result<Self, Diagnostic> {
        Self::compile(&mut scope.main.core.variables, pattern, case)
            .map_err(|error| directive.error_at(word, "invalid_regex", error.to_string()))
    }

    /// Matches a subject. A match sets the request's captures and named variables; no match changes nothing.
    pub fn exec(&self, r: &Request, subject: &Bytes) -> Result<bool, RegexError> {
        let mut locations = self.locations.borrow_mut();
        let found = self.pcre.captures_read(&mut locations, subject);
        if found.map_err(|error| RegexError::MatchFailed(error.to_string()))?.is_none() {
            return Ok(false);
        }
        let groups = (0..self.pcre.captures_len()).map(|group| locations.get(group)).collect();
        r.captures.replace(Captures { subject: subject.clone(), groups });
        for &(group, variable) in &self.named {
            let value = locations.get(group).map_or(Bytes::new(), |(start, end)| subject.slice(start..end));
            r.set_variable(variable, Some(value));
        }
        Ok(true)
    }

    /// Whether a subject matches, without a trace in any request.
    pub fn is_match(&self, subject: &[u8]) -> Result<bool, RegexError> {
        self.pcre.is_match(subject).map_err(|error| RegexError::MatchFailed(error.to_string()))
    }

    /// The pattern as written.
    pub fn source(&self) -> &Bytes {
        &self.source
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Regex({:?})", String::from_utf8_lossy(&self.source))
    }
}

/// `message in "pattern" at "rest"`, as nginx tells it.
fn describe(error: &pcre2::Error, pattern: &str) -> String {
    let text = error.to_string();
    let message = match error.offset() {
        Some(offset) => text.trim_start_matches(&format!("PCRE2: error compiling pattern at offset {offset}: ")),
        None => text.trim_start_matches("PCRE2: error compiling pattern: "),
    };
    match error.offset().and_then(|offset| pattern.get(offset..)) {
        Some(rest) if !rest.is_empty() => format!("{message} in \"{pattern}\" at \"{rest}\""),
        _ => format!("{message} in \"{pattern}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_tell_where_the_pattern_breaks() {
        let error = |pattern: &str| {
            let compiled = Regex::compile(&mut Variables::default(), pattern.as_bytes(), Case::Sensitive);
            compiled.expect_err("an invalid pattern").to_string()
        };
        assert_eq!(error("(a"), "pcre2_compile() failed: missing closing parenthesis in \"(a\"");
        assert_eq!(error("a[b"), "pcre2_compile() failed: missing terminating ] for character class in \"a[b\"");
        assert_eq!(error("a)b"), "pcre2_compile() failed: unmatched closing parenthesis in \"a)b\" at \")b\"");
    }

    #[test]
    fn named_groups_are_variables() {
        let mut variables = Variables::default();
        let regex = Regex::compile(&mut variables, b"^(?<year>\\d+)", Case::Sensitive).expect("a valid pattern");
        assert!(variables.is_defined(b"year"));
        assert_eq!(regex.is_match(b"2026-01"), Ok(true));
        assert_eq!(regex.is_match(b"x"), Ok(false));
    }
}
