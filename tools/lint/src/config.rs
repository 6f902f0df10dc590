//! Configuration files: `rsty.toml`, and luacheck's `.luacheckrc`, which is read but never run.

mod luacheckrc;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ignore::overrides::{Override, OverrideBuilder};
use serde::Deserialize;

use crate::settings::{Allowed, Settings, Switch, UnknownName, WrittenFiles};

/// A configuration file that applies to all files below its folder.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// What in it was not understood and is passed over.
    pub warnings: Vec<String>,
    sections: Vec<Section>,
}

/// Why a configuration file can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A pattern for files is wrong.
    #[error("{}: bad file pattern: {message}", path.display())]
    Pattern {
        /// The configuration file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The file could not be read.
    #[error("can't read {}: {source}", path.display())]
    Read {
        /// The configuration file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file is not what its name says.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// The configuration file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A name in it means nothing.
    #[error("{}: {source}", path.display())]
    Unknown {
        /// The configuration file.
        path: PathBuf,
        /// The name.
        source: UnknownName,
    },
}

/// Settings for all files or, with patterns, for some.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Table {
    /// Globals that exist.
    std: Option<String>,
    #[serde(alias = "read_globals")]
    read_globals: Vec<String>,
    globals: Vec<String>,
    select: Vec<String>,
    ignore: Vec<String>,
    exclude: Vec<String>,
    /// Functions of modules that the server calls, with the phase in which it does.
    phases: BTreeMap<String, String>,
    max_line_length: Option<usize>,
    max_complexity: Option<u32>,
    /// Lua files that specs write.
    written_files: Option<bool>,
    /// luacheck's filters.
    #[serde(skip)]
    codes: Vec<String>,
    files: Vec<String>,
    overrides: Vec<Table>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Document {
    lint: Table,
}

/// A table with its patterns compiled.
#[derive(Clone, Debug)]
struct Section {
    table: Table,
    files: Option<Override>,
    exclude: Option<Override>,
}

impl Config {
    /// The configuration that applies in `folder`: that of the nearest folder upwards that has one; `rsty.toml` goes before
    /// `.luacheckrc`.
    pub fn find(folder: &Path) -> Result<Option<Self>, ConfigError> {
        let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
        for folder in absolute.ancestors() {
            for name in ["rsty.toml", ".luacheckrc"] {
                let path = folder.join(name);
                if path.is_file() {
                    return Self::read(&path).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// Reads a configuration file; what it is depends on its name.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_path_buf(), source };
        let bytes = std::fs::read(path).map_err(read)?;
        let syntax = |message: String| ConfigError::Syntax { path: path.to_path_buf(), message };
        let mut warnings = Vec::new();
        let tables = if path.file_name().is_some_and(|name| name == ".luacheckrc") {
            luacheckrc::read(&bytes, &mut warnings).map_err(syntax)?
        } else {
            let text = String::from_utf8(bytes).map_err(|error| syntax(error.to_string()))?;
            let document: Document = toml::from_str(&text).map_err(|error| syntax(error.to_string()))?;
            let mut main = document.lint;
            let overrides = std::mem::take(&mut main.overrides);
            std::iter::once(main).chain(overrides).collect()
        };
        let root = path.parent().unwrap_or(Path::new("."));
        let compile = |patterns: &[String]| compile(root, patterns, path);
        let mut sections = Vec::new();
        for table in tables {
            let (files, exclude) = (compile(&table.files)?, compile(&table.exclude)?);
            sections.push(Section { table, files, exclude });
        }
        let config = Self { path: path.to_path_buf(), warnings, sections };
        for section in &config.sections {
            config.apply_table(&section.table, &mut Settings::default())?;
        }
        Ok(config)
    }

    /// Whether a file is excluded.
    pub fn excludes(&self, file: &Path) -> bool {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
        let excludes = self.sections.iter().filter_map(|section| section.exclude.as_ref());
        excludes.into_iter().any(|patterns| is_matched(patterns, &file))
    }

    /// Changes the settings to what the configuration says for a file.
    pub fn apply(&self, file: &Path, settings: &mut Settings) -> Result<(), ConfigError> {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
        for section in &self.sections {
            if section.files.as_ref().is_none_or(|patterns| is_matched(patterns, &file)) {
                self.apply_table(&section.table, settings)?;
            }
        }
        Ok(())
    }

    fn apply_table(&self, table: &Table, settings: &mut Settings) -> Result<(), ConfigError> {
        let unknown = |source| ConfigError::Unknown { path: self.path.clone(), source };
        if let Some(std) = &table.std {
            settings.set_standards(std).map_err(unknown)?;
        }
        table.globals.iter().for_each(|name| settings.allow_global(name, Allowed::Write));
        table.read_globals.iter().for_each(|name| settings.allow_global(name, Allowed::Read));
        table.codes.iter().for_each(|filter| settings.ignore_code(filter));
        for name in &table.select {
            settings.switch(name, Switch::On).map_err(unknown)?;
        }
        for name in &table.ignore {
            settings.switch(name, Switch::Off).map_err(unknown)?;
        }
        settings.max_line_length = table.max_line_length.unwrap_or(settings.max_line_length);
        settings.max_complexity = table.max_complexity.unwrap_or(settings.max_complexity);
        for (function, phase) in &table.phases {
            settings.add_entry_point(function, phase).map_err(unknown)?;
        }
        if let Some(checked) = table.written_files {
            settings.written_files = if checked { WrittenFiles::Checked } else { WrittenFiles::Skipped };
        }
        Ok(())
    }
}

fn compile(root: &Path, patterns: &[String], path: &Path) -> Result<Option<Override>, ConfigError> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let wrong = |error: ignore::Error| ConfigError::Pattern { path: path.to_path_buf(), message: error.to_string() };
    let mut builder = OverrideBuilder::new(root);
    for pattern in patterns {
        // A pattern without a slash means that file or folder at any depth; one that is a folder means what is in it.
        let pattern = pattern.trim_start_matches("./").trim_end_matches('/');
        builder.add(pattern).map_err(wrong)?;
        builder.add(&format!("{pattern}/**")).map_err(wrong)?;
    }
    builder.build().map(Some).map_err(wrong)
}

fn is_matched(patterns: &Override, file: &Path) -> bool {
    patterns.matched(file, false).is_whitelist()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, text: &str) -> (PathBuf, Result<Config, ConfigError>) {
        let folder = std::env::temp_dir().join(format!("rsty-config-{}-{:p}", std::process::id(), text));
        std::fs::create_dir_all(&folder).expect("folder");
        let path = folder.join(name);
        std::fs::write(&path, text).expect("write");
        let read = Config::read(&path);
        std::fs::remove_dir_all(&folder).expect("remove");
        (folder, read)
    }

    #[test]
    fn toml_sets_names_rules_and_overrides() {
        let text = "[lint]\nstd = 'ngx_lua+busted'\nglobals = ['kong']\nselect = ['unused']\nexclude = ['gen']\n\
                    [[lint.overrides]]\nfiles = ['spec/**']\nread-globals = ['helpers']\n";
        let (folder, config) = config("rsty.toml", text);
        let config = config.expect("valid");
        let mut settings = Settings::default();
        config.apply(&folder.join("a.lua"), &mut settings).expect("known names");
        assert!(settings.is_readable(b"describe") && settings.is_writable(b"kong"));
        assert!(settings.is_on("unused_local") && !settings.is_readable(b"helpers"));
        config.apply(&folder.join("spec/a.lua"), &mut settings).expect("known names");
        assert!(settings.is_readable(b"helpers"));
        settings.set_standards("min").expect("known");
        assert!(settings.is_readable(b"helpers") && !settings.is_readable(b"ngx"));
        assert!(config.excludes(&folder.join("gen/x.lua")) && !config.excludes(&folder.join("a.lua")));
    }

    #[test]
    fn mistakes_are_told() {
        let told = |name, text| config(name, text).1.expect_err("wrong").to_string();
        assert!(told("rsty.toml", "[lint]\nselct = []").contains("selct"));
        assert!(told("rsty.toml", "[lint]\nselect = ['unsed']").contains("did you mean `unused`?"));
        assert!(told(".luacheckrc", "std = ").contains("unexpected symbol"));
    }
}
