//! From statements to steps.

use std::collections::HashMap;

use super::{Flow, How, LoopEnd, Step, Write};
use crate::lua::Symbol;
use crate::lua::tree::*;

/// Lowers all functions of a chunk.
pub(crate) fn lower(tree: &Tree<'_>) -> Flow {
    let mut lowering = Lowering {
        tree,
        first: first_parts(tree),
        flow: Flow { slots: vec![0; tree.locals.len()], ..Flow::default() },
        function: FunctionId(0),
        base: 0,
        active: 0,
        breaks: Vec::new(),
        gotos: Vec::new(),
        labels: Vec::new(),
    };
    for index in 0..tree.functions.len() {
        lowering.function(FunctionId(index as u32));
    }
    lowering.flow
}

/// For each expression the first one of its parts; all between them belong to it.
fn first_parts(tree: &Tree<'_>) -> Vec<u32> {
    let mut first: Vec<u32> = Vec::with_capacity(tree.exprs.len());
    for (index, expr) in tree.exprs.iter().enumerate() {
        let start = match expr.kind {
            ExprKind::Index { object: part, .. }
            | ExprKind::Call { callee: part, .. }
            | ExprKind::MethodCall { object: part, .. }
            | ExprKind::Binary { left: part, .. }
            | ExprKind::Unary { operand: part, .. } => first.get(part.index()).copied(),
            ExprKind::Table(fields) => {
                let field = tree.field_list(fields).first();
                field.and_then(|field| first.get(field.key.unwrap_or(field.value).index()).copied())
            }
            ExprKind::Function(function) => Some(tree.function(function).exprs.0),
            _ => None,
        };
        first.push(start.unwrap_or(index as u32));
    }
    first
}

struct Lowering<'t, 's> {
    tree: &'t Tree<'s>,
    first: Vec<u32>,
    flow: Flow,
    function: FunctionId,
    /// The function's first step.
    base: usize,
    /// Locals that are visible.
    active: u8,
    /// Jumps out of the loops that are open.
    breaks: Vec<usize>,
    gotos: Vec<(Symbol, usize)>,
    labels: Vec<(Symbol, u32)>,
}

impl Lowering<'_, '_> {
    fn function(&mut self, id: FunctionId) {
        let function = self.tree.function(id);
        self.function = id;
        self.base = self.flow.steps.len();
        self.active = 0;
        for local in self.tree.local_list(function.parameters) {
            self.write(local, self.tree.local(local).range, None, 0, How::Given);
            self.declare(local);
        }
        self.block(function.body);
        self.push(Step::Return(None));
        self.breaks.clear();
        self.gotos.clear();
        self.labels.clear();
        self.flow.functions.push((self.base as u32, self.flow.steps.len() as u32));
    }

    fn here(&self) -> u32 {
        (self.flow.steps.len() - self.base) as u32
    }

    fn push(&mut self, step: Step) -> usize {
        self.flow.steps.push(step);
        self.flow.steps.len() - 1
    }

    /// Lets the jump or branch at `step` lead to the next step.
    fn land(&mut self, step: usize) {
        let here = self.here();
        self.lead(step, here);
    }

    fn lead(&mut self, step: usize, target: u32) {
        if let Some(Step::Jump(to) | Step::Branch { to, .. }) = self.flow.steps.get_mut(step) {
            *to = target;
        }
    }

    fn declare(&mut self, local: LocalId) {
        if let Some(slot) = self.flow.slots.get_mut(local.index()) {
            *slot = self.active;
        }
        // The parser allows 200 locals at a time.
        self.active = self.active.saturating_add(1);
    }

    fn write(&mut self, local: LocalId, range: Range, value: Option<ExprId>, nth: u32, how: How) {
        self.push(Step::Write(Write { local, range, value, nth, how }));
    }

    fn block(&mut self, block: BlockId) {
        let active = self.active;
        self.open_block(block);
        self.active = active;
    }

    /// A block whose locals stay visible; the caller ends their scope.
    fn open_block(&mut self, block: BlockId) {
        let (labels, gotos) = (self.labels.len(), self.gotos.len());
        for stat in self.tree.block_stats(block) {
            self.statement(stat);
        }
        if self.labels.len() > labels {
            let known: HashMap<Symbol, u32> = self.labels.drain(labels..).collect();
            let open = self.gotos.split_off(gotos);
            for (name, step) in open {
                match known.get(&name) {
                    Some(target) => self.lead(step, *target),
                    None => self.gotos.push((name, step)),
                }
            }
        }
    }

