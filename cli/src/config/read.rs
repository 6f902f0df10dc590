//! Reading the file.

use std::path::{Path, PathBuf};

use rsty_diag::closest;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, KEYS, Key, Kind};

/// Why the file can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// It could not be read.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML.
    #[error("{}:{line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A key holds something else than it should.
    #[error("{}:{line}: `{key}` must be {expected}", path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// Where.
        line: usize,
        /// The key with its table.
        key: String,
        /// What it should hold.
        expected: String,
    },
}

/// A value that the file sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// As arguments: one for each element of a list or table.
    pub(crate) values: Vec<String>,
    /// As it is written.
    pub(crate) text: String,
    /// Where it stands.
    pub(crate) line: usize,
}

/// A configuration file.
#[derive(Debug)]
pub(crate) struct File {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What it sets, in the order of [`KEYS`].
    pub(crate) settings: Vec<(&'static Key, Setting)>,
    /// What in it was not understood and is passed over.
    pub(crate) warnings: Vec<String>,
}

/// A larger file is no configuration.
const FILE_MAX: u64 = 1 << 20;

impl Setting {
    /// Whether it is `true`.
    pub(crate) fn is_true(&self) -> bool {
        self.values == ["true"]
    }

    /// Whether it is `false`.
    pub(crate) fn is_false(&self) -> bool {
        self.values == ["false"]
    }
}

impl File {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::Read { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(failed)?.len() > FILE_MAX {
            return Err(failed(std::io::Error::other("it is too large for a configuration")));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        Self::parse(path.to_owned(), &text)
    }

