//! The linter.

use rsty_diag::Source;
use rsty_lint::settings::{Settings, Switch};
use rsty_lint::{Finding, Input, InputKind, check, fixes};

fn findings(name: &str, bytes: &[u8], kind: InputKind) -> Vec<Finding> {
    let mut settings = Settings::default();
    settings.switch("all", Switch::On).expect("all is known");
    let findings = check(&Input { source: Source::new(name, bytes), kind }, &settings);
    for finding in &findings {
        assert!(finding.span.start <= finding.span.end && finding.span.end <= bytes.len(), "{finding:?}");
    }
    findings
}

/// All rules on any bytes as a Lua file.
pub(crate) fn lua(bytes: &[u8]) {
    findings("a.lua", bytes, InputKind::Lua);
}

/// All rules on any bytes as a configuration, and as a spec file.
pub(crate) fn conf(bytes: &[u8]) {
    findings("nginx.conf", bytes, InputKind::Configuration);
    findings("a.t", bytes, InputKind::Spec);
}

/// Fixes of both kinds keep Lua Lua, and safe ones do not leave anything to do for themselves.
pub(crate) fn fixed_code_is_lua(bytes: &[u8]) {
    if rsty_lint::lua::parse(bytes).is_err() {
        return;
    }
    let found = findings("a.lua", bytes, InputKind::Lua);
    for level in [fixes::Level::Safe, fixes::Level::Unsafe] {
        if let Some((fixed, _)) = fixes::apply(bytes, &found, level) {
            let parsed = rsty_lint::lua::parse(&fixed);
            assert!(parsed.is_ok(), "{level:?}: {:?} in {}", parsed.err(), fixed.escape_ascii());
        }
    }
}
