//! Many files: finding them, judging them in parallel, in a stable order.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ignore::{WalkBuilder, WalkState};
use rsty_diag::Source;

use crate::check::{Input, InputKind, check};
use crate::finding::Finding;
use crate::modules::Modules;
use crate::rules::undefined_field;
use crate::settings::Settings;

/// What was found in one file.
#[derive(Debug)]
pub struct FileReport {
    /// The file.
    pub source: Source,
    /// Its findings, in the order of their places.
    pub findings: Vec<Finding>,
}

/// A file or folder that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("can't read {}", path.display())]
pub struct ReadError {
    /// Its path.
    pub path: PathBuf,
    /// The system's answer.
    pub source: io::Error,
}

/// The files that `paths` name: files as they are, folders with all Lua, configuration and spec files below
/// them, sorted. Folders respect `.gitignore` and skip hidden entries.
pub fn find(paths: &[PathBuf]) -> (Vec<PathBuf>, Vec<ReadError>) {
    let mut found = Vec::new();
    let mut errors = Vec::new();
    let mut seen = HashSet::new();
    for path in paths {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                let mut files = walk(path, &mut errors);
                files.retain(|file| seen.insert(file.clone()));
                found.append(&mut files);
            }
            Ok(_) if seen.insert(path.clone()) => found.push(path.clone()),
            Ok(_) => {}
            Err(source) => errors.push(ReadError { path: path.clone(), source }),
        }
    }
    (found, errors)
}

fn walk(folder: &Path, errors: &mut Vec<ReadError>) -> Vec<PathBuf> {
    let results = Mutex::new((Vec::new(), Vec::new()));
    WalkBuilder::new(folder).require_git(false).build_parallel().run(|| {
        Box::new(|entry| {
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            match entry {
                Ok(entry) => {
                    let is_file = entry.file_type().is_some_and(|kind| !kind.is_dir());
                    if is_file && InputKind::of(entry.path()).is_some() {
                        results.0.push(entry.into_path());
                    }
                }
                Err(error) => results.1.push(error),
            }
            WalkState::Continue
        })
    });
    let (mut files, failures) = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    files.sort();
    errors.extend(failures.into_iter().map(|error| {
        let text = error.to_string();
        let source = error.into_io_error().unwrap_or_else(|| io::Error::other(text));
        ReadError { path: folder.to_path_buf(), source }
    }));
    files
}

/// Judges files with up to `jobs` threads. The reports come in the order of `files`, whatever the threads do.
///
/// `settings` is asked once a file, with its path.
pub fn run<F>(files: &[PathBuf], jobs: usize, settings: F) -> (Vec<FileReport>, Vec<ReadError>)
where
    F: Fn(&Path) -> Settings + Sync,
{
    let next = AtomicUsize::new(0);
    let modules = Arc::new(Modules::default());
    let results = Mutex::new(Vec::with_capacity(files.len()));
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, files.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(path) = files.get(index) else { break };
                    let mut settings = settings(path);
                    settings.modules = modules.clone();
                    let result = judge(path, &settings);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    let mut reports = Vec::new();
    let mut errors = Vec::new();
    for (_, result) in results {
        match result {
            Ok(report) => reports.push(report),
            Err(error) => errors.push(error),
        }
    }
    (reports, errors)
}

/// Takes back findings about fields of libraries that any of `files` sets by their full name: one file of a project hangs
/// `ngx.mine` on `ngx`, and others use it. The files are read again only if there are such findings.
pub fn forget_fields_set_in(files: &[PathBuf], reports: &mut [FileReport]) {
    let fields = reports.iter().flat_map(|report| &report.findings).filter_map(|found| found.field.as_ref());
    let wanted: HashSet<Vec<u8>> = fields.map(|field| field.as_bytes().to_vec()).collect();
    if wanted.is_empty() {
        return;
    }
    let mut set = HashSet::new();
    for file in files {
        // What can't be read was told when it was judged.
        let Ok(text) = std::fs::read(file) else { continue };
        set.extend(undefined_field::paths_set_in(&text, &wanted).into_iter().map(<[u8]>::to_vec));
    }
    for report in reports {
        report.findings.retain(|found| found.field.as_ref().is_none_or(|field| !set.contains(field.as_bytes())));
    }
}

fn judge(path: &Path, settings: &Settings) -> Result<FileReport, ReadError> {
    let source = Source::read(path).map_err(|source| ReadError { path: path.to_path_buf(), source })?;
    let kind = InputKind::of(path).unwrap_or(InputKind::Lua);
    let findings = check(&Input { source: source.clone(), kind }, settings);
    // A clean file's content is not needed any more.
    let source = if findings.is_empty() { Source::new(path, Vec::new()) } else { source };
    Ok(FileReport { source, findings })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_another_file_sets_is_known() {
        let folder = std::env::temp_dir().join(format!("rsty-fields-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("folder");
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("write");
            path
        };
        let files = [write("a.lua", "ngx.mine = {}"), write("b.lua", "return f(ngx.mine, ngx.yours)")];
        let (mut reports, _) = run(&files, 1, |_| Settings::default());
        let told = |reports: &[FileReport]| -> Vec<String> {
            reports.iter().flat_map(|report| &report.findings).filter_map(|found| found.field.clone()).collect()
        };
        assert_eq!(told(&reports), ["ngx.mine", "ngx.yours"]);
        forget_fields_set_in(&files, &mut reports);
        assert_eq!(told(&reports), ["ngx.yours"]);
        std::fs::remove_dir_all(folder).expect("clean up");
    }
}
