//! Which functions of a chunk call which others.

use crate::chunk::Chunk;
use crate::lua::tree::{ExprKind, FunctionId};
use crate::objects::Objects;

/// Functions that call those they are given, in the same phase.
const CALLING: [&str; 11] = [
    "coroutine.create",
    "coroutine.wrap",
    "ngx.re.gsub",
    "ngx.re.sub",
    "ngx.thread.spawn",
    "pcall",
    "string.gsub",
    "table.foreach",
    "table.foreachi",
    "table.sort",
    "xpcall",
];

/// The calls between the functions of a chunk, as far as they are known.
#[derive(Debug)]
pub(crate) struct Calls {
    callees: Vec<Vec<FunctionId>>,
    /// Functions that ask for the phase and so know better.
    asking: Vec<bool>,
    /// Functions that a timer calls.
    pub(crate) timers: Vec<FunctionId>,
}

impl Calls {
    /// Gathers the calls of a chunk.
    pub(crate) fn of(chunk: &Chunk<'_>) -> Self {
        let tree = chunk.tree;
        let objects = Objects::of(chunk);
        let mut calls = Self {
            callees: vec![Vec::new(); tree.functions.len()],
            asking: vec![false; tree.functions.len()],
            timers: Vec::new(),
        };
        for expr in &tree.exprs {
            let called = match expr.kind {
                ExprKind::Call { callee, .. } => objects.function(callee),
                ExprKind::MethodCall { object, method, .. } => objects.method(object, tree.name(method)),
                _ => None,
            };
            if let Some(function) = called {
                calls.callees[expr.function.index()].push(function);
            }
        }
        for call in &chunk.calls {
            let mut functions = tree.expr_list(call.arguments).filter_map(|argument| objects.function(argument));
            let caller = tree.expr(call.expr).function.index();
            match chunk.callee(call) {
                "ngx.get_phase" | "ngx.get_raw_phase" => calls.asking[caller] = true,
                "ngx.timer.at" | "ngx.timer.every" => calls.timers.extend(functions.next()),
                name if CALLING.contains(&name) => calls.callees[caller].extend(functions),
                _ => {}
            }
        }
        calls
    }

    /// The functions that one calls.
    pub(crate) fn callees(&self, function: FunctionId) -> &[FunctionId] {
        self.callees.get(function.index()).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether the function asks for the phase.
    pub(crate) fn asks(&self, function: FunctionId) -> bool {
        self.asking.get(function.index()).copied().unwrap_or_default()
    }
}
