//! `ngx_http_core_module`: servers, locations and the settings every request needs.

use crate::conf::Rule;

/// Settings of `http { }`.
#[derive(Default)]
pub struct MainConf {}

/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
pub type LocConf = ();

/// The directive table.
pub(crate) const RULES: &[Rule] = &[];
