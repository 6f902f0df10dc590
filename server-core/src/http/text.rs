//! A byte string in a cell: the form in which a request keeps its text.

use std::cell::RefCell;
use std::ops::Deref;

use bytes::Bytes;

/// A shared, replaceable byte string. Reading clones a reference, never the bytes.
#[derive(Default)]
pub struct Text(RefCell<Bytes>);

impl Text {
    /// The current value.
    pub fn get(&self) -> Bytes {
        self.0.borrow().clone()
    }

    /// Replaces the value.
    pub fn set(&self, value: impl Into<Bytes>) {
        *self.0.borrow_mut() = value.into();
    }

    /// Replaces the value and returns the old one.
    pub fn replace(&self, value: impl Into<Bytes>) -> Bytes {
        std::mem::replace(&mut *self.0.borrow_mut(), value.into())
    }

    /// Makes it empty.
    pub fn clear(&self) {
        let mut text = self.0.borrow_mut();
        // Empty texts hold nothing that must be let go of.
        if !text.is_empty() {
            *text = Bytes::new();
        }
    }

    /// Borrows the bytes. Don't keep the borrow across anything that may change the request.
    pub fn borrow(&self) -> impl Deref<Target = [u8]> + '_ {
        std::cell::Ref::map(self.0.borrow(), |bytes| &**bytes)
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

impl<T: Into<Bytes>> From<T> for Text {
    fn from(value: T) -> Self {
        Self(RefCell::new(value.into()))
    }
}
