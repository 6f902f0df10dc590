//! The server program under test, and what it says about itself.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::model::Regex;
use crate::run::conditions::Version;

/// Why the server can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BinaryError {
    /// There is no such program.
    #[error("find the server `{0}`: no such program")]
    NotFound(String),
    /// It ran and did not tell its version.
    #[error("read the version from `{program} -V`: {output}")]
    NoVersion {
        /// The program.
        program: String,
        /// What it printed.
        output: String,
    },
    /// It could not be run.
    #[error("run `{program} -V`")]
    NotRun {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
}

/// A server program with its version text, asked for once a run.
#[derive(Clone, Debug)]
pub struct ServerBinary {
    program: PathBuf,
    built_in: bool,
    version_text: Vec<u8>,
    facts: Facts,
}

/// What `-V` tells.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The server's version.
    pub version: Option<Version>,
    /// The version of OpenSSL it was built with.
    pub openssl: Option<Version>,
    /// `fastcgi`, `scgi`, `uwsgi`: those the server was built without.
    pub without: Vec<&'static str>,
}

impl ServerBinary {
    /// An nginx binary: a path, or a name to be looked up in `search_path`.
    pub fn external(program: &Path, search_path: Option<&OsString>) -> Result<Self, BinaryError> {
        let found = find(program, search_path).ok_or_else(|| BinaryError::NotFound(program.display().to_string()))?;
        Self::ask(found, false)
    }

    /// The running program itself, by a link whose name is `nginx`.
    pub fn built_in(link: PathBuf) -> Result<Self, BinaryError> {
        Self::ask(link, true)
    }

    /// A command that runs the server.
    pub fn command(&self) -> Command {
        Command::new(&self.program)
    }

    /// The program, as a shell finds it.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Whether it is the running program itself.
    pub fn is_built_in(&self) -> bool {
        self.built_in
    }

    /// The text of `-V`.
    pub fn version_text(&self) -> &[u8] {
        &self.version_text
    }

    /// What the text of `-V` tells.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    fn ask(program: PathBuf, built_in: bool) -> Result<Self, BinaryError> {
        let mut binary = Self { program, built_in, version_text: Vec::new(), facts: Facts::default() };
        let shown = binary.program.display().to_string();
        let output = binary.command().arg("-V").stdin(Stdio::null()).output();
        let output = output.map_err(|source| BinaryError::NotRun { program: shown.clone(), source })?;
        binary.version_text = [output.stdout, output.stderr].concat();
        binary.facts = facts(&binary.version_text);
        if binary.facts.version.is_none() || !output.status.success() {
            let output = String::from_utf8_lossy(&binary.version_text).trim().to_owned();
            return Err(BinaryError::NoVersion { program: shown, output });
        }
        Ok(binary)
    }
}

fn find(program: &Path, search_path: Option<&OsString>) -> Option<PathBuf> {
    if program.components().count() > 1 || program.is_absolute() {
        return program.is_file().then(|| std::path::absolute(program).unwrap_or_else(|_| program.to_owned()));
    }
    let folders = std::env::split_paths(search_path?);
    folders
        .filter(|folder| !folder.as_os_str().is_empty())
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

fn facts(text: &[u8]) -> Facts {
    let version = numbers(text, r"(?:nginx|openresty+?)[^/]*/(\d+)\.(\d+)\.(\d+)")
        .or_else(|| numbers(text, r"\w+/(\d+)\.(\d+)\.(\d+)"))
        .map(|([major, minor, patch], _)| Version::new(major, minor, patch));
    let openssl = numbers(text, r"built with OpenSSL (\d+)\.(\d+)\.(\d+)([a-z])?")
        .map(|([major, minor, patch], letter)| Version::with_letter(major, minor, patch, letter));
    let lacks =
        |name: &&'static str| memchr::memmem::find(text, format!("--without-http_{name}_module").as_bytes()).is_some();
    Facts { version, openssl, without: ["fastcgi", "scgi", "uwsgi"].into_iter().filter(lacks).collect() }
}

fn numbers(text: &[u8], pattern: &str) -> Option<([u32; 3], Option<u8>)> {
    let groups = Regex::new(pattern, "s").captures_at(text, 0).ok().flatten()?;
    let group = |index: usize| groups.get(index).copied().flatten().and_then(|(from, to)| text.get(from..to));
    let number = |index: usize| group(index).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    Some(([number(1)?, number(2)?, number(3)?], group(4).and_then(|letter| letter.first().copied())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_text_of_v() {
        let facts = facts(
            b"nginx version: openresty/1.27.1.2\nbuilt with OpenSSL 1.0.2k  26 Jan 2017\n--without-http_scgi_module",
        );
        assert_eq!(facts.version, Some(Version::new(1, 27, 1)));
        assert_eq!(facts.openssl, Some(Version::with_letter(1, 0, 2, Some(b'k'))));
        assert_eq!(facts.without, ["scgi"]);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = ServerBinary::external(Path::new("/no/such/nginx"), None).unwrap_err();
        assert!(error.to_string().contains("/no/such/nginx"), "{error}");
    }
}
