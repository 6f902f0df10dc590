//! The HTTP server: configuration levels, requests, phases, output and the modules.

pub mod body;
mod chunked_filter;
pub mod clock;
pub mod code;
pub mod complex_value;
pub mod conf;
pub mod connection;
pub mod error;
pub mod header;
mod header_filter;
pub mod headers_in;
pub mod headers_out;
pub mod location;
pub mod method;
pub mod modules;
mod order;
pub mod output;
pub mod phases;
pub mod postpone_filter;
pub mod request;
mod request_log;
pub mod subrequest;
pub mod text;
pub mod variables;
mod worker;
mod write_filter;

pub use code::Code;
pub use complex_value::ComplexValue;
pub use header::{Header, HeaderId, HeaderList};
pub use method::{Method, Version};
pub use output::{Buf, Chain};
pub use phases::{Handler, Outcome, Phase};
pub use request::Request;
pub use variables::{VarIndex, VariableDef, Variables};
pub(crate) use worker::{init, worker};
