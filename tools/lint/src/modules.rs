//! Modules of the project: what the functions do that other files call.
//!
//! A module is looked for as `require` would, below the folders around the file that requires it. It is read at most
//! once a run, and only where the phase of the calling code is known.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::api;
use crate::calls::Calls;
use crate::chunk::Chunk;
use crate::embed::{Map, Subsystem};
use crate::lua;
use crate::lua::tree::{ExprId, ExprKind, FunctionId, LocalId, StatKind};

/// The modules that were read so far.
#[derive(Debug, Default)]
pub struct Modules {
    /// The file of a module, by the folder of the file that requires it.
    files: Mutex<HashMap<(PathBuf, String), Option<PathBuf>>>,
    read: Mutex<HashMap<PathBuf, Arc<Module>>>,
}

/// A module's functions with what they come to call.
#[derive(Debug, Default)]
pub(crate) struct Module {
    functions: HashMap<String, Vec<Reached>>,
}

/// A call that a function of a module makes, itself or through functions of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    /// What is called: `ngx.say`, or `@other.function`.
    pub(crate) name: String,
    /// Where: `lib/a.lua:12`.
    pub(crate) place: String,
}

/// Folders above a file that are looked into, and names of folders that hold modules.
const LEVELS_MAX: usize = 6;
const FOLDERS: [&str; 5] = ["", "lib", "lualib", "src", "lua"];

/// Modules that are followed from one to the next.
const STEPS_MAX: usize = 6;

/// Larger files are no modules that somebody wrote.
const SIZE_MAX: u64 = 4 << 20;

impl Modules {
    /// The first call, in the order of the code, that `callee` (`@module.function`) comes to and that `refuses` names.
    pub(crate) fn find(&self, from: &Path, callee: &str, refuses: &dyn Fn(&str) -> bool) -> Option<Reached> {
        let mut pending = vec![(from.to_path_buf(), callee.to_owned(), 0)];
        let mut seen = HashSet::new();
        while let Some((file, callee, steps)) = pending.pop() {
            let Some((name, function)) = callee.strip_prefix('@').and_then(|path| path.rsplit_once('.')) else {
                continue;
            };
            let Some(path) = self.file(&file, name) else { continue };
            if !seen.insert((path.clone(), function.to_owned())) {
                continue;
            }
            let module = self.module(&path);
            for reached in module.functions.get(function).into_iter().flatten() {
                if refuses(&reached.name) {
                    return Some(reached.clone());
                }
                if reached.name.starts_with('@') && steps < STEPS_MAX {
                    pending.push((path.clone(), reached.name.clone(), steps + 1));
                }
            }
        }
        None
    }

    /// The file of the module that `from` requires by a name.
    pub fn locate(&self, from: &Path, name: &str) -> Option<PathBuf> {
        self.file(from, name)
    }

    fn file(&self, from: &Path, name: &str) -> Option<PathBuf> {
        let folder = from.parent().unwrap_or(Path::new("")).to_path_buf();
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.entry((folder.clone(), name.to_owned())).or_insert_with(|| look_up(&folder, name)).clone()
    }

    fn module(&self, path: &Path) -> Arc<Module> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.entry(path.to_path_buf()).or_insert_with(|| Arc::new(summary(path))).clone()
    }
}

fn look_up(folder: &Path, name: &str) -> Option<PathBuf> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if !name.bytes().all(plain) || name.contains("..") {
        return None;
    }
    let relative = name.replace('.', "/");
    let absolute = std::path::absolute(folder).ok()?;
    for around in absolute.ancestors().take(LEVELS_MAX) {
        for folder in FOLDERS {
            for ending in [".lua", "/init.lua"] {
                let path = around.join(folder).join(format!("{relative}{ending}"));
                if std::fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() <= SIZE_MAX) {
                    return Some(path);
                }
            }
        }
    }
    None
}

