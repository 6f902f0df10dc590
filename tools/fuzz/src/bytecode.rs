//! What is a global: our resolver and LuaJIT's compiler agree on every program that both take.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use rsty_lint::lua;
use rsty_lint::lua::tree::Access;

/// How often each global is set and read.
pub type Counts = BTreeMap<(String, &'static str), usize>;

/// Compares the counts.
pub(crate) fn same_globals(bytes: &[u8]) {
    // Names that LuaJIT's listing would print escaped say nothing; nor does bytecode.
    if bytes.is_empty() || !bytes.is_ascii() || bytes.starts_with(b"\x1b") {
        return;
    }
    let (ours, theirs) = (ours(bytes), theirs(bytes));
    match (&ours, &theirs) {
        // A jump over 64 kB and the like: limits of the machine, not of the language.
        (Some(_), None) => {}
        (None, Some(_)) => panic!("LuaJIT takes what we refuse"),
        // Code that can't run is left out of the bytecode; whatever is there, we have seen.
        (Some(ours), Some(theirs)) => {
            for (name, count) in theirs {
                assert!(ours.get(name) >= Some(count), "{name:?}: {:?} instead of {count}", ours.get(name));
            }
        }
        (None, None) => {}
    }
}

/// Our view; `None` where we refuse the program.
pub fn ours(program: &[u8]) -> Option<Counts> {
    let tree = lua::parse(program).ok()?;
    let mut counts = Counts::new();
    for global in &tree.globals {
        let name = String::from_utf8_lossy(tree.name(global.name)).into_owned();
        let kind = if global.access == Access::Write { "set" } else { "get" };
        *counts.entry((name, kind)).or_default() += 1;
    }
    Some(counts)
}

/// LuaJIT's view; `None` where it refuses the program.
///
/// # Panics
///
/// If the program `luajit`, or the one that `RSTY_LUAJIT` names, can't be run.
pub fn theirs(program: &[u8]) -> Option<Counts> {
    let name = format!("rsty-fuzz-bytecode-{}-{:?}.lua", std::process::id(), std::thread::current().id());
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, program).expect("a file for the program");
    let luajit = std::env::var_os("RSTY_LUAJIT").unwrap_or_else(|| "luajit".into());
    let output = Command::new(luajit).arg("-bL").arg(&file).stderr(Stdio::null()).output().expect("luajit runs");
    std::fs::remove_file(&file).expect("the file is there");
    if !output.status.success() {
        return None;
    }
    let mut counts = Counts::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let kind = match line {
            line if line.contains(" GGET ") => "get",
            line if line.contains(" GSET ") => "set",
            _ => continue,
        };
        if let Some((_, name)) = line.rsplit_once("; \"") {
            *counts.entry((name.trim_end_matches('"').to_owned(), kind)).or_default() += 1;
        }
    }
    Some(counts)
}
