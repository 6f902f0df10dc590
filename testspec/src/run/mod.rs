//! Running spec files: plan, lanes, servers, requests, assertions.

pub mod binary;
pub mod block;
pub mod check;
pub mod conditions;
pub mod config;
pub mod configure;
pub mod expand;
pub mod mock;
mod mocks;
pub mod outcome;
pub mod perl_side;
pub mod process;
mod repeat;
pub mod root;
pub mod server;
pub mod wire;
