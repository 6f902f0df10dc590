//! Other servers: their names and addresses.

pub mod resolver;
