//! Commands that rewrite files: whatever happens meanwhile, a file is the old one or the new one.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

type Outcome = Result<(), Failed>;

/// All trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("rewriting::a_full_disk_leaves_the_old_file", full_disk),
        Trial::test("rewriting::a_killed_run_leaves_the_old_file_or_the_new_one", killed),
        Trial::test("rewriting::modes_and_links_stay", modes_and_links),
        Trial::test("rewriting::what_is_no_file_of_ours_is_left_alone", other_files),
        Trial::test("rewriting::names_are_never_run_or_taken_apart", hostile_names),
        Trial::test("rewriting::one_bad_file_does_not_stop_the_others", bad_file),
        Trial::test("rewriting::two_runs_at_once_agree", two_at_once),
    ]
}

fn rsty(arguments: &[&str], folder: &Path) -> Result<Output, Failed> {
    Ok(Command::new(env!("CARGO_BIN_EXE_rsty")).args(arguments).current_dir(folder).output()?)
}

/// A spec whose blocks all have the number 7.
fn spec(blocks: usize) -> String {
    let block = "=== TEST 7: a block\n--- config\n    location = /t { return 200; }\n--- request\nGET /t\n\n";
    format!("use Test::Nginx::Socket 'no_plan';\nrun_tests();\n__DATA__\n\n{}", block.repeat(blocks))
}

fn check(holds: bool, what: &str) -> Outcome {
    if holds { Ok(()) } else { Err(what.into()) }
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<String>, Failed> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn full_disk() -> Outcome {
    let folder = tempfile::tempdir()?;
    let old = spec(400);
    fs::write(folder.path().join("a.t"), &old)?;
    // A limit on the size of files does to a write what a full disk does.
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" reindex a.t";
    let shell = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_rsty")])
        .current_dir(folder.path())
        .stderr(Stdio::piped())
        .output()?;
    check(shell.status.code() == Some(3), "the exit code says that a file could not be written")?;
    check(fs::read_to_string(folder.path().join("a.t"))? == old, "the old file is there")?;
    check(names(folder.path())? == ["a.t"], "nothing is left behind")
}

fn killed() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.t");
    let old = spec(3000);
    fs::write(&path, &old)?;
    rsty(&["reindex", "-q", "a.t"], folder.path())?;
    let new = fs::read_to_string(&path)?;
    for round in 0..30 {
        fs::write(&path, &old)?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_rsty"))
            .args(["reindex", "-q", "a.t"])
            .current_dir(folder.path())
            .spawn()?;
        std::thread::sleep(Duration::from_millis(round));
        child.kill()?;
        child.wait()?;
        let now = fs::read_to_string(&path)?;
        check(now == old || now == new, "the file is the old one or the new one")?;
    }
    Ok(())
}

fn modes_and_links() -> Outcome {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    fs::write(at("real.t"), spec(2))?;
    fs::set_permissions(at("real.t"), fs::Permissions::from_mode(0o604))?;
    symlink("real.t", at("link.t"))?;
    fs::hard_link(at("real.t"), at("hard.t"))?;
    let done = rsty(&["reindex", "link.t"], folder.path())?;
    check(done.status.success(), "the run succeeds")?;
    check(fs::symlink_metadata(at("link.t"))?.is_symlink(), "the link is a link")?;
    check(fs::metadata(at("real.t"))?.mode() & 0o7777 == 0o604, "the mode is kept")?;
    check(fs::read_to_string(at("link.t"))?.contains("=== TEST 2: "), "the file is new")?;
    // The other name keeps the old content: a rename replaces one name.
    check(fs::read_to_string(at("hard.t"))? == spec(2), "the hard link has the old content")?;
    fs::write(at("locked.t"), spec(2))?;
    fs::set_permissions(at("locked.t"), fs::Permissions::from_mode(0o444))?;
    let locked = rsty(&["reindex", "locked.t"], folder.path())?;
    let unchanged = fs::read_to_string(at("locked.t"))? == spec(2);
    check(unchanged != locked.status.success(), "a file is rewritten, or its refusal is told")
}

fn other_files() -> Outcome {
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("dir.t"))?;
    symlink("nowhere.t", folder.path().join("broken.t"))?;
    symlink("loop.t", folder.path().join("loop.t"))?;
    let fifo = Command::new("mkfifo").arg(folder.path().join("fifo.t")).status()?;
    check(fifo.success(), "mkfifo works")?;
    let done = rsty(&["reindex", "fifo.t", "broken.t", "loop.t", "/dev/null"], folder.path())?;
    check(done.status.code() == Some(2), "what can't be read is told")?;
    check(names(folder.path())? == ["broken.t", "dir.t", "fifo.t", "loop.t"], "all is as before")
}

fn hostile_names() -> Outcome {
    let folder = tempfile::tempdir()?;
    let hostile = ["|touch pwned; x.t", ">out.t", "a b.t", "$(touch pwned).t", "*.t", "x\u{1b}[2J.t"];
    for name in hostile {
        fs::write(folder.path().join(name), spec(2))?;
    }
    let mut arguments = vec!["reindex", "--"];
    arguments.extend(hostile);
    let done = rsty(&arguments, folder.path())?;
    check(done.status.success(), "all are rewritten")?;
    for name in hostile {
        let text = fs::read_to_string(folder.path().join(name))?;
        check(text.contains("=== TEST 2: "), "each file is the one of that name")?;
    }
    check(names(folder.path())?.len() == hostile.len(), "no other file came to be")?;
    let mut told = done.stderr;
    told.extend(done.stdout);
    check(!told.contains(&0x1b), "names are shown without control characters")
}

fn bad_file() -> Outcome {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("a.t"), spec(2))?;
    fs::write(folder.path().join("c.t"), spec(2))?;
    let done = rsty(&["reindex", "a.t", "b.t", "c.t"], folder.path())?;
    check(done.status.code() == Some(2), "the missing file is told")?;
    for name in ["a.t", "c.t"] {
        check(fs::read_to_string(folder.path().join(name))?.contains("=== TEST 2: "), "the others are rewritten")?;
    }
    Ok(())
}

fn two_at_once() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.t");
    for _ in 0..10 {
        fs::write(&path, spec(300))?;
        let start = || {
            Command::new(env!("CARGO_BIN_EXE_rsty"))
                .args(["reindex", "-q", "a.t"])
                .current_dir(folder.path())
                .stderr(Stdio::piped())
                .spawn()
        };
        for child in [start()?, start()?] {
            let done = child.wait_with_output()?;
            let said = String::from_utf8_lossy(&done.stderr);
            let is_told = said == "error: a.t: the file changed while it was being formatted\n";
            check(done.status.success() || is_told, &said)?;
        }
        let text = fs::read_to_string(&path)?;
        check(text.contains("=== TEST 300: ") && text.ends_with("GET /t\n"), "one of them won, whole")?;
        check(names(folder.path())? == ["a.t"], "nothing is left behind")?;
    }
    Ok(())
}
