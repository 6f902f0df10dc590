//! Subroutine signatures: `sub ($x, $y = 1, @rest) { … }`.
//!
//! A signature becomes what one would have written without it: checks of the number of arguments, a `my` that takes
//! `@_`, and an assignment for each default.

use std::rc::Rc;

use crate::model::Value;
use crate::perl::ast::{
    AssignOp, BinaryOp, Block, Declarator, Expr, LogicalOp, Name, Paren, Part, Sigil, Statement, StatementKind,
};
use crate::perl::builtin::Builtin;

use super::{Parsed, Parser};

/// A parameter's default, and when it is taken.
struct Default {
    index: usize,
    name: Option<Name>,
    op: DefaultOp,
    value: Expr,
}

/// `=`, `//=`, `||=`.
#[derive(Clone, Copy)]
enum DefaultOp {
    Missing,
    Undefined,
    False,
}

impl Parser<'_> {
    /// Whether the parentheses at the cursor hold a signature and not a prototype.
    pub(super) fn at_signature(&self) -> bool {
        let mut depth = 0_usize;
        for &byte in self.cursor.rest() {
            match byte {
                b'(' => depth += 1,
                b')' if depth <= 1 => return false,
                b')' => depth -= 1,
                b'$' | b'@' | b'%' | b'&' | b'*' | b';' | b'\\' | b'[' | b']' | b'+' | b'_' => {}
                byte if byte.is_ascii_whitespace() => {}
                // A name, a default or a comma: no prototype has one.
                _ => return true,
            }
        }
        false
    }

    /// Reads a signature; the variables are visible from now on. The statements go in front of the body.
    pub(super) fn signature(&mut self, name: &str) -> Parsed<Block> {
        let at = self.at();
        self.expect(b"(")?;
        let mut names: Vec<(Sigil, Name)> = Vec::new();
        let mut defaults = Vec::new();
        let (mut required, mut total, mut slurps) = (0, 0, false);
        while !self.eat(b")") {
            let sigil = match self.cursor.byte() {
                Some(b'$') => Sigil::Scalar,
                Some(b'@') => Sigil::Array,
                Some(b'%') => Sigil::Hash,
                _ => return Err(self.syntax_error()),
            };
            self.cursor.advance(1);
            let word = self.cursor.word();
            let full = word.as_ref().map(|word| self.declare(sigil, word, None));
            names.push((sigil, full.clone().unwrap_or_else(|| "".into())));
            if sigil == Sigil::Scalar {
                total += 1;
                let op =
                    [(b"//=".as_slice(), DefaultOp::Undefined), (b"||=", DefaultOp::False), (b"=", DefaultOp::Missing)]
                        .into_iter()
                        .find(|(text, _)| self.eat(text))
                        .map(|(_, op)| op);
                match op {
                    Some(op) => {
                        self.space();
                        let is_empty = matches!(self.cursor.byte(), Some(b',' | b')'));
                        let value = if is_empty { Expr::Constant(Value::Undef) } else { self.assignment()? };
                        defaults.push(Default { index: total - 1, name: full, op, value });
                    }
                    None => required = total,
                }
            } else {
                slurps = true;
            }
            self.eat(b",");
        }
        let mut body = Vec::new();
        let mut push = |expr| body.push(Statement { at, kind: StatementKind::Expr(expr) });
        let optional = required < total || slurps;
        let least = if optional { "at least " } else { "" };
        push(check(BinaryOp::Less, required, &format!("Too few arguments for subroutine '{name}'"), least));
        if !slurps {
            let most = if required < total { "at most " } else { "" };
            push(check(BinaryOp::Greater, total, &format!("Too many arguments for subroutine '{name}'"), most));
        }
        let target = Expr::Declare(Declarator::My, names, Paren::Yes);
        push(Expr::Assign(AssignOp::Plain, Box::new(target), Box::new(Expr::Arguments)));
        for default in defaults {
            let Some(name) = default.name else { continue };
            let variable = || Box::new(Expr::Lexical(Sigil::Scalar, Rc::clone(&name)));
            let value = Box::new(default.value);
            push(match default.op {
                DefaultOp::Missing => {
                    let index = Expr::Constant(Value::Int(default.index as i64));
                    let missing = Expr::Binary(BinaryOp::LessEqual, Box::new(Expr::Arguments), Box::new(index));
                    let assignment = Expr::Assign(AssignOp::Plain, variable(), value);
                    Expr::Logical(LogicalOp::And, Box::new(missing), Box::new(assignment))
                }
                DefaultOp::Undefined => Expr::Assign(AssignOp::Logical(LogicalOp::Defined), variable(), value),
                DefaultOp::False => Expr::Assign(AssignOp::Logical(LogicalOp::Or), variable(), value),
            });
        }
        Ok(body)
    }
}

/// Dies where the number of arguments compares like this with `count`.
fn check(op: BinaryOp, count: usize, message: &str, bound: &str) -> Expr {
    let wrong = Expr::Binary(op, Box::new(Expr::Arguments), Box::new(Expr::Constant(Value::Int(count as i64))));
    let got = Expr::Builtin(Builtin::Scalar, vec![Expr::Arguments]);
    let text = Expr::Interpolated(vec![
        Part::Literal(format!("{message} (got ").into_bytes()),
        Part::Scalar(got),
        Part::Literal(format!("; expected {bound}{count})").into_bytes()),
    ]);
    let death = Expr::Builtin(Builtin::Die, vec![text]);
    Expr::Logical(LogicalOp::And, Box::new(wrong), Box::new(death))
}
