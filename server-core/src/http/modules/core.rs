//! `ngx_http_core_module`: servers, locations and the settings every request needs.

use std::cell::OnceCell;
use std::time::Duration;

use rsty_diag::Diagnostic;

use crate::conf::Rule;
use crate::http::conf::{self, Merge};
use crate::http::phases::{Handler, HandlerLists};
use crate::http::variables::{VariableDef, Variables};

/// Settings of `http { }`.
#[derive(Default)]
pub struct MainConf {
    /// All variables.
    pub variables: Variables,
}

/// Settings of a server.
#[derive(Default)]
pub struct SrvConf {
    /// The location settings at server level, set when the configuration is complete.
    pub loc: OnceCell<&'static conf::LocConf>,
}

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    /// The content handler, set by the directive of its module (`proxy_pass`, `content_by_lua`, …).
    pub handler: Option<&'static dyn Handler>,
    /// The phase handlers that apply here.
    pub handlers: HandlerLists,
    /// `send_timeout`
    pub send_timeout: Duration,
    /// `postpone_output`
    pub postpone_output: usize,
}

impl Merge for SrvConf {
    fn merge(&mut self, _outer: &Self) -> Result<(), Diagnostic> {
        Ok(())
    }
}

impl Merge for LocConf {
    fn merge(&mut self, _outer: &Self) -> Result<(), Diagnostic> {
        Ok(())
    }
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[];

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] = &[];
