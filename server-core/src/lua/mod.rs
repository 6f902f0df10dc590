//! Lua inside the server: the VM, the scheduler of light threads, and the `ngx.*` functions written as C functions.
//!
//! From the bottom up: [`sys`] is the only user of the raw C API; [`current`] says on whose behalf Lua is
//! running; [`vm`] builds an interpreter, in which `apps` keeps modules apart; [`code`] compiles and caches chunks; [`thread`], [`ctx`] and
//! [`sched`] run light threads on top of the event loop; `api` holds what scripts call. Everything here
//! knows requests only through [`session::Session`]; `http/modules/lua.rs` is its first user.

pub(crate) mod apps;
mod cjson;
pub mod code;
pub mod ctx;
pub mod current;
pub mod ffi;
mod jit_modules;
pub(crate) mod memory;
pub(crate) mod next_turn;
mod operations;
pub mod phase;
pub mod sched;
pub mod session;
pub mod socket;
pub mod sys;
pub(crate) mod text;
pub mod thread;
pub mod thread_pool;
pub mod traceback;
pub mod vm;
pub(crate) mod watchdog;

pub(crate) mod api;

#[cfg(test)]
mod tests;

pub use ctx::Ctx;
pub use phase::Phase;
pub use session::Session;
pub use vm::Vm;
