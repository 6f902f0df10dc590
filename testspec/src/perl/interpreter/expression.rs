//! Evaluating expressions in scalar and in list context.

use std::cell::RefCell;
use std::rc::Rc;

use crate::model::{Code, Reference, Value};
use crate::perl::ast::{AssignOp, BinaryOp, Expr, LogicalOp, Sigil, Step};

use super::place::{Place, is_array, is_hash, is_list_target, pairs, wrap};
use super::scope::Slot;
use super::{Interpreter, Outcome, Stop, Sub, SubKind, Want};

impl Interpreter {
    /// The value of an expression in scalar context.
    pub(super) fn scalar(&mut self, expr: &Expr) -> Outcome<Value> {
        match expr {
            Expr::Constant(value) => Ok(value.clone()),
            Expr::Interpolated(parts) => Ok(Value::str(self.text_of(parts)?)),
            Expr::Lexical(Sigil::Scalar, name) => Ok(match self.lexical_scalar(name) {
                Some(cell) => cell.borrow().clone(),
                None => Value::Undef,
            }),
            Expr::Global(Sigil::Scalar, name) => Ok(self.global_scalar(name)),
            Expr::Assign(op, left, right) => self.assign(*op, left, right),
            Expr::Binary(op, left, right) => {
                let (left, right) = (self.scalar(left)?, self.scalar(right)?);
                self.binary(*op, &left, &right)
            }
            Expr::Logical(op, left, right) => {
                let left = self.scalar(left)?;
                match op {
                    LogicalOp::And if !left.is_true() => Ok(left),
                    LogicalOp::Or if left.is_true() => Ok(left),
                    LogicalOp::Defined if left.is_defined() => Ok(left),
                    LogicalOp::Xor => Ok(Value::bool(left.is_true() != self.scalar(right)?.is_true())),
                    _ => self.scalar(right),
                }
            }
            Expr::Not(inner) => Ok(Value::bool(!self.scalar(inner)?.is_true())),
            Expr::Negate(inner) => Ok(negated(&self.scalar(inner)?)),
            Expr::BitNot(inner) => Ok(Value::Int(!self.scalar(inner)?.to_int())),
            Expr::Ternary(condition, yes, no) => {
                if self.scalar(condition)?.is_true() {
                    self.scalar(yes)
                } else {
                    self.scalar(no)
                }
            }
            Expr::Call { callee, arguments, current_arguments } => {
                let values = self.call_expression(callee, arguments, *current_arguments, Want::Scalar)?;
                Ok(last(values))
            }
            Expr::Method { invocant, name, arguments } => {
                Ok(last(self.method(invocant, name, arguments, Want::Scalar)?))
            }
            Expr::Builtin(builtin, arguments) => self.function(*builtin, arguments),
            Expr::Index(array, index) => {
                let Some(array) = self.existing_array(array)? else {
                    return Ok(Value::Undef);
                };
                let index = self.scalar(index)?.to_int();
                Ok(Place::Element(array, index).read())
            }
            Expr::Key(hash, key) => {
                let key = self.scalar(key)?.to_bytes();
                let hash = self.hash_of(hash)?;
                let value = hash.borrow().get(&key).cloned();
                Ok(value.unwrap_or_default())
            }
            Expr::ArrayLast(array) => Ok(Value::Int(self.array_of(array)?.borrow().len() as i64 - 1)),
            Expr::Match { target, pattern, negated } => self.match_scalar(target.as_deref(), pattern, *negated),
            Expr::Substitute { target, pattern, replacement, flags } => {
                self.substitute(target.as_deref(), pattern, replacement, flags)
            }
            Expr::Transliterate { target, from, to, flags } => self.transliterate(target.as_deref(), from, to, flags),
            Expr::Qr(pattern) => Ok(Value::Regex(self.regex_of(pattern)?)),
            Expr::Repeat { what, times, .. } => {
                let text = self.scalar(what)?.to_bytes();
                let times = usize::try_from(self.scalar(times)?.to_int()).unwrap_or(0);
                self.makes(text.len().saturating_mul(times))?;
                Ok(Value::str(text.repeat(times)))
            }
            Expr::AnonArray(items) => {
                let items = self.list_of(items)?;
                Ok(Value::array(items))
            }
            Expr::AnonHash(items) => {
                let items = self.list_of(items)?;
                Ok(Value::Hash(Rc::new(RefCell::new(pairs(&mut items.into_iter())))))
            }
            Expr::AnonSub(definition) => {
                let kind = SubKind::Perl { definition: Rc::clone(definition), scope: Rc::clone(&self.scope) };
                Ok(Value::Code(Code(Rc::new(Sub { kind }))))
            }
            Expr::Reference(inner) => self.reference(inner),
            Expr::Step(step, operand) => self.increment(*step, operand),
            Expr::Declare(declarator, names, _) => {
                self.declare(*declarator, names);
                match names.as_slice() {
                    [(Sigil::Scalar, _)] => Ok(self.place_of(expr)?.read()),
                    _ => Ok(Value::Undef),
                }
            }
            Expr::Local(inner) => {
                self.localize(inner)?;
                Ok(Value::Undef)
            }
            Expr::State { id, name, init } => Ok(match self.state_variable(*id, name, init.as_deref())? {
                Slot::Scalar(cell) => cell.borrow().clone(),
                _ => Value::Undef,
            }),
            Expr::List(items) => match items.split_last() {
                Some((tail, rest)) => {
                    for item in rest {
                        self.scalar(item)?;
                    }
                    self.scalar(tail)
                }
                None => Ok(Value::Undef),
            },
            Expr::Deref(Sigil::Scalar, _) => Ok(self.place_of(expr)?.read()),
            Expr::Deref(Sigil::Code, inner) => {
                let value = self.scalar(inner)?;
                match super::call::code_of(&value) {
                    Some(code) => Ok(last(self.call(&code, Vec::new(), Want::Scalar)?)),
                    None => Err(self.die("Not a CODE reference")),
                }
            }
            Expr::DoBlock(body) => Ok(last(self.block(body, Want::Scalar)?)),
            Expr::EvalBlock(body) => Ok(last(self.eval_block(body, Want::Scalar)?)),
            Expr::EvalText { text, package, strict } => {
                let text = self.scalar(text)?.to_bytes();
                let result = self.eval_text(&text, Rc::clone(package), *strict, Want::Scalar)?;
                Ok(result.map_or(Value::Undef, last))
            }
            Expr::DoFile(file) => {
                let file = self.scalar(file)?;
                self.do_file(&file)
            }
            Expr::Require(module) => {
                let module = self.scalar(module)?.to_text();
                self.require(&module)?;
                Ok(Value::Int(1))
            }
            Expr::Return(value) => {
                let values = match (value, self.want) {
                    (None, Want::List) => Vec::new(),
                    (None, _) => vec![Value::Undef],
                    (Some(value), Want::List) => self.list(value)?,
                    (Some(value), _) => vec![self.scalar(value)?],
                };
                Err(Stop::Return(values))
            }
            Expr::Jump(jump, label) => Err(Stop::Jump(*jump, label.clone())),
            Expr::WantArray => Ok(match self.want {
                Want::List => Value::Int(1),
                Want::Scalar => Value::Int(0),
                Want::Void => Value::Undef,
            }),
            Expr::Print { builtin, file, arguments } => self.print(*builtin, file.as_deref(), arguments),
            Expr::ReadLine(file) => {
                let file = self.scalar(file)?;
                self.read_line(&file)
            }
            Expr::Backticks(parts) => {
                let command = self.text_of(parts)?;
                Ok(Value::str(self.shell_output(&command)?))
            }
            Expr::FileTest(letter, operand) => {
                let operand = self.scalar(operand)?;
                Ok(self.file_test(*letter, &operand))
            }
            _ if is_array(expr) => Ok(Value::Int(self.array_of(expr)?.borrow().len() as i64)),
            _ if is_hash(expr) => Ok(Value::Int(self.hash_of(expr)?.borrow().len() as i64)),
            Expr::ListOp { op, .. } => {
                let values = self.list(expr)?;
                Ok(match op {
                    crate::perl::ast::ListOp::Sort => last(values),
                    _ => Value::Int(values.len() as i64),
                })
            }
            Expr::Range(..) => Err(self.unsupported("a range in scalar context")),
            // The last item.
            _ => Ok(last(self.list(expr)?)),
        }
    }

