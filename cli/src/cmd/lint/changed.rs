//! The files that differ from a commit, as git sees it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Keeps of `files` those that were changed since `commit`, or that git does not know yet.
pub(super) fn only(files: &mut Vec<PathBuf>, commit: &str) -> Result<(), String> {
    if commit.starts_with('-') {
        return Err(format!("`{commit}` is no commit"));
    }
    let root = PathBuf::from(git(&["rev-parse", "--show-toplevel"])?.trim_end());
    let mut changed = git(&["diff", "--name-only", "-z", "--no-ext-diff", "--diff-filter=d", commit, "--"])?;
    // Names of unknown files come relative to the folder that was asked about.
    let asked = root.to_string_lossy().into_owned();
    changed.push_str(&git(&["-C", &asked, "ls-files", "--others", "--exclude-standard", "-z"])?);
    let changed: std::collections::HashSet<PathBuf> =
        changed.split('\0').filter(|name| !name.is_empty()).map(|name| root.join(name)).collect();
    files.retain(|file| changed.contains(&absolute(file)));
    Ok(())
}

fn absolute(file: &Path) -> PathBuf {
    std::fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf())
}

fn git(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("git").args(arguments).output().map_err(|error| format!("can't run git: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("git can't tell what changed: {}", said.lines().next().unwrap_or_default()))
}
