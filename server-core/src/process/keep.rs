//! The memory of a cycle's settings, which requests refer to as `&'static`.
//!
//! Workers never free a cycle: they end with it. A master goes through one with every reload, and frees each when the next
//! has taken its place; else it would grow with every reload.

use std::cell::RefCell;
use std::ptr::NonNull;

use crate::cycle::Cycle;

/// Values whose owner is a cycle. Dropped with it, and last.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    values: Vec<Value>,
}

/// A value without its type.
#[derive(Debug)]
struct Value {
    place: NonNull<()>,
    free: unsafe fn(NonNull<()>),
}

thread_local! {
    /// What the configuration that is being built has kept so far; `None` between builds.
    static BUILDING: RefCell<Option<Vec<Value>>> = const { RefCell::new(None) };
}

/// Begins to collect what a configuration keeps.
pub(crate) fn begin() {
    BUILDING.set(Some(Vec::new()));
}

/// Ends what [`begin`] began.
pub(crate) fn end() -> Kept {
    Kept { values: BUILDING.take().unwrap_or_default() }
}

/// Gives a value to the cycle that is being built; outside of a build, to the process.
///
/// The reference is good as long as the cycle. Nobody but the cycle's own settings, and what runs on them in a worker, may
/// hold it.
pub(crate) fn keep<T: 'static>(value: T) -> &'static T {
    let place = NonNull::from(Box::leak(Box::new(value)));
    BUILDING.with_borrow_mut(|building| {
        if let Some(values) = building {
            values.push(Value { place: place.cast(), free: free::<T> });
        }
    });
    // SAFETY: the value was just made, and is only ever read.
    unsafe { place.as_ref() }
}

/// Ends a cycle that the master does not run on any more.
pub(super) fn retire(cycle: &'static Cycle) {
    close_interpreters(cycle);
    // SAFETY: the cycle is a leaked box. No request has ever run in this process, so nothing but the cycle itself and its
    // interpreters, which are closed, referred to its settings; the next cycle has taken over what both share by counted
    // references, and has put itself where code without a request looks for the present one.
    drop(unsafe { Box::from_raw(std::ptr::from_ref(cycle).cast_mut()) });
}

/// Ends the interpreters of a cycle that this process won't run on.
pub(super) fn close_interpreters(cycle: &'static Cycle) {
    for main in cycle.mains() {
        if let Some(vm) = main.lua.vm.get() {
            vm.close();
        }
    }
}

/// # Safety
///
/// `place` is that of a boxed `T` that nobody uses any more.
unsafe fn free<T>(place: NonNull<()>) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(place.cast::<T>().as_ptr()) });
}

impl Drop for Kept {
    fn drop(&mut self) {
        for value in self.values.drain(..).rev() {
            // SAFETY: made by `keep` with this type; the cycle whose settings refer to it is gone, and with it everything
            // that may refer to it.
            unsafe { (value.free)(value.place) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::{begin, end, keep};

    #[test]
    fn kept_values_end_with_their_owner() {
        let witness = Rc::new(());
        begin();
        let value = keep((Rc::clone(&witness), 5));
        let kept = end();
        assert_eq!((value.1, Rc::strong_count(&witness)), (5, 2));
        drop(kept);
        assert_eq!(Rc::strong_count(&witness), 1);
        keep(Rc::clone(&witness));
        assert!(end().values.is_empty());
    }
}
