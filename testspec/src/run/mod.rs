//! Running spec files: plan, lanes, servers, requests, assertions.

pub mod binary;
pub mod block;
pub mod check;
pub mod conditions;
pub mod config;
pub mod configure;
pub mod expand;
pub mod idle;
pub mod lane;
pub mod mock;
mod mocks;
pub mod netns;
pub mod outcome;
pub mod perl_side;
pub mod pressure;
pub mod process;
pub mod protocol;
mod reload;
mod repeat;
pub mod root;
pub mod schedule;
pub mod sections;
pub mod select;
pub mod server;
pub mod spec_file;
pub mod wire;
