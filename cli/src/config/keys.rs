//! Every key of `rsty.toml`, and the default file that is made of them.

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number from the first to the last.
    Integer(i64, i64),
    /// A number above 0.
    Number,
    /// A list of paths.
    Paths,
    /// A path, from the file's folder.
    Path,
    /// A program: a path, or a name to be looked up.
    Program,
    /// A table of texts.
    Table,
    /// Tables of the same keys.
    Tables,
    /// A text.
    Text,
    /// A list of texts.
    Texts,
}

/// The option that a key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    /// `--NAME=VALUE`, once for each value.
    Option(&'static str),
    /// `-X VALUE` of nginx's options.
    Letter(&'static str),
    /// The command reads the key itself.
    Own,
    /// The command's paths.
    Paths,
    /// `--NAME` if the value is true.
    Switch(&'static str),
    /// `--NAME` if the value is false.
    SwitchOff(&'static str),
}

/// A key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// The table, which is the command's name.
    pub(crate) section: &'static str,
    /// Its name in the table.
    pub(crate) name: &'static str,
    /// What it holds.
    pub(crate) kind: Kind,
    /// What it stands for.
    pub(crate) flag: Flag,
    /// The value without a file, as TOML; empty if there is none.
    pub(crate) default: &'static str,
    /// A value to show where there is no default.
    pub(crate) example: &'static str,
    /// One sentence.
    pub(crate) doc: &'static str,
    /// Options that speak against it when they are typed.
    pub(crate) unless: &'static [&'static str],
}

const fn key(section: &'static str, name: &'static str, kind: Kind, flag: Flag, doc: &'static str) -> Key {
    Key { section, name, kind, flag, default: "", example: "", doc, unless: &[] }
}

const fn option(section: &'static str, name: &'static str, kind: Kind, doc: &'static str) -> Key {
    key(section, name, kind, Flag::Option(name), doc)
}

const fn switch(section: &'static str, name: &'static str, doc: &'static str) -> Key {
    Key { default: "false", ..key(section, name, Kind::Bool, Flag::Switch(name), doc) }
}

const fn lint(name: &'static str, kind: Kind, example: &'static str, doc: &'static str) -> Key {
    Key { example, ..key("lint", name, kind, Flag::Own, doc) }
}

/// All keys.
pub(crate) const KEYS: &[Key] = &[
    Key {
        default: "[\"t\"]",
        ..key("test", "paths", Kind::Paths, Flag::Paths, "Spec files and folders that run when none are named.")
    },
    Key {
        example: "\"/usr/local/openresty/nginx/sbin/nginx\"",
        ..option("test", "server", Kind::Program, "Run the specs on this nginx binary instead of the built-in server.")
    },
    Key {
        default: "true",
        ..key("test", "shell", Kind::Bool, Flag::SwitchOff("no-shell"), "Whether spec files may run shell commands.")
    },
    Key { example: "[\"t/lib\"]", ..option("test", "include", Kind::Paths, "Folders of local Perl modules.") },
    Key {
        example: "{ TEST_NGINX_LOG_LEVEL = \"warn\" }",
        ..option("test", "env", Kind::Table, "Environment of specs and servers, where not set already.")
    },
    Key { example: "8", ..option("test", "jobs", Kind::Integer(1, 256), "How many blocks run at the same time.") },
    Key { example: "3", ..option("test", "timeout", Kind::Number, "The client's idle timeout in seconds.") },
    Key {
        default: "120",
        ..option("test", "block-timeout", Kind::Number, "The longest time for one block in seconds.")
    },
    Key { default: "5", ..option("test", "slow", Kind::Number, "Tell of blocks that run longer than these seconds.") },
    Key {
        default: "0",
        ..option("test", "retries", Kind::Integer(0, 1000), "How often a failed block is tried again.")
    },
    Key {
        default: "\"pass\"",
        ..option("test", "flaky-result", Kind::Text, "What a block counts as that failed first and then passed.")
    },
    switch("test", "strict", "Take unknown sections and plans that do not balance for errors."),
    Key { unless: &["max_fail"], ..switch("test", "fail-fast", "Stop after the first failed block.") },
    Key {
        example: "10",
        unless: &["fail_fast"],
        ..option("test", "max-fail", Kind::Integer(1, 1_000_000), "Stop after this many failed blocks.")
    },
    Key {
        example: "\"t/durations.json\"",
        ..option("test", "durations", Kind::Path, "The durations by which --partition balances.")
    },
    Key {
        example: "\"human\"",
        unless: &["tap", "json"],
        ..option("test", "format", Kind::Text, "The form of the output.")
    },
    Key { example: "\"report.xml\"", ..option("test", "junit", Kind::Path, "Write a JUnit report here.") },
    Key { example: "\"report.html\"", ..option("test", "html", Kind::Path, "Write an HTML report here.") },
    Key {
        example: "\"t/passing.tsv\"",
        unless: &["against", "watch"],
        ..option("test", "baseline", Kind::Path, "Fail only where a block in this list no longer passes.")
    },
    switch("test", "verbose", "Name every block, not only those that fail."),
    switch("test", "quiet", "No live progress."),
    Key {
        default: "true",
        ..key("test", "records", Kind::Bool, Flag::SwitchOff("no-records"), "Keep records in .rsty for --last-failed.")
    },
    Key {
        example: "\"conf/nginx.conf\"",
        ..key("serve", "conf", Kind::Path, Flag::Letter("c"), "The configuration that is served when nothing is named.")
    },
    Key {
        example: "\".\"",
        ..key("serve", "prefix", Kind::Path, Flag::Letter("p"), "Where relative paths of the configuration start from.")
    },
    Key {
        example: "\"127.0.0.1:8080\"",
        ..key("serve", "listen", Kind::Text, Flag::Letter("l"), "Where a folder or a Lua file is served.")
    },
    lint("std", Kind::Text, "\"ngx_lua+busted\"", "The globals that exist."),
    lint("globals", Kind::Texts, "[\"my_app\"]", "Globals that may be read and assigned."),
    lint("read-globals", Kind::Texts, "[\"config\"]", "Globals that may be read."),
    lint("select", Kind::Texts, "[\"all\"]", "Rules and groups to turn on."),
    lint("ignore", Kind::Texts, "[\"style\"]", "Rules and groups to turn off."),
    lint("exclude", Kind::Texts, "[\"vendor/\"]", "Files that are passed over."),
    lint("written-files", Kind::Bool, "true", "Also look at the Lua files that specs write."),
    lint("files", Kind::Texts, "[\"spec/**\"]", "In [[lint.overrides]]: the files that the table is for."),
    lint("overrides", Kind::Tables, "", "Tables of these keys for some files."),
    Key { default: "[\"t\"]", ..key("reindex", "paths", Kind::Paths, Flag::Paths, "Spec files and folders.") },
    Key {
        default: "1",
        ..option("reindex", "first", Kind::Integer(-1_000_000, 1_000_000), "Number of the first block.")
    },
    Key {
        default: "true",
        unless: &["compat"],
        ..key("reindex", "numbers", Kind::Bool, Flag::SwitchOff("no-numbers"), "Whether blocks are numbered.")
    },
    Key { unless: &["compat"], ..switch("reindex", "style", "Also tidy what is safe to tidy.") },
    switch("reindex", "quiet", "Say nothing about files that are fine or were rewritten."),
];

/// The key of a table.
pub(crate) fn find(section: &str, name: &str) -> Option<&'static Key> {
    let spelled = name.replace('_', "-");
    KEYS.iter().find(|key| key.section == section && key.name == spelled)
}