    /// The values of an expression in list context.
    pub(super) fn list(&mut self, expr: &Expr) -> Outcome<Vec<Value>> {
        let mut out = Vec::new();
        self.list_into(expr, &mut out)?;
        Ok(out)
    }

    pub(super) fn list_of(&mut self, items: &[Expr]) -> Outcome<Vec<Value>> {
        let mut out = Vec::with_capacity(items.len());
        for item in items {
            self.list_into(item, &mut out)?;
        }
        Ok(out)
    }

    pub(super) fn list_into(&mut self, expr: &Expr, out: &mut Vec<Value>) -> Outcome<()> {
        match expr {
            Expr::List(items) => {
                for item in items {
                    self.list_into(item, out)?;
                }
            }
            _ if is_array(expr) => {
                let array = self.array_of(expr)?;
                out.extend(array.borrow().iter().cloned());
            }
            _ if is_hash(expr) => {
                let hash = self.hash_of(expr)?;
                for (key, value) in hash.borrow().iter() {
                    out.push(Value::str(key));
                    out.push(value.clone());
                }
            }
            Expr::Call { callee, arguments, current_arguments } => {
                out.append(&mut self.call_expression(callee, arguments, *current_arguments, Want::List)?);
            }
            Expr::Method { invocant, name, arguments } => {
                out.append(&mut self.method(invocant, name, arguments, Want::List)?);
            }
            Expr::Ternary(condition, yes, no) => {
                let chosen = if self.scalar(condition)?.is_true() { yes } else { no };
                self.list_into(chosen, out)?;
            }
            Expr::Logical(op, left, right) if !matches!(op, LogicalOp::Xor) => {
                let value = self.scalar(left)?;
                let keeps = match op {
                    LogicalOp::And => !value.is_true(),
                    LogicalOp::Or => value.is_true(),
                    _ => value.is_defined(),
                };
                if keeps {
                    out.push(value);
                } else {
                    self.list_into(right, out)?;
                }
            }
            Expr::Range(from, to) => {
                let (from, to) = (self.scalar(from)?, self.scalar(to)?);
                self.range(&from, &to, out)?;
            }
            Expr::Repeat { what, times, is_list: true } => {
                let items = self.list(what)?;
                let times = usize::try_from(self.scalar(times)?.to_int()).unwrap_or(0);
                self.makes(items.len().saturating_mul(times).saturating_mul(16))?;
                for _ in 0..times {
                    out.extend(items.iter().cloned());
                }
            }
            Expr::Builtin(builtin, arguments) => {
                if !self.list_function(*builtin, arguments, out)? {
                    let value = self.function(*builtin, arguments)?;
                    out.push(value);
                }
            }
            Expr::ListOp { op, code, body, list, package } => {
                self.list_operator(*op, code.as_deref(), body.as_ref(), list, package, out)?;
            }
            Expr::Match { target, pattern, negated: false } => self.match_list(target.as_deref(), pattern, out)?,
            Expr::Assign(AssignOp::Plain, left, right) if is_list_target(left) => {
                let values = self.list(right)?;
                self.assign_list(left, values)?;
                match &**left {
                    Expr::Declare(_, names, _) => {
                        for (sigil, name) in names.iter().filter(|(_, name)| !name.is_empty()) {
                            self.list_into(&Expr::Lexical(*sigil, Rc::clone(name)), out)?;
                        }
                    }
                    Expr::Local(inner) => self.list_into(inner, out)?,
                    other => self.list_into(other, out)?,
                }
            }
            Expr::Declare(declarator, names, _) => {
                self.declare(*declarator, names);
            }
            Expr::DoBlock(body) => out.append(&mut self.block(body, Want::List)?),
            Expr::EvalBlock(body) => out.append(&mut self.eval_block(body, Want::List)?),
            Expr::EvalText { text, package, strict } => {
                let text = self.scalar(text)?.to_bytes();
                if let Ok(mut values) = self.eval_text(&text, Rc::clone(package), *strict, Want::List)? {
                    out.append(&mut values);
                }
            }
            Expr::ArraySlice(array, indices) => {
                let array = self.array_of(array)?;
                for index in self.list(indices)? {
                    out.push(Place::Element(Rc::clone(&array), index.to_int()).read());
                }
            }
            Expr::HashSlice(hash, keys) => {
                let hash = self.hash_of(hash)?;
                for key in self.list(keys)? {
                    let value = hash.borrow().get(&key.to_bytes()).cloned();
                    out.push(value.unwrap_or_default());
                }
            }
            Expr::ListSlice(list, indices) => {
                let items = self.list(list)?;
                let indices = self.list(indices)?;
                if !items.is_empty() {
                    for index in indices {
                        let item = wrap(index.to_int(), items.len()).and_then(|index| items.get(index));
                        out.push(item.cloned().unwrap_or_default());
                    }
                }
            }
            Expr::Reference(inner) => match &**inner {
                Expr::List(items) => {
                    for item in items {
                        let value = self.reference(item)?;
                        out.push(value);
                    }
                }
                other => {
                    let value = self.reference(other)?;
                    out.push(value);
                }
            },
            Expr::ReadLine(file) => {
                let file = self.scalar(file)?;
                while let line @ (Value::Str(_) | Value::Int(_)) = self.read_line(&file)? {
                    out.push(line);
                }
            }
            Expr::Backticks(parts) => {
                let command = self.text_of(parts)?;
                let text = self.shell_output(&command)?;
                out.extend(text.split_inclusive(|byte| *byte == b'\n').map(Value::str));
            }
            Expr::Local(inner) => {
                self.localize(inner)?;
            }
            _ => {
                let value = self.scalar(expr)?;
                out.push(value);
            }
        }
        Ok(())
    }

