//! The Lua parser and all rules on any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rsty_diag::Source;
use rsty_lint::settings::{Settings, Switch};
use rsty_lint::{Input, InputKind, check};

fuzz_target!(|bytes: &[u8]| {
    let mut settings = Settings::default();
    settings.switch("all", Switch::On).expect("known");
    let findings = check(&Input { source: Source::new("a.lua", bytes), kind: InputKind::Lua }, &settings);
    for finding in findings {
        assert!(finding.span.start <= finding.span.end && finding.span.end <= bytes.len());
    }
});
