//! Helpers of the rules' tests.

use crate::finding::Finding;
use crate::settings::{Settings, Switch};
use crate::{Input, InputKind, check};
use rsty_diag::Source;

/// The findings of one rule in a Lua file.
pub(crate) fn findings_with(rule: &str, text: &str, prepare: impl FnOnce(&mut Settings)) -> (Source, Vec<Finding>) {
    findings_of(rule, text, InputKind::Lua, prepare)
}

/// The findings of one rule in a file of any kind.
pub(crate) fn findings_of(
    rule: &str,
    text: &str,
    kind: InputKind,
    prepare: impl FnOnce(&mut Settings),
) -> (Source, Vec<Finding>) {
    let mut settings = Settings::default();
    settings.switch("all", Switch::Off).expect("known");
    settings.switch(rule, Switch::On).expect("known rule");
    prepare(&mut settings);
    let source = Source::new("test", text);
    let findings = check(&Input { source: source.clone(), kind }, &settings);
    (source, findings)
}

fn places((source, findings): (Source, Vec<Finding>)) -> Vec<String> {
    let show = |finding: &Finding| {
        assert_ne!(finding.rule, "syntax_error", "{}", finding.message);
        let at = source.location(finding.span.start);
        format!("{}:{}", at.line, at.column)
    };
    findings.iter().map(show).collect()
}

/// Lines and columns of the findings of one rule.
pub(crate) fn found(rule: &str, text: &str) -> Vec<String> {
    places(findings_with(rule, text, |_| {}))
}

/// Lines and columns of the findings of one rule with changed settings.
pub(crate) fn found_with(rule: &str, text: &str, prepare: impl FnOnce(&mut Settings)) -> Vec<String> {
    places(findings_with(rule, text, prepare))
}

/// Lines and columns of the findings of one rule in a configuration.
#[allow(dead_code, reason = "for rules about phases")]
pub(crate) fn found_in_conf(rule: &str, text: &str) -> Vec<String> {
    places(findings_of(rule, text, InputKind::Configuration, |_| {}))
}

/// The messages of one rule.
pub(crate) fn messages(rule: &str, text: &str) -> Vec<String> {
    findings_with(rule, text, |_| {}).1.into_iter().map(|finding| finding.message).collect()
}
