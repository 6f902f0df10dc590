//! In which order the parts of a function run.
//!
//! The tree is lowered to a list of [`Step`]s with jumps, much as a compiler would. Rules that ask «on every way» or
//! «on some way» walk that list with [`solve::forward`] or [`solve::backward`] and need not know the statements of Lua.
//! `and` and `or` count as if both sides ran, and a loop's body as if it may be left out.

mod lower;
pub(crate) mod solve;

use crate::lua::tree::*;

pub(crate) use lower::{gives_many, lower};

/// The steps of all functions of a chunk.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    steps: Vec<Step>,
    /// The steps of each function, by its id.
    functions: Vec<(u32, u32)>,
    /// The register of each local, as LuaJIT would number them; locals that are visible together differ.
    slots: Vec<u8>,
    /// Loops with the step that goes back to their start.
    pub(crate) loops: Vec<LoopEnd>,
}

/// Where a loop turns around.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoopEnd {
    /// The loop.
    pub(crate) stat: StatId,
    /// The function it stands in.
    pub(crate) function: FunctionId,
    /// The step that goes back.
    pub(crate) back: u32,
}

/// A part of a function's work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    /// Goes to a step where the condition is false (or unknown: of a `for`), else on.
    Branch { condition: Option<ExprId>, to: u32 },
    /// A call or method call, behind its arguments.
    Call(ExprId),
    /// Goes to a step.
    Jump(u32),
    /// A local is read.
    Read { local: LocalId, expr: ExprId },
    /// The function ends here, by a `return` or at its `end`.
    Return(Option<StatId>),
    /// A statement begins.
    Stat(StatId),
    /// A local is declared or assigned.
    Write(Write),
}

/// A local gets a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Write {
    /// The local.
    pub(crate) local: LocalId,
    /// Its name, where it stands.
    pub(crate) range: Range,
    /// The expression whose value (or one of whose values) it gets.
    pub(crate) value: Option<ExprId>,
    /// Which of that expression's values.
    pub(crate) nth: u32,
    /// How it gets it.
    pub(crate) how: How,
}

/// How a local gets a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// By an assignment.
    Assigned,
    /// In its declaration.
    Declared,
    /// From the call, or from the loop.
    Given,
    /// It does not: `local x`.
    Not,
}

impl Flow {
    /// The steps of a function. Jumps count from its first one.
    pub(crate) fn steps(&self, function: FunctionId) -> &[Step] {
        let (start, end) = self.functions.get(function.index()).copied().unwrap_or_default();
        self.steps.get(start as usize..end as usize).unwrap_or_default()
    }

    /// The register of a local.
    pub(crate) fn slot(&self, local: LocalId) -> u8 {
        self.slots.get(local.index()).copied().unwrap_or_default()
    }
}
