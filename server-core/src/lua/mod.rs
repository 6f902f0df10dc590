//! Lua in the server: the VM, the scheduler, the API and the exported C ABI.

pub mod ffi;
