//! The modules: one file per nginx-like feature, with its directive table, its configuration and its
//! handlers. A module joins the server with one line in [`crate::http::conf::http_modules`]'s list.

pub(crate) mod calendar;
pub mod core;
pub mod lua;
