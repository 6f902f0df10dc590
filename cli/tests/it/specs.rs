//! The acceptance specs in `t/`: one test for each block, run by the built binary on its own server. Also the examples
//! of the page that teaches the language.

use std::path::Path;
use std::process::{Command, Output};

use libtest_mimic::{Failed, Trial};

/// A test for each block that `rsty test --list` names.
pub(crate) fn trials() -> Vec<Trial> {
    let listed = rsty(&["--list", "t"]).expect("the binary was built with this test");
    assert!(listed.status.success(), "t/ can't be listed:\n{}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let specs = listed.lines().filter_map(|line| line.split_once('\t')).map(|(place, name)| trial(place, name));
    specs.chain([Trial::test("examples_in_docs_pass", examples)]).collect()
}

/// Runs the complete blocks of `docs/spec-language.md`.
fn examples() -> Result<(), Failed> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/spec-language.md"))?;
    let blocks: Vec<&str> = page.split("```").filter_map(|fence| fence.strip_prefix('\n')).collect();
    let blocks: Vec<&str> = blocks.into_iter().filter(|block| block.starts_with("=== ")).collect();
    assert!(blocks.len() >= 4, "the page has lost its examples");
    let folder = tempfile::tempdir()?;
    let spec = folder.path().join("examples.t");
    std::fs::write(&spec, blocks.join("\n\n"))?;
    run(&spec.display().to_string())
}

fn trial(place: &str, name: &str) -> Trial {
    let place = place.to_owned();
    let file = place.rsplit_once(':').map_or(place.as_str(), |(file, _)| file);
    Trial::test(format!("{file}::{name}"), move || run(&place))
}

fn run(place: &str) -> Result<(), Failed> {
    let output = rsty(&["--quiet", "--no-records", place])?;
    if output.status.success() {
        return Ok(());
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Err(format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr)).into())
}

fn rsty(arguments: &[&str]) -> std::io::Result<Output> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_rsty"));
    command.args(["--color", "never", "test"]).args(arguments).current_dir(workspace);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TEST_NGINX_")) {
        command.env_remove(name);
    }
    command.output()
}
