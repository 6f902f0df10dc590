//! The body of a request: in memory, in a file, or partly both.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;

/// A request's body as far as it has been read.
#[derive(Default)]
pub struct RequestBody {
    /// The parts in memory; empty when all is in `file`.
    pub bufs: RefCell<Vec<Bytes>>,
    /// The file, when the body did not fit into the buffer.
    pub file: RefCell<Option<BodyFile>>,
    /// Bytes that are still to come; -1 when unknown (chunked).
    pub rest: Cell<i64>,
    /// Bytes received.
    pub received: Cell<u64>,
    /// Whether everything has been received.
    pub complete: Cell<bool>,
}

/// A body in a temporary file.
#[derive(Clone)]
pub struct BodyFile {
    /// The open file.
    pub file: Rc<File>,
    /// Its path; it may be unlinked already.
    pub path: PathBuf,
    /// Its length.
    pub len: u64,
}

impl RequestBody {
    /// A body from bytes.
    pub fn of(bytes: impl Into<Bytes>) -> Self {
        let bytes: Bytes = bytes.into();
        let body = Self::default();
        body.received.set(bytes.len() as u64);
        body.complete.set(true);
        if !bytes.is_empty() {
            body.bufs.borrow_mut().push(bytes);
        }
        body
    }

    /// The body when it is entirely in memory.
    pub fn in_memory(&self) -> Option<Bytes> {
        if self.file.borrow().is_some() {
            return None;
        }
        let bufs = self.bufs.borrow();
        match &bufs[..] {
            [] => Some(Bytes::new()),
            [only] => Some(only.clone()),
            many => Some(many.concat().into()),
        }
    }
}