fn summary(path: &Path) -> Module {
    let Ok(text) = std::fs::read(path) else { return Module::default() };
    let Ok(tree) = lua::parse(&text) else { return Module::default() };
    let chunk = Chunk::new(&tree, Map::shifted(0), None, Subsystem::Any);
    let calls = Calls::of(&chunk);
    let shown = std::env::current_dir().ok().and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path);
    let mut own: Vec<Vec<Reached>> = vec![Vec::new(); tree.functions.len()];
    for call in &chunk.calls {
        let name = chunk.callee(call);
        if name.starts_with('@') || api::is_limited(name) {
            let expr = tree.expr(call.expr);
            let line =
                memchr::memchr_iter(b'\n', text.get(..expr.range.start as usize).unwrap_or_default()).count() + 1;
            let place = format!("{}:{line}", rsty_diag::render::printable(shown.as_os_str().as_encoded_bytes()));
            own[expr.function.index()].push(Reached { name: name.to_owned(), place });
        }
    }
    let mut module = Module::default();
    for (name, function) in exported(&chunk) {
        let mut reached = Vec::new();
        let mut seen = HashSet::new();
        let mut pending = vec![function];
        while let Some(function) = pending.pop() {
            if !calls.asks(function) && seen.insert(function) {
                reached.extend(own[function.index()].iter().cloned());
                pending.extend(calls.callees(function));
            }
        }
        if !reached.is_empty() {
            module.functions.insert(name, reached);
        }
    }
    module
}

/// The functions of the table that the chunk returns.
pub(crate) fn exported(chunk: &Chunk<'_>) -> Vec<(String, FunctionId)> {
    let tree = chunk.tree;
    let mut found = Vec::new();
    let mut add = |name: Option<&[u8]>, value: ExprId| {
        if let (Some(name), Some(function)) = (name, chunk.function_of(value)) {
            found.push((String::from_utf8_lossy(name).into_owned(), function));
        }
    };
    let returned = tree.block_stats(tree.main_block()).rev().find_map(|id| match tree.stat(id).kind {
        StatKind::Return(values) => tree.expr_list(values).next(),
        _ => None,
    });
    let Some(returned) = returned else { return found };
    if let ExprKind::Table(fields) = tree.expr(chunk.original(returned)).kind {
        for field in tree.field_list(fields) {
            add(field.key.and_then(|key| tree.string(key)), field.value);
        }
    }
    let ExprKind::Local(module) = tree.expr(returned).kind else { return found };
    for stat in &tree.stats {
        match stat.kind {
            StatKind::Function { target, value } => add(field_of(chunk, target, module), value),
            StatKind::Assign { targets, values } => {
                for (target, value) in tree.expr_list(targets).zip(tree.expr_list(values)) {
                    add(field_of(chunk, target, module), value);
                }
            }
            _ => {}
        }
    }
    found
}

fn field_of<'s>(chunk: &Chunk<'s>, target: ExprId, module: LocalId) -> Option<&'s [u8]> {
    match chunk.tree.expr(target).kind {
        ExprKind::Index { object, key } if chunk.tree.expr(object).kind == ExprKind::Local(module) => {
            chunk.tree.string(key)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_followed_through_files() {
        let folder = std::env::temp_dir().join(format!("rsty-modules-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("lib/app")).expect("folder");
        std::fs::create_dir_all(folder.join("conf")).expect("folder");
        let a = "local b = require 'app.b'\nlocal function inner()\n  b.work()\nend\nreturn { run = inner }\n";
        std::fs::write(folder.join("lib/app/a.lua"), a).expect("write");
        let b = "local _M = {}\nfunction _M.work()\n  ngx.say(1)\nend\nfunction _M.aware() if ngx.get_phase() then ngx.say(1) end end\nreturn _M\n";
        std::fs::write(folder.join("lib/app/b.lua"), b).expect("write");
        let modules = Modules::default();
        let from = folder.join("conf/nginx.conf");
        let find = |callee: &str| modules.find(&from, callee, &|name| name == "ngx.say");
        let found = find("@app.a.run").expect("followed");
        assert!(found.place.ends_with("lib/app/b.lua:3"), "{}", found.place);
        assert_eq!(find("@app.b.aware"), None);
        assert_eq!(find("@app.b.none"), None);
        assert_eq!(find("@../etc/passwd.x"), None);
        std::fs::remove_dir_all(folder).expect("clean up");
    }
}