    fn statement(&mut self, id: StatId) {
        let tree = self.tree;
        self.push(Step::Stat(id));
        match tree.stat(id).kind {
            StatKind::Assign { targets, values } => {
                for target in tree.expr_list(targets) {
                    self.target(target);
                }
                self.values(values);
                let count = values.len();
                for (nth, target) in tree.expr_list(targets).enumerate() {
                    if let ExprKind::Local(local) = tree.expr(target).kind {
                        let value = tree.expr_list(values).nth(nth.min(count.saturating_sub(1)));
                        let later = (nth + 1).saturating_sub(count) as u32;
                        self.write(local, tree.expr(target).range, value, later, How::Assigned);
                    }
                }
            }
            StatKind::Break => {
                let jump = self.push(Step::Jump(u32::MAX));
                self.breaks.push(jump);
            }
            StatKind::Call(call) => self.expression(call),
            StatKind::Do(body) => self.block(body),
            StatKind::Empty => {}
            StatKind::Function { target, value } => {
                self.target(target);
                self.expression(value);
                if let ExprKind::Local(local) = tree.expr(target).kind {
                    self.write(local, tree.expr(target).range, Some(value), 0, How::Assigned);
                }
            }
            StatKind::GenericFor { locals, values, body } => {
                self.values(values);
                let locals: Vec<LocalId> = tree.local_list(locals).collect();
                self.counted_loop(id, &locals, body);
            }
            StatKind::Goto(name) => {
                let jump = self.push(Step::Jump(u32::MAX));
                self.gotos.push((name, jump));
            }
            StatKind::If { arms, otherwise } => self.branches(arms, otherwise),
            StatKind::Label(name) => self.labels.push((name, self.here())),
            StatKind::Local { locals, values } => {
                self.values(values);
                let count = values.len();
                for (nth, local) in tree.local_list(locals).enumerate() {
                    let value = tree.expr_list(values).nth(nth.min(count.saturating_sub(1)));
                    let later = (nth + 1).saturating_sub(count) as u32;
                    let spread = value.is_some_and(|value| gives_many(tree, value));
                    let how = if value.is_none() || later > 0 && !spread { How::Not } else { How::Declared };
                    self.write(local, tree.local(local).range, value, later, how);
                    self.declare(local);
                }
            }
            StatKind::LocalFunction { local, value } => {
                self.declare(local);
                self.expression(value);
                self.write(local, tree.local(local).range, Some(value), 0, How::Declared);
            }
            StatKind::NumericFor { local, start, limit, step, body } => {
                self.expression(start);
                self.expression(limit);
                if let Some(step) = step {
                    self.expression(step);
                }
                self.counted_loop(id, &[local], body);
            }
            StatKind::Repeat { body, condition } => {
                let (top, breaks, active) = (self.here(), self.breaks.len(), self.active);
                self.open_block(body);
                self.expression(condition);
                let back = match tree.expr(condition).kind {
                    ExprKind::True => None,
                    ExprKind::False | ExprKind::Nil => Some(self.push(Step::Jump(top))),
                    _ => Some(self.push(Step::Branch { condition: Some(condition), to: top })),
                };
                if let Some(back) = back {
                    self.turn(id, back);
                }
                self.leave_loop(breaks);
                self.active = active;
            }
            StatKind::Return(values) => {
                self.values(values);
                self.push(Step::Return(Some(id)));
            }
            StatKind::While { condition, body } => {
                let (top, breaks) = (self.here(), self.breaks.len());
                self.expression(condition);
                let endless = matches!(tree.expr(condition).kind, ExprKind::True | ExprKind::Number | ExprKind::Text);
                let exit = (!endless).then(|| self.push(Step::Branch { condition: Some(condition), to: 0 }));
                self.block(body);
                let back = self.push(Step::Jump(top));
                self.turn(id, back);
                if let Some(exit) = exit {
                    self.land(exit);
                }
                self.leave_loop(breaks);
            }
        }
    }

    /// The loop of a `for`: the values are there, the variables get theirs each turn.
    fn counted_loop(&mut self, id: StatId, locals: &[LocalId], body: BlockId) {
        let (top, breaks, active) = (self.here(), self.breaks.len(), self.active);
        let exit = self.push(Step::Branch { condition: None, to: 0 });
        for local in locals {
            self.write(*local, self.tree.local(*local).range, None, 0, How::Given);
            self.declare(*local);
        }
        self.block(body);
        let back = self.push(Step::Jump(top));
        self.turn(id, back);
        self.land(exit);
        self.leave_loop(breaks);
        self.active = active;
    }

