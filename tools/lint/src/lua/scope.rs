//! Scopes while parsing: which declaration a name means, and where `break` and `goto` lead.

use super::names::Symbol;
use super::tree::{FunctionId, Local, LocalId, LocalKind, Range};

/// Locals that may be active in one function at a time; LuaJIT's limit.
pub(super) const LOCALS_MAX: usize = 200;

/// Labels and open jumps at a time; near LuaJIT's limit for its variable stack.
pub(super) const LABELS_MAX: usize = 65_000;

/// The scopes that are open at the parser's place.
#[derive(Debug, Default)]
pub(super) struct Scopes {
    /// The visible local of each name, by symbol.
    visible: Vec<Option<LocalId>>,
    /// The active locals, outermost first.
    active: Vec<LocalId>,
    frames: Vec<Frame>,
    labels: Vec<Label>,
    jumps: Vec<Jump>,
}

#[derive(Debug)]
struct Frame {
    kind: FrameKind,
    active: usize,
    labels: usize,
    jumps: usize,
}

/// What a scope belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// A block of its own.
    Block,
    /// A function's body.
    Function,
    /// A loop's body.
    Loop,
}

#[derive(Debug)]
struct Label {
    name: Symbol,
    range: Range,
    used: bool,
}

#[derive(Debug)]
struct Jump {
    name: Symbol,
    range: Range,
    active: usize,
}

/// What is wrong with a label or a jump.
#[derive(Debug)]
pub(super) enum JumpError {
    Duplicate,
    IntoScope(Symbol, Range),
    Undefined(Symbol, Range),
}

impl Scopes {
    pub(super) fn open(&mut self, kind: FrameKind) {
        let (active, labels, jumps) = (self.active.len(), self.labels.len(), self.jumps.len());
        self.frames.push(Frame { kind, active, labels, jumps });
    }

    /// Ends the innermost scope; the labels nobody used go to `unused`.
    pub(super) fn close(&mut self, locals: &[Local], unused: &mut Vec<(Symbol, Range)>) -> Result<(), JumpError> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        for id in self.active.drain(frame.active..).rev() {
            let local = &locals[id.index()];
            self.visible[local.name.index()] = local.shadows;
        }
        let ended = self.labels.drain(frame.labels..).filter(|label| !label.used);
        unused.extend(ended.map(|label| (label.name, label.range)));
        for jump in self.jumps.iter_mut().skip(frame.jumps) {
            jump.active = jump.active.min(frame.active);
        }
        if frame.kind == FrameKind::Function
            && let Some(jump) = self.jumps.get(frame.jumps)
        {
            return Err(JumpError::Undefined(jump.name, jump.range));
        }
        Ok(())
    }

    /// Makes a declared local visible. `None` where the function has too many.
    pub(super) fn activate(&mut self, id: LocalId, locals: &mut [Local]) -> Option<()> {
        let local = &mut locals[id.index()];
        let name = local.name.index();
        if self.visible.len() <= name {
            self.visible.resize(name + 1, None);
        }
        local.shadows = self.visible[name].replace(id);
        self.active.push(id);
        let function = self.frames.iter().rev().find(|frame| frame.kind == FrameKind::Function);
        (self.active.len() - function.map_or(0, |frame| frame.active) <= LOCALS_MAX).then_some(())
    }

    /// The local that a name means here.
    pub(super) fn lookup(&self, name: Symbol) -> Option<LocalId> {
        self.visible.get(name.index()).copied().flatten()
    }

    /// Whether a `break` has a loop to leave.
    pub(super) fn in_loop(&self) -> bool {
        let mut frames = self.frames.iter().rev().take_while(|frame| frame.kind != FrameKind::Function);
        frames.any(|frame| frame.kind == FrameKind::Loop)
    }

    /// Labels and open jumps that are kept at the moment.
    pub(super) fn labels_and_jumps(&self) -> usize {
        self.labels.len() + self.jumps.len()
    }

    /// A jump to `name`: to a label already seen, or to one that must still come.
    pub(super) fn jump(&mut self, name: Symbol, range: Range) {
        let function = self.frames.iter().rev().find(|frame| frame.kind == FrameKind::Function);
        let from = function.map_or(0, |frame| frame.labels);
        match self.labels.iter_mut().skip(from).rev().find(|label| label.name == name) {
            Some(label) => label.used = true,
            None => self.jumps.push(Jump { name, range, active: self.active.len() }),
        }
    }

    /// A label. `last` tells that nothing but labels follows in its block: then it lies outside the locals' scope.
    pub(super) fn label(&mut self, name: Symbol, range: Range, last: bool) -> Result<(), JumpError> {
        let Some(frame) = self.frames.last() else { return Ok(()) };
        if self.labels.iter().skip(frame.labels).any(|label| label.name == name) {
            return Err(JumpError::Duplicate);
        }
        let active = if last { frame.active } else { self.active.len() };
        let from = frame.jumps;
        let mut used = false;
        let mut broken = None;
        let mut index = 0;
        self.jumps.retain(|jump| {
            index += 1;
            if index <= from || jump.name != name {
                return true;
            }
            used = true;
            if jump.active < active && broken.is_none() {
                broken = Some((jump.name, jump.range));
            }
            false
        });
        self.labels.push(Label { name, range, used });
        broken.map_or(Ok(()), |(name, range)| Err(JumpError::IntoScope(name, range)))
    }
}

/// A local that is not visible yet.
pub(super) fn declared(name: Symbol, range: Range, function: FunctionId, kind: LocalKind) -> Local {
    Local { name, range, function, kind, shadows: None, value: None, reads: 0, writes: 0, captured: false }
}
