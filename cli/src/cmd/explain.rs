//! `rsty explain CODE`: what a message is about.
//!
//! Lint rules have their pages beside their code; those of all other messages are in `explain/pages.md`.

use std::process::ExitCode;

use rsty_lint::rules;

use crate::exit::Exit;
use crate::ui;

const PAGES: &str = include_str!("explain/pages.md");

/// Arguments of `rsty explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What stands in brackets behind `error`, `warning` or `note`; all codes without.
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> ExitCode {
    let Some(code) = args.code else {
        let mut codes: Vec<&str> = codes().collect();
        codes.sort_unstable();
        ui::answer(&format!("{}\n", codes.join("\n")));
        return Exit::Fine.into();
    };
    // As it stands in messages: `error[unknown_section]`.
    let code = code.rsplit_once('[').map_or(code.as_str(), |(_, code)| code).trim_end_matches(']');
    if let Some(rule) = rules::find(code) {
        ui::answer(&format!("# {}\n\n{}\n", rule.id, rule.page));
    } else if let Some(page) = page(code) {
        ui::answer(&format!("# {code}\n\n{page}\n"));
    } else {
        let like = rsty_diag::closest(code, codes());
        let like = like.map(|like| format!("; did you mean `{like}`?")).unwrap_or_default();
        ui::error(&format!("there is no message `{code}`{like}"));
        return Exit::Usage.into();
    }
    Exit::Fine.into()
}

fn codes() -> impl Iterator<Item = &'static str> {
    rules::ALL.iter().map(|rule| rule.id).chain(pages().map(|(code, _)| code))
}

fn page(code: &str) -> Option<&'static str> {
    pages().find(|(known, _)| *known == code).map(|(_, page)| page)
}

fn pages() -> impl Iterator<Item = (&'static str, &'static str)> {
    let pages = PAGES.split("\n# ").map(|page| page.trim_start_matches("# "));
    pages.filter_map(|page| page.split_once('\n').map(|(code, text)| (code.trim(), text.trim())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// The codes that the sources of a crate make messages with.
    fn used(folder: &str, codes: &mut BTreeSet<String>) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
        for entry in walkdir::WalkDir::new(root).into_iter().flatten() {
            if entry.path().extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for start in ["Diagnostic::error(\"", "Diagnostic::warning(\""] {
                let found = code.split(start).skip(1).filter_map(|rest| rest.split('"').next());
                codes.extend(found.filter(|code| code.contains('_')).map(str::to_owned));
            }
        }
    }

    #[test]
    fn every_message_has_a_page_and_pages_are_in_order() {
        let mut codes = BTreeSet::new();
        for folder in ["testspec/src", "server-core/src", "tools/reindex/src"] {
            used(folder, &mut codes);
        }
        assert!(codes.len() > 10, "{codes:?}");
        let missing: Vec<&String> = codes.iter().filter(|code| page(code).is_none()).collect();
        assert!(missing.is_empty(), "no page for {missing:?}");
        let known: Vec<&str> = pages().map(|(code, _)| code).collect();
        assert!(known.is_sorted(), "pages stand in alphabetical order");
        assert!(pages().all(|(_, text)| text.len() > 40));
    }
}
