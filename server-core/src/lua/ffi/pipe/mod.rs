//! Child processes with pipes: `ngx.pipe`.
//!
//! [`exports`] is the C interface; a [`Process`] is what Lua holds; `spawn` starts programs; `pattern` decides how much
//! a read takes. Everything happens in the event loop's thread.

pub mod exports;
mod pattern;
mod process;
mod spawn;

pub use process::{Process, reap};