    fn existing_array(&mut self, expr: &Expr) -> Outcome<Option<crate::model::Array>> {
        // Reading an element of an undefined reference makes no array.
        if let Expr::Deref(_, inner) = expr {
            let value = self.scalar(inner)?;
            return match value {
                Value::Array(array) => Ok(Some(array)),
                Value::Undef => Ok(None),
                _ => self.array_of(expr).map(Some),
            };
        }
        self.array_of(expr).map(Some)
    }

    fn global_scalar(&mut self, name: &crate::perl::ast::Name) -> Value {
        if let Some(special) = name.strip_prefix("main::")
            && let Some(value) = self.capture_variable(special)
        {
            return value;
        }
        self.global(name)
    }

    fn eval_block(&mut self, body: &crate::perl::ast::Block, want: Want) -> Outcome<Vec<Value>> {
        let frame = (Rc::clone(&self.unit), Rc::clone(&self.package), Rc::clone(&self.scope), self.at);
        let (depth, saved) = (self.depth, self.locals.len());
        match self.block(body, want) {
            // `return` inside `eval` leaves the eval only.
            Err(Stop::Die(value)) => {
                (self.unit, self.package, self.scope, self.at) = frame;
                self.depth = depth;
                self.restore_locals(saved);
                self.set_global("main::@", value);
                Ok(if want == Want::List { Vec::new() } else { vec![Value::Undef] })
            }
            Ok(values) | Err(Stop::Return(values)) => {
                self.set_global("main::@", "");
                Ok(values)
            }
            Err(other) => Err(other),
        }
    }

