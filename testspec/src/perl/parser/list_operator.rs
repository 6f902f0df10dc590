//! `map`, `grep`, `sort` and `print`, whose first argument is special.

use std::rc::Rc;

use crate::perl::ast::{Callee, Expr, ListOp, Sigil};
use crate::perl::builtin::Builtin;
use crate::perl::cursor::is_word_start;

use super::{Parsed, Parser};

impl Parser<'_> {
    /// `map`, `grep`, `sort` with their block or expression.
    pub(super) fn list_op(&mut self, op: ListOp) -> Parsed<Expr> {
        let paren = self.eat(b"(");
        self.space();
        let package = Rc::clone(&self.package);
        let (mut code, mut body) = (None, None);
        if self.cursor.byte() == Some(b'{') {
            let start = self.cursor.pos();
            let before = self.cursor.clone();
            let errors = self.errors.len();
            let block = self.block();
            self.space();
            match block {
                Ok(block) if self.cursor.byte() != Some(b',') => body = Some(block),
                // A hash in braces, not a block.
                _ if op == ListOp::Map => {
                    self.errors.truncate(errors);
                    self.cursor = before;
                    self.cursor.reset(start);
                    code = Some(Box::new(self.assignment()?));
                    self.eat(b",");
                }
                Ok(_) => return Err(self.syntax_error()),
                Err(error) => return Err(error),
            }
        } else if op == ListOp::Sort {
            // `sort by_name @list`, `sort $by @list`.
            let start = self.cursor.pos();
            let mut is_comparator = false;
            if self.cursor.byte() == Some(b'$') {
                self.cursor.advance(1);
                is_comparator = self.cursor.name().is_some();
            } else if let Some(word) = self.cursor.name() {
                is_comparator = Builtin::find(&word).is_none()
                    && !matches!(word.as_str(), "map" | "grep" | "sort" | "qw" | "do" | "keys");
            }
            self.space();
            is_comparator &= matches!(self.cursor.byte(), Some(b'@' | b'$'))
                || self
                    .cursor
                    .peek_word()
                    .is_some_and(|word| matches!(word, "map" | "grep" | "keys" | "values" | "qw"));
            self.cursor.reset(start);
            if is_comparator {
                code = Some(Box::new(if self.cursor.byte() == Some(b'$') {
                    self.scalar_term()?
                } else {
                    let name = self.cursor.name().unwrap_or_default();
                    Expr::Reference(Box::new(Expr::Call {
                        callee: Callee::Named(self.qualify_sub(&name)),
                        arguments: Vec::new(),
                        current_arguments: true,
                    }))
                }));
            }
        } else {
            code = Some(Box::new(self.assignment()?));
            self.expect(b",")?;
        }
        let list = self.comma_list()?;
        if paren {
            self.expect(b")")?;
        }
        Ok(Expr::ListOp { op, code, body, list, package })
    }

    /// `print`, `printf`, `say` with their file.
    pub(super) fn print_term(&mut self, builtin: Builtin) -> Parsed<Expr> {
        let start = self.cursor.pos();
        let paren = self.eat(b"(");
        self.space();
        let mut file = None;
        if self.cursor.byte() == Some(b'{') {
            let body = self.block()?;
            file = Some(Box::new(Expr::DoBlock(body)));
        } else if self.cursor.byte() == Some(b'$') {
            let before = self.cursor.pos();
            self.cursor.advance(1);
            let name = self.cursor.name();
            let blank = self.cursor.byte().is_some_and(|byte| byte.is_ascii_whitespace());
            self.space();
            let starts_term = match self.cursor.byte() {
                Some(b'"' | b'\'' | b'$' | b'@' | b'`' | b'(') => true,
                Some(b'<') => self.cursor.byte_at(1) == Some(b'<'),
                Some(byte) if is_word_start(byte) => {
                    super::operator::Operator::at(&self.cursor).is_none()
                        && !matches!(
                            self.cursor.peek_word(),
                            Some("if" | "unless" | "for" | "foreach" | "while" | "until")
                        )
                }
                _ => false,
            };
            match name {
                Some(name) if blank && starts_term => file = Some(Box::new(self.variable(Sigil::Scalar, &name))),
                _ => self.cursor.reset(before),
            }
        } else if let Some(word) = self.cursor.peek_word().map(str::to_owned) {
            let is_upper = word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
            if is_upper && !word.starts_with("__") && !self.is_known_function(&word) {
                let before = self.cursor.pos();
                self.cursor.advance(word.len());
                self.space();
                if matches!(self.cursor.byte(), Some(b',' | b'(' | b'.' | b'-' | b':')) {
                    self.cursor.reset(before);
                } else {
                    file = Some(Box::new(self.file_handle(&word)));
                }
            }
        }
        let arguments = self.comma_list()?;
        if paren {
            self.space();
            if self.cursor.byte() == Some(b')') {
                self.cursor.advance(1);
            } else {
                // `print (…) . …`: the parentheses belonged to the first item only.
                self.cursor.reset(start);
                let arguments = self.comma_list()?;
                return Ok(Expr::Print { builtin, file: None, arguments });
            }
        }
        Ok(Expr::Print { builtin, file, arguments })
    }
}
