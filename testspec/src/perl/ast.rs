//! The syntax tree of Perl code.
//!
//! Names are resolved by the parser: a variable is either [`Expr::Lexical`] or a global with its full
//! name, and a bareword is a call, a constant string or an error before anything runs.

use std::rc::Rc;

use crate::model::{Regex, Value};

use super::builtin::Builtin;

/// A name as it is looked up: lexicals with sigil, globals with their package.
pub(crate) type Name = Rc<str>;

/// A sequence of statements.
pub(crate) type Block = Vec<Statement>;

/// What a variable holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sigil {
    Array,
    Code,
    Hash,
    Scalar,
}

impl Sigil {
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Array => b'@',
            Self::Code => b'&',
            Self::Hash => b'%',
            Self::Scalar => b'$',
        }
    }
}

#[derive(Debug)]
pub(crate) struct Statement {
    /// Offset in the unit's text.
    pub at: u32,
    pub kind: StatementKind,
}

#[derive(Debug)]
pub(crate) enum StatementKind {
    Block { body: Block, label: Option<Name> },
    Expr(Expr),
    For { init: Option<Expr>, condition: Option<Expr>, step: Option<Expr>, body: Block, label: Option<Name> },
    Foreach { variable: LoopVariable, list: Expr, body: Block, label: Option<Name> },
    If { arms: Vec<(Expr, Block)>, otherwise: Option<Block> },
    Package(Name),
    Sub(Rc<SubDefinition>),
    While { condition: Option<Expr>, body: Block, step: Option<Block>, label: Option<Name>, body_first: bool },
}

#[derive(Debug)]
pub(crate) enum LoopVariable {
    Global(Name),
    Lexical(Name),
    My(Name),
}

/// A subroutine's code.
#[derive(Debug)]
pub(crate) struct SubDefinition {
    /// Full name; `None` for an anonymous one.
    pub name: Option<Name>,
    pub package: Name,
    pub prototype: Option<Rc<str>>,
    pub body: Block,
    /// Whether it names elements of `@_`, which are aliases of the caller's variables.
    pub aliases: bool,
    pub unit: Rc<Unit>,
}

/// A text that is compiled as a whole: a file or a string given to `eval`.
#[derive(Debug)]
pub(crate) struct Unit {
    /// The name in messages: a path or `(eval 12)`.
    pub name: String,
    pub text: Rc<[u8]>,
    /// The file, for places in diagnostics.
    pub source: Option<rsty_diag::Source>,
}

impl Unit {
    /// The line of an offset, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        1 + self.text.iter().take(at).filter(|byte| **byte == b'\n').count()
    }
}

/// A piece of an interpolated string or pattern.
#[derive(Debug)]
pub(crate) enum Part {
    Case(Case, Vec<Part>),
    Join(Expr),
    Literal(Vec<u8>),
    Scalar(Expr),
}

/// `\L`, `\l`, `\Q`, `\U`, `\u`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Lower,
    LowerFirst,
    Quote,
    Upper,
    UpperFirst,
}

