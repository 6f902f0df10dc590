//! Which table an object is, and which function a field or method of it: the classes of a chunk, as far as they are
//! written down plainly.
//!
//! A table is known by its constructor. What is followed: fields that are set once, `self` in methods, `setmetatable`
//! with `__index` and `__call`, functions that return such objects, and global functions that the chunk sets once.
//! What is put together at run time is not: tables filled in loops, fields set twice, callbacks kept for later.

use std::collections::HashMap;

use crate::chunk::Chunk;
use crate::lua::tree::{Access, ExprId, ExprKind, FunctionId, List, LocalKind, StatKind};

/// How many steps an object is followed.
const STEPS_MAX: usize = 6;

/// The plain classes of a chunk.
pub(crate) struct Objects<'c, 's> {
    chunk: &'c Chunk<'s>,
    /// What a field of a table is set to; `None` where it is set more than once.
    fields: HashMap<(ExprId, &'s [u8]), Option<ExprId>>,
    /// The same of globals.
    globals: HashMap<&'s [u8], Option<ExprId>>,
    /// The table in which a function stands as a field.
    owners: HashMap<FunctionId, ExprId>,
    /// What a function returns first.
    returned: HashMap<FunctionId, Vec<ExprId>>,
}

impl<'c, 's> Objects<'c, 's> {
    /// Gathers what the chunk sets.
    pub(crate) fn of(chunk: &'c Chunk<'s>) -> Self {
        let mut objects = Self {
            chunk,
            fields: HashMap::new(),
            globals: HashMap::new(),
            owners: HashMap::new(),
            returned: HashMap::new(),
        };
        objects.gather();
        objects
    }

    /// The function that an expression means.
    pub(crate) fn function(&self, id: ExprId) -> Option<FunctionId> {
        self.function_within(id, STEPS_MAX)
    }

    /// The function that a method of an object means.
    pub(crate) fn method(&self, object: ExprId, name: &[u8]) -> Option<FunctionId> {
        self.chunk.function_of(self.field(self.class(object, STEPS_MAX)?, name)?)
    }

    fn function_within(&self, id: ExprId, steps: usize) -> Option<FunctionId> {
        let chunk = self.chunk;
        if let Some(function) = chunk.function_of(id) {
            return Some(function);
        }
        let at = chunk.original(id);
        match chunk.tree.expr(at).kind {
            ExprKind::Index { object, key } => {
                let value = self.field(self.class(object, steps)?, chunk.tree.string(key)?)?;
                chunk.function_of(value)
            }
            ExprKind::Global(index) => {
                let name = chunk.tree.name(chunk.tree.globals.get(index as usize)?.name);
                chunk.function_of((*self.globals.get(name)?)?)
            }
            // An object that can be called.
            ExprKind::Call { callee, arguments } => {
                let called = self.field(self.metatable(callee, arguments, steps)?, b"__call")?;
                chunk.function_of(called)
            }
            _ => None,
        }
    }

    fn field(&self, table: ExprId, name: &[u8]) -> Option<ExprId> {
        *self.fields.get(&(table, name))?
    }

    /// The table whose fields an object has.
    fn class(&self, id: ExprId, steps: usize) -> Option<ExprId> {
        let steps = steps.checked_sub(1)?;
        let tree = self.chunk.tree;
        let at = self.chunk.original(id);
        match tree.expr(at).kind {
            ExprKind::Table(_) => Some(at),
            ExprKind::Local(local) => {
                let local = tree.local(local);
                let is_self = local.kind == LocalKind::SelfParameter && local.writes == 0;
                is_self.then(|| self.owners.get(&local.function).copied()).flatten()
            }
            ExprKind::Call { callee, arguments } => match self.metatable(callee, arguments, steps) {
                Some(metatable) => self.class(self.field(metatable, b"__index")?, steps),
                None => self.result(self.function_within(callee, steps)?, steps),
            },
            ExprKind::MethodCall { object, method, .. } => {
                let function = self.field(self.class(object, steps)?, tree.name(method))?;
                self.result(self.chunk.function_of(function)?, steps)
            }
            _ => None,
        }
    }

    /// The class of what a function returns.
    fn result(&self, function: FunctionId, steps: usize) -> Option<ExprId> {
        self.returned.get(&function)?.iter().find_map(|value| self.class(*value, steps))
    }

    /// The second argument of `setmetatable`.
    fn metatable(&self, callee: ExprId, arguments: List, steps: usize) -> Option<ExprId> {
        let tree = self.chunk.tree;
        let ExprKind::Global(index) = tree.expr(self.chunk.original(callee)).kind else { return None };
        if tree.name(tree.globals.get(index as usize)?.name) != b"setmetatable" {
            return None;
        }
        self.class(tree.expr_list(arguments).nth(1)?, steps)
    }

    fn gather(&mut self) {
        let tree = self.chunk.tree;
        for (index, expr) in tree.exprs.iter().enumerate() {
            if let ExprKind::Table(fields) = expr.kind {
                for field in tree.field_list(fields) {
                    if let Some(name) = field.key.and_then(|key| tree.string(key)) {
                        self.set_field(ExprId(index as u32), name, field.value);
                    }
                }
            }
        }
        for stat in &tree.stats {
            match stat.kind {
                StatKind::Function { target, value } => self.set(target, Some(value)),
                StatKind::Assign { targets, values } => {
                    let mut values = tree.expr_list(values);
                    for target in tree.expr_list(targets) {
                        self.set(target, values.next());
                    }
                }
                StatKind::Return(values) => {
                    self.returned.entry(stat.function).or_default().extend(tree.expr_list(values).next());
                }
                _ => {}
            }
        }
    }

    fn set(&mut self, target: ExprId, value: Option<ExprId>) {
        let tree = self.chunk.tree;
        match tree.expr(target).kind {
            ExprKind::Index { object, key } => {
                let table = self.chunk.original(object);
                if let (ExprKind::Table(_), Some(name)) = (tree.expr(table).kind, tree.string(key)) {
                    match value {
                        Some(value) => self.set_field(table, name, value),
                        None => drop(self.fields.insert((table, name), None)),
                    }
                }
            }
            ExprKind::Global(index) => {
                let Some(global) = tree.globals.get(index as usize).filter(|global| global.access == Access::Write)
                else {
                    return;
                };
                self.globals.entry(tree.name(global.name)).and_modify(|known| *known = None).or_insert(value);
            }
            _ => {}
        }
    }

    fn set_field(&mut self, table: ExprId, name: &'s [u8], value: ExprId) {
        self.fields.entry((table, name)).and_modify(|known| *known = None).or_insert(Some(value));
        if let Some(function) = self.chunk.function_of(value) {
            self.owners.insert(function, table);
        }
    }
}
