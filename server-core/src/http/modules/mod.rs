//! The modules: one file per nginx-like feature, with its directive table, its configuration and its
//! handlers. A module joins the server with one line in [`crate::http::conf::http_modules`]'s list.

pub mod access;
pub mod access_log;
pub mod addition;
pub mod auth_basic;
pub mod auth_request;
pub mod autoindex;
pub(crate) mod calendar;
pub mod charset;
pub(crate) mod cidr;
mod content;
pub mod core;
pub mod echo;
pub mod empty_gif;
mod file_status;
pub mod geo;
pub mod gunzip;
pub mod gzip;
pub mod headers;
pub mod headers_more;
pub mod index;
pub mod lua;
pub mod map;
pub mod mirror;
mod murmur;
pub mod ndk;
pub(crate) mod not_modified;
pub mod proxy;
pub(crate) mod range;
pub mod realip;
pub mod referer;
pub mod rewrite;
pub mod secure_link;
pub mod set_misc;
pub mod split_clients;
pub mod ssl;
pub(crate) mod static_file;
pub mod sub;
pub mod temp_paths;
pub mod try_files;
pub mod upstream;

pub(crate) use crate::stream;
