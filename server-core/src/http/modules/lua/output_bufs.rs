//! Which buffers nginx's module would use again for output, told at the debug level.
//!
//! Memory here is not managed that way. People who follow a response through the log look for these lines, so they are
//! derived from the sizes; nothing is kept unless the debug level is on.

use std::cell::RefCell;
use std::rc::Rc;

use crate::http::Request;
use crate::log::Level;
use crate::lua::Ctx;

/// The buffers of a request by their sizes; `None` has no memory, as flush marks.
#[derive(Debug, Default)]
pub(crate) struct OutputBufs {
    /// The next one to be used is the last.
    free: RefCell<Vec<Option<usize>>>,
    /// Not sent yet, in their order.
    busy: RefCell<Vec<Option<usize>>>,
    /// Copies of a captured response, in the parent's buffers.
    captured: RefCell<Vec<Option<usize>>>,
}

/// Output of `length` bytes is about to pass the filters; 0 is a flush mark.
pub(crate) fn take(r: &Request, ctx: &Ctx, length: usize) {
    if r.logs(Level::Debug) {
        let buf = reuse(r, &ctx.output.bufs, length);
        // What a subrequest wrote for its parent is copied, and not used again.
        if !r.subrequest_in_memory.get() {
            ctx.output.bufs.busy.borrow_mut().push(buf);
        }
    }
}

/// Output passed the filters: what was sent is free.
pub(crate) fn update(r: &Request, ctx: &Ctx) {
    if r.logs(Level::Debug) && !r.conn().has_output() {
        let bufs = &ctx.output.bufs;
        bufs.free.borrow_mut().append(&mut bufs.busy.borrow_mut());
    }
}

/// A part of a subrequest's response is copied for its parent.
pub(crate) fn capture(r: &Request, ctx: &Ctx, length: usize) {
    let parent = r.parent().and_then(|parent| parent.lua.borrow().clone());
    if let Some(parent) = parent.filter(|_| length > 0) {
        let buf = reuse(r, &parent.output.bufs, length);
        ctx.output.bufs.captured.borrow_mut().push(buf);
    }
}

/// The parent got the response of a subrequest.
pub(crate) fn release_captured(child: &Rc<Request>, parent: &Ctx) {
    let ctx = child.lua.borrow().clone();
    if let Some(ctx) = ctx {
        parent.output.bufs.free.borrow_mut().append(&mut ctx.output.bufs.captured.borrow_mut());
    }
}

fn reuse(r: &Request, bufs: &OutputBufs, length: usize) -> Option<usize> {
    let fresh = (length > 0).then_some(length);
    match bufs.free.borrow_mut().pop() {
        Some(Some(size)) if size >= length => {
            r.debug(format_args!("lua reuse free buf memory {size} >= {length}"));
            Some(size)
        }
        Some(buf) => {
            let size = buf.unwrap_or(0);
            r.debug(format_args!("lua reuse free buf chain, but reallocate memory because {length} >= {size}"));
            fresh
        }
        None => {
            r.debug(format_args!("lua allocate new chainlink and new buf of size {length}"));
            fresh
        }
    }
}
