//! The parser: expressions.

use super::*;

impl Parser<'_> {
    pub(super) fn push(&mut self, kind: ExprKind, range: Range) -> ExprId {
        self.tree.exprs.push(Expr { kind, range, function: self.function, loops: self.loops, parenthesised: false });
        ExprId(self.tree.exprs.len() as u32 - 1)
    }

    /// A use of a name, resolved. It counts as read until an assignment says otherwise.
    pub(super) fn variable(&mut self, name: Symbol, range: Range) -> ExprId {
        let kind = match self.scopes.lookup(name) {
            Some(id) => {
                let local = &mut self.tree.locals[id.index()];
                local.reads += 1;
                local.captured |= local.function != self.function;
                ExprKind::Local(id)
            }
            None => {
                self.tree.globals.push(GlobalUse { name, range, access: Access::Read, function: self.function });
                ExprKind::Global(self.tree.globals.len() as u32 - 1)
            }
        };
        self.push(kind, range)
    }

    pub(super) fn expression_list(&mut self) -> Parsed<List> {
        let from = self.pending.len();
        loop {
            let value = self.expression()?;
            self.pending.push(value.0);
            if !self.accept(Kind::Char(b','))? {
                return Ok(self.list(from));
            }
        }
    }

    pub(super) fn expression(&mut self) -> Parsed<ExprId> {
        self.binary(0)
    }

    /// An expression whose operators bind tighter than `limit`.
    fn binary(&mut self, limit: u8) -> Parsed<ExprId> {
        self.enter()?;
        let mut left = self.unary()?;
        while let Some((operator, left_power, right_power)) = operator(self.token.kind) {
            if left_power <= limit {
                break;
            }
            self.advance()?;
            let right = self.binary(right_power)?;
            let range = self.since(self.tree.expr(left).range.start);
            left = self.push(ExprKind::Binary { operator, left, right }, range);
        }
        self.leave();
        Ok(left)
    }

    fn unary(&mut self) -> Parsed<ExprId> {
        let operator = match self.token.kind {
            Kind::Not => Unary::Not,
            Kind::Char(b'-') => Unary::Minus,
            Kind::Char(b'#') => Unary::Length,
            _ => return self.simple(),
        };
        let start = self.advance()?.start;
        let operand = self.binary(UNARY_POWER)?;
        Ok(self.push(ExprKind::Unary { operator, operand }, self.since(start)))
    }

    fn simple(&mut self) -> Parsed<ExprId> {
        let kind = match self.token.kind {
            Kind::Number => ExprKind::Number,
            Kind::Text => ExprKind::Text,
            Kind::Nil => ExprKind::Nil,
            Kind::True => ExprKind::True,
            Kind::False => ExprKind::False,
            Kind::Dots => {
                if !self.tree.function(self.function).variadic {
                    return Err(self.error("cannot use '...' outside a vararg function".into()));
                }
                ExprKind::Dots
            }
            Kind::Char(b'{') => return self.table(),
            Kind::Function => {
                let opener = self.advance()?;
                return self.function_body(opener, None);
            }
            _ => return self.suffixed(),
        };
        let range = self.here();
        self.advance()?;
        Ok(self.push(kind, range))
    }

    /// A name or parenthesised expression with the indices and calls that follow it.
    pub(super) fn suffixed(&mut self) -> Parsed<ExprId> {
        let start = self.token.start;
        let mut expr = match self.token.kind {
            Kind::Char(b'(') => {
                let opener = self.advance()?;
                let inner = self.expression()?;
                self.expect_closing(Kind::Char(b')'), opener)?;
                self.tree.exprs[inner.index()].parenthesised = true;
                inner
            }
            Kind::Name | Kind::Goto => {
                let (name, range) = self.name()?;
                self.variable(name, range)
            }
            _ => return Err(self.unexpected()),
        };
        loop {
            let kind = match self.token.kind {
                Kind::Char(b'.') => {
                    self.advance()?;
                    let (name, range) = self.name()?;
                    let key = self.push(ExprKind::Key(name), range);
                    ExprKind::Index { object: expr, key }
                }
                Kind::Char(b'[') => {
                    let opener = self.advance()?;
                    let key = self.expression()?;
                    self.expect_closing(Kind::Char(b']'), opener)?;
                    ExprKind::Index { object: expr, key }
                }
                Kind::Char(b':') => {
                    self.advance()?;
                    let (method, _) = self.name()?;
                    let arguments = self.arguments()?;
                    ExprKind::MethodCall { object: expr, method, arguments }
                }
                Kind::Char(b'(' | b'{') | Kind::Text => {
                    let arguments = self.arguments()?;
                    ExprKind::Call { callee: expr, arguments }
                }
                _ => return Ok(expr),
            };
            expr = self.push(kind, self.since(start));
        }
    }

    fn arguments(&mut self) -> Parsed<List> {
        let from = self.pending.len();
        match self.token.kind {
            Kind::Char(b'(') => {
                let opener = self.advance()?;
                if self.accept(Kind::Char(b')'))? {
                    return Ok(List::default());
                }
                let arguments = self.expression_list()?;
                self.expect_closing(Kind::Char(b')'), opener)?;
                return Ok(arguments);
            }
            Kind::Char(b'{') => {
                let table = self.table()?;
                self.pending.push(table.0);
            }
            Kind::Text => {
                let range = self.here();
                self.advance()?;
                let text = self.push(ExprKind::Text, range);
                self.pending.push(text.0);
            }
            _ => return Err(self.error(format!("function arguments expected near {}", self.near()))),
        }
        Ok(self.list(from))
    }

    fn table(&mut self) -> Parsed<ExprId> {
        let opener = self.advance()?;
        let from = self.pending_fields.len();
        while self.token.kind != Kind::Char(b'}') {
            let first = self.token.kind;
            let key = match first {
                Kind::Char(b'[') => {
                    let bracket = self.advance()?;
                    let key = self.expression()?;
                    self.expect_closing(Kind::Char(b']'), bracket)?;
                    self.expect(Kind::Char(b'='))?;
                    Some(key)
                }
                Kind::Name | Kind::Goto if self.look_ahead()? == Kind::Char(b'=') => {
                    let (name, range) = self.name()?;
                    self.advance()?;
                    Some(self.push(ExprKind::Key(name), range))
                }
                _ => None,
            };
            let value = self.expression()?;
            self.pending_fields.push(Field { key, value });
            if !self.accept(Kind::Char(b','))? && !self.accept(Kind::Char(b';'))? {
                break;
            }
        }
        self.expect_closing(Kind::Char(b'}'), opener)?;
        let start = self.tree.fields.len() as u32;
        let count = (self.pending_fields.len() - from) as u32;
        self.tree.fields.extend(self.pending_fields.drain(from..));
        Ok(self.push(ExprKind::Table(List { start, count }), self.since(opener.start)))
    }

    /// Parameters and body. `method` is the place of the name behind a colon: then there is a `self`.
    pub(super) fn function_body(&mut self, opener: Token, method: Option<Range>) -> Parsed<ExprId> {
        let id = FunctionId(self.tree.functions.len() as u32);
        let outer = std::mem::replace(&mut self.function, id);
        let loops = std::mem::take(&mut self.loops);
        self.tree.functions.push(Function {
            parent: Some(outer),
            range: Range { start: opener.start, end: opener.end },
            parameters: List::default(),
            variadic: false,
            body: BlockId(0),
            loops,
            exprs: (self.tree.exprs.len() as u32, 0),
        });
        self.scopes.open(FrameKind::Function);
        self.parameters(id, method)?;
        let body = self.block()?;
        self.close_scope()?;
        self.expect_closing(Kind::End, opener)?;
        let range = self.since(opener.start);
        let function = &mut self.tree.functions[id.index()];
        function.body = body;
        function.range = range;
        function.exprs.1 = self.tree.exprs.len() as u32;
        self.function = outer;
        self.loops = loops;
        Ok(self.push(ExprKind::Function(id), range))
    }

    fn parameters(&mut self, function: FunctionId, method: Option<Range>) -> Parsed<()> {
        let mut locals = Vec::new();
        if let Some(range) = method {
            let name = self.tree.names.intern(b"self");
            locals.push(self.declare((name, range), LocalKind::SelfParameter));
        }
        let opener = self.expect(Kind::Char(b'('))?;
        if self.token.kind != Kind::Char(b')') {
            loop {
                if self.accept(Kind::Dots)? {
                    self.tree.functions[function.index()].variadic = true;
                    break;
                }
                let name = self.name()?;
                locals.push(self.declare(name, LocalKind::Parameter));
                if !self.accept(Kind::Char(b','))? {
                    break;
                }
            }
        }
        self.expect_closing(Kind::Char(b')'), opener)?;
        let from = self.pending.len();
        for local in locals {
            self.activate(local)?;
            self.pending.push(local.0);
        }
        self.tree.functions[function.index()].parameters = self.list(from);
        Ok(())
    }
}

