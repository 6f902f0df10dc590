//! The modules: one file per nginx-like feature, with its directive table, its configuration and its
//! handlers. A module joins the server with one line in [`crate::http::conf::http_modules`]'s list.

pub mod access;
pub mod access_log;
pub mod autoindex;
mod calendar;
mod cidr;
pub mod core;
pub mod echo;
mod file_status;
pub mod headers;
pub mod headers_more;
pub mod index;
pub mod map;
mod murmur;
pub mod ndk;
pub(crate) mod not_modified;
pub(crate) mod range;
pub mod rewrite;
pub mod set_misc;
pub mod split_clients;
pub(crate) mod static_file;
pub mod try_files;
