//! What the script `lj-releng` reports, without its defects.
//!
//! Its rule for globals is a house style: any assignment is an error, and so is any read inside a function, standard
//! names included, since they should be kept in locals at the top of a file. It also shows each file's version,
//! lines longer than 80 characters, and `--- ONLY` and `--- LAST` in specs.
//!
//! Different from the script: the line of a global is that of its name, a file that is no Lua is an error, versions of
//! the files are compared, and no file name is ever given to a shell.

use std::collections::BTreeSet;

use crate::lua;
use crate::lua::tree::{Access, FunctionId};

/// What one file has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// The line about the version.
    pub version_line: String,
    /// The version as a number, if the file has one that counts.
    pub version: Option<String>,
    /// Errors, without the word `ERROR`.
    pub errors: Vec<String>,
    /// Lines that are too long, as `grep -n` writes them.
    pub long_lines: Vec<String>,
}

/// Globals that the main chunk may read.
const READABLE: &[&str] = &[
    "_G",
    "_VERSION",
    "arg",
    "assert",
    "bit",
    "collectgarbage",
    "coroutine",
    "debug",
    "dofile",
    "error",
    "gcinfo",
    "getfenv",
    "getmetatable",
    "io",
    "ipairs",
    "jit",
    "load",
    "loadfile",
    "loadstring",
    "math",
    "module",
    "ndk",
    "newproxy",
    "next",
    "ngx",
    "os",
    "package",
    "pairs",
    "pcall",
    "print",
    "rawequal",
    "rawget",
    "rawlen",
    "rawset",
    "require",
    "select",
    "setfenv",
    "setmetatable",
    "string",
    "table",
    "tonumber",
    "tostring",
    "type",
    "unpack",
    "xpcall",
];

/// Characters that a line may have.
const LINE_MAX: usize = 80;

/// Examines a Lua file.
pub fn examine(file: &str, text: &[u8], allowed: &BTreeSet<Vec<u8>>) -> Examined {
    let mut examined = Examined::default();
    version(file, text, &mut examined);
    match lua::parse(text) {
        Ok(tree) => globals(file, &tree, allowed, &mut examined),
        Err(error) => {
            let line = line_of(text, error.range.start);
            examined.errors.push(format!("{file}: line {line}: {}", error.message));
        }
    }
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = String::from_utf8_lossy(line);
        if line.chars().count() > LINE_MAX {
            examined.long_lines.push(format!("{file}:{}:{}", index + 1, line.trim_end_matches('\r')));
        }
    }
    examined
}

/// Lines of a spec file that switch off other blocks, as `grep -n` writes them.
pub fn focused_blocks(file: &str, text: &[u8]) -> Vec<String> {
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    let focused = lines.filter(|(_, line)| {
        let words = [&b"--- ONLY"[..], b"---ONLY", b"--- LAST", b"---LAST"];
        words.iter().any(|word| memchr::memmem::find(line, word).is_some())
    });
    focused.map(|(index, line)| format!("{file}:{}:{}", index + 1, String::from_utf8_lossy(line))).collect()
}

/// Inner functions come first and the main chunk last; in each, assignments before reads.
fn globals(file: &str, tree: &lua::tree::Tree<'_>, allowed: &BTreeSet<Vec<u8>>, examined: &mut Examined) {
    let mut order: Vec<u32> = (0..tree.functions.len() as u32).collect();
    order.sort_by_key(|id| (*id == 0, tree.functions[*id as usize].range.end));
    let mut rank = vec![0; order.len()];
    for (place, id) in order.iter().enumerate() {
        rank[*id as usize] = place;
    }
    let mut hits: Vec<_> = tree.globals.iter().collect();
    hits.sort_by_key(|global| (rank[global.function.index()], global.access == Access::Read, global.range.start));
    for global in hits {
        let name = tree.name(global.name);
        let readable = |name| std::str::from_utf8(name).is_ok_and(|name| READABLE.binary_search(&name).is_ok());
        let in_main = global.function == FunctionId(0);
        if allowed.contains(name) || (global.access == Access::Read && in_main && readable(name)) {
            continue;
        }
        let verb = if global.access == Access::Write { "setting" } else { "getting" };
        let line = line_of(tree.text, global.range.start);
        let name = String::from_utf8_lossy(name);
        examined.errors.push(format!("{file}: line {line}: {verb} the Lua global \"{name}\""));
    }
}

