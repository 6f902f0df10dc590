//! The settings of `proxy_*`.

use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::cookies::{FlagRule, Rewrite};
use crate::http::complex_value::ComplexValue;
use crate::http::conf::Merge;
use crate::http::method::Version;
use crate::http::modules::lua::LocConf as LuaConf;
use crate::http::modules::upstream::GroupRef;
use crate::http::regex::Regex;
use crate::http::setting::Setting;
use crate::http::upstream::Conf;
use crate::upstream::address::Target;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Where requests go.
pub(super) enum Pass {
    /// Always to the same group.
    Fixed {
        /// The URL as written.
        url: Bytes,
        /// Whether it begins with `https`.
        tls: bool,
        /// Host, port and URI of the URL.
        target: Target,
        /// The servers.
        group: GroupRef,
        /// The prefix of the location that the URL's URI replaces.
        location: Bytes,
    },
    /// Where variables say.
    Variable(ComplexValue),
}

/// One rule of `proxy_redirect`.
pub(super) enum Redirect {
    /// A prefix and what it becomes.
    Prefix(ComplexValue, ComplexValue),
    /// A pattern and what the whole becomes.
    Regex(Regex, ComplexValue),
}

/// A header for the server: its name and its value.
pub(super) type SetHeader = (ComplexValue, ComplexValue);

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    /// What all protocols share.
    pub(crate) upstream: Conf,
    /// `proxy_pass`
    pub(super) pass: Option<Rc<Pass>>,
    /// `proxy_redirect`, as long as it isn't the default.
    pub(super) redirects: Option<Rc<Vec<Redirect>>>,
    /// `proxy_redirect off`
    pub(super) redirect_off: Option<bool>,
    /// `proxy_cookie_domain`; `Some` and empty is `off`.
    pub(super) cookie_domains: Option<Rc<Vec<Rewrite>>>,
    /// `proxy_cookie_path`; `Some` and empty is `off`.
    pub(super) cookie_paths: Option<Rc<Vec<Rewrite>>>,
    /// `proxy_cookie_flags`; `Some` and empty is `off`.
    pub(super) cookie_flags: Option<Rc<Vec<FlagRule>>>,
    /// `proxy_set_header`
    pub(super) set_headers: Rc<Vec<SetHeader>>,
    /// `proxy_method`
    pub(super) method: Setting<Option<Rc<ComplexValue>>>,
    /// `proxy_set_body`
    pub(super) set_body: Setting<Option<Rc<ComplexValue>>>,
    /// `proxy_http_version`
    pub(super) http_version: Setting<Version>,
    /// `proxy_headers_hash_max_size`
    pub(super) headers_hash_max_size: Setting<usize>,
    /// `proxy_headers_hash_bucket_size`
    pub(super) headers_hash_bucket_size: Setting<usize>,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        self.upstream.merge(&outer.upstream);
        self.method.merge(&outer.method, || None);
        self.set_body.merge(&outer.set_body, || None);
        self.http_version.merge(&outer.http_version, || Version::HTTP_11);
        self.headers_hash_max_size.merge(&outer.headers_hash_max_size, || 512);
        self.headers_hash_bucket_size.merge(&outer.headers_hash_bucket_size, || 64);
        if self.set_headers.is_empty() {
            self.set_headers = Rc::clone(&outer.set_headers);
        }
        self.redirect_off = self.redirect_off.or(outer.redirect_off);
        macro_rules! inherit {
            ($($field:ident),+) => {
                $(if self.$field.is_none() { self.$field.clone_from(&outer.$field); })+
            };
        }
        // `pass` is for `if` blocks; in locations it needs the handler, which isn't inherited.
        inherit!(redirects, cookie_domains, cookie_paths, cookie_flags, pass);
        Ok(())
    }
}

impl LocConf {
    /// Completes the settings of a location, when all of its directives are known.
    pub(crate) fn settle(&self, lua: &LuaConf, has_handler: bool) -> Result<(), String> {
        let needs_tls = match self.pass.as_deref() {
            Some(Pass::Fixed { tls, .. }) => *tls,
            Some(Pass::Variable(_)) => true,
            None => false,
        };
        if needs_tls {
            return if has_handler { self.upstream.tls.build("proxy", lua) } else { Ok(()) };
        }
        for (script, name) in
            [(&lua.proxy_ssl_certificate, "proxy_ssl_certificate"), (&lua.proxy_ssl_verify, "proxy_ssl_verify")]
        {
            if script.is_some() {
                return Err(format!("{name}_by_lua* should be used with proxy_pass https url"));
            }
        }
        Ok(())
    }

    /// `proxy_next_upstream_tries`; 0 is no limit.
    pub(crate) fn tries_limit(&self) -> u32 {
        *self.upstream.next_upstream_tries
    }
}

/// Headers that are passed on only when `proxy_pass_header` says so.
pub(super) const HIDDEN: &[&str] = &[
    "Date",
    "Server",
    "X-Pad",
    "X-Accel-Expires",
    "X-Accel-Redirect",
    "X-Accel-Limit-Rate",
    "X-Accel-Buffering",
    "X-Accel-Charset",
];