    fn turn(&mut self, stat: StatId, back: usize) {
        let back = (back - self.base) as u32;
        self.flow.loops.push(LoopEnd { stat, function: self.function, back });
    }

    fn leave_loop(&mut self, breaks: usize) {
        for step in self.breaks.split_off(breaks) {
            self.land(step);
        }
    }

    fn branches(&mut self, arms: List, otherwise: Option<BlockId>) {
        let mut ends = Vec::new();
        let mut skip = None;
        for (condition, body) in self.tree.arms(arms) {
            if let Some(skip) = skip {
                self.land(skip);
            }
            self.expression(condition);
            skip = Some(self.push(Step::Branch { condition: Some(condition), to: 0 }));
            self.block(body);
            ends.push(self.push(Step::Jump(u32::MAX)));
        }
        if let Some(skip) = skip {
            self.land(skip);
        }
        if let Some(body) = otherwise {
            self.block(body);
        }
        for end in ends {
            self.land(end);
        }
    }

    /// What an assignment to `target` evaluates: nothing for a name, the table and the key for a field.
    fn target(&mut self, target: ExprId) {
        if matches!(self.tree.expr(target).kind, ExprKind::Index { .. }) {
            self.expression(target);
        }
    }

    fn values(&mut self, values: List) {
        for value in self.tree.expr_list(values) {
            self.expression(value);
        }
    }

    /// The steps of an expression: its parts stand before it, in the order in which they run.
    fn expression(&mut self, root: ExprId) {
        let mut at = self.first.get(root.index()).copied().unwrap_or(root.0);
        while at <= root.0 {
            let expr = self.tree.expr(ExprId(at));
            if expr.function == self.function {
                match expr.kind {
                    ExprKind::Local(local) => {
                        self.push(Step::Read { local, expr: ExprId(at) });
                    }
                    ExprKind::Call { .. } | ExprKind::MethodCall { .. } => {
                        self.push(Step::Call(ExprId(at)));
                    }
                    _ => {}
                }
                at += 1;
            } else {
                at = self.behind(expr.function).max(at + 1);
            }
        }
    }

    /// The expression behind the body of the function, made here, that has `inner` in it.
    fn behind(&self, inner: FunctionId) -> u32 {
        let mut function = self.tree.function(inner);
        while let Some(parent) = function.parent {
            if parent == self.function {
                break;
            }
            function = self.tree.function(parent);
        }
        function.exprs.1
    }
}

/// Whether an expression can give more than one value.
pub(crate) fn gives_many(tree: &Tree<'_>, id: ExprId) -> bool {
    let expr = tree.expr(id);
    let many = matches!(expr.kind, ExprKind::Call { .. } | ExprKind::MethodCall { .. } | ExprKind::Dots);
    many && !expr.parenthesised
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lua;

    /// One letter a step: `s`tatement, `r`ead, `w`rite, `c`all, `j`ump, `b`ranch, `e`nd, with the targets.
    fn steps(text: &str, function: u32) -> String {
        let tree = lua::parse(text.as_bytes()).expect("valid");
        let flow = lower(&tree);
        let show = |step: &Step| match step {
            Step::Branch { to, .. } => format!("b{to}"),
            Step::Call(_) => "c".into(),
            Step::Jump(to) => format!("j{to}"),
            Step::Read { .. } => "r".into(),
            Step::Return(_) => "e".into(),
            Step::Stat(_) => "s".into(),
            Step::Write(_) => "w".into(),
        };
        flow.steps(FunctionId(function)).iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn statements_become_steps() {
        assert_eq!(steps("local a, b = f() a = b + 1 return a", 0), "s c w w s r w s r e e");
        assert_eq!(steps("if x then f() elseif y then g() else h() end", 0), "s b5 s c j11 b9 s c j11 s c e");
    }

    #[test]
    fn loops_go_back_and_can_be_left() {
        assert_eq!(steps("while x do break end f()", 0), "s b5 s j5 j1 s c e");
        assert_eq!(steps("for i = 1, 2 do f(i) end", 0), "s b7 w s r c j1 e");
        assert_eq!(steps("repeat local a = f() until a", 0), "s s c w r b1 e");
        assert_eq!(steps("while true do end f()", 0), "s j1 s c e");
        assert_eq!(steps("::top:: f() goto top", 0), "s s c s j1 e");
    }

    #[test]
    fn inner_functions_have_steps_of_their_own() {
        let text = "local a = 1 g(a, function(b) return function() return b end end, a)";
        assert_eq!(steps(text, 0), "s w s r r c e");
        assert_eq!(steps(text, 1), "w s e e");
        assert_eq!(steps(text, 2), "s r e e");
    }
}
