//! The parser: statements. Expressions are in `expression.rs`.

mod expression;

use super::lexer::{Kind, LexError, Lexer, Token};
use super::names::Symbol;
use super::scope::{FrameKind, JumpError, LABELS_MAX, LOCALS_MAX, Scopes, declared};
use super::tree::*;
use rsty_diag::render::printable;

/// Nested levels of syntax; LuaJIT's limit.
const LEVELS_MAX: u32 = 200;

/// Why a chunk is not Lua.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// What is wrong, in LuaJIT's words where it has any.
    pub message: String,
    /// The token at which it shows.
    pub range: Range,
    /// A place that explains it, such as the `if` that lacks its `end`.
    pub opened: Option<Range>,
}

/// Parses a chunk.
pub fn parse(text: &[u8]) -> Result<Tree<'_>, SyntaxError> {
    if u32::try_from(text.len()).is_err() {
        return Err(SyntaxError { message: "chunk is too large".into(), range: Range::default(), opened: None });
    }
    let mut parser = Parser::new(text)?;
    parser.chunk()?;
    parser.tree.remarks = parser.lexer.into_remarks();
    Ok(parser.tree)
}

type Parsed<T> = Result<T, SyntaxError>;

struct Parser<'s> {
    lexer: Lexer<'s>,
    token: Token,
    ahead: Option<Token>,
    /// Where the token before the current one ended.
    before: u32,
    tree: Tree<'s>,
    scopes: Scopes,
    function: FunctionId,
    loops: u16,
    level: u32,
    /// Members of lists that are still being read.
    pending: Vec<u32>,
    pending_fields: Vec<Field>,
}

impl<'s> Parser<'s> {
    fn new(text: &'s [u8]) -> Parsed<Self> {
        let tree = Tree {
            text,
            names: super::Names::default(),
            exprs: Vec::with_capacity(text.len() / 12),
            stats: Vec::with_capacity(text.len() / 48),
            blocks: Vec::new(),
            functions: Vec::new(),
            fields: Vec::new(),
            locals: Vec::new(),
            globals: Vec::new(),
            unused_labels: Vec::new(),
            remarks: Vec::new(),
            lists: Vec::with_capacity(text.len() / 24),
            main: BlockId(0),
        };
        let mut parser = Self {
            lexer: Lexer::new(text),
            token: Token { kind: Kind::EndOfFile, start: 0, end: 0 },
            ahead: None,
            before: 0,
            tree,
            scopes: Scopes::default(),
            function: FunctionId(0),
            loops: 0,
            level: 0,
            pending: Vec::new(),
            pending_fields: Vec::new(),
        };
        parser.token = parser.lexer.read().map_err(lexical)?;
        Ok(parser)
    }

    fn chunk(&mut self) -> Parsed<()> {
        let range = Range { start: 0, end: self.tree.text.len() as u32 };
        self.tree.functions.push(Function {
            parent: None,
            range,
            parameters: List::default(),
            variadic: true,
            body: BlockId(0),
            loops: 0,
            exprs: (0, 0),
        });
        self.scopes.open(FrameKind::Function);
        let body = self.block()?;
        if self.token.kind != Kind::EndOfFile {
            return Err(self.expected(Kind::EndOfFile));
        }
        self.close_scope()?;
        self.tree.functions[0].body = body;
        self.tree.functions[0].exprs.1 = self.tree.exprs.len() as u32;
        self.tree.main = body;
        Ok(())
    }

    // Tokens.

    fn advance(&mut self) -> Parsed<Token> {
        let taken = self.token;
        self.before = taken.end;
        self.token = match self.ahead.take() {
            Some(token) => token,
            None => self.lexer.read().map_err(lexical)?,
        };
        Ok(taken)
    }

    fn look_ahead(&mut self) -> Parsed<Kind> {
        if self.ahead.is_none() {
            self.ahead = Some(self.lexer.read().map_err(lexical)?);
        }
        Ok(self.ahead.map_or(Kind::EndOfFile, |token| token.kind))
    }

