//! The tree of a chunk: arrays of nodes that name each other by index.
//!
//! Children stand before their parents. Lists (arguments, statements of a block …) are ranges of one
//! shared array.

use super::names::{Names, Symbol};

macro_rules! index {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(crate) u32);

        impl $name {
            /// Position in the tree's array.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

index! {
    /// An expression of a tree.
    ExprId;
    /// A statement of a tree.
    StatId;
    /// A block of a tree.
    BlockId;
    /// A function of a tree; the first is the main chunk.
    FunctionId;
    /// A local variable of a tree.
    LocalId;
}

/// A range of bytes of the chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset behind the last byte.
    pub end: u32,
}

impl Range {
    /// From one range's start to the other's end.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end }
    }

    /// Whether `offset` lies inside.
    pub fn contains(self, offset: u32) -> bool {
        (self.start..self.end).contains(&offset)
    }
}

/// A list of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct List {
    pub(crate) start: u32,
    pub(crate) count: u32,
}

impl List {
    /// Number of nodes.
    pub fn len(self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.count == 0
    }
}

/// An expression.
#[derive(Clone, Copy, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Its bytes.
    pub range: Range,
    /// The function it stands in.
    pub function: FunctionId,
    /// How many loops of that function surround it.
    pub loops: u16,
    /// Whether it stands in parentheses.
    pub parenthesised: bool,
}

/// What an expression is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are the parts of Lua's grammar")]
pub enum ExprKind {
    Nil,
    True,
    False,
    Number,
    /// A string; [`Tree::string`] gives its value.
    Text,
    Dots,
    Function(FunctionId),
    Local(LocalId),
    /// A global; the index counts in [`Tree::globals`].
    Global(u32),
    /// `object[key]` and `object.key`; there the key is a [`ExprKind::Key`].
    Index {
        object: ExprId,
        key: ExprId,
    },
    /// A name behind a dot, or before `=` in a table.
    Key(Symbol),
    Call {
        callee: ExprId,
        arguments: List,
    },
    MethodCall {
        object: ExprId,
        method: Symbol,
        arguments: List,
    },
    /// A table; the list counts in [`Tree::fields`].
    Table(List),
    Binary {
        operator: Binary,
        left: ExprId,
        right: ExprId,
    },
    Unary {
        operator: Unary,
        operand: ExprId,
    },
}

/// Operators between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are Lua's own operators")]
pub enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Concat,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    And,
    Or,
}

/// Operators before an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are Lua's own operators")]
pub enum Unary {
    Minus,
    Not,
    Length,
}

/// An entry of a table constructor.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The key; `None` in a list.
    pub key: Option<ExprId>,
    /// The value.
    pub value: ExprId,
}

/// A statement.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// What it is.
    pub kind: StatKind,
    /// Its bytes.
    pub range: Range,
    /// The function it stands in.
    pub function: FunctionId,
    /// How many loops of that function surround it.
    pub loops: u16,
}

/// What a statement is.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the fields are the parts of Lua's grammar")]
pub enum StatKind {
    Assign {
        targets: List,
        values: List,
    },
    Break,
    Call(ExprId),
    Do(BlockId),
    Empty,
    /// `function target() … end`.
    Function {
        target: ExprId,
        value: ExprId,
    },
    GenericFor {
        locals: List,
        values: List,
        body: BlockId,
    },
    Goto(Symbol),
    /// The list holds a condition and a block in turn.
    If {
        arms: List,
        otherwise: Option<BlockId>,
    },
    Label(Symbol),
    Local {
        locals: List,
        values: List,
    },
    LocalFunction {
        local: LocalId,
        value: ExprId,
    },
    NumericFor {
        local: LocalId,
        start: ExprId,
        limit: ExprId,
        step: Option<ExprId>,
        body: BlockId,
    },
    Repeat {
        body: BlockId,
        condition: ExprId,
    },
    Return(List),
    While {
        condition: ExprId,
        body: BlockId,
    },
}

/// A sequence of statements.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// The statements.
    pub stats: List,
    /// The bytes from the first statement to the closing word.
    pub range: Range,
}

/// A function or the main chunk.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// The function around it; `None` for the main chunk.
    pub parent: Option<FunctionId>,
    /// From `function` to `end`.
    pub range: Range,
    /// Its parameters, with `self` where it was declared with a colon.
    pub parameters: List,
    /// Whether it takes `...`.
    pub variadic: bool,
    /// The statements.
    pub body: BlockId,
    /// How many loops of the function around it surround it.
    pub loops: u16,
    /// The expressions of its body: from the first one up to, but not with, the second.
    pub exprs: (u32, u32),
}

/// How a local came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalKind {
    /// `local x`.
    Variable,
    /// `local function x`.
    Function,
    /// A parameter.
    Parameter,
    /// The `self` of a function declared with a colon.
    SelfParameter,
    /// A loop's variable.
    Loop,
}

/// A local variable.
#[derive(Clone, Copy, Debug)]
pub struct Local {
    /// Its name.
    pub name: Symbol,
    /// Where it is declared.
    pub range: Range,
    /// The function it belongs to.
    pub function: FunctionId,
    /// How it came to be.
    pub kind: LocalKind,
    /// The local of the same name that it hides.
    pub shadows: Option<LocalId>,
    /// The expression in its declaration, where there is one for it.
    pub value: Option<ExprId>,
    /// How often it is read.
    pub reads: u32,
    /// How often it is assigned to, its declaration aside.
    pub writes: u32,
    /// Whether a function inside uses it.
    pub captured: bool,
}

