//! The rules, one file each: documentation, check, fix and tests.

mod blocking_call;
mod complex_function;
mod duplicate_key;
mod empty_block;
mod empty_statement;
mod global_table_write;
mod header_after_output;
mod held;
mod library_change;
mod lock_left_held;
mod log_without_level;
mod long_line;
mod loop_runs_once;
mod missing_return;
mod mixed_indentation;
mod module_call;
mod module_level_request_data;
mod module_level_socket;
mod negated_comparison;
mod ngx_var_in_loop;
mod output_after_eof;
mod regex_without_o;
mod reversed_loop;
mod shadowed_local;
mod socket_left_open;
mod trailing_blank;
mod unbalanced_assignment;
pub(crate) mod uncached_code;
mod unchecked_connect;
mod uncompiled_in_loop;
mod undeclared_global;
pub(crate) mod undefined_field;
mod undefined_global;
mod unguarded_timer;
mod uninitialised_read;
mod unreachable_code;
mod unread_table;
mod unreturned_module;
mod unused_argument;
mod unused_label;
mod unused_local;
mod unused_value;
mod wrong_phase;

use std::path::Path;

use rsty_diag::{Fix, Severity};

use crate::chunk::Chunk;
use crate::finding::{Finding, GlobalKind};
use crate::lua::tree::Range;
use crate::settings::Settings;

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Its id, which reads well after «allow».
    pub id: &'static str,
    /// What it belongs to.
    pub group: Group,
    /// How bad its findings are.
    pub severity: Severity,
    /// One line.
    pub summary: &'static str,
    /// The page that `rsty lint --explain` shows.
    pub page: &'static str,
    /// The check. Rules about a whole file have none here.
    pub check: fn(&Chunk<'_>, &mut Sink<'_>),
}

/// What rules are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// Code that fails or does something else than it says.
    Correctness,
    /// How the text is laid out.
    Format,
    /// Globals.
    Globals,
    /// Code that is slower than it looks.
    Performance,
    /// Habits.
    Style,
    /// Variables and code that nobody uses.
    Unused,
}

impl Group {
    /// All groups.
    pub const ALL: [Self; 6] =
        [Self::Correctness, Self::Format, Self::Globals, Self::Performance, Self::Style, Self::Unused];

    /// The group's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Correctness => "correctness",
            Self::Format => "format",
            Self::Globals => "globals",
            Self::Performance => "performance",
            Self::Style => "style",
            Self::Unused => "unused",
        }
    }

    /// Whether its rules are on unless the user says otherwise.
    pub const fn on_by_default(self) -> bool {
        matches!(self, Self::Correctness | Self::Globals)
    }
}

/// All rules, by id.
pub static ALL: &[&Rule] = &[
    &blocking_call::RULE,
    &complex_function::RULE,
    &duplicate_key::RULE,
    &empty_block::RULE,
    &empty_statement::RULE,
    &global_table_write::RULE,
    &header_after_output::RULE,
    &library_change::RULE,
    &lock_left_held::RULE,
    &log_without_level::RULE,
    &long_line::RULE,
    &loop_runs_once::RULE,
    &missing_return::RULE,
    &mixed_indentation::RULE,
    &module_call::RULE,
    &module_level_request_data::RULE,
    &module_level_socket::RULE,
    &negated_comparison::RULE,
    &ngx_var_in_loop::RULE,
    &output_after_eof::RULE,
    &regex_without_o::RULE,
    &reversed_loop::RULE,
    &shadowed_local::RULE,
    &socket_left_open::RULE,
    &trailing_blank::RULE,
    &unbalanced_assignment::RULE,
    &uncached_code::RULE,
    &unchecked_connect::RULE,
    &uncompiled_in_loop::RULE,
    &undeclared_global::RULE,
    &undefined_field::RULE,
    &undefined_global::RULE,
    &unguarded_timer::RULE,
    &uninitialised_read::RULE,
    &unreachable_code::RULE,
    &unread_table::RULE,
    &unreturned_module::RULE,
    &unused_argument::RULE,
    &unused_label::RULE,
    &unused_local::RULE,
    &unused_value::RULE,
    &wrong_phase::RULE,
];

/// The rule of an id.
pub fn find(id: &str) -> Option<&'static Rule> {
    ALL.iter().copied().find(|rule| rule.id == id)
}

/// The pages of all rules as one document, which `docs/lint-rules.md` holds.
pub fn pages() -> String {
    let mut out = String::from("# Rules of `rsty lint`\n");
    for rule in ALL {
        let state = if rule.group.on_by_default() { "on" } else { "off" };
        out.push_str(&format!(
            "\n## {}\n\nGroup `{}`, {state} by default.\n\n{}",
            rule.id,
            rule.group.name(),
            rule.page
        ));
    }
    out
}

/// The id of findings about text that is no Lua. It can't be turned off.
pub const SYNTAX_ERROR: &str = "syntax_error";

