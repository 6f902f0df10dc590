//! `arrows`: who may use whom, and no file that grew beyond its room.

use std::collections::BTreeMap;
use std::path::Path;

use crate::{Failure, Outcome};

/// For each package of the workspace, the packages it may use. Arrows never point back.
const ALLOWED: &[(&str, &[&str])] = &[
    ("rsty", &["rsty-testspec", "rsty-reindex", "rsty-lint", "rsty-lsp", "rsty-server-core", "rsty-diag"]),
    ("rsty-diag", &[]),
    ("rsty-fuzz", &["rsty-lint", "rsty-reindex", "rsty-testspec", "rsty-server-core", "rsty-diag"]),
    ("rsty-lint", &["rsty-testspec", "rsty-diag"]),
    ("rsty-lsp", &["rsty-lint", "rsty-reindex", "rsty-testspec", "rsty-diag"]),
    ("rsty-reindex", &["rsty-lint", "rsty-testspec", "rsty-diag"]),
    ("rsty-server-core", &["rsty-diag"]),
    ("rsty-testspec", &["rsty-diag"]),
    ("xtask", &[]),
];

/// A source file may have this many lines, tests apart.
const LINES_MAX: usize = 800;

/// Checks every manifest and every source file.
pub(crate) fn check() -> Outcome {
    let mut findings = Vec::new();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    for folder in [
        "cli",
        "server-core",
        "testspec",
        "tools/diag",
        "tools/fuzz",
        "tools/lint",
        "tools/lsp",
        "tools/reindex",
        "tools/xtask",
    ] {
        check_manifest(&Path::new(folder).join("Cargo.toml"), &allowed, &mut findings)?;
        check_sizes(Path::new(folder), &mut findings)?;
    }
    if findings.is_empty() {
        println!("arrows: every dependency points the right way, no file over {LINES_MAX} lines");
        return Ok(());
    }
    Err(Failure::Findings(findings.join("\n")))
}

fn check_manifest(path: &Path, allowed: &BTreeMap<&str, &[&str]>, findings: &mut Vec<String>) -> Outcome {
    let text = std::fs::read_to_string(path)?;
    let manifest: toml::Table = text.parse().map_err(|error| Failure::Tool(format!("{}: {error}", path.display())))?;
    let package = manifest.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
    let package = package.ok_or_else(|| Failure::Tool(format!("{} has no package name", path.display())))?;
    let Some(uses) = allowed.get(package) else {
        findings.push(format!("{}: package {package} is not in the chart of arrows", path.display()));
        return Ok(());
    };
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(dependencies) = manifest.get(section).and_then(toml::Value::as_table) else { continue };
        for (name, row) in dependencies {
            if allowed.contains_key(name.as_str()) && !uses.contains(&name.as_str()) {
                findings.push(format!("{}: {package} must not use {name} ({section})", path.display()));
            }
            if row.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                findings.push(format!("{}: {name} must take its version from the workspace", path.display()));
            }
        }
    }
    Ok(())
}

fn check_sizes(folder: &Path, findings: &mut Vec<String>) -> Outcome {
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.map_err(|error| Failure::Tool(error.to_string()))?;
        let path = entry.path();
        let is_source = path.extension().is_some_and(|extension| extension == "rs" || extension == "lua");
        if !is_source || path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(path)?;
        let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        if lines > LINES_MAX {
            findings.push(format!("{}: {lines} lines; which idea inside wants a room of its own?", path.display()));
        }
    }
    Ok(())
}