#[derive(Debug)]
pub(crate) struct Pattern {
    pub parts: Vec<Part>,
    pub flags: String,
    /// Ready-made where nothing is interpolated.
    pub fixed: Option<Regex>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    Add,
    BitAnd,
    BitOr,
    BitXor,
    Concat,
    Divide,
    Equal,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    Modulo,
    Multiply,
    NotEqual,
    NumberOrder,
    Power,
    ShiftLeft,
    ShiftRight,
    StringEqual,
    StringGreater,
    StringGreaterEqual,
    StringLess,
    StringLessEqual,
    StringNotEqual,
    StringOrder,
    Subtract,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogicalOp {
    And,
    Defined,
    Or,
    Xor,
}

/// The operator of an assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AssignOp {
    Binary(BinaryOp),
    Logical(LogicalOp),
    Plain,
    Repeat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declarator {
    My,
    Our,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Jump {
    Last,
    Next,
    Redo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListOp {
    Grep,
    Map,
    Sort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    PostDecrement,
    PostIncrement,
    PreDecrement,
    PreIncrement,
}

#[derive(Debug)]
pub(crate) enum Callee {
    /// `$code->(…)`, `&$code(…)`.
    Dynamic(Box<Expr>),
    /// By full name.
    Named(Name),
}

#[derive(Debug)]
pub(crate) enum MethodName {
    Dynamic(Box<Expr>),
    Static(Name),
}

#[derive(Debug)]
pub(crate) enum Expr {
    AnonArray(Vec<Expr>),
    AnonHash(Vec<Expr>),
    AnonSub(Rc<SubDefinition>),
    /// `@_`.
    Arguments,
    ArrayLast(Box<Expr>),
    ArraySlice(Box<Expr>, Box<Expr>),
    Assign(AssignOp, Box<Expr>, Box<Expr>),
    Backticks(Vec<Part>),
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    BitNot(Box<Expr>),
    Builtin(Builtin, Vec<Expr>),
    /// `current_arguments` is `&name;`, which passes on `@_`.
    Call {
        callee: Callee,
        arguments: Vec<Expr>,
        current_arguments: bool,
    },
    Constant(Value),
    Declare(Declarator, Vec<(Sigil, Name)>, Paren),
    Deref(Sigil, Box<Expr>),
    DoBlock(Block),
    DoFile(Box<Expr>),
    EvalBlock(Block),
    EvalText {
        text: Box<Expr>,
        package: Name,
        strict: bool,
    },
    FileTest(u8, Box<Expr>),
    /// `*{NAME}`: a symbol by its name, with the package it is looked up from.
    Glob(Box<Expr>, Name),
    Global(Sigil, Name),
    HashSlice(Box<Expr>, Box<Expr>),
    Index(Box<Expr>, Box<Expr>),
    Interpolated(Vec<Part>),
    Jump(Jump, Option<Name>),
    Key(Box<Expr>, Box<Expr>),
    Lexical(Sigil, Name),
    List(Vec<Expr>),
    ListOp {
        op: ListOp,
        code: Option<Box<Expr>>,
        body: Option<Block>,
        list: Vec<Expr>,
        package: Name,
    },
    ListSlice(Box<Expr>, Box<Expr>),
    Local(Box<Expr>),
    Logical(LogicalOp, Box<Expr>, Box<Expr>),
    Match {
        target: Option<Box<Expr>>,
        pattern: Box<MatchPattern>,
        negated: bool,
    },
    Method {
        invocant: Box<Expr>,
        name: MethodName,
        arguments: Vec<Expr>,
    },
    Negate(Box<Expr>),
    Not(Box<Expr>),
    Print {
        builtin: Builtin,
        file: Option<Box<Expr>>,
        arguments: Vec<Expr>,
    },
    Qr(Pattern),
    Range(Box<Expr>, Box<Expr>),
    ReadLine(Box<Expr>),
    Reference(Box<Expr>),
    Repeat {
        what: Box<Expr>,
        times: Box<Expr>,
        is_list: bool,
    },
    Require(Box<Expr>),
    Return(Option<Box<Expr>>),
    /// `state`, numbered through.
    State {
        id: usize,
        name: Name,
        init: Option<Box<Expr>>,
    },
    Step(Step, Box<Expr>),
    Substitute {
        target: Option<Box<Expr>>,
        pattern: Pattern,
        replacement: Box<Expr>,
        flags: String,
    },
    Ternary(Box<Expr>, Box<Expr>, Box<Expr>),
    Transliterate {
        target: Option<Box<Expr>>,
        from: Vec<u8>,
        to: Vec<u8>,
        flags: String,
    },
    WantArray,
}

/// Whether a declaration stood in parentheses: `my ($x)` assigns a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paren {
    No,
    Yes,
}

/// What is matched: a literal pattern or an expression that becomes one.
#[derive(Debug)]
pub(crate) enum MatchPattern {
    Dynamic(Expr),
    Literal(Pattern),
}
