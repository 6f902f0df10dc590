//! Many files: finding them, judging them in parallel, in a stable order.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ignore::{WalkBuilder, WalkState};
use rsty_diag::Source;

use crate::check::{Input, InputKind, check};
use crate::finding::Finding;
use crate::modules::Modules;
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
    let mut seen = std::collections::HashSet::new();
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

fn judge(path: &Path, settings: &Settings) -> Result<FileReport, ReadError> {
    let source = Source::read(path).map_err(|source| ReadError { path: path.to_path_buf(), source })?;
    let kind = InputKind::of(path).unwrap_or(InputKind::Lua);
    let findings = check(&Input { source: source.clone(), kind }, settings);
    // A clean file's content is not needed any more.
    let source = if findings.is_empty() { Source::new(path, Vec::new()) } else { source };
    Ok(FileReport { source, findings })
}
