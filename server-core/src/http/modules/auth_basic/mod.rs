//! `ngx_http_auth_basic_module`: user names and passwords.

mod handler;
mod password;

pub(crate) use handler::{AuthBasicHandler, RULES};
pub use handler::{LocConf, MainConf, SrvConf};