fn version(file: &str, text: &[u8], examined: &mut Examined) {
    let number = pattern(r"(?:_VERSION|version)\s*=.*?([\d.]*\d+)(.*?SKIP)?");
    let word = pattern(r"(?:_VERSION|version)\s*=\s*([a-zA-Z_]\S*)");
    for line in text.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        if !line.contains("ersion") && !line.contains("ERSION") {
            continue;
        }
        if let Some(found) = number.as_ref().and_then(|number| number.captures(&line)) {
            let normal = normalised(&found[1]);
            examined.version_line = format!("{file}: {} ({normal})", &found[1]);
            examined.version = found.get(2).is_none().then_some(normal);
            return;
        }
        if let Some(found) = word.as_ref().and_then(|word| word.captures(&line)) {
            examined.version_line = format!("{file}: {}", &found[1]);
            return;
        }
    }
    examined.version_line = format!("WARNING: No \"_VERSION\" or \"version\" field found in `{file}`.");
}

fn pattern(text: &str) -> Option<regex::Regex> {
    regex::Regex::new(text).ok()
}

/// `1.002003` as `1.2.3`.
fn normalised(number: &str) -> String {
    let parts = number.split_once('.').filter(|(_, rest)| rest.len() == 6 && rest.bytes().all(|b| b.is_ascii_digit()));
    match parts {
        Some((major, rest)) => {
            let part = |text: &str| text.trim_start_matches('0').to_owned();
            let shown = |text: String| if text.is_empty() { "0".to_owned() } else { text };
            format!("{}.{}.{}", shown(part(major)), shown(part(&rest[..3])), shown(part(&rest[3..])))
        }
        None => number.to_owned(),
    }
}

fn line_of(text: &[u8], at: u32) -> usize {
    let before = text.get(..at as usize).unwrap_or(text);
    memchr::memchr_iter(b'\n', before).count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        examine("a.lua", text.as_bytes(), &BTreeSet::from([b"ok".to_vec()])).errors
    }

    #[test]
    fn the_list_is_sorted() {
        assert!(READABLE.is_sorted());
    }

    #[test]
    fn inner_functions_come_first_and_may_read_nothing() {
        let text = "x = print\nlocal function f()\n  y = ngx\n  return function() return z, ok end\nend\n";
        assert_eq!(
            errors(text),
            [
                "a.lua: line 4: getting the Lua global \"z\"",
                "a.lua: line 3: setting the Lua global \"y\"",
                "a.lua: line 3: getting the Lua global \"ngx\"",
                "a.lua: line 1: setting the Lua global \"x\"",
            ]
        );
        assert_eq!(errors("local load, g = load, _G\n"), [""; 0]);
        assert_eq!(errors("x =\n"), ["a.lua: line 2: unexpected symbol near '<eof>'"]);
    }

    #[test]
    fn versions_are_shown_and_normalised() {
        let line = |text: &str| examine("a", text.as_bytes(), &BTreeSet::new()).version_line;
        assert_eq!(line("local _M = { _VERSION = '0.18' }"), "a: 0.18 (0.18)");
        assert_eq!(line("x.version = 1.002003"), "a: 1.002003 (1.2.3)");
        assert_eq!(line("_M._VERSION = base.version"), "a: base.version");
        assert_eq!(line("local x"), "WARNING: No \"_VERSION\" or \"version\" field found in `a`.");
    }

    #[test]
    fn long_lines_and_focused_blocks_are_listed() {
        let text = format!("{}\n{}\n", "a".repeat(80), "b".repeat(81));
        assert_eq!(examine("a", text.as_bytes(), &BTreeSet::new()).long_lines.len(), 1);
        assert_eq!(focused_blocks("a.t", b"x\n--- ONLY\n--- only\n"), ["a.t:2:--- ONLY"]);
    }
}
