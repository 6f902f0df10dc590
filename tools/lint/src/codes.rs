//! The names that other linters give to what our rules find.

/// luacheck's codes for a rule's findings.
pub(crate) fn luacheck_codes(rule: &str) -> &'static [&'static str] {
    match rule {
        "undeclared_global" => &["111", "121", "131"],
        "undefined_global" => &["113", "112"],
        "global_table_write" => &["122", "142"],
        "library_change" => &["122", "142"],
        "undefined_field" => &["143"],
        "unused_local" => &["211", "221", "231"],
        "unused_argument" => &["212", "213", "232", "233"],
        "uninitialised_read" => &["221", "321", "341"],
        "unread_table" => &["241", "331"],
        "unused_value" => &["311", "312", "313"],
        "duplicate_key" => &["314"],
        "shadowed_local" => &["411", "412", "413", "421", "422", "423", "431", "432", "433"],
        "unreachable_code" => &["511"],
        "loop_runs_once" => &["512"],
        "unused_label" => &["521"],
        "unbalanced_assignment" => &["531", "532"],
        "empty_block" => &["541", "542"],
        "empty_statement" => &["551"],
        "complex_function" => &["561"],
        "reversed_loop" => &["571"],
        "negated_comparison" => &["581", "582"],
        "trailing_blank" => &["611", "612", "613", "614"],
        "mixed_indentation" => &["621"],
        "long_line" => &["631"],
        _ => &[],
    }
}

/// The rules that a lint of selene is about.
pub(crate) fn selene_rules(lint: &str) -> &'static [&'static str] {
    match lint {
        "undefined_variable" => &["undefined_global"],
        "unscoped_variables" => &["undeclared_global"],
        "global_usage" => &["global_table_write", "undefined_global"],
        "unused_variable" => &["unused_local", "unused_argument"],
        "shadowing" => &["shadowed_local"],
        "empty_if" | "empty_loop" => &["empty_block"],
        "duplicate_keys" => &["duplicate_key"],
        "unbalanced_assignments" => &["unbalanced_assignment"],
        "high_cyclomatic_complexity" => &["complex_function"],
        "incorrect_standard_library_use" => &["undefined_field", "library_change"],
        "suspicious_reverse_loop" => &["reversed_loop"],
        _ => &[],
    }
}

/// One of luacheck's filters: a code, a name, or `code/name`, each a prefix or a Lua pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    code: String,
    name: Option<String>,
}

impl Filter {
    pub(crate) fn new(text: &str) -> Self {
        match text.split_once('/') {
            Some((code, name)) => Self { code: code.to_owned(), name: Some(name.to_owned()) },
            None if text.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
                Self { code: text.to_owned(), name: None }
            }
            None => Self { code: String::new(), name: Some(text.to_owned()) },
        }
    }

    /// Whether a finding of a rule about a name is meant.
    pub(crate) fn matches(&self, rule: &str, name: &str) -> bool {
        let code_fits = |code: &&'static str| {
            let pattern = self.code.bytes().filter(|byte| *byte == b'.' || byte.is_ascii_digit());
            code.bytes().zip(pattern).all(|(digit, wanted)| wanted == b'.' || wanted == digit)
        };
        luacheck_codes(rule).iter().any(code_fits)
            && self.name.as_deref().is_none_or(|pattern| name_fits(pattern, name))
    }
}

/// A Lua pattern against a whole name. Only what filters use is understood: `.`, `*`, `+`, `-`, `^`, `$` and `%` classes.
fn name_fits(pattern: &str, name: &str) -> bool {
    if pattern.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return pattern == name;
    }
    let translated: String = pattern
        .chars()
        .map(|character| match character {
            '%' => "\\".to_owned(),
            '-' => "*?".to_owned(),
            '{' | '}' | '|' | '\\' => format!("\\{character}"),
            other => other.to_string(),
        })
        .collect();
    regex::Regex::new(&format!("^(?:{translated})$")).is_ok_and(|regex| regex.is_match(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_take_codes_names_and_both() {
        for (filter, rule, name, fits) in [
            ("111", "undeclared_global", "x", true),
            ("1", "undefined_global", "x", true),
            ("11.", "undefined_global", "x", true),
            ("211", "undeclared_global", "x", false),
            ("x", "undeclared_global", "x", true),
            ("x", "undeclared_global", "xy", false),
            ("212/_.*", "unused_argument", "_a", true),
            ("212/self", "unused_argument", "a", false),
            ("113/k%w+", "undefined_global", "kong", true),
        ] {
            assert_eq!(Filter::new(filter).matches(rule, name), fits, "{filter} {rule} {name}");
        }
    }
}