/// How tight a unary operator binds.
const UNARY_POWER: u8 = 8;

/// A binary operator with how tight it binds to its left and right.
fn operator(kind: Kind) -> Option<(Binary, u8, u8)> {
    Some(match kind {
        Kind::Or => (Binary::Or, 1, 1),
        Kind::And => (Binary::And, 2, 2),
        Kind::Equal => (Binary::Equal, 3, 3),
        Kind::NotEqual => (Binary::NotEqual, 3, 3),
        Kind::Char(b'<') => (Binary::Less, 3, 3),
        Kind::LessEqual => (Binary::LessEqual, 3, 3),
        Kind::Char(b'>') => (Binary::Greater, 3, 3),
        Kind::GreaterEqual => (Binary::GreaterEqual, 3, 3),
        Kind::Concat => (Binary::Concat, 5, 4),
        Kind::Char(b'+') => (Binary::Add, 6, 6),
        Kind::Char(b'-') => (Binary::Subtract, 6, 6),
        Kind::Char(b'*') => (Binary::Multiply, 7, 7),
        Kind::Char(b'/') => (Binary::Divide, 7, 7),
        Kind::Char(b'%') => (Binary::Modulo, 7, 7),
        Kind::Char(b'^') => (Binary::Power, 10, 9),
        _ => return None,
    })
}