    fn accept(&mut self, kind: Kind) -> Parsed<bool> {
        let found = self.token.kind == kind;
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, kind: Kind) -> Parsed<Token> {
        if self.token.kind == kind { self.advance() } else { Err(self.expected(kind)) }
    }

    /// Expects the token that closes what `opener` opened.
    fn expect_closing(&mut self, kind: Kind, opener: Token) -> Parsed<Token> {
        if self.token.kind == kind {
            return self.advance();
        }
        let mut error = self.expected(kind);
        let opened = Range { start: opener.start, end: opener.end };
        error.message = format!(
            "'{}' expected (to close '{}') near {}",
            kind.expected(),
            printable(self.tree.slice(opened)),
            self.near()
        );
        error.opened = Some(opened);
        Err(error)
    }

    /// A name. `goto` is one where no label follows it.
    fn name(&mut self) -> Parsed<(Symbol, Range)> {
        if !matches!(self.token.kind, Kind::Name | Kind::Goto) {
            return Err(self.expected(Kind::Name));
        }
        let token = self.advance()?;
        let range = Range { start: token.start, end: token.end };
        Ok((
            self.tree.names.intern(self.tree.text.get(token.start as usize..token.end as usize).unwrap_or_default()),
            range,
        ))
    }

    fn here(&self) -> Range {
        Range { start: self.token.start, end: self.token.end }
    }

    fn since(&self, start: u32) -> Range {
        Range { start, end: self.before.max(start) }
    }

    // Errors.

    fn near(&self) -> String {
        match self.token.kind {
            Kind::EndOfFile => "'<eof>'".to_owned(),
            _ => {
                let text = printable(self.tree.slice(self.here()));
                let short: String = text.chars().take(40).collect();
                if short.len() < text.len() { format!("'{short}…'") } else { format!("'{short}'") }
            }
        }
    }

    fn error(&self, message: String) -> SyntaxError {
        SyntaxError { message, range: self.here(), opened: None }
    }

    fn expected(&self, kind: Kind) -> SyntaxError {
        let expected = kind.expected();
        let quoted = if expected.starts_with('<') { expected } else { format!("'{expected}'") };
        self.error(format!("{quoted} expected near {}", self.near()))
    }

    fn unexpected(&self) -> SyntaxError {
        self.error(format!("unexpected symbol near {}", self.near()))
    }

