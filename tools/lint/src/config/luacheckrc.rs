//! `.luacheckrc`: Lua that is read as data.
//!
//! Assignments of constants and tables of constants at the top level mean what they say; anything that would have to be
//! computed is passed over with a warning.

use std::collections::HashMap;

use super::Table;
use crate::lua;
use crate::lua::tree::{ExprId, ExprKind, StatKind, Tree};
use crate::standard;

/// The tables of a file: the general one first, then those of `files[…]`.
pub(super) fn read(text: &[u8], warnings: &mut Vec<String>) -> Result<Vec<Table>, String> {
    let tree = lua::parse(text).map_err(|error| error.message)?;
    let mut reader = Reader { tree: &tree, warnings, stds: HashMap::new() };
    let mut main = Table::default();
    let mut others = Vec::new();
    for stat in tree.block_stats(tree.main_block()) {
        match tree.stat(stat).kind {
            StatKind::Assign { targets, values } => {
                for (target, value) in tree.expr_list(targets).zip(tree.expr_list(values)) {
                    reader.assignment(target, value, &mut main, &mut others);
                }
            }
            StatKind::Return(values) => {
                if let Some(value) = tree.expr_list(values).next() {
                    reader.options(value, &mut main, &mut others);
                }
            }
            StatKind::Local { .. } | StatKind::Empty => {}
            _ => reader.warnings.push("a statement that would have to be run is passed over".into()),
        }
    }
    others.insert(0, main);
    Ok(others)
}

struct Reader<'t, 's, 'w> {
    tree: &'t Tree<'s>,
    warnings: &'w mut Vec<String>,
    /// Standards that the file defines.
    stds: HashMap<String, Table>,
}

impl Reader<'_, '_, '_> {
    fn assignment(&mut self, target: ExprId, value: ExprId, main: &mut Table, others: &mut Vec<Table>) {
        match self.tree.global_path(target).as_deref() {
            Some([name]) => self.option(&String::from_utf8_lossy(name), value, main, others),
            Some([b"files", pattern]) => self.files(&String::from_utf8_lossy(pattern), value, others),
            Some([b"stds", name]) => self.standard(&String::from_utf8_lossy(name), value),
            _ => self.warnings.push("an assignment that would have to be run is passed over".into()),
        }
    }

    fn options(&mut self, table: ExprId, into: &mut Table, others: &mut Vec<Table>) {
        for (key, value) in self.entries(table) {
            if let Some(key) = key {
                self.option(&key, value, into, others);
            }
        }
    }

    fn option(&mut self, name: &str, value: ExprId, into: &mut Table, others: &mut Vec<Table>) {
        match name {
            "std" => self.std(value, into),
            "globals" | "new_globals" => into.globals.extend(self.names(value)),
            "read_globals" | "new_read_globals" => into.read_globals.extend(self.names(value)),
            "ignore" => into.codes.extend(self.names(value)),
            "exclude_files" => into.exclude.extend(self.names(value)),
            "files" => {
                for (pattern, options) in self.entries(value) {
                    self.files(&pattern.unwrap_or_default(), options, others);
                }
            }
            "stds" => {
                for (name, table) in self.entries(value) {
                    self.standard(&name.unwrap_or_default(), table);
                }
            }
            "max_line_length" => into.max_line_length = self.number(value).or(Some(usize::MAX)),
            "max_cyclomatic_complexity" => {
                into.max_complexity = self.number(value).and_then(|limit| u32::try_from(limit).ok());
            }
            "global" if self.is_false(value) => into.codes.push("1".into()),
            "unused" if self.is_false(value) => into.codes.extend(["2".into(), "3".into()]),
            "unused_args" if self.is_false(value) => into.codes.push("212".into()),
            "redefined" if self.is_false(value) => into.codes.push("4".into()),
            _ => {}
        }
    }

    fn std(&mut self, value: ExprId, into: &mut Table) {
        let Some(text) = self.text(value) else {
            self.warnings.push("`std` is no string and is passed over".into());
            return;
        };
        let (plus, names) = text.strip_prefix('+').map_or(("", text.as_str()), |rest| ("+", rest));
        let mut known = Vec::new();
        for name in names.split('+') {
            if let Some(own) = self.stds.get(name) {
                into.globals.extend(own.globals.iter().cloned());
                into.read_globals.extend(own.read_globals.iter().cloned());
            } else if standard::names(name).is_some() {
                known.push(name.to_owned());
            } else {
                self.warnings.push(format!("the standard `{name}` is not known"));
            }
        }
        if !known.is_empty() {
            into.std = Some(format!("{plus}{}", known.join("+")));
        }
    }

    fn standard(&mut self, name: &str, value: ExprId) {
        let mut table = Table::default();
        self.options(value, &mut table, &mut Vec::new());
        self.stds.insert(name.to_owned(), table);
    }

    fn files(&mut self, pattern: &str, value: ExprId, others: &mut Vec<Table>) {
        let mut table = Table { files: vec![pattern.to_owned()], ..Table::default() };
        self.options(value, &mut table, &mut Vec::new());
        others.push(table);
    }

    /// The strings of a list, and the names that have tables (`ngx = { fields = … }`).
    fn names(&mut self, value: ExprId) -> Vec<String> {
        let entries = self.entries(value);
        let name = |(key, value): (Option<String>, ExprId)| key.or_else(|| self.text(value));
        entries.into_iter().filter_map(name).collect()
    }

    fn entries(&self, value: ExprId) -> Vec<(Option<String>, ExprId)> {
        let ExprKind::Table(fields) = self.tree.expr(value).kind else { return Vec::new() };
        let entry = |field: &lua::tree::Field| (field.key.and_then(|key| self.text(key)), field.value);
        self.tree.field_list(fields).iter().map(entry).collect()
    }

    fn text(&self, value: ExprId) -> Option<String> {
        self.tree.string(value).map(|text| String::from_utf8_lossy(text).into_owned())
    }

    fn number(&self, value: ExprId) -> Option<usize> {
        std::str::from_utf8(self.tree.slice(self.tree.expr(value).range)).ok()?.parse().ok()
    }

    fn is_false(&self, value: ExprId) -> bool {
        self.tree.expr(value).kind == ExprKind::False
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_read_and_nothing_is_run() {
        let text = b"std = 'ngx_lua'\nglobals = {'a', b = {fields = {'x'}}}\nfiles['spec/**'] = {std = '+busted', ignore = {'212'}}\n\
                     unused_args = false\nos.execute('touch /tmp/pwned')\nexclude_files = {'gen/*.lua'}";
        let mut warnings = Vec::new();
        let tables = read(text, &mut warnings).expect("valid");
        assert_eq!(tables[0].std.as_deref(), Some("ngx_lua"));
        assert_eq!(tables[0].globals, ["a", "b"]);
        assert_eq!(tables[0].codes, ["212"]);
        assert_eq!(tables[0].exclude, ["gen/*.lua"]);
        assert_eq!((tables[1].files[0].as_str(), tables[1].std.as_deref()), ("spec/**", Some("+busted")));
        assert_eq!(warnings.len(), 1);
    }
}