/// Whether a variable is read or assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Access {
    /// The value is used.
    Read,
    /// The variable is assigned.
    Write,
}

/// A use of a name that no local in scope has.
#[derive(Clone, Copy, Debug)]
pub struct GlobalUse {
    /// The name.
    pub name: Symbol,
    /// Where it stands.
    pub range: Range,
    /// Read or assigned.
    pub access: Access,
    /// The function it stands in.
    pub function: FunctionId,
}

/// A parsed chunk.
#[derive(Debug)]
pub struct Tree<'s> {
    /// The chunk.
    pub text: &'s [u8],
    /// Its identifiers.
    pub names: Names<'s>,
    /// Expressions, children first.
    pub exprs: Vec<Expr>,
    /// Statements; inner ones before those around them.
    pub stats: Vec<Stat>,
    /// Blocks.
    pub blocks: Vec<Block>,
    /// Functions; the first is the main chunk.
    pub functions: Vec<Function>,
    /// Entries of table constructors.
    pub fields: Vec<Field>,
    /// Locals, in the order of their declaration.
    pub locals: Vec<Local>,
    /// Uses of globals, in the order of the text.
    pub globals: Vec<GlobalUse>,
    /// Labels that no `goto` uses.
    pub unused_labels: Vec<(Symbol, Range)>,
    /// Comments that address a linter.
    pub remarks: Vec<(u32, u32)>,
    pub(crate) lists: Vec<u32>,
    pub(crate) main: BlockId,
}

impl<'s> Tree<'s> {
    /// An expression.
    pub fn expr(&self, id: ExprId) -> &Expr {
        &self.exprs[id.index()]
    }

    /// A statement.
    pub fn stat(&self, id: StatId) -> &Stat {
        &self.stats[id.index()]
    }

    /// A block.
    pub fn block(&self, id: BlockId) -> &Block {
        &self.blocks[id.index()]
    }

    /// A local.
    pub fn local(&self, id: LocalId) -> &Local {
        &self.locals[id.index()]
    }

    /// A function.
    pub fn function(&self, id: FunctionId) -> &Function {
        &self.functions[id.index()]
    }

    /// The main chunk's statements.
    pub fn main_block(&self) -> BlockId {
        self.main
    }

    fn list(&self, list: List) -> &[u32] {
        &self.lists[list.start as usize..(list.start + list.count) as usize]
    }

    /// The expressions of a list.
    pub fn expr_list(&self, list: List) -> impl DoubleEndedIterator<Item = ExprId> + ExactSizeIterator + '_ {
        self.list(list).iter().map(|id| ExprId(*id))
    }

    /// The locals of a list.
    pub fn local_list(&self, list: List) -> impl DoubleEndedIterator<Item = LocalId> + ExactSizeIterator + '_ {
        self.list(list).iter().map(|id| LocalId(*id))
    }

    /// The statements of a block.
    pub fn block_stats(&self, block: BlockId) -> impl DoubleEndedIterator<Item = StatId> + ExactSizeIterator + '_ {
        self.list(self.block(block).stats).iter().map(|id| StatId(*id))
    }

    /// The conditions and blocks of an `if`.
    pub fn arms(&self, arms: List) -> impl Iterator<Item = (ExprId, BlockId)> + '_ {
        self.list(arms).chunks_exact(2).map(|pair| (ExprId(pair[0]), BlockId(pair[1])))
    }

    /// The entries of a table constructor.
    pub fn field_list(&self, list: List) -> &[Field] {
        &self.fields[list.start as usize..(list.start + list.count) as usize]
    }

    /// The bytes of a range.
    pub fn slice(&self, range: Range) -> &'s [u8] {
        self.text.get(range.start as usize..range.end as usize).unwrap_or_default()
    }

    /// A name's bytes.
    pub fn name(&self, symbol: Symbol) -> &'s [u8] {
        self.names.text(symbol)
    }

    /// A string literal's value where it holds no escape sequence.
    pub fn string(&self, id: ExprId) -> Option<&'s [u8]> {
        let expr = self.expr(id);
        let text = match expr.kind {
            ExprKind::Text => self.slice(expr.range),
            ExprKind::Key(name) => return Some(self.name(name)),
            _ => return None,
        };
        match text.first()? {
            b'[' => {
                let level = text.iter().skip(1).take_while(|byte| **byte == b'=').count() + 2;
                let body = text.get(level..text.len().checked_sub(level)?)?;
                Some(body.strip_prefix(b"\n").unwrap_or(body))
            }
            _ => text.get(1..text.len().checked_sub(1)?).filter(|body| !body.contains(&b'\\')),
        }
    }

    /// The dotted name of an expression that starts at a global, such as `ngx.req.read_body`; `None` for any other.
    pub fn global_path(&self, id: ExprId) -> Option<Vec<&'s [u8]>> {
        let mut keys = Vec::new();
        let mut at = id;
        loop {
            match self.expr(at).kind {
                ExprKind::Global(index) => {
                    keys.push(self.name(self.globals[index as usize].name));
                    keys.reverse();
                    return Some(keys);
                }
                ExprKind::Index { object, key } if keys.len() < 8 => {
                    keys.push(self.string(key)?);
                    at = object;
                }
                _ => return None,
            }
        }
    }
}
