//! A parsed chunk with what several rules want to know about it.

use std::cell::OnceCell;

use rsty_diag::Span;

use crate::embed::{Map, Phase, Subsystem};
use crate::flow::{self, Flow};
use crate::lua::Symbol;
use crate::lua::tree::*;

/// A chunk under judgement.
#[derive(Debug)]
pub struct Chunk<'s> {
    /// The tree.
    pub tree: &'s Tree<'s>,
    /// Where the chunk's bytes stand in the file.
    pub map: Map,
    /// When the chunk runs, where that is known.
    pub phase: Option<Phase>,
    /// The flavour of the API.
    pub subsystem: Subsystem,
    /// Calls of functions that are reached from a global or a required module by constant names.
    pub calls: Vec<Call>,
    /// For each function: from which offset on its globals are fields of another table (`setfenv`).
    replaced: Vec<Option<u32>>,
    paths: Vec<u8>,
    flow: OnceCell<Flow>,
}

/// A call of a known function.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The call.
    pub expr: ExprId,
    /// Its arguments.
    pub arguments: List,
    path: (u32, u32),
}

/// How many steps an alias (`local say = ngx.say`) is followed.
const STEPS_MAX: usize = 8;

impl<'s> Chunk<'s> {
    /// Gathers the facts about a tree.
    pub fn new(tree: &'s Tree<'s>, map: Map, phase: Option<Phase>, subsystem: Subsystem) -> Self {
        let mut chunk = Self {
            tree,
            map,
            phase,
            subsystem,
            calls: Vec::new(),
            replaced: Vec::new(),
            paths: Vec::new(),
            flow: OnceCell::new(),
        };
        chunk.gather_calls();
        chunk.gather_environments();
        chunk
    }

    /// The place in the file of a range of the chunk.
    pub fn span(&self, range: Range) -> Span {
        let start = self.map.outer(range.start);
        let end = if range.end > range.start { self.map.outer(range.end - 1) + 1 } else { start };
        Span::new(start, end.max(start))
    }

    /// The steps of its functions, made when first asked for.
    pub(crate) fn flow(&self) -> &Flow {
        self.flow.get_or_init(|| flow::lower(self.tree))
    }

    /// A name as text.
    pub fn text(&self, name: Symbol) -> String {
        rsty_diag::render::printable(self.tree.name(name))
    }

