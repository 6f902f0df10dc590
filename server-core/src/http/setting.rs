//! One setting of a configuration level: unset, set, and after merging always there.

use std::ops::Deref;

/// A value that a directive may set and that inner levels inherit.
#[derive(Clone, Debug)]
pub struct Setting<T>(Option<T>);

impl<T> Default for Setting<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Setting<T> {
    /// The slot that a directive fills.
    pub fn slot(&mut self) -> &mut Option<T> {
        &mut self.0
    }

    /// The value, if one was set at this level or inherited.
    pub fn value(&self) -> Option<&T> {
        self.0.as_ref()
    }

    /// Sets the value.
    pub fn set(&mut self, value: T) {
        self.0 = Some(value);
    }
}

impl<T: Clone> Setting<T> {
    /// Takes the outer value where there is none, else the default.
    pub fn merge(&mut self, outer: &Self, default: impl FnOnce() -> T) {
        if self.0.is_none() {
            self.0 = Some(outer.0.clone().unwrap_or_else(default));
        }
    }
}

impl<T> Deref for Setting<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("settings are read after merging, which fills them")
    }
}
