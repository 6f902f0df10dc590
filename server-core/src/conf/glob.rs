//! Paths with `*`, `?` and `[…]`, as `include` takes them.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The most paths that one pattern may yield.
const PATHS_MAX: usize = 10_000;

/// The existing paths that match, sorted. Names that start with a dot match only a pattern that does too.
pub(super) fn paths(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let Component::Normal(name) = component else {
            push_all(&mut found, component);
            continue;
        };
        let name = name.as_bytes();
        if !name.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[')) {
            push_all(&mut found, component);
            found.retain(|path| path.exists());
            continue;
        }
        let mut next = Vec::new();
        for folder in found {
            let mut names = matching_names(&folder, name)?;
            names.sort();
            next.extend(names);
        }
        if next.len() > PATHS_MAX {
            return Err(io::Error::other("too many files match"));
        }
        found = next;
    }
    Ok(found)
}

fn push_all(paths: &mut [PathBuf], component: Component<'_>) {
    for path in paths {
        path.push(component);
    }
}

fn matching_names(folder: &Path, pattern: &[u8]) -> io::Result<Vec<PathBuf>> {
    let folder_or_here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = match std::fs::read_dir(folder_or_here) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let bytes = name.as_bytes();
        if (bytes.first() != Some(&b'.') || pattern.first() == Some(&b'.')) && matches(pattern, bytes) {
            names.push(folder.join(&name));
        }
    }
    Ok(names)
}

/// Whether `name` matches `pattern`; linear space, at most pattern times name steps.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, n));
                p += 1;
                continue;
            }
            None if n == name.len() => return true,
            None => None,
            Some(&expected) => name.get(n).and_then(|&byte| match expected {
                b'?' => Some(1),
                b'[' => class(pattern.get(p + 1..).unwrap_or_default(), byte),
                b'\\' if p + 1 < pattern.len() => (pattern.get(p + 1) == Some(&byte)).then_some(2),
                literal => (literal == byte).then_some(1),
            }),
        };
        if let Some(used) = step {
            p += used;
            n += 1;
            continue;
        }
        match retry {
            Some((star, from)) if from < name.len() => {
                retry = Some((star, from + 1));
                (p, n) = (star, from + 1);
            }
            _ => return false,
        }
    }
}

/// Whether `byte` is in the class that starts behind `[`; the number of pattern bytes used, brackets included.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let negated = matches!(pattern.first(), Some(b'!' | b'^'));
    let start = usize::from(negated);
    let mut at = start;
    let mut inside = false;
    loop {
        let first = *pattern.get(at)?;
        if first == b']' && at > start {
            return (inside != negated).then_some(at + 2);
        }
        match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some(b'-'), Some(&last)) if last != b']' => {
                inside |= (first..=last).contains(&byte);
                at += 3;
            }
            _ => {
                inside |= first == byte;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_like_the_shell() {
        for (pattern, name) in [("*", "a"), ("*.conf", "x.conf"), ("a?c", "abc"), ("[a-c]x", "bx"), ("[!a]", "b")] {
            assert!(matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in [("*.conf", "x.conf~"), ("a?c", "ac"), ("[a-c]x", "dx"), ("[!a]", "a"), ("[", "[")] {
            assert!(!matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        assert!(!matches(b"*a*a*a*a*a*a*b", "a".repeat(200).as_bytes()));
    }
}
