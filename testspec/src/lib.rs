//! The test-nginx spec language, its runner and its reports.
//!
//! A `.t` file goes through four rooms: [`syntax`] splits its bytes into blocks and sections,
//! [`perl`] evaluates the small Perl that specs are written with, [`load`] brings both together into
//! blocks with values, and [`model`] holds what comes out of it.

#![forbid(unsafe_code)]

pub mod bless;
#[cfg(test)]
mod checklist;
pub mod load;
pub mod model;
pub mod perl;
pub mod report;
pub mod run;
pub mod syntax;
