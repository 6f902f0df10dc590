//! `ngx_http_dav_module`: PUT, DELETE, MKCOL, COPY and MOVE.
//!
//! | file | knows |
//! |---|---|
//! | `directives.rs` | `dav_methods` and its kin |
//! | `files.rs` | the work on files and folders, done beside the event loop |
//! | `handler.rs` | requests: what is asked, what may be, what is answered |
//! | `target.rs` | the headers `Destination`, `Depth` and `Overwrite` |

mod directives;
mod files;
mod handler;
mod target;

pub(crate) use directives::RULES;
pub use directives::{LocConf, MainConf, SrvConf};
pub(crate) use handler::DavHandler;
