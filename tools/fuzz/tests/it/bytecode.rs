//! LuaJIT's own compiler as the judge of what is a global.
//!
//! On demand, since it needs LuaJIT's program: `RSTY_LUAJIT=/usr/bin/luajit cargo test -p rsty-fuzz -- --ignored`.
//! `RSTY_LINT_CORPUS` names folders, separated by colons, whose Lua is compared besides the programs that are made up
//! here: `.lua` files, and the pieces in specs and configurations.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

use rsty_diag::Source;
use rsty_fuzz::bytecode::{ours, theirs};
use rsty_lint::InputKind;
use rsty_lint::embed::{Subsystem, conf_snippets, spec_snippets};

/// The pieces of Lua in a file, each with the line it begins at.
fn pieces(path: &Path, text: Vec<u8>) -> Vec<(usize, Vec<u8>)> {
    let source = Source::new(path, text);
    let snippets = match InputKind::of(path) {
        Some(InputKind::Lua) => return vec![(1, source.bytes().to_vec())],
        Some(InputKind::Configuration) => conf_snippets(source.bytes(), 0, Subsystem::Http),
        Some(InputKind::Spec) => spec_snippets(&source),
        None => Vec::new(),
    };
    snippets.into_iter().map(|piece| (source.location(piece.map.outer(0)).line, piece.text)).collect()
}

#[test]
#[ignore = "needs LuaJIT's program"]
fn files_have_the_globals_that_luajit_compiles() {
    let Some(folders) = std::env::var_os("RSTY_LINT_CORPUS") else { return };
    let folders: Vec<_> = std::env::split_paths(&folders).collect();
    let (files, _) = rsty_lint::driver::find(&folders);
    let (mut seen, mut refused, mut different) = (HashSet::new(), 0, Vec::new());
    for file in files {
        // Links that lead nowhere.
        let Ok(text) = std::fs::read(&file) else { continue };
        for (line, piece) in pieces(&file, text) {
            if piece.starts_with(b"\x1b") || !seen.insert(piece.clone()) {
                continue;
            }
            let (ours, theirs) = (ours(&piece), theirs(&piece));
            refused += usize::from(theirs.is_none());
            if ours != theirs {
                different.push(format!("{}:{line}: {ours:?} instead of {theirs:?}", file.display()));
            }
        }
    }
    println!("{} pieces compared, of which LuaJIT refuses {refused}", seen.len());
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
}

#[test]
#[ignore = "needs LuaJIT's program"]
fn made_up_programs_have_the_globals_that_luajit_compiles() {
    let rounds = std::env::var("RSTY_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(300);
    for seed in 1..=rounds {
        let mut program = Program { seed, out: String::new(), depth: 0, loops: 0, variadic: true };
        program.block(6);
        let text = program.out.as_bytes();
        assert_eq!(ours(text), theirs(text), "seed {seed}:\n{}", program.out);
    }
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
