//! Other servers: their names and addresses, groups of them, and connections to them.

pub mod address;
pub(crate) mod connection;
pub mod group;
pub(crate) mod idle;
pub mod peer;
pub mod resolver;
pub mod ring;
pub(crate) mod roster;
pub mod selection;
pub mod timing;
pub(crate) mod windows;
