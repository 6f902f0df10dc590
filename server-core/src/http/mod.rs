//! The HTTP server: configuration levels, requests, phases, output and the modules.

pub mod code;
pub mod conf;
pub mod modules;

pub use code::Code;
