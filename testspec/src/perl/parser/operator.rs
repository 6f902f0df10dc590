//! Operators behind a term: which one stands at the cursor, and how strongly it binds.

use crate::perl::ast::{AssignOp, BinaryOp, LogicalOp};
use crate::perl::cursor::{Cursor, is_word};

/// An operator in operator position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Arrow,
    Assign(AssignOp),
    Binary(BinaryOp),
    Bind { negated: bool },
    Comma,
    Decrement,
    Increment,
    Logical(LogicalOp),
    Range,
    Repeat,
    Ternary,
}

/// Binding strengths, weakest first.
pub(super) mod level {
    pub(in super::super) const LOW_OR: u8 = 1;
    pub(in super::super) const LOW_AND: u8 = 2;
    pub(in super::super) const LOW_NOT: u8 = 3;
    pub(in super::super) const COMMA: u8 = 5;
    pub(in super::super) const ASSIGN: u8 = 6;
    pub(in super::super) const TERNARY: u8 = 7;
    pub(in super::super) const RANGE: u8 = 8;
    pub(in super::super) const OR: u8 = 9;
    pub(in super::super) const AND: u8 = 10;
    pub(in super::super) const BIT_OR: u8 = 11;
    pub(in super::super) const BIT_AND: u8 = 12;
    pub(in super::super) const EQUALITY: u8 = 13;
    pub(in super::super) const RELATION: u8 = 14;
    pub(in super::super) const UNARY_NAMED: u8 = 15;
    pub(in super::super) const SHIFT: u8 = 16;
    pub(in super::super) const ADD: u8 = 17;
    pub(in super::super) const MULTIPLY: u8 = 18;
    pub(in super::super) const BIND: u8 = 19;
    pub(in super::super) const UNARY: u8 = 20;
    pub(in super::super) const POWER: u8 = 21;
    pub(in super::super) const STEP: u8 = 22;
    pub(in super::super) const ARROW: u8 = 23;
}

impl Operator {
    /// How strongly it binds.
    pub(super) fn level(self) -> u8 {
        match self {
            Self::Arrow => level::ARROW,
            Self::Increment | Self::Decrement => level::STEP,
            Self::Bind { .. } => level::BIND,
            Self::Repeat => level::MULTIPLY,
            Self::Range => level::RANGE,
            Self::Ternary => level::TERNARY,
            Self::Assign(_) => level::ASSIGN,
            Self::Comma => level::COMMA,
            Self::Logical(LogicalOp::And) => level::AND,
            Self::Logical(LogicalOp::Or | LogicalOp::Defined) => level::OR,
            Self::Logical(LogicalOp::Xor) => level::LOW_OR,
            Self::Binary(op) => match op {
                BinaryOp::Power => level::POWER,
                BinaryOp::Multiply | BinaryOp::Divide | BinaryOp::Modulo => level::MULTIPLY,
                BinaryOp::Add | BinaryOp::Subtract | BinaryOp::Concat => level::ADD,
                BinaryOp::ShiftLeft | BinaryOp::ShiftRight => level::SHIFT,
                BinaryOp::Less
                | BinaryOp::LessEqual
                | BinaryOp::Greater
                | BinaryOp::GreaterEqual
                | BinaryOp::StringLess
                | BinaryOp::StringLessEqual
                | BinaryOp::StringGreater
                | BinaryOp::StringGreaterEqual => level::RELATION,
                BinaryOp::Equal
                | BinaryOp::NotEqual
                | BinaryOp::StringEqual
                | BinaryOp::StringNotEqual
                | BinaryOp::NumberOrder
                | BinaryOp::StringOrder => level::EQUALITY,
                BinaryOp::BitAnd => level::BIT_AND,
                BinaryOp::BitOr | BinaryOp::BitXor => level::BIT_OR,
            },
        }
    }

    /// The operator at the cursor with its length and level. `and`, `or`, `not`, `xor` bind weakest.
    pub(super) fn at(cursor: &Cursor) -> Option<(Self, usize, u8)> {
        let rest = cursor.rest();
        let first = *rest.first()?;
        if first.is_ascii_alphabetic() {
            return Self::word(cursor);
        }
        for (text, operator) in SYMBOLS {
            if rest.starts_with(text.as_bytes()) {
                return Some((*operator, text.len(), operator.level()));
            }
        }
        None
    }

