//! Folders for what is spooled from servers behind us: `proxy_temp_path` and its kin.
//!
//! Nothing is spooled to files, so the folders are neither made nor used; the directives are accepted because
//! every harness writes them.

use crate::conf::{Arity, Contexts, Rule};

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();
/// Settings of a location.
pub type LocConf = ();

macro_rules! path {
    ($name:literal) => {
        Rule { name: $name, contexts: Contexts::HTTP_SERVER_LOCATION, args: Arity::Words(1, 4), apply: |_, _| Ok(()) }
    };
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[path!("fastcgi_temp_path"), path!("uwsgi_temp_path"), path!("scgi_temp_path")];
