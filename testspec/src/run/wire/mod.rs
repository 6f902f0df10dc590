//! The client side of a test: requests built from sections, sent byte for byte, and responses taken apart as the
//! original's HTTP library does.

mod client;
mod curl;
mod http2;
mod lwp;
mod request;
mod response;

pub use client::{ConnectError, Exchange, Outcome, exchange};
pub use curl::curl_command;
pub use http2::{Http2Exchange, Http2Outcome, exchange_http2};
pub use lwp::{REDIRECTIONS_MAX, lwp_redirection, lwp_request};
pub use request::{Packet, Request, RequestError, requests};
pub use response::{Parsed, Response, parse, parse_http09};