    fn assign(&mut self, op: AssignOp, left: &Expr, right: &Expr) -> Outcome<Value> {
        match op {
            AssignOp::Plain if is_list_target(left) => {
                let values = self.list(right)?;
                Ok(Value::Int(self.assign_list(left, values)? as i64))
            }
            AssignOp::Plain => {
                if let Some(name) = self.symbol(left)? {
                    if let Some(other) = self.symbol(right)? {
                        self.alias_symbol(&name, &other);
                        return Ok(Value::Undef);
                    }
                    let value = self.scalar(right)?;
                    return self.assign_symbol(&name, value);
                }
                let value = self.scalar(right)?;
                let place = self.place_of(left)?;
                place.write(value.clone());
                Ok(value)
            }
            AssignOp::Logical(op) => {
                let place = self.place_of(left)?;
                let old = place.read();
                let keeps = match op {
                    LogicalOp::And => !old.is_true(),
                    LogicalOp::Defined => old.is_defined(),
                    _ => old.is_true(),
                };
                if keeps {
                    return Ok(old);
                }
                let value = self.scalar(right)?;
                place.write(value.clone());
                Ok(value)
            }
            AssignOp::Binary(BinaryOp::Concat) => {
                let tail = self.scalar(right)?.to_bytes();
                let place = self.place_of(left)?;
                if let Place::Cell(cell) = &place
                    && let Value::Str(text) = &*cell.borrow()
                {
                    self.fits(text.len() + tail.len())?;
                }
                place.append(&tail);
                Ok(place.read())
            }
            AssignOp::Binary(op) => {
                if is_array(left) {
                    return Err(self.unsupported("this assignment to an array"));
                }
                let value = self.scalar(right)?;
                let place = self.place_of(left)?;
                let result = self.binary(op, &place.read(), &value)?;
                place.write(result.clone());
                Ok(result)
            }
            AssignOp::Repeat => {
                let times = usize::try_from(self.scalar(right)?.to_int()).unwrap_or(0);
                let place = self.place_of(left)?;
                let text = place.read().to_bytes();
                self.makes(text.len().saturating_mul(times))?;
                let value = Value::str(text.repeat(times));
                place.write(value.clone());
                Ok(value)
            }
        }
    }

