//! Applying fixes to a file's bytes.

use std::collections::HashSet;

use rsty_diag::{Applicability, Fix, Span};

use crate::finding::Finding;

/// Which fixes are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Those that keep the meaning.
    Safe,
    /// Also those that nearly always do.
    Unsafe,
}

impl Level {
    fn allows(self, fix: &Fix) -> bool {
        match fix.applicability {
            Applicability::Safe => true,
            Applicability::Unsafe => self == Self::Unsafe,
            Applicability::DisplayOnly => false,
        }
    }
}

/// The text with the fixes applied, and how many there were; `None` where there is none.
///
/// Of fixes that touch each other only the first is applied. A global that is assigned several times gets `local`
/// at its first assignment only; the later ones then mean the local where it is in scope, and running again finds the
/// others.
pub fn apply(text: &[u8], findings: &[Finding], level: Level) -> Option<(Vec<u8>, usize)> {
    let mut edits: Vec<(Span, &[u8])> = Vec::new();
    let mut count = 0;
    let mut fixed_globals: HashSet<&str> = HashSet::new();
    let mut behind = 0;
    for finding in findings {
        let Some(fix) = finding.fix.as_ref().filter(|fix| level.allows(fix)) else { continue };
        if let Some((_, name)) = &finding.global
            && !fixed_globals.insert(name)
        {
            continue;
        }
        // Findings come in the order of their places, so comparing with the end of the last edit is enough.
        if fix.edits.iter().any(|(span, _)| span.start < behind || span.end > text.len()) {
            continue;
        }
        behind = fix.edits.iter().map(|(span, _)| span.end + 1).fold(behind, usize::max);
        edits.extend(fix.edits.iter().map(|(span, new)| (*span, new.as_slice())));
        count += 1;
    }
    if count == 0 {
        return None;
    }
    edits.sort_by_key(|(span, _)| span.start);
    let mut out = Vec::with_capacity(text.len() + 64);
    let mut at = 0;
    for (span, new) in edits {
        out.extend_from_slice(text.get(at..span.start).unwrap_or_default());
        out.extend_from_slice(new);
        at = span.end;
    }
    out.extend_from_slice(text.get(at..).unwrap_or_default());
    Some((out, count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::findings_with;

    fn fixed(rule: &str, text: &str, level: Level) -> Option<String> {
        let (source, findings) = findings_with(rule, text, |_| {});
        apply(source.bytes(), &findings, level).map(|(text, _)| String::from_utf8(text).expect("text"))
    }

    #[test]
    fn a_leak_becomes_a_local_once() {
        let text = "x = 1\nx = 2\nfunction f() end\na, b = 1\n";
        assert_eq!(fixed("undeclared_global", text, Level::Safe), None);
        let expected = "local x = 1\nx = 2\nlocal function f() end\na, b = 1\n";
        assert_eq!(fixed("undeclared_global", text, Level::Unsafe).as_deref(), Some(expected));
    }

    #[test]
    fn a_safe_fix_is_applied_at_both_levels() {
        let text = "if x then ngx.exit(1) end";
        assert_eq!(fixed("missing_return", text, Level::Safe).as_deref(), Some("if x then return ngx.exit(1) end"));
    }
}
