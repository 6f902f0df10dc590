//! What to look for in one file: rules, and the names that are defined from outside.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use rsty_diag::Source;

use crate::codes::Filter;
use crate::embed::Phase;
use crate::finding::Finding;
use crate::modules::Modules;
use crate::rules::{self, Group, Rule};
use crate::standard;

/// The settings for a file. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names of the standards.
    standard: Arc<HashSet<&'static str>>,
    /// Further names that may be read.
    readable: Arc<HashSet<Vec<u8>>>,
    /// Further names that may be read and assigned.
    writable: Arc<HashSet<Vec<u8>>>,
    /// Whether each rule of [`rules::ALL`] is on.
    enabled: Arc<Vec<bool>>,
    /// Whether comments in the code may change the settings.
    pub inline: Inline,
    /// Modules of the project that calls are followed into.
    pub modules: Arc<Modules>,
    /// Whether Lua files that spec blocks write are looked at.
    pub written_files: WrittenFiles,
    /// Fields of libraries that may be read and set, such as `ngx.my_field`.
    fields: Arc<HashSet<String>>,
    /// Functions that the server calls, such as `_M.log` of a plugin, with their phases.
    pub(crate) entry_points: Arc<Vec<(String, Phase)>>,
    /// Characters that a line may have.
    pub max_line_length: usize,
    /// Ways through a function that are not too many.
    pub max_complexity: u32,
    /// luacheck's filters for what is not wanted.
    pub(crate) filters: Arc<Vec<Filter>>,
}

/// Whether Lua files that the `user_files` sections of specs hold are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WrittenFiles {
    /// They are.
    Checked,
    /// They are not: they are fixtures, often broken or global on purpose.
    #[default]
    Skipped,
}

/// Whether comments in the code are obeyed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Inline {
    /// They are.
    #[default]
    Obeyed,
    /// They are not.
    Ignored,
}

/// A name that is no rule, group, standard or phase.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} `{name}`{}", suggestion.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default())]
pub struct UnknownName {
    /// What it should have been.
    pub what: &'static str,
    /// The name as given.
    pub name: String,
    /// A known name like it.
    pub suggestion: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let enabled = rules::ALL.iter().map(|rule| rule.group.on_by_default()).collect();
        let mut settings = Self {
            standard: Arc::default(),
            readable: Arc::default(),
            writable: Arc::default(),
            enabled: Arc::new(enabled),
            inline: Inline::default(),
            written_files: WrittenFiles::default(),
            modules: Arc::default(),
            fields: Arc::default(),
            entry_points: Arc::default(),
            max_line_length: 120,
            max_complexity: 25,
            filters: Arc::default(),
        };
        settings.add_standard("ngx_lua").ok();
        settings
    }
}

impl Settings {
    /// Whether a rule is on.
    pub fn is_on(&self, rule: &str) -> bool {
        rules::ALL.iter().zip(self.enabled.iter()).any(|(known, on)| known.id == rule && *on)
    }

    /// The rules that are on.
    pub fn rules(&self) -> impl Iterator<Item = &'static Rule> + '_ {
        rules::ALL.iter().zip(self.enabled.iter()).filter(|(_, on)| **on).map(|(rule, _)| *rule)
    }

    /// How much a name that [`Settings::switch`] takes singles out: `all`, then groups, then rules.
    pub fn precision(name: &str) -> u8 {
        match name {
            "all" => 0,
            name if Group::ALL.iter().any(|group| group.name() == name) => 1,
            _ => 2,
        }
    }

    /// Turns rules on or off: a rule's id, a group, or `all`.
    pub fn switch(&mut self, name: &str, state: Switch) -> Result<(), UnknownName> {
        let matches = |rule: &Rule| name == "all" || rule.id == name || rule.group.name() == name;
        if !rules::ALL.iter().any(|rule| matches(rule)) {
            let known = rules::ALL.iter().map(|rule| rule.id).chain(Group::ALL.iter().map(|group| group.name()));
            let suggestion = rsty_diag::closest(name, known).map(str::to_owned);
            return Err(UnknownName { what: "rule or group", name: name.to_owned(), suggestion });
        }
        let enabled = Arc::make_mut(&mut self.enabled);
        for (rule, on) in rules::ALL.iter().zip(enabled.iter_mut()) {
            if matches(rule) {
                *on = state == Switch::On;
            }
        }
        Ok(())
    }

