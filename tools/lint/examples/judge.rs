//! The linter alone, without the server: for measuring it and for trying a rule on other people's code.
//!
//! `cargo run --release -p rsty-lint --example judge -- RULES PATH…` judges with the rules named (ids, groups or `all`),
//! in one thread, and prints one line a finding.

use std::io::Write;

use rsty_lint::settings::{Settings, Switch};
use rsty_lint::{driver, report};

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rules = arguments.next().unwrap_or_else(|| "all".to_owned());
    let paths: Vec<_> = arguments.map(Into::into).collect();
    let mut settings = Settings::default();
    settings.switch("all", Switch::Off).map_err(std::io::Error::other)?;
    for rule in rules.split(',') {
        settings.switch(rule, Switch::On).map_err(std::io::Error::other)?;
    }
    let (files, _) = driver::find(&paths);
    let (mut reports, _) = driver::run(&files, 1, |_| settings.clone());
    driver::forget_fields_set_in(&files, &mut reports);
    std::io::stdout().write_all(report::concise(&reports).as_bytes())
}