    pub(super) fn binary(&self, op: BinaryOp, left: &Value, right: &Value) -> Outcome<Value> {
        use BinaryOp as B;
        Ok(match op {
            B::Concat => {
                let (left, right) = (left.to_bytes(), right.to_bytes());
                self.fits(left.len() + right.len())?;
                Value::str([left.as_slice(), right.as_slice()].concat())
            }
            B::StringEqual => Value::bool(left.to_bytes() == right.to_bytes()),
            B::StringNotEqual => Value::bool(left.to_bytes() != right.to_bytes()),
            B::StringLess => Value::bool(left.to_bytes() < right.to_bytes()),
            B::StringLessEqual => Value::bool(left.to_bytes() <= right.to_bytes()),
            B::StringGreater => Value::bool(left.to_bytes() > right.to_bytes()),
            B::StringGreaterEqual => Value::bool(left.to_bytes() >= right.to_bytes()),
            B::StringOrder => Value::Int(left.to_bytes().cmp(&right.to_bytes()) as i64),
            B::BitAnd | B::BitOr | B::BitXor => bitwise(op, left, right),
            B::ShiftLeft => Value::Int(left.to_int().checked_shl(right.to_int() as u32).unwrap_or(0)),
            B::ShiftRight => Value::Int((left.to_int() as u64).checked_shr(right.to_int() as u32).unwrap_or(0) as i64),
            B::Modulo => {
                let (left, right) = (left.to_int(), right.to_int());
                if right == 0 {
                    return Err(self.die("Illegal modulus zero"));
                }
                let rest = left.wrapping_rem(right);
                Value::Int(if rest != 0 && (rest < 0) != (right < 0) { rest + right } else { rest })
            }
            B::Divide => {
                let (left, right) = (left.to_number(), right.to_number());
                if right == 0.0 {
                    return Err(self.die("Illegal division by zero"));
                }
                number(left / right)
            }
            B::Power => number(left.to_number().powf(right.to_number())),
            B::Add | B::Subtract | B::Multiply => arithmetic(op, left, right),
            B::Equal | B::NotEqual | B::Less | B::LessEqual | B::Greater | B::GreaterEqual | B::NumberOrder => {
                let order = match (left.numeric(), right.numeric()) {
                    (Value::Int(left), Value::Int(right)) => Some(left.cmp(&right)),
                    (left, right) => left.to_number().partial_cmp(&right.to_number()),
                };
                let Some(order) = order else {
                    return Ok(if op == B::NumberOrder { Value::Undef } else { Value::bool(op == B::NotEqual) });
                };
                match op {
                    B::Equal => Value::bool(order.is_eq()),
                    B::NotEqual => Value::bool(order.is_ne()),
                    B::Less => Value::bool(order.is_lt()),
                    B::LessEqual => Value::bool(order.is_le()),
                    B::Greater => Value::bool(order.is_gt()),
                    B::GreaterEqual => Value::bool(order.is_ge()),
                    _ => Value::Int(order as i64),
                }
            }
        })
    }

