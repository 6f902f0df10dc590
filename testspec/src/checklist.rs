//! The page `docs/design/language.md` names a test for each word of the spec language; here it is held against the code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::load::{INHERITED, prologue_functions};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The rows of the page: a word, a file, and a test in that file.
fn rows() -> Vec<(String, String, String)> {
    let page = std::fs::read_to_string(repository().join("docs/design/language.md")).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect();
        let [word, file, test] = cells.as_slice() else { return None };
        let is_row = Path::new(file).extension().is_some();
        is_row.then(|| ((*word).to_owned(), (*file).to_owned(), (*test).to_owned()))
    };
    page.lines().filter(|line| line.starts_with('|')).filter_map(row).collect()
}

#[test]
fn every_test_that_the_page_names_exists_and_speaks_of_its_word() {
    for (word, file, test) in rows() {
        let text = std::fs::read_to_string(repository().join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let is_there = if Path::new(&file).extension().is_some_and(|extension| extension == "rs") {
            text.contains(&format!("fn {test}("))
        } else {
            file.ends_with(&test) || text.contains(&format!("=== {test}"))
        };
        assert!(is_there, "{file} has no {test}");
        assert!(text.contains(&word), "{file} does not speak of {word}");
    }
}

/// The rows of the table of surprises begin with a file and a test in it.
#[test]
fn every_test_of_a_surprise_exists() {
    let page = std::fs::read_to_string(repository().join("docs/design/language.md")).unwrap();
    let (_, table) = page.split_once("\n## Surprises\n").unwrap();
    let table = table.split("\n## ").next().unwrap();
    let mut rows = 0;
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect();
        let [file, test, _] = cells.as_slice() else { panic!("{line}") };
        let text = std::fs::read_to_string(repository().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let is_there = text.contains(&format!("fn {test}(")) || text.contains(&format!("=== {test}"));
        assert!(is_there, "{file} has no {test}");
        rows += 1;
    }
    assert!(rows >= 40, "{rows} rows");
}

#[test]
fn the_page_names_every_section_and_every_function() {
    let named: BTreeSet<String> = rows().into_iter().map(|(word, ..)| word).collect();
    // The page says why these have no test.
    let excused = ["dgram_server_config2", "dgram_server_config3"];
    let words = INHERITED.iter().copied().chain(prologue_functions());
    let missing: Vec<&str> = words.filter(|word| !named.contains(*word) && !excused.contains(word)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_page_names_every_variable_that_is_read() {
    let page = std::fs::read_to_string(repository().join("docs/design/language.md")).unwrap();
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let mut missing = BTreeSet::new();
    for entry in walkdir::WalkDir::new(repository().join("testspec/src")).into_iter().flatten() {
        let is_code = entry.path().extension().is_some_and(|extension| extension == "rs");
        if !is_code || entry.path().ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for after in text.split("\"TEST_NGINX_").skip(1) {
            let name = format!("TEST_NGINX_{}", after.split(|c| !is_name(c)).next().unwrap());
            let is_whole = after.get(name.len() - "TEST_NGINX_".len()..).is_some_and(|rest| rest.starts_with('"'));
            if is_whole && !name.ends_with('_') && !page.contains(&format!("`{name}`")) {
                missing.insert(name);
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}
