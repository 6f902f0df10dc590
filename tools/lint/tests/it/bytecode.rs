//! LuaJIT's own compiler as the judge of what is a global.
//!
//! On demand, since it needs LuaJIT's program: `RSTY_LUAJIT=/usr/bin/luajit cargo test -p rsty-lint -- --ignored`.
//! `RSTY_LINT_CORPUS` names a folder whose `.lua` files are compared besides the programs that are made up here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rsty_lint::lua;
use rsty_lint::lua::tree::Access;

/// How often each global is set and read.
type Counts = BTreeMap<(String, &'static str), usize>;

fn ours(text: &[u8]) -> Option<Counts> {
    let tree = lua::parse(text).ok()?;
    let mut counts = Counts::new();
    for global in &tree.globals {
        let name = String::from_utf8_lossy(tree.name(global.name)).into_owned();
        let kind = if global.access == Access::Write { "set" } else { "get" };
        *counts.entry((name, kind)).or_default() += 1;
    }
    Some(counts)
}

/// LuaJIT's view; `None` where it refuses the file.
fn theirs(luajit: &Path, file: &Path) -> Option<Counts> {
    let output = Command::new(luajit).arg("-bL").arg(file).output().expect("luajit runs");
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

fn luajit() -> PathBuf {
    std::env::var_os("RSTY_LUAJIT").unwrap_or_else(|| OsString::from("luajit")).into()
}

#[test]
#[ignore = "needs LuaJIT's program"]
fn files_have_the_globals_that_luajit_compiles() {
    let Some(folder) = std::env::var_os("RSTY_LINT_CORPUS") else { return };
    let (luajit, mut compared, mut different) = (luajit(), 0, Vec::new());
    let (files, _) = rsty_lint::driver::find(&[folder.into()]);
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "lua")) {
        // Links that lead nowhere.
        let Ok(text) = std::fs::read(file) else { continue };
        let (ours, theirs) = (ours(&text), theirs(&luajit, file));
        compared += 1;
        if ours != theirs {
            different.push(file.clone());
        }
    }
    assert!(different.is_empty(), "{} of {compared} differ: {different:#?}", different.len());
}

#[test]
#[ignore = "needs LuaJIT's program"]
fn made_up_programs_have_the_globals_that_luajit_compiles() {
    let folder = std::env::temp_dir().join(format!("rsty-bytecode-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("folder");
    let file = folder.join("program.lua");
    let rounds = std::env::var("RSTY_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(300);
    let luajit = luajit();
    for seed in 1..=rounds {
        let mut program = Program { seed, out: String::new(), depth: 0, loops: 0, variadic: true };
        program.block(6);
        std::fs::write(&file, &program.out).expect("write");
        let (ours, theirs) = (ours(program.out.as_bytes()), theirs(&luajit, &file));
        assert_eq!(ours, theirs, "seed {seed}:\n{}", program.out);
    }
    std::fs::remove_dir_all(folder).expect("clean up");
}

/// A random program. Few names, so that many are locals somewhere and globals elsewhere.
struct Program {
    seed: u64,
    out: String,
    depth: u32,
    loops: u32,
    variadic: bool,
}

impl Program {
    fn roll(&mut self, sides: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % sides
    }

    fn name(&mut self) -> &'static str {
        ["a", "b", "c", "d", "print", "ngx"][self.roll(6) as usize]
    }

    fn text(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push(' ');
    }

    fn block(&mut self, size: u64) {
        self.depth += 1;
        for _ in 0..=self.roll(size) {
            self.statement();
        }
        if self.roll(6) == 0 {
            self.text("return");
            self.expression();
        } else if self.loops > 0 && self.roll(6) == 0 {
            self.text("break");
        }
        self.depth -= 1;
    }

    fn statement(&mut self) {
        let shallow = if self.depth > 4 { 4 } else { 12 };
        match self.roll(shallow) {
            0 => {
                let name = self.name();
                let named = self.name();
                write!(self.out, "local {name}, {named} = ").expect("string");
                self.expression();
            }
            1 => {
                let name = self.name();
                let named = self.name();
                write!(self.out, "{name}, {named}.x = ").expect("string");
                self.expression();
                self.text(",");
                self.expression();
            }
            2 => {
                let named = self.name();
                write!(self.out, "{named}(").expect("string");
                self.expression();
                self.text(");");
            }
            3 => {
                let named = self.name();
                write!(self.out, "local {named} ").expect("string");
            }
            4 => {
                self.text("if");
                self.expression();
                self.text("then");
                self.block(3);
                self.text("else");
                self.block(3);
                self.text("end");
            }
            5 => self.looping(|program| {
                program.text("while");
                program.expression();
                program.text("do");
                program.block(3);
                program.text("end");
            }),
            6 => self.looping(|program| {
                let name = program.name();
                let named = program.name();
                write!(program.out, "for {name}, {named} in ").expect("string");
                program.expression();
                program.text("do");
                program.block(3);
                program.text("end");
            }),
            7 => self.looping(|program| {
                let named = program.name();
                write!(program.out, "for {named} = 1, ").expect("string");
                program.expression();
                program.text("do");
                program.block(3);
                program.text("end");
            }),
            8 => {
                let named = self.name();
                write!(self.out, "local function {named}").expect("string");
                self.body();
            }
            9 => {
                let dot = [".x", ":x", ""][self.roll(3) as usize];
                let named = self.name();
                write!(self.out, "function {named}{dot}").expect("string");
                self.body();
            }
            10 => self.looping(|program| {
                // The condition sees the locals of the body.
                program.text("repeat");
                let named = program.name();
                write!(program.out, "local {named} = ").expect("string");
                program.expression();
                program.text("until");
                program.expression();
            }),
            _ => {
                self.text("do");
                self.block(3);
                self.text("end");
            }
        }
    }

    fn looping(&mut self, write: impl FnOnce(&mut Self)) {
        self.loops += 1;
        write(self);
        self.loops -= 1;
    }

    fn body(&mut self) {
        let (loops, variadic) = (std::mem::take(&mut self.loops), self.variadic);
        self.variadic = self.roll(2) == 0;
        let name = self.name();
        write!(self.out, "({name}{}) ", if self.variadic { ", ..." } else { "" }).expect("string");
        self.block(3);
        self.text("end");
        (self.loops, self.variadic) = (loops, variadic);
    }

    fn expression(&mut self) {
        let choice = self.roll(if self.depth > 5 { 4 } else { 9 });
        self.depth += 1;
        match choice {
            0 | 1 => {
                let name = self.name();
                self.text(name);
            }
            2 => self.text("1"),
            3 => {
                let dots = if self.variadic { "..." } else { "'s'" };
                self.text(dots);
            }
            4 => {
                self.text("{ x =");
                self.expression();
                self.text(", [");
                self.expression();
                self.text("] = 2 }");
            }
            5 => {
                self.text("function");
                self.body();
            }
            6 => {
                let named = self.name();
                write!(self.out, "{named}.x:y(").expect("string");
                self.expression();
                self.text(")");
            }
            7 => {
                // Comparisons of constants fold; those of names stay.
                let name = self.name();
                let operator = ["==", "..", "and", "or", "<"][self.roll(5) as usize];
                write!(self.out, "({name} {operator} ").expect("string");
                self.expression();
                self.text(")");
            }
            _ => {
                self.text("not");
                let name = self.name();
                self.text(name);
            }
        }
        self.depth -= 1;
    }
}
