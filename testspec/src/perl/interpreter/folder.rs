//! Folders and what the system knows about files: `opendir`, `glob`, `stat`, `chdir`, links.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::model::Value;
use crate::perl::ast::Expr;
use crate::perl::builtin::Builtin;

use super::file::File;
use super::{Interpreter, Outcome};

/// The most names that one pattern may expand to.
const NAMES_MAX: usize = 100_000;

impl Interpreter {
    pub(super) fn folder_function(&mut self, builtin: Builtin, arguments: &[Expr]) -> Outcome<Value> {
        if builtin == Builtin::Opendir {
            return self.open_folder(arguments);
        }
        let values = self.list_of(arguments)?;
        let first = values.first().cloned().unwrap_or_default();
        let path = self.path(&first.to_bytes());
        let second = self.path(&values.get(1).map(Value::to_bytes).unwrap_or_default());
        Ok(match builtin {
            Builtin::Chdir => {
                let changed = self.host.change_directory(&path);
                self.outcome(changed)
            }
            Builtin::Closedir => match &first {
                Value::File(file) => {
                    file.close();
                    Value::Int(1)
                }
                _ => Value::bool(false),
            },
            Builtin::Readdir => match &first {
                Value::File(file) => file.next_name().map(Value::str).unwrap_or_default(),
                _ => Value::Undef,
            },
            Builtin::Glob => self.names_like(&first.to_bytes())?.into_iter().next().map(Value::str).unwrap_or_default(),
            Builtin::Stat | Builtin::Lstat => {
                let fields = self.status(builtin, &first);
                Value::bool(!fields.is_empty())
            }
            Builtin::Readlink => match fs::read_link(&path) {
                Ok(target) => Value::str(target.as_os_str().as_bytes()),
                Err(error) => {
                    self.set_os_error(&error);
                    Value::Undef
                }
            },
            Builtin::Symlink => {
                self.check_write(&second)?;
                // What a link says is kept as it is written.
                let made = std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(&first.to_bytes()), second);
                self.outcome(made)
            }
            Builtin::Link => {
                self.check_write(&second)?;
                let made = fs::hard_link(path, second);
                self.outcome(made)
            }
            Builtin::Utime => {
                let time = |at: usize| {
                    let seconds = values.get(at).filter(|value| value.is_defined()).map(Value::to_number);
                    let since = seconds.and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok());
                    since.map_or_else(std::time::SystemTime::now, |since| std::time::UNIX_EPOCH + since)
                };
                let times = fs::FileTimes::new().set_accessed(time(0)).set_modified(time(1));
                let mut changed = 0;
                for name in values.iter().skip(2) {
                    let path = self.path(&name.to_bytes());
                    self.check_write(&path)?;
                    changed += i64::from(fs::File::open(path).and_then(|file| file.set_times(times)).is_ok());
                }
                Value::Int(changed)
            }
            other => return Err(self.unsupported(&format!("`{}`", other.name()))),
        })
    }

    /// The same functions where a list is wanted; `false` where they mean nothing else there.
    pub(super) fn folder_list(&mut self, builtin: Builtin, arguments: &[Expr], out: &mut Vec<Value>) -> Outcome<bool> {
        if !matches!(builtin, Builtin::Readdir | Builtin::Glob | Builtin::Stat | Builtin::Lstat) {
            return Ok(false);
        }
        let first = self.list_of(arguments)?.into_iter().next().unwrap_or_default();
        match (builtin, &first) {
            (Builtin::Readdir, Value::File(file)) => {
                out.extend(std::iter::from_fn(|| file.next_name()).map(Value::str));
            }
            (Builtin::Glob, pattern) => out.extend(self.names_like(&pattern.to_bytes())?.into_iter().map(Value::str)),
            (Builtin::Stat | Builtin::Lstat, _) => out.extend(self.status(builtin, &first)),
            _ => {}
        }
        Ok(true)
    }

    fn open_folder(&mut self, arguments: &[Expr]) -> Outcome<Value> {
        let Some((handle, rest)) = arguments.split_first() else {
            return Err(self.die("Not enough arguments for opendir"));
        };
        let place = self.place_of(handle)?;
        let name = self.list_of(rest)?.first().map(Value::to_bytes).unwrap_or_default();
        match fs::read_dir(self.path(&name)) {
            Ok(entries) => {
                let mut names = vec![b".".to_vec(), b"..".to_vec()];
                names.extend(entries.flatten().map(|entry| entry.file_name().as_bytes().to_vec()));
                place.write(Value::File(File::folder(names)));
                Ok(Value::Int(1))
            }
            Err(error) => {
                self.set_os_error(&error);
                Ok(Value::Int(0))
            }
        }
    }

    /// The 13 fields of `stat`; none where there is no such file.
    fn status(&mut self, builtin: Builtin, name: &Value) -> Vec<Value> {
        let path = self.path(&name.to_bytes());
        let metadata = if builtin == Builtin::Lstat { fs::symlink_metadata(path) } else { fs::metadata(path) };
        match metadata {
            Ok(of) => {
                let unsigned = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
                vec![
                    unsigned(of.dev()),
                    unsigned(of.ino()),
                    Value::Int(i64::from(of.mode())),
                    unsigned(of.nlink()),
                    Value::Int(i64::from(of.uid())),
                    Value::Int(i64::from(of.gid())),
                    unsigned(of.rdev()),
                    unsigned(of.size()),
                    Value::Int(of.atime()),
                    Value::Int(of.mtime()),
                    Value::Int(of.ctime()),
                    unsigned(of.blksize()),
                    unsigned(of.blocks()),
                ]
            }
            Err(error) => {
                self.set_os_error(&error);
                Vec::new()
            }
        }
    }

    /// The names that patterns, separated by blanks, stand for: sorted for each of them.
    fn names_like(&mut self, patterns: &[u8]) -> Outcome<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for pattern in patterns.split(u8::is_ascii_whitespace).filter(|pattern| !pattern.is_empty()) {
            for pattern in alternatives(pattern) {
                self.step()?;
                if pattern.iter().any(|byte| b"*?[".contains(byte)) {
                    let start = if pattern.starts_with(b"/") { PathBuf::from("/") } else { PathBuf::new() };
                    let parts: Vec<&[u8]> =
                        pattern.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
                    let mut found = Vec::new();
                    self.walk(&start, &parts, &mut found);
                    found.sort();
                    names.append(&mut found);
                } else {
                    names.push(pattern);
                }
                self.fits(names.len().saturating_mul(64))?;
            }
        }
        Ok(names)
    }

    fn walk(&self, so_far: &Path, parts: &[&[u8]], out: &mut Vec<Vec<u8>>) {
        let Some((part, rest)) = parts.split_first() else {
            out.push(so_far.as_os_str().as_bytes().to_vec());
            return;
        };
        if !part.iter().any(|byte| b"*?[".contains(byte)) {
            let next = so_far.join(std::ffi::OsStr::from_bytes(part));
            if self.path(next.as_os_str().as_bytes()).exists() {
                self.walk(&next, rest, out);
            }
            return;
        }
        let Ok(entries) = fs::read_dir(self.path(so_far.as_os_str().as_bytes())) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_hidden = name.as_bytes().starts_with(b".") && !part.starts_with(b".");
            if !is_hidden && out.len() < NAMES_MAX && is_like(part, name.as_bytes()) {
                self.walk(&so_far.join(name), rest, out);
            }
        }
    }
}