/// The tables.
pub(crate) fn sections() -> Vec<&'static str> {
    let mut sections: Vec<&str> = KEYS.iter().map(|key| key.section).collect();
    sections.dedup();
    sections
}

/// A file with every key: those with a default as they are, the others as comments.
pub(crate) fn default_file() -> String {
    let mut out = String::from(
        "# Defaults of rsty. Put the lines that you want to change into a file rsty.toml in the project's\n\
         # folder. What is typed on the command line goes before what is written here.\n",
    );
    for section in sections() {
        out.push_str(&format!("\n[{section}]\n"));
        for key in KEYS.iter().filter(|key| key.section == section) {
            out.push_str(&format!("# {}\n", key.doc));
            match (key.default, key.example) {
                ("", "") => out.push_str(&format!("# [[{section}.{}]]\n", key.name)),
                ("", example) => out.push_str(&format!("# {} = {example}\n", key.name)),
                (default, _) => out.push_str(&format!("{} = {default}\n", key.name)),
            }
        }
    }
    out
}

/// A JSON schema of the file, for editors.
pub(crate) fn schema() -> serde_json::Value {
    use serde_json::{Map, Value, json};
    let texts = || json!({"type": "array", "items": {"type": "string"}});
    let mut tables = Map::new();
    for section in sections() {
        let mut properties = Map::new();
        for key in KEYS.iter().filter(|key| key.section == section) {
            let mut value = match key.kind {
                Kind::Bool => json!({"type": "boolean"}),
                Kind::Integer(from, to) => json!({"type": "integer", "minimum": from, "maximum": to}),
                Kind::Number => json!({"type": "number", "exclusiveMinimum": 0}),
                Kind::Text | Kind::Path | Kind::Program => json!({"type": "string"}),
                Kind::Texts | Kind::Paths => texts(),
                Kind::Table => json!({"type": "object", "additionalProperties": {"type": "string"}}),
                Kind::Tables => json!({"type": "array", "items": {"type": "object"}}),
            };
            value["description"] = json!(key.doc);
            properties.insert(key.name.to_owned(), value);
        }
        let table = json!({"type": "object", "properties": Value::Object(properties), "additionalProperties": false});
        tables.insert(section.to_owned(), table);
    }
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "rsty.toml",
        "type": "object",
        "properties": Value::Object(tables),
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::File;

    #[test]
    fn the_default_file_is_understood_and_says_what_holds_without_it() {
        let text = default_file();
        let file = File::parse("rsty.toml".into(), &text).unwrap();
        assert_eq!(file.warnings, Vec::<String>::new());
        for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
            assert_eq!(file.find(key).map(|setting| setting.text.as_str()), Some(key.default), "{}", key.name);
        }
        let commented: String = text
            .lines()
            .filter(|line| !line.starts_with("# [["))
            .map(|line| {
                let line = line.strip_prefix("# ").filter(|line| line.contains(" = ")).unwrap_or(line);
                format!("{line}\n")
            })
            .collect();
        File::parse("rsty.toml".into(), &commented).unwrap();
    }

    #[test]
    fn every_key_is_in_the_schema() {
        let schema = schema();
        for key in KEYS {
            let path = format!("/properties/{}/properties/{}/description", key.section, key.name);
            assert!(schema.pointer(&path).is_some(), "{path}");
        }
    }
}
