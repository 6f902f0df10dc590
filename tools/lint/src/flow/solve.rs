//! Facts that hold at each step, on all ways or on some way that lead there.

use super::Step;
use crate::lua::tree::ExprId;

/// A fact about a place, which several ways into the place bring together.
pub(crate) trait State: Clone {
    /// Takes in what another way brings. Tells whether that changed anything.
    fn join(&mut self, other: &Self) -> bool;
}

/// Something that certainly came before: every way has passed it.
#[derive(Clone, Copy)]
pub(crate) struct Certain(pub(crate) Option<ExprId>);

impl State for Certain {
    fn join(&mut self, other: &Self) -> bool {
        let changed = self.0.is_some() && other.0.is_none();
        if changed {
            self.0 = None;
        }
        changed
    }
}

/// Passes over a function at most; each one settles one more level of loops, and the parser allows 200.
const PASSES_MAX: usize = 256;

/// Walks a function from its start, as often as its loops need, and then once more with `visit`, which sees each step
/// that can be reached with the state before it.
///
/// `step` changes the state; for a branch it is called with the state that goes to the target (`true`) and with the
/// one that goes on (`false`).
pub(crate) fn forward<S: State>(
    steps: &[Step],
    start: S,
    mut step: impl FnMut(usize, &Step, bool, &mut S),
    mut visit: impl FnMut(usize, &Step, &S),
) {
    let mut arriving: Vec<Option<S>> = vec![None; steps.len() + 1];
    for pass in 0..=PASSES_MAX {
        let mut changed = false;
        let mut state = Some(start.clone());
        for (index, here) in steps.iter().enumerate() {
            if let Some(others) = &arriving[index] {
                match &mut state {
                    Some(state) => {
                        state.join(others);
                    }
                    None => state = Some(others.clone()),
                }
            }
            let Some(known) = &mut state else { continue };
            let target = match here {
                Step::Jump(to) | Step::Branch { to, .. } => Some(*to as usize),
                _ => None,
            };
            if let Some(target) = target {
                let mut leaving = known.clone();
                step(index, here, true, &mut leaving);
                changed |= match arriving.get_mut(target) {
                    Some(Some(before)) => before.join(&leaving) && target <= index,
                    Some(none) => {
                        *none = Some(leaving);
                        target <= index
                    }
                    None => false,
                };
            }
            match here {
                Step::Jump(_) | Step::Return(_) => state = None,
                _ => step(index, here, false, known),
            }
        }
        if !changed || pass == PASSES_MAX {
            break;
        }
    }
    let mut state = Some(start);
    for (index, here) in steps.iter().enumerate() {
        if let Some(others) = &arriving[index] {
            match &mut state {
                Some(state) => {
                    state.join(others);
                }
                None => state = Some(others.clone()),
            }
        }
        let Some(known) = &mut state else { continue };
        visit(index, here, known);
        match here {
            Step::Jump(_) | Step::Return(_) => state = None,
            _ => step(index, here, false, known),
        }
    }
}

/// Which registers' values are still read later. A function of Lua has 200 at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slots([u64; 4]);

impl Slots {
    /// Whether the register is among them.
    pub(crate) fn has(self, slot: u8) -> bool {
        self.0[usize::from(slot / 64)] >> (slot % 64) & 1 == 1
    }

    /// Adds a register.
    pub(crate) fn insert(&mut self, slot: u8) {
        self.0[usize::from(slot / 64)] |= 1 << (slot % 64);
    }

    /// Takes a register away.
    pub(crate) fn remove(&mut self, slot: u8) {
        self.0[usize::from(slot / 64)] &= !(1 << (slot % 64));
    }
}

impl State for Slots {
    fn join(&mut self, other: &Self) -> bool {
        let before = *self;
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine |= theirs);
        *self != before
    }
}

/// Walks a function from its end: `visit` sees each step with the registers that are read after it. `step` changes the
/// set to what is read before it.
pub(crate) fn backward(
    steps: &[Step],
    mut step: impl FnMut(&Step, &mut Slots),
    mut visit: impl FnMut(usize, &Step, Slots),
) {
    // What is live at the steps that jumps lead to.
    let mut targets: Vec<u32> = steps.iter().filter_map(target).collect();
    targets.sort_unstable();
    targets.dedup();
    let mut live_at = vec![Slots::default(); targets.len()];
    let place = |to: u32| targets.binary_search(&to).ok();
    let loops = steps.iter().enumerate().any(|(index, step)| target(step).is_some_and(|to| to as usize <= index));
    for pass in 0..=PASSES_MAX {
        let mut changed = false;
        let mut live = Slots::default();
        let mut next = targets.len();
        for (index, here) in steps.iter().enumerate().rev() {
            arrive(here, &mut live, |to| place(to).and_then(|at| live_at.get(at)).copied());
            step(here, &mut live);
            while next > 0 && targets[next - 1] as usize > index {
                next -= 1;
            }
            if next > 0 && targets[next - 1] as usize == index {
                changed |= live_at[next - 1].join(&live);
            }
        }
        if !changed || !loops || pass == PASSES_MAX {
            break;
        }
    }
    let mut live = Slots::default();
    for (index, here) in steps.iter().enumerate().rev() {
        arrive(here, &mut live, |to| place(to).and_then(|at| live_at.get(at)).copied());
        visit(index, here, live);
        step(here, &mut live);
    }
}

fn target(step: &Step) -> Option<u32> {
    match step {
        Step::Jump(to) | Step::Branch { to, .. } => Some(*to),
        _ => None,
    }
}

fn arrive(here: &Step, live: &mut Slots, at: impl Fn(u32) -> Option<Slots>) {
    match here {
        Step::Jump(to) => *live = at(*to).unwrap_or_default(),
        Step::Branch { to, .. } => {
            live.join(&at(*to).unwrap_or_default());
        }
        Step::Return(_) => *live = Slots::default(),
        _ => {}
    }
}