    /// What a call calls: `ngx.exit`, `os.execute`, or `@module.name` for a function of a required module.
    pub fn callee(&self, call: &Call) -> &str {
        let bytes = self.paths.get(call.path.0 as usize..call.path.1 as usize).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// The dotted path of an expression, as [`Chunk::callee`] gives it for a call's function.
    pub fn path(&self, id: ExprId) -> Option<String> {
        let mut path = Vec::new();
        let found = self.write_path(id, &mut path);
        String::from_utf8(path).ok().filter(|_| found)
    }

    /// Whether the globals at a place of a function are really globals.
    pub fn is_global_environment(&self, function: FunctionId, at: u32) -> bool {
        if self.replaced.is_empty() {
            return true;
        }
        let mut function = Some(function);
        let mut at = at;
        while let Some(id) = function {
            if self.replaced.get(id.index()).copied().flatten().is_some_and(|from| from <= at) {
                return false;
            }
            // A function takes the environment that the one around it has when it is made.
            at = self.tree.function(id).range.start;
            function = self.tree.function(id).parent;
        }
        true
    }

    /// Whether the expression is the table of globals: `_G`, `getfenv(0)`, or a local that always holds it.
    pub fn is_globals_table(&self, id: ExprId) -> bool {
        let tree = self.tree;
        match tree.expr(self.original(id)).kind {
            ExprKind::Global(index) => tree.name(tree.globals[index as usize].name) == b"_G",
            ExprKind::Index { object, key } => tree.string(key) == Some(b"_G") && self.is_globals_table(object),
            ExprKind::Call { callee, arguments } => {
                let global = |id| match tree.expr(self.original(id)).kind {
                    ExprKind::Global(index) => tree.name(tree.globals[index as usize].name) == b"getfenv",
                    _ => false,
                };
                let zero = tree.expr_list(arguments).all(|id| tree.slice(tree.expr(id).range) == b"0");
                global(callee) && zero
            }
            _ => false,
        }
    }

    /// The expression itself, or what a local that is never reassigned was declared with.
    pub fn original(&self, id: ExprId) -> ExprId {
        let mut at = id;
        for _ in 0..STEPS_MAX {
            let ExprKind::Local(local) = self.tree.expr(at).kind else { break };
            let local = self.tree.local(local);
            match local.value {
                Some(value) if local.writes == 0 && local.kind == LocalKind::Variable => at = value,
                _ => break,
            }
        }
        at
    }

    /// The function that an expression means where that is known: a literal, or a local that holds one.
    pub fn function_of(&self, id: ExprId) -> Option<FunctionId> {
        let at = match self.tree.expr(id).kind {
            ExprKind::Local(local) => {
                let local = self.tree.local(local);
                local.value.filter(|_| local.writes == 0)?
            }
            _ => id,
        };
        match self.tree.expr(at).kind {
            ExprKind::Function(function) => Some(function),
            _ => None,
        }
    }

    fn gather_calls(&mut self) {
        let mut paths = Vec::new();
        for (index, expr) in self.tree.exprs.iter().enumerate() {
            if let ExprKind::Call { callee, arguments } = expr.kind {
                let start = paths.len();
                if self.write_path(callee, &mut paths) {
                    let path = (start as u32, paths.len() as u32);
                    self.calls.push(Call { expr: ExprId(index as u32), arguments, path });
                } else {
                    paths.truncate(start);
                }
            }
        }
        self.paths = paths;
    }

    /// Appends the dotted path of an expression. `false` where it has none.
    fn write_path(&self, id: ExprId, paths: &mut Vec<u8>) -> bool {
        let mut keys: [&[u8]; STEPS_MAX] = [b""; STEPS_MAX];
        let mut count = 0;
        let mut at = id;
        for _ in 0..2 * STEPS_MAX {
            at = self.original(at);
            match self.tree.expr(at).kind {
                ExprKind::Index { object, key } if count < STEPS_MAX => {
                    let Some(text) = self.tree.string(key) else { return false };
                    keys[count] = text;
                    count += 1;
                    at = object;
                }
                ExprKind::Global(index) => {
                    paths.extend_from_slice(self.tree.name(self.tree.globals[index as usize].name));
                    break;
                }
                ExprKind::Call { callee, arguments } => {
                    let Some(module) = self.required(callee, arguments) else { return false };
                    paths.push(b'@');
                    paths.extend_from_slice(module);
                    break;
                }
                _ => return false,
            }
        }
        for key in keys.iter().take(count).rev() {
            paths.push(b'.');
            paths.extend_from_slice(key);
        }
        true
    }

    /// The module's name in `require "name"`.
    fn required(&self, callee: ExprId, arguments: List) -> Option<&'s [u8]> {
        let ExprKind::Global(index) = self.tree.expr(self.original(callee)).kind else { return None };
        let is_require = self.tree.name(self.tree.globals[index as usize].name) == b"require";
        let first = self.tree.expr_list(arguments).next()?;
        self.tree.string(first).filter(|_| is_require)
    }

    fn gather_environments(&mut self) {
        let mut replaced = Vec::new();
        for call in &self.calls {
            if self.callee(call) != "setfenv" {
                continue;
            }
            let Some(first) = self.tree.expr_list(call.arguments).next() else { continue };
            let at = self.tree.expr(call.expr);
            if self.tree.slice(self.tree.expr(first).range) == b"1" {
                replaced.push((at.function, at.range.end));
            } else if let Some(function) = self.function_of(first) {
                replaced.push((function, 0));
            }
        }
        if !replaced.is_empty() {
            self.replaced = vec![None; self.tree.functions.len()];
            for (function, from) in replaced {
                let entry = &mut self.replaced[function.index()];
                *entry = Some(entry.map_or(from, |before: u32| before.min(from)));
            }
        }
    }
}