/// Where a rule's findings go.
#[derive(Debug)]
pub struct Sink<'a> {
    /// The settings of the file.
    pub settings: &'a Settings,
    pub(crate) file: &'a Path,
    pub(crate) rule: &'static Rule,
    pub(crate) findings: &'a mut Vec<Finding>,
}

impl Sink<'_> {
    /// Adds a finding of the rule that is running.
    pub fn report(&mut self, chunk: &Chunk<'_>, range: Range, message: impl Into<String>) -> &mut Finding {
        let index = self.findings.len();
        self.findings.push(Finding {
            rule: self.rule.id,
            severity: self.rule.severity,
            message: message.into(),
            span: chunk.span(range),
            help: None,
            notes: Vec::new(),
            global: None,
            field: None,
            fix: None,
        });
        &mut self.findings[index]
    }
}

impl Finding {
    /// Says what to do.
    pub fn help(&mut self, text: impl Into<String>) -> &mut Self {
        self.help = Some(text.into());
        self
    }

    /// Adds a place that explains the first.
    pub fn note(&mut self, chunk: &Chunk<'_>, range: Range, text: impl Into<String>) -> &mut Self {
        self.notes.push((chunk.span(range), text.into()));
        self
    }

    /// Tells which global it is about.
    pub fn about(&mut self, kind: GlobalKind, name: String) -> &mut Self {
        self.global = Some((kind, name));
        self
    }

    /// Adds a fix.
    pub fn mend(&mut self, fix: Fix) -> &mut Self {
        self.fix = Some(fix);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InputKind;

    #[test]
    fn the_documentation_has_the_same_pages() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/lint-rules.md");
        if std::env::var_os("RSTY_BLESS").is_some() {
            std::fs::write(path, pages()).expect("docs/lint-rules.md");
        }
        let written = std::fs::read_to_string(path).expect("docs/lint-rules.md");
        assert!(written == pages(), "write it anew: RSTY_BLESS=1 cargo test -p rsty-lint");
    }

    /// The examples of a page with their language, each with its first line as `-- NAME_by_lua_block` or
    /// `-- with OPTION = N` where it has one.
    fn examples(page: &str) -> impl Iterator<Item = (&str, &str)> {
        let fenced = page.split("```").skip(1).step_by(2).filter_map(|example| example.split_once('\n'));
        fenced.filter(|(language, _)| matches!(*language, "lua" | "nginx"))
    }

    /// The lines of an example with findings of a rule, from 1.
    fn lines_with_findings(rule: &str, language: &str, example: &str) -> Vec<usize> {
        let first = example.lines().next().unwrap_or_default();
        let prepare = |settings: &mut Settings| {
            let number = || first.rsplit(' ').next()?.parse::<u16>().ok().map(Into::into);
            if first.starts_with("-- with max-line-length") {
                settings.max_line_length = number().expect("a number");
            } else if first.starts_with("-- with max-complexity") {
                settings.max_complexity = number().map_or(0, |number: usize| number as u32);
            }
        };
        let directive = first.strip_prefix("-- ").filter(|name| name.ends_with("_by_lua_block"));
        let (text, kind) = match directive {
            Some(name) => (format!("{name} {{ {example} }}"), InputKind::Configuration),
            None if language == "nginx" => (example.to_owned(), InputKind::Configuration),
            None => (example.to_owned(), InputKind::Lua),
        };
        let (source, findings) = crate::testing::findings_of(rule, &text, kind, prepare);
        let mut lines: Vec<usize> = findings.iter().map(|found| source.location(found.span.start).line).collect();
        lines.dedup();
        lines
    }

    #[test]
    fn examples_are_judged_as_their_pages_say() {
        let mut wrong = Vec::new();
        for rule in ALL {
            let (mut bad, mut good) = (false, false);
            for (language, example) in examples(rule.page) {
                let marks = ["-- finding", "# finding"];
                let is_marked = |line: &str| marks.iter().any(|mark| line.contains(mark));
                let marked = example.lines().enumerate().filter(|(_, line)| is_marked(line));
                let marked: Vec<usize> = marked.map(|(index, _)| index + 1).collect();
                let found = lines_with_findings(rule.id, language, example);
                if found != marked {
                    wrong.push(format!("{}: lines {found:?} instead of {marked:?}\n{example}", rule.id));
                }
                bad |= !marked.is_empty();
                good |= marked.is_empty() || example.contains("-- good");
            }
            if !(bad && good) {
                wrong.push(format!("{} lacks a good or a bad example", rule.id));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn rules_are_sorted_and_documented() {
        assert!(ALL.windows(2).all(|pair| pair[0].id < pair[1].id));
        for rule in ALL {
            assert!(!rule.summary.ends_with('.'), "{}", rule.id);
            assert_eq!(find(rule.id).map(|found| found.id), Some(rule.id));
        }
    }
}