    /// Whether a global may be read.
    pub fn is_readable(&self, name: &[u8]) -> bool {
        let standard = || std::str::from_utf8(name).is_ok_and(|name| self.standard.contains(name));
        standard() || self.readable.contains(name)
    }

    /// Whether a global may be assigned.
    pub fn is_writable(&self, name: &[u8]) -> bool {
        self.writable.contains(name)
    }

    /// Whether a field of a library, such as `ngx.my_field`, may be used though the library lacks it.
    pub fn is_field_allowed(&self, path: &str) -> bool {
        self.fields.contains(path)
    }

    /// All names that may be read, sorted.
    pub fn readable_names(&self) -> Vec<&str> {
        let own = self.readable.iter().filter_map(|name| std::str::from_utf8(name).ok());
        let mut names: Vec<_> = self.standard.iter().copied().chain(own).collect();
        names.sort_unstable();
        names
    }

    /// Sets the standards to those joined by `+`, such as `ngx_lua+busted`. A leading `+` keeps the old ones. Names that
    /// were allowed one by one stay.
    pub fn set_standards(&mut self, names: &str) -> Result<(), UnknownName> {
        let (keep, names) = names.strip_prefix('+').map_or((false, names), |rest| (true, rest));
        let before = self.clone();
        if !keep {
            self.standard = Arc::default();
        }
        for name in names.split('+') {
            if let Err(error) = self.add_standard(name.trim()) {
                *self = before;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Adds the names of a standard.
    pub fn add_standard(&mut self, name: &str) -> Result<(), UnknownName> {
        let Some(names) = standard::names(name) else {
            let suggestion = rsty_diag::closest(name, standard::ALL.iter().copied()).map(str::to_owned);
            return Err(UnknownName { what: "standard", name: name.to_owned(), suggestion });
        };
        Arc::make_mut(&mut self.standard).extend(names);
        Ok(())
    }

    /// Adds what a file's name and place say by convention: `*_spec.lua` below `spec`, `test` or `tests` is run by busted.
    pub fn add_conventions(&mut self, file: &Path) {
        let is_spec = file.file_name().is_some_and(|name| name.as_encoded_bytes().ends_with(b"_spec.lua"));
        let mut folders = file.components().map(|part| part.as_os_str().as_encoded_bytes());
        if is_spec && folders.any(|name| matches!(name, b"spec" | b"test" | b"tests")) {
            self.add_standard("busted").ok();
        }
    }

    /// Tells that the server calls a function which a module returns, in the phase that a directive's name tells (`log`).
    pub fn add_entry_point(&mut self, function: &str, phase: &str) -> Result<(), UnknownName> {
        let Some(known) = Phase::of_directive(phase) else {
            let suggestion = rsty_diag::closest(phase, Phase::every().map(Phase::stem)).map(str::to_owned);
            return Err(UnknownName { what: "phase", name: phase.to_owned(), suggestion });
        };
        Arc::make_mut(&mut self.entry_points).push((function.to_owned(), known));
        Ok(())
    }

    /// Adds a filter as luacheck's `ignore` takes it: a code, a name or `code/name`.
    pub fn ignore_code(&mut self, filter: &str) {
        Arc::make_mut(&mut self.filters).push(Filter::new(filter));
    }

    pub(crate) fn is_filtered(&self, finding: &Finding, source: &Source) -> bool {
        let name = match &finding.global {
            Some((_, name)) => name.clone(),
            None => String::from_utf8_lossy(source.slice(finding.span)).into_owned(),
        };
        self.filters.iter().any(|filter| filter.matches(finding.rule, &name))
    }

    /// Lets a name be read, and assigned if `access` says so. Of `ngx.my_field`, only the field may be set.
    pub fn allow_global(&mut self, name: &str, access: Allowed) {
        let whole = !name.contains('.');
        if !whole {
            Arc::make_mut(&mut self.fields).insert(name.to_owned());
        }
        let name = name.split('.').next().unwrap_or(name).as_bytes().to_vec();
        if access == Allowed::Write && whole {
            Arc::make_mut(&mut self.writable).insert(name.clone());
        }
        Arc::make_mut(&mut self.readable).insert(name);
    }
}

/// What [`Settings::switch`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Off.
    Off,
    /// On.
    On,
}

/// What [`Settings::allow_global`] allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Reading.
    Read,
    /// Reading and assigning.
    Write,
}