    fn range(&mut self, from: &Value, to: &Value, out: &mut Vec<Value>) -> Outcome<()> {
        let is_text = matches!(from, Value::Str(text) if text.first().is_some_and(|byte| !byte.is_ascii_digit() && *byte != b'-'));
        if is_text {
            let (mut text, end) = (from.to_bytes().to_vec(), to.to_bytes());
            for _ in 0..1_000_000 {
                out.push(Value::str(text.clone()));
                if text == *end || text.len() > end.len() {
                    break;
                }
                text = incremented(&text);
                if text.len() > end.len() {
                    break;
                }
            }
            return Ok(());
        }
        let (from, to) = (from.to_int(), to.to_int());
        if from <= to {
            self.makes(usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX).saturating_mul(16))?;
            out.extend((from..=to).map(Value::Int));
        }
        Ok(())
    }

    fn reference(&mut self, expr: &Expr) -> Outcome<Value> {
        if is_array(expr) {
            return self.array_of(expr).map(Value::Array);
        }
        if is_hash(expr) {
            return self.hash_of(expr).map(Value::Hash);
        }
        match expr {
            Expr::Call { callee: crate::perl::ast::Callee::Named(name), current_arguments: true, .. } => {
                match self.sub(name) {
                    Some(sub) => Ok(Value::Code(Code(Rc::clone(sub)))),
                    None => Err(self.unsupported("a reference to a subroutine that is not defined")),
                }
            }
            Expr::Call { callee: crate::perl::ast::Callee::Dynamic(code), current_arguments: true, .. } => {
                self.scalar(code)
            }
            Expr::Declare(_, names, _) => match names.first() {
                Some((Sigil::Array, _)) => self.array_of(expr).map(Value::Array),
                Some((Sigil::Hash, _)) => self.hash_of(expr).map(Value::Hash),
                _ => self.cell_reference(expr),
            },
            _ => self.cell_reference(expr),
        }
    }

    fn cell_reference(&mut self, expr: &Expr) -> Outcome<Value> {
        // `\(EXPR)` refers to what is in the parentheses.
        let expr = match expr {
            Expr::List(items) if items.len() == 1 => items.first().unwrap_or(expr),
            other => other,
        };
        Ok(Value::Ref(match self.place_of(expr)? {
            Place::Cell(cell) => Reference::Cell(cell),
            Place::Element(array, index) => Reference::Element(array, index),
            Place::Entry(hash, key) => Reference::Entry(hash, key),
            part @ (Place::Last(_) | Place::Part(..) | Place::Position(..)) => {
                Reference::Cell(Rc::new(RefCell::new(part.read())))
            }
        }))
    }

    fn increment(&mut self, step: Step, operand: &Expr) -> Outcome<Value> {
        let place = self.place_of(operand)?;
        let old = place.read();
        let adds = matches!(step, Step::PreIncrement | Step::PostIncrement);
        let new = match &old {
            Value::Str(text)
                if adds
                    && !text.is_empty()
                    && text.iter().all(u8::is_ascii_alphanumeric)
                    && !text[0].is_ascii_digit() =>
            {
                Value::str(incremented(text))
            }
            _ => arithmetic(if adds { BinaryOp::Add } else { BinaryOp::Subtract }, &old, &Value::Int(1)),
        };
        place.write(new.clone());
        Ok(match step {
            Step::PreIncrement | Step::PreDecrement => new,
            _ if old.is_defined() => old,
            _ => Value::Int(0),
        })
    }
}