/// `a{b,c}` is `ab` and `ac`.
fn alternatives(pattern: &[u8]) -> Vec<Vec<u8>> {
    let open = pattern.iter().position(|byte| *byte == b'{');
    let close = open.and_then(|open| pattern.iter().skip(open).position(|byte| *byte == b'}').map(|len| open + len));
    let (Some(open), Some(close)) = (open, close) else { return vec![pattern.to_vec()] };
    let part = |from: usize, to: usize| pattern.get(from..to).unwrap_or_default();
    let tails = alternatives(part(close + 1, pattern.len()));
    let inner = part(open + 1, close).split(|byte| *byte == b',');
    let joined = inner.flat_map(|middle| tails.iter().map(move |tail| [part(0, open), middle, tail].concat()));
    joined.take(NAMES_MAX).collect()
}

/// Whether a name fits a shell pattern.
fn is_like(pattern: &[u8], name: &[u8]) -> bool {
    let mut regex = String::from("(?s-u)^");
    let mut in_class = false;
    for (at, &byte) in pattern.iter().enumerate() {
        match byte {
            b'[' if !in_class => {
                in_class = true;
                regex.push('[');
            }
            b'!' if in_class && pattern.get(at.wrapping_sub(1)) == Some(&b'[') => regex.push('^'),
            b']' if in_class => {
                in_class = false;
                regex.push(']');
            }
            b'-' if in_class => regex.push('-'),
            b'*' if !in_class => regex.push_str(".*"),
            b'?' if !in_class => regex.push('.'),
            other => regex.push_str(&format!("\\x{other:02x}")),
        }
    }
    regex.push('$');
    regex::bytes::Regex::new(&regex).is_ok_and(|regex| regex.is_match(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_wildcards_and_classes() {
        for (pattern, name, fits) in [
            ("*.t", "a.t", true),
            ("*.t", "a.tt", false),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("a.b", "axb", false),
            ("[", "[", false),
        ] {
            assert_eq!(is_like(pattern.as_bytes(), name.as_bytes()), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn braces_are_alternatives() {
        let texts = |pattern: &str| -> Vec<String> {
            alternatives(pattern.as_bytes()).iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
        };
        assert_eq!(texts("a{b,c}d{1,2}"), ["abd1", "abd2", "acd1", "acd2"]);
        assert_eq!(texts("plain"), ["plain"]);
        assert_eq!(texts("{open"), ["{open"]);
    }
}
