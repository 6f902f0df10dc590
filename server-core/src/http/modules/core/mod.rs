//! `ngx_http_core_module`: servers, locations and the settings every request needs.

mod blocks;
mod directives;
mod error_pages;
pub(crate) mod listen;
mod media_types;
mod server_names;
mod settings;
mod variables;

pub(crate) use directives::RULES;
pub use error_pages::ErrorPage;
pub use listen::{Listen, ListenOptions};
pub use server_names::{PortServers, ServerName};
pub use settings::{
    BodyInFile, IfModifiedSince, KeepaliveDisable, LingeringClose, LocConf, MainConf, Satisfy, ServerTokens, SrvConf,
};
pub(crate) use variables::{VARIABLES, cookie_value};