    fn word(cursor: &Cursor) -> Option<(Self, usize, u8)> {
        use BinaryOp as B;
        let word = cursor.peek_word()?;
        let binary = |op: BinaryOp| (Self::Binary(op), Self::Binary(op).level());
        let (operator, level) = match word {
            "x" => {
                if cursor.byte_at(1) == Some(b'=') && !matches!(cursor.byte_at(2), Some(b'=' | b'~')) {
                    return Some((Self::Assign(AssignOp::Repeat), 2, level::ASSIGN));
                }
                (Self::Repeat, level::MULTIPLY)
            }
            "eq" => binary(B::StringEqual),
            "ne" => binary(B::StringNotEqual),
            "lt" => binary(B::StringLess),
            "le" => binary(B::StringLessEqual),
            "gt" => binary(B::StringGreater),
            "ge" => binary(B::StringGreaterEqual),
            "cmp" => binary(B::StringOrder),
            "and" => (Self::Logical(LogicalOp::And), level::LOW_AND),
            "or" => (Self::Logical(LogicalOp::Or), level::LOW_OR),
            "xor" => (Self::Logical(LogicalOp::Xor), level::LOW_OR),
            // `x3` repeats three times.
            _ if word.starts_with('x') && word.bytes().skip(1).all(|b| b.is_ascii_digit()) => {
                return Some((Self::Repeat, 1, level::MULTIPLY));
            }
            _ => return None,
        };
        debug_assert!(word.bytes().all(is_word));
        Some((operator, word.len(), level))
    }
}

/// Operators written with signs; longer ones before their beginnings.
const SYMBOLS: &[(&str, Operator)] = {
    use AssignOp as A;
    use BinaryOp as B;
    use LogicalOp as L;
    use Operator as O;
    &[
        ("**=", O::Assign(A::Binary(B::Power))),
        ("||=", O::Assign(A::Logical(L::Or))),
        ("&&=", O::Assign(A::Logical(L::And))),
        ("//=", O::Assign(A::Logical(L::Defined))),
        ("<<=", O::Assign(A::Binary(B::ShiftLeft))),
        (">>=", O::Assign(A::Binary(B::ShiftRight))),
        ("<=>", O::Binary(B::NumberOrder)),
        ("...", O::Range),
        ("=>", O::Comma),
        ("==", O::Binary(B::Equal)),
        ("=~", O::Bind { negated: false }),
        ("!~", O::Bind { negated: true }),
        ("!=", O::Binary(B::NotEqual)),
        ("<=", O::Binary(B::LessEqual)),
        (">=", O::Binary(B::GreaterEqual)),
        ("<<", O::Binary(B::ShiftLeft)),
        (">>", O::Binary(B::ShiftRight)),
        ("&&", O::Logical(L::And)),
        ("||", O::Logical(L::Or)),
        ("//", O::Logical(L::Defined)),
        ("**", O::Binary(B::Power)),
        ("++", O::Increment),
        ("--", O::Decrement),
        ("->", O::Arrow),
        ("..", O::Range),
        ("+=", O::Assign(A::Binary(B::Add))),
        ("-=", O::Assign(A::Binary(B::Subtract))),
        ("*=", O::Assign(A::Binary(B::Multiply))),
        ("/=", O::Assign(A::Binary(B::Divide))),
        ("%=", O::Assign(A::Binary(B::Modulo))),
        (".=", O::Assign(A::Binary(B::Concat))),
        ("|=", O::Assign(A::Binary(B::BitOr))),
        ("&=", O::Assign(A::Binary(B::BitAnd))),
        ("^=", O::Assign(A::Binary(B::BitXor))),
        ("=", O::Assign(A::Plain)),
        ("?", O::Ternary),
        (",", O::Comma),
        ("<", O::Binary(B::Less)),
        (">", O::Binary(B::Greater)),
        ("+", O::Binary(B::Add)),
        ("-", O::Binary(B::Subtract)),
        ("*", O::Binary(B::Multiply)),
        ("/", O::Binary(B::Divide)),
        ("%", O::Binary(B::Modulo)),
        (".", O::Binary(B::Concat)),
        ("&", O::Binary(B::BitAnd)),
        ("|", O::Binary(B::BitOr)),
        ("^", O::Binary(B::BitXor)),
    ]
};
