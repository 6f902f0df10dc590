//! `ngx_http_split_clients_module`: variables that spread clients over values by percentages.

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::murmur::murmur_hash2;
use crate::conf::{Arity, Block, Contexts, Directive, Rule};
use crate::http::complex_value::ComplexValue;
use crate::http::conf::Scope;
use crate::http::request::Request;
use crate::http::variables::{Flags, Source};

/// Settings of `http { }`: all blocks; a variable knows its block by index.
#[derive(Default)]
pub struct MainConf {
    splits: Vec<Split>,
}

/// Settings of a server.
pub type SrvConf = ();
/// Settings of a location.
pub type LocConf = ();

struct Split {
    source: ComplexValue,
    /// The hashes below each bound, with the value; `None` takes the rest.
    parts: Vec<(Option<u32>, ComplexValue)>,
}

/// The directive table.
pub(crate) const RULES: &[Rule] =
    &[Rule { name: "split_clients", contexts: Contexts::HTTP, args: Arity::Block(2, 2), apply: split_clients }];

fn split_clients(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let ([source, name], Block::Directives(entries)) = (&directive.args[..], &directive.block) else { return Ok(()) };
    let Some(variable) = name.text.strip_prefix(b"$") else {
        let message = format!("invalid variable name \"{}\"", name.lossy());
        return Err(directive.error_at(name, "invalid_variable", message));
    };
    let source = ComplexValue::of_word(scope, directive, source)?;
    let mut parts = Vec::new();
    let (mut sum, mut last) = (0u64, 0u64);
    for entry in entries {
        let [value] = &entry.args[..] else {
            return Err(entry.error("invalid_parameter", "invalid number of the split_clients parameters"));
        };
        let value = ComplexValue::of_word(scope, entry, value)?;
        if entry.name.is("*") {
            sum = 10_000;
            parts.push((None, value));
            continue;
        }
        let Some(percent) = entry.name.text.strip_suffix(b"%").and_then(hundredths).filter(|&percent| percent > 0)
        else {
            return Err(entry.error("invalid_value", format!("invalid percent value \"{}\"", entry.name())));
        };
        sum += percent;
        if sum > 10_000 {
            return Err(entry.error("invalid_value", "percent total is greater than 100%"));
        }
        last += percent * u64::from(u32::MAX) / 10_000;
        parts.push((Some(last.min(u64::from(u32::MAX)) as u32), value));
    }
    let index = scope.main.split_clients.splits.len();
    scope.main.split_clients.splits.push(Split { source, parts });
    let variables = &mut scope.main.core.variables;
    let defined = variables.define(variable, Source::Getter(value, index), None, Flags::CHANGEABLE);
    defined.map_err(|error| directive.error_at(name, "duplicate_variable", error.to_string()))
}

/// A decimal number with up to two digits behind the point, times a hundred.
fn hundredths(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 2 || !fraction.bytes().chain(whole.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let fraction: u64 = format!("{fraction:0<2}").parse().ok()?;
    whole.checked_mul(100)?.checked_add(fraction)
}

fn value(r: &Request, index: usize) -> Option<Bytes> {
    let split = r.main_conf().split_clients.splits.get(index)?;
    let hash = murmur_hash2(&split.source.eval(r));
    let (_, value) = split.parts.iter().find(|(bound, _)| bound.is_none_or(|bound| hash < bound))?;
    Some(value.eval(r))
}

#[cfg(test)]
mod tests {
    use super::hundredths;

    #[test]
    fn percentages_have_two_places() {
        assert_eq!(hundredths(b"0.5"), Some(50));
        assert_eq!(hundredths(b"12.34"), Some(1234));
        assert_eq!(hundredths(b"100"), Some(10_000));
        assert_eq!(hundredths(b"1.234"), None);
        assert_eq!(hundredths(b"x"), None);
    }
}