    fn enter(&mut self) -> Parsed<()> {
        self.level += 1;
        if self.level >= LEVELS_MAX {
            return Err(self.error("chunk has too many syntax levels".into()));
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.level -= 1;
    }

    // Lists.

    fn list(&mut self, from: usize) -> List {
        let start = self.tree.lists.len() as u32;
        let count = (self.pending.len() - from) as u32;
        self.tree.lists.extend(self.pending.drain(from..));
        List { start, count }
    }

    // Scopes.

    fn close_scope(&mut self) -> Parsed<()> {
        let closed = self.scopes.close(&self.tree.locals, &mut self.tree.unused_labels);
        closed.map_err(|error| self.jump_error(&error))
    }

    fn jump_error(&self, error: &JumpError) -> SyntaxError {
        let name = |symbol: Symbol| printable(self.tree.name(symbol));
        let (message, range) = match error {
            JumpError::Duplicate => ("duplicate label".to_owned(), self.since(self.before)),
            JumpError::IntoScope(label, range) => {
                (format!("<goto {}> jumps into the scope of a local", name(*label)), *range)
            }
            JumpError::Undefined(label, range) => (format!("undefined label '{}'", name(*label)), *range),
        };
        SyntaxError { message, range, opened: None }
    }

    fn declare(&mut self, (name, range): (Symbol, Range), kind: LocalKind) -> LocalId {
        self.tree.locals.push(declared(name, range, self.function, kind));
        LocalId(self.tree.locals.len() as u32 - 1)
    }

    fn activate(&mut self, local: LocalId) -> Parsed<()> {
        let range = self.tree.local(local).range;
        self.scopes.activate(local, &mut self.tree.locals).ok_or_else(|| SyntaxError {
            message: format!("function has more than {LOCALS_MAX} local variables"),
            range,
            opened: None,
        })
    }

    // Statements.

    /// Statements up to a closing word, in the scope that is open.
    fn block(&mut self) -> Parsed<BlockId> {
        self.enter()?;
        let from = self.pending.len();
        let start = self.token.start;
        while !self.at_block_end() {
            let last = self.token.kind == Kind::Return;
            let id = self.statement()?;
            self.pending.push(id.0);
            if last {
                break;
            }
        }
        let stats = self.list(from);
        self.leave();
        self.tree.blocks.push(Block { stats, range: Range { start, end: self.token.start } });
        Ok(BlockId(self.tree.blocks.len() as u32 - 1))
    }

    fn at_block_end(&self) -> bool {
        matches!(self.token.kind, Kind::Else | Kind::Elseif | Kind::End | Kind::EndOfFile | Kind::Until)
    }

    /// A block with a scope of its own.
    fn scoped_block(&mut self, kind: FrameKind) -> Parsed<BlockId> {
        self.scopes.open(kind);
        let body = self.block()?;
        self.close_scope()?;
        Ok(body)
    }

    fn loop_block(&mut self) -> Parsed<BlockId> {
        self.loops = self.loops.saturating_add(1);
        let body = self.scoped_block(FrameKind::Loop)?;
        self.loops -= 1;
        Ok(body)
    }

    fn statement(&mut self) -> Parsed<StatId> {
        let start = self.token.start;
        let first = self.token.kind;
        let kind = match first {
            Kind::If => self.if_statement()?,
            Kind::While => self.while_statement()?,
            Kind::Do => {
                let opener = self.advance()?;
                let body = self.scoped_block(FrameKind::Block)?;
                self.expect_closing(Kind::End, opener)?;
                StatKind::Do(body)
            }
            Kind::For => self.for_statement()?,
            Kind::Repeat => self.repeat_statement()?,
            Kind::Function => self.function_statement()?,
            Kind::Local => {
                self.advance()?;
                if self.token.kind == Kind::Function { self.local_function()? } else { self.local_statement()? }
            }
            Kind::Return => self.return_statement()?,
            Kind::Break => {
                if !self.scopes.in_loop() {
                    return Err(self.error("'break' outside a loop".into()));
                }
                self.advance()?;
                StatKind::Break
            }
            Kind::Char(b';') => {
                self.advance()?;
                StatKind::Empty
            }
            Kind::LabelMark => self.label()?,
            Kind::Goto if self.look_ahead()? == Kind::Name => {
                self.advance()?;
                let (name, range) = self.name()?;
                self.check_labels()?;
                self.scopes.jump(name, range);
                StatKind::Goto(name)
            }
            _ => self.call_or_assignment()?,
        };
        let mut range = self.since(start);
        if !matches!(kind, StatKind::Empty) && self.token.kind == Kind::Char(b';') {
            self.advance()?;
            range = self.since(start);
        }
        self.tree.stats.push(Stat { kind, range, function: self.function, loops: self.loops });
        Ok(StatId(self.tree.stats.len() as u32 - 1))
    }

    fn if_statement(&mut self) -> Parsed<StatKind> {
        let opener = self.token;
        let from = self.pending.len();
        let mut otherwise = None;
        loop {
            self.advance()?;
            let condition = self.expression()?;
            self.expect(Kind::Then)?;
            let body = self.scoped_block(FrameKind::Block)?;
            self.pending.extend([condition.0, body.0]);
            if self.token.kind != Kind::Elseif {
                break;
            }
        }
        if self.accept(Kind::Else)? {
            otherwise = Some(self.scoped_block(FrameKind::Block)?);
        }
        self.expect_closing(Kind::End, opener)?;
        Ok(StatKind::If { arms: self.list(from), otherwise })
    }

    fn while_statement(&mut self) -> Parsed<StatKind> {
        let opener = self.advance()?;
        let condition = self.expression()?;
        self.expect(Kind::Do)?;
        let body = self.loop_block()?;
        self.expect_closing(Kind::End, opener)?;
        Ok(StatKind::While { condition, body })
    }

    /// The condition sees the body's locals, so the scope stays open over it.
    fn repeat_statement(&mut self) -> Parsed<StatKind> {
        let opener = self.advance()?;
        self.loops = self.loops.saturating_add(1);
        self.scopes.open(FrameKind::Loop);
        let body = self.block()?;
        self.expect_closing(Kind::Until, opener)?;
        let condition = self.expression()?;
        self.close_scope()?;
        self.loops -= 1;
        Ok(StatKind::Repeat { body, condition })
    }

    fn for_statement(&mut self) -> Parsed<StatKind> {
        let opener = self.advance()?;
        let first = self.name()?;
        match self.token.kind {
            Kind::Char(b'=') => self.numeric_for(opener, first),
            Kind::Char(b',') | Kind::In => self.generic_for(opener, first),
            _ => Err(self.error(format!("'=' or 'in' expected near {}", self.near()))),
        }
    }

    fn numeric_for(&mut self, opener: Token, name: (Symbol, Range)) -> Parsed<StatKind> {
        self.advance()?;
        let start = self.expression()?;
        self.expect(Kind::Char(b','))?;
        let limit = self.expression()?;
        let step = if self.accept(Kind::Char(b','))? { Some(self.expression()?) } else { None };
        self.expect(Kind::Do)?;
        let local = self.declare(name, LocalKind::Loop);
        let body = self.for_body(opener, &[local])?;
        Ok(StatKind::NumericFor { local, start, limit, step, body })
    }

    fn generic_for(&mut self, opener: Token, first: (Symbol, Range)) -> Parsed<StatKind> {
        let mut names = vec![first];
        while self.accept(Kind::Char(b','))? {
            names.push(self.name()?);
        }
        self.expect(Kind::In)?;
        let values = self.expression_list()?;
        self.expect(Kind::Do)?;
        let locals: Vec<_> = names.into_iter().map(|name| self.declare(name, LocalKind::Loop)).collect();
        let body = self.for_body(opener, &locals)?;
        let from = self.pending.len();
        self.pending.extend(locals.iter().map(|local| local.0));
        Ok(StatKind::GenericFor { locals: self.list(from), values, body })
    }

    fn for_body(&mut self, opener: Token, locals: &[LocalId]) -> Parsed<BlockId> {
        self.scopes.open(FrameKind::Loop);
        for local in locals {
            self.activate(*local)?;
        }
        let body = self.loop_block()?;
        self.close_scope()?;
        self.expect_closing(Kind::End, opener)?;
        Ok(body)
    }

    fn function_statement(&mut self) -> Parsed<StatKind> {
        let opener = self.advance()?;
        let (name, range) = self.name()?;
        let mut target = self.variable(name, range);
        let mut method = None;
        loop {
            let colon = match self.token.kind {
                Kind::Char(b'.') => false,
                Kind::Char(b':') => true,
                _ => break,
            };
            self.advance()?;
            let (name, range) = self.name()?;
            let key = self.push(ExprKind::Key(name), range);
            target = self.push(ExprKind::Index { object: target, key }, self.since(self.tree.expr(target).range.start));
            if colon {
                method = Some(range);
                break;
            }
        }
        self.mark_written(target);
        let value = self.function_body(opener, method)?;
        Ok(StatKind::Function { target, value })
    }

    fn local_function(&mut self) -> Parsed<StatKind> {
        let opener = self.advance()?;
        let name = self.name()?;
        let local = self.declare(name, LocalKind::Function);
        self.activate(local)?;
        let value = self.function_body(opener, None)?;
        self.tree.locals[local.index()].value = Some(value);
        Ok(StatKind::LocalFunction { local, value })
    }

    fn local_statement(&mut self) -> Parsed<StatKind> {
        let mut names = Vec::with_capacity(1);
        loop {
            names.push(self.name()?);
            if !self.accept(Kind::Char(b','))? {
                break;
            }
        }
        let values = if self.accept(Kind::Char(b'='))? { self.expression_list()? } else { List::default() };
        let given: Vec<_> = self.tree.expr_list(values).collect();
        let from = self.pending.len();
        for (index, name) in names.into_iter().enumerate() {
            let local = self.declare(name, LocalKind::Variable);
            self.tree.locals[local.index()].value = given.get(index).copied();
            self.pending.push(local.0);
        }
        for index in from..self.pending.len() {
            self.activate(LocalId(self.pending[index]))?;
        }
        Ok(StatKind::Local { locals: self.list(from), values })
    }

    fn return_statement(&mut self) -> Parsed<StatKind> {
        self.advance()?;
        let empty = self.at_block_end() || self.token.kind == Kind::Char(b';');
        let values = if empty { List::default() } else { self.expression_list()? };
        Ok(StatKind::Return(values))
    }

    fn label(&mut self) -> Parsed<StatKind> {
        self.advance()?;
        let (name, range) = self.name()?;
        self.expect(Kind::LabelMark)?;
        self.check_labels()?;
        // LuaJIT looks through the labels and semicolons that follow. Here they are statements of their own, so a
        // label in front of another one asks the lexer's copy.
        let last = self.only_labels_follow()?;
        self.scopes.label(name, range, last).map_err(|error| self.jump_error(&error))?;
        Ok(StatKind::Label(name))
    }

    fn check_labels(&self) -> Parsed<()> {
        if self.scopes.labels_and_jumps() < LABELS_MAX {
            return Ok(());
        }
        Err(self.error(format!("chunk has more than {LABELS_MAX} labels")))
    }

    /// Whether the block ends behind the labels and semicolons that come now, other than at `until`.
    fn only_labels_follow(&mut self) -> Parsed<bool> {
        let ends = |kind| matches!(kind, Kind::Else | Kind::Elseif | Kind::End | Kind::EndOfFile);
        if !matches!(self.token.kind, Kind::LabelMark | Kind::Char(b';')) {
            return Ok(ends(self.token.kind));
        }
        let mut lexer = Lexer::resumed(self.tree.text, self.token.start as usize);
        for _ in 0..LEVELS_MAX {
            let mut next = || lexer.read().map_err(lexical);
            match next()?.kind {
                Kind::Char(b';') => {}
                Kind::LabelMark => {
                    next()?;
                    next()?;
                }
                kind => return Ok(ends(kind)),
            }
        }
        Err(self.error("chunk has too many syntax levels".into()))
    }

    fn call_or_assignment(&mut self) -> Parsed<StatKind> {
        let target = self.suffixed()?;
        if matches!(self.token.kind, Kind::Char(b'=' | b',')) {
            return self.assignment(target);
        }
        let expr = self.tree.expr(target);
        match expr.kind {
            ExprKind::Call { .. } | ExprKind::MethodCall { .. } if !expr.parenthesised => Ok(StatKind::Call(target)),
            _ => Err(self.unexpected()),
        }
    }

    fn assignment(&mut self, first: ExprId) -> Parsed<StatKind> {
        let from = self.pending.len();
        self.check_target(first)?;
        self.pending.push(first.0);
        while self.accept(Kind::Char(b','))? {
            let target = self.suffixed()?;
            self.check_target(target)?;
            self.pending.push(target.0);
        }
        self.expect(Kind::Char(b'='))?;
        let values = self.expression_list()?;
        for index in from..self.pending.len() {
            self.mark_written(ExprId(self.pending[index]));
        }
        Ok(StatKind::Assign { targets: self.list(from), values })
    }

    fn check_target(&self, target: ExprId) -> Parsed<()> {
        let expr = self.tree.expr(target);
        match expr.kind {
            ExprKind::Local(_) | ExprKind::Global(_) | ExprKind::Index { .. } if !expr.parenthesised => Ok(()),
            _ => Err(self.unexpected()),
        }
    }

    /// A variable was read when its name was met; now it turns out to be assigned.
    fn mark_written(&mut self, target: ExprId) {
        match self.tree.expr(target).kind {
            ExprKind::Local(id) => {
                let local = &mut self.tree.locals[id.index()];
                local.reads -= 1;
                local.writes += 1;
            }
            ExprKind::Global(index) => self.tree.globals[index as usize].access = Access::Write,
            _ => {}
        }
    }
}

fn lexical(error: LexError) -> SyntaxError {
    SyntaxError { message: error.message.to_owned(), range: Range { start: error.start, end: error.end }, opened: None }
}