/// The last of a list, as scalar context takes it.
pub(super) fn last(mut values: Vec<Value>) -> Value {
    values.pop().unwrap_or_default()
}

fn arithmetic(op: BinaryOp, left: &Value, right: &Value) -> Value {
    if let (Value::Int(a), Value::Int(b)) = (left.numeric(), right.numeric()) {
        let exact = match op {
            BinaryOp::Add => a.checked_add(b),
            BinaryOp::Subtract => a.checked_sub(b),
            _ => a.checked_mul(b),
        };
        if let Some(exact) = exact {
            return Value::Int(exact);
        }
    }
    let (a, b) = (left.to_number(), right.to_number());
    number(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Subtract => a - b,
        _ => a * b,
    })
}

/// A float, as an integer where it is one.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 { Value::Int(value as i64) } else { Value::Num(value) }
}

fn negated(value: &Value) -> Value {
    match value {
        Value::Str(text) if text.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_') => {
            Value::str([b"-", text.as_slice()].concat())
        }
        other => match other.numeric() {
            Value::Int(number) => number.checked_neg().map_or(Value::Num(-(number as f64)), Value::Int),
            other => Value::Num(-other.to_number()),
        },
    }
}

fn bitwise(op: BinaryOp, left: &Value, right: &Value) -> Value {
    if let (Value::Str(_) | Value::Undef, Value::Str(_) | Value::Undef) = (left, right) {
        // On two strings, byte by byte; an undefined value is an empty one.
        let (a, b) = (left.to_bytes(), right.to_bytes());
        let len = if op == BinaryOp::BitAnd { a.len().min(b.len()) } else { a.len().max(b.len()) };
        let byte = |text: &[u8], at: usize| text.get(at).copied().unwrap_or(0);
        return Value::str(
            (0..len)
                .map(|at| match op {
                    BinaryOp::BitAnd => byte(&a, at) & byte(&b, at),
                    BinaryOp::BitOr => byte(&a, at) | byte(&b, at),
                    _ => byte(&a, at) ^ byte(&b, at),
                })
                .collect::<Vec<u8>>(),
        );
    }
    let (a, b) = (left.to_int(), right.to_int());
    Value::Int(match op {
        BinaryOp::BitAnd => a & b,
        BinaryOp::BitOr => a | b,
        _ => a ^ b,
    })
}

/// Perl's string increment: `az` → `ba`, `Zz` → `AAa`, `a9` → `b0`.
fn incremented(text: &[u8]) -> Vec<u8> {
    let mut out = text.to_vec();
    for at in (0..out.len()).rev() {
        match out[at] {
            b'z' => out[at] = b'a',
            b'Z' => out[at] = b'A',
            b'9' => out[at] = b'0',
            byte => {
                out[at] = byte + 1;
                return out;
            }
        }
    }
    let first = match out.first() {
        Some(b'0') => b'1',
        Some(b'A') => b'A',
        _ => b'a',
    };
    out.insert(0, first);
    out
}