    /// Reads the text of a file.
    pub(crate) fn parse(path: PathBuf, text: &str) -> Result<Self, ConfigError> {
        let line_of = |at: usize| 1 + text.get(..at).unwrap_or(text).bytes().filter(|byte| *byte == b'\n').count();
        let document = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            path: path.clone(),
            line: line_of(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        let mut file = Self { path, settings: Vec::new(), warnings: Vec::new() };
        for (section, table) in document.get_ref().iter() {
            let line = line_of(section.span().start);
            let name = section.get_ref();
            match table.get_ref() {
                DeValue::Table(table) if keys::sections().contains(&&**name) => {
                    file.table(name, table, text, &line_of)?;
                }
                _ => file.warn(line, &format!("unknown table `{name}`"), closest(name, keys::sections())),
            }
        }
        let place = |key: &Key| KEYS.iter().position(|known| (known.section, known.name) == (key.section, key.name));
        file.settings.sort_by_key(|(key, _)| place(key));
        Ok(file)
    }

    /// What the file says about a key.
    pub(crate) fn find(&self, key: &Key) -> Option<&Setting> {
        let same = |known: &&Key| (known.section, known.name) == (key.section, key.name);
        self.settings.iter().find(|(known, _)| same(known)).map(|(_, setting)| setting)
    }

    fn table(
        &mut self,
        section: &str,
        table: &DeTable<'_>,
        text: &str,
        line_of: &dyn Fn(usize) -> usize,
    ) -> Result<(), ConfigError> {
        for (name, value) in table.iter() {
            let line = line_of(name.span().start);
            let Some(key) = keys::find(section, name.get_ref()) else {
                let known = KEYS.iter().filter(|key| key.section == section).map(|key| key.name);
                let message = format!("unknown key `{}` in [{section}]", name.get_ref());
                self.warn(line, &message, closest(name.get_ref(), known));
                continue;
            };
            let values = self.values(key, value).map_err(|expected| ConfigError::Type {
                path: self.path.clone(),
                line,
                key: format!("{section}.{}", key.name),
                expected,
            })?;
            let written = text.get(value.span()).unwrap_or_default().to_owned();
            self.settings.push((key, Setting { values, text: written, line }));
        }
        Ok(())
    }

    fn warn(&mut self, line: usize, message: &str, like: Option<&str>) {
        let like = like.map(|like| format!("; did you mean `{like}`?")).unwrap_or_default();
        self.warnings.push(format!("{}:{line}: {message}{like}", self.path.display()));
    }

    /// The values as arguments; the error says what is expected.
    fn values(&self, key: &Key, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, String> {
        let value = value.get_ref();
        let one = |text: Option<String>, expected: &str| text.map(|text| vec![text]).ok_or_else(|| expected.to_owned());
        match key.kind {
            Kind::Bool => match value {
                DeValue::Boolean(value) => Ok(vec![value.to_string()]),
                _ => Err("true or false".to_owned()),
            },
            Kind::Integer(from, to) => {
                let expected = format!("a whole number from {from} to {to}");
                let number = integer(value).filter(|number| (from..=to).contains(number));
                one(number.map(|number| number.to_string()), &expected)
            }
            Kind::Number => {
                let number = match value {
                    DeValue::Float(number) => number.as_str().replace('_', "").parse::<f64>().ok(),
                    value => integer(value).map(|number| number as f64),
                };
                let number = number.filter(|number| *number > 0.0 && number.is_finite());
                one(number.map(|number| number.to_string()), "a number above 0")
            }
            Kind::Text => one(value.as_str().map(str::to_owned), "a text"),
            Kind::Path => one(value.as_str().map(|text| self.from_here(text)), "a path"),
            Kind::Program => {
                let program = |text: &str| if text.contains('/') { self.from_here(text) } else { text.to_owned() };
                one(value.as_str().map(program), "a program")
            }
            Kind::Texts => texts(value).ok_or_else(|| "a list of texts".to_owned()),
            Kind::Paths => {
                let paths = texts(value).ok_or_else(|| "a list of paths".to_owned())?;
                Ok(paths.iter().map(|path| self.from_here(path)).collect())
            }
            Kind::Table => {
                let DeValue::Table(table) = value else { return Err("a table of texts".to_owned()) };
                let pair = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
                    let name: &std::borrow::Cow<'_, str> = name.get_ref();
                    let value = value.get_ref().as_str().ok_or_else(|| "a table of texts".to_owned())?;
                    Ok(format!("{name}={value}"))
                };
                table.iter().map(pair).collect()
            }
            Kind::Tables => Ok(Vec::new()),
        }
    }

    /// A path that is written from the file's folder, from the working directory.
    fn from_here(&self, path: &str) -> String {
        match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() && Path::new(path).is_relative() => {
                folder.join(path).display().to_string()
            }
            _ => path.to_owned(),
        }
    }
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let DeValue::Integer(number) = value else { return None };
    i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
}

fn texts(value: &DeValue<'_>) -> Option<Vec<String>> {
    let DeValue::Array(items) = value else { return None };
    items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<File, String> {
        File::parse("../rsty.toml".into(), text).map_err(|error| error.to_string())
    }

    #[test]
    fn unknown_names_are_told_with_a_suggestion_and_a_place() {
        let file = parse("[test]\njobs = 2\njbos = 3\n[tset]\nx = 1\n").unwrap();
        assert_eq!(
            file.warnings,
            [
                "../rsty.toml:3: unknown key `jbos` in [test]; did you mean `jobs`?",
                "../rsty.toml:4: unknown table `tset`; did you mean `test`?",
            ]
        );
        assert_eq!(file.settings.len(), 1);
    }

    #[test]
    fn wrong_values_are_errors_with_their_place() {
        let error = |text: &str| parse(text).unwrap_err();
        assert_eq!(error("[test]\n\njobs = 0\n"), "../rsty.toml:3: `test.jobs` must be a whole number from 1 to 256");
        assert_eq!(error("[test]\nstrict = 1\n"), "../rsty.toml:2: `test.strict` must be true or false");
        assert_eq!(error("[test]\nenv = { A = 1 }\n"), "../rsty.toml:2: `test.env` must be a table of texts");
        assert_eq!(error("[test]\ntimeout = -1.5\n"), "../rsty.toml:2: `test.timeout` must be a number above 0");
        assert!(error("[test\n").starts_with("../rsty.toml:1: "));
    }

    #[test]
    fn paths_start_at_the_folder_of_the_file() {
        let file = parse("[test]\npaths = [\"t\", \"/x\"]\nserver = \"nginx\"\nhtml = \"r.html\"\n").unwrap();
        let values: Vec<Vec<String>> = file.settings.into_iter().map(|(_, setting)| setting.values).collect();
        assert_eq!(values, [vec!["../t", "/x"], vec!["nginx"], vec!["../r.html"]]);
    }
}
