//! Running statements.

use std::rc::Rc;

use crate::model::{Array, Value};
use crate::perl::ast::{Block, Expr, Jump, LoopVariable, Name, Sigil, Statement, StatementKind};

use super::scope::Slot;
use super::{Interpreter, Outcome, Restore, Scope, Stop, Want};

/// A value of a loop's list with the array element that it is an alias of.
type Aliased = (Value, Option<(Array, usize)>);

/// How a loop's body ended.
enum Turn {
    Again,
    Leave,
}

impl Interpreter {
    /// Runs statements in the current scope; the value is the last one's.
    pub(super) fn statements(&mut self, body: &[Statement], want: Want) -> Outcome<Vec<Value>> {
        let Some((last, rest)) = body.split_last() else {
            return Ok(Vec::new());
        };
        for statement in rest {
            self.statement(statement, Want::Void)?;
        }
        self.statement(last, want)
    }

    /// Runs a block in a scope of its own.
    pub(super) fn block(&mut self, body: &Block, want: Want) -> Outcome<Vec<Value>> {
        let inner = Scope::inside(&self.scope);
        let outer = std::mem::replace(&mut self.scope, inner);
        let saved = self.locals.len();
        let result = self.deeper(|it| it.statements(body, want));
        self.restore_locals(saved);
        self.scope = outer;
        result
    }

    fn statement(&mut self, statement: &Statement, want: Want) -> Outcome<Vec<Value>> {
        self.step()?;
        self.at = statement.at;
        match &statement.kind {
            StatementKind::Expr(expr) => match want {
                Want::Void => {
                    self.void(expr)?;
                    Ok(Vec::new())
                }
                Want::Scalar => Ok(vec![self.scalar(expr)?]),
                Want::List => self.list(expr),
            },
            StatementKind::If { arms, otherwise } => {
                let mut last = Value::Undef;
                for (condition, body) in arms {
                    last = self.scalar(condition)?;
                    if last.is_true() {
                        return self.block(body, want);
                    }
                }
                match otherwise {
                    Some(body) => self.block(body, want),
                    None => Ok(vec![last]),
                }
            }
            StatementKind::Block { body, label } => {
                let result = self.block(body, want);
                match result {
                    Err(Stop::Jump(Jump::Last | Jump::Next, to)) if matches(to.as_ref(), label.as_ref()) => {
                        Ok(Vec::new())
                    }
                    other => other,
                }
            }
            StatementKind::While { condition, body, step, label, body_first } => {
                self.while_loop(condition.as_ref(), body, step.as_ref(), label.as_ref(), *body_first)?;
                Ok(Vec::new())
            }
            StatementKind::For { init, condition, step, body, label } => {
                let inner = Scope::inside(&self.scope);
                let outer = std::mem::replace(&mut self.scope, inner);
                let result = self.for_loop(init.as_ref(), condition.as_ref(), step.as_ref(), body, label.as_ref());
                self.scope = outer;
                result?;
                Ok(Vec::new())
            }
            StatementKind::Foreach { variable, list, body, label } => {
                self.foreach(variable, list, body, label.as_ref())?;
                Ok(Vec::new())
            }
            StatementKind::Package(name) => {
                self.package = Rc::clone(name);
                Ok(Vec::new())
            }
            StatementKind::Sub(definition) => {
                let scope = Rc::clone(&self.scope);
                self.define_sub(definition, &scope);
                Ok(Vec::new())
            }
        }
    }

    /// Evaluates for the effect only.
    fn void(&mut self, expr: &Expr) -> Outcome<()> {
        match expr {
            Expr::Call { callee, arguments, current_arguments } => {
                self.call_expression(callee, arguments, *current_arguments, Want::Void).map(|_| ())
            }
            Expr::ListOp { .. } | Expr::List(_) => self.list(expr).map(|_| ()),
            _ => self.scalar(expr).map(|_| ()),
        }
    }

    fn turn(&mut self, body: &Block, label: Option<&Name>) -> Outcome<Turn> {
        match self.block(body, Want::Void) {
            Ok(_) => Ok(Turn::Again),
            Err(Stop::Jump(jump, to)) if matches(to.as_ref(), label) => match jump {
                Jump::Last => Ok(Turn::Leave),
                Jump::Next => Ok(Turn::Again),
                Jump::Redo => self.turn(body, label),
            },
            Err(other) => Err(other),
        }
    }

