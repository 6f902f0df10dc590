//! Safe fixes keep Lua Lua.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rsty_diag::Source;
use rsty_lint::settings::{Settings, Switch};
use rsty_lint::{Input, InputKind, check, fixes, lua};

fuzz_target!(|bytes: &[u8]| {
    if lua::parse(bytes).is_err() {
        return;
    }
    let mut settings = Settings::default();
    settings.switch("all", Switch::On).expect("known");
    let findings = |text: &[u8]| check(&Input { source: Source::new("a.lua", text), kind: InputKind::Lua }, &settings);
    if let Some((fixed, _)) = fixes::apply(bytes, &findings(bytes), fixes::Level::Safe) {
        assert!(lua::parse(&fixed).is_ok());
    }
});