    fn while_loop(
        &mut self,
        condition: Option<&Expr>,
        body: &Block,
        step: Option<&Block>,
        label: Option<&Name>,
        body_first: bool,
    ) -> Outcome<()> {
        let mut skip_test = body_first;
        loop {
            self.step()?;
            if !skip_test
                && let Some(condition) = condition
                && !self.scalar(condition)?.is_true()
            {
                return Ok(());
            }
            skip_test = false;
            if matches!(self.turn(body, label)?, Turn::Leave) {
                return Ok(());
            }
            if let Some(step) = step {
                self.block(step, Want::Void)?;
            }
        }
    }

    fn for_loop(
        &mut self,
        init: Option<&Expr>,
        condition: Option<&Expr>,
        step: Option<&Expr>,
        body: &Block,
        label: Option<&Name>,
    ) -> Outcome<()> {
        if let Some(init) = init {
            self.void(init)?;
        }
        loop {
            self.step()?;
            if let Some(condition) = condition
                && !self.scalar(condition)?.is_true()
            {
                return Ok(());
            }
            if matches!(self.turn(body, label)?, Turn::Leave) {
                return Ok(());
            }
            if let Some(step) = step {
                self.void(step)?;
            }
        }
    }

    fn foreach(&mut self, variable: &LoopVariable, list: &Expr, body: &Block, label: Option<&Name>) -> Outcome<()> {
        let items = self.aliased_list(list)?;
        let inner = Scope::inside(&self.scope);
        let outer = std::mem::replace(&mut self.scope, inner);
        let saved = self.locals.len();
        let result = self.foreach_items(variable, items, body, label);
        self.restore_locals(saved);
        self.scope = outer;
        result
    }

    fn foreach_items(
        &mut self,
        variable: &LoopVariable,
        items: Vec<Aliased>,
        body: &Block,
        label: Option<&Name>,
    ) -> Outcome<()> {
        let shared = match variable {
            LoopVariable::My(_) => None,
            LoopVariable::Global(name) => Some(self.scalar_cell(name)),
            LoopVariable::Lexical(name) => self.lexical_scalar(name),
        };
        if let Some(cell) = &shared {
            let old = cell.borrow().clone();
            self.locals.push(Restore::Scalar(Rc::clone(cell), old));
        }
        for (value, origin) in items {
            self.step()?;
            let cell = match (&shared, variable) {
                (Some(cell), _) => Rc::clone(cell),
                (None, LoopVariable::My(name)) => {
                    let cell: Rc<std::cell::RefCell<Value>> = Rc::default();
                    self.scope.bind(name, Slot::Scalar(Rc::clone(&cell)));
                    cell
                }
                (None, _) => Rc::default(),
            };
            *cell.borrow_mut() = value;
            let turn = self.turn(body, label);
            if let Some((array, index)) = origin
                && let Some(slot) = array.borrow_mut().get_mut(index)
            {
                *slot = cell.borrow().clone();
            }
            if matches!(turn?, Turn::Leave) {
                break;
            }
        }
        Ok(())
    }

    /// The items of a loop's list, each with the array element that it is an alias of.
    fn aliased_list(&mut self, list: &Expr) -> Outcome<Vec<Aliased>> {
        let mut items = Vec::new();
        let parts = match list {
            Expr::List(parts) => parts.as_slice(),
            other => std::slice::from_ref(other),
        };
        for part in parts {
            let is_array = matches!(
                part,
                Expr::Arguments
                    | Expr::Lexical(Sigil::Array, _)
                    | Expr::Global(Sigil::Array, _)
                    | Expr::Deref(Sigil::Array, _)
            );
            if is_array {
                let array = self.array_of(part)?;
                let values = array.borrow().clone();
                items.extend(
                    values.into_iter().enumerate().map(|(index, value)| (value, Some((Rc::clone(&array), index)))),
                );
            } else {
                items.extend(self.list(part)?.into_iter().map(|value| (value, None)));
            }
        }
        Ok(items)
    }
}

fn matches(target: Option<&Name>, label: Option<&Name>) -> bool {
    target.is_none() || target == label
}
