//! Locations: which one serves a path, and what entering it means.

use std::cell::OnceCell;
use std::rc::Rc;

use bytes::Bytes;

use super::code::Code;
use super::conf::LocConf;
use super::method::Method;
use super::modules::core::{BodyInFile, KeepaliveDisable};
use super::regex::Regex;
use super::request::Request;

/// What kind of location it is.
#[derive(Debug, Default)]
pub enum Kind {
    /// `location = /path`
    Exact,
    /// `location @name`
    Named,
    /// `location /path`; `^~` switches regular expressions off.
    Prefix {
        /// Whether regular expressions are tried after it.
        regexes: bool,
    },
    /// `location ~ pattern`
    Regex(Regex),
    /// The settings of a server, of `if` or of `limit_except`.
    #[default]
    Unnamed,
}

impl PartialEq for Kind {
    /// Whether two locations are of the same kind, whatever their patterns.
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// Settings that will exist when the configuration is complete.
pub type LocRef = Rc<OnceCell<&'static LocConf>>;

/// A location inside another, while the configuration is read.
pub struct Child {
    /// Its settings.
    pub conf: LocConf,
    /// Filled when the configuration is complete.
    pub reference: LocRef,
}

/// The locations inside a server or a location.
#[derive(Default)]
pub struct Locations {
    /// Exact and prefix locations, longest name first; exact ones before prefixes of the same name.
    prefixes: Vec<&'static LocConf>,
    /// In the order of the file.
    regexes: Vec<(&'static Regex, &'static LocConf)>,
    named: Vec<&'static LocConf>,
}

impl Locations {
    /// Adds a location.
    pub(crate) fn add(&mut self, loc: &'static LocConf) {
        match &loc.core.kind {
            Kind::Exact | Kind::Prefix { .. } => self.prefixes.push(loc),
            Kind::Named => self.named.push(loc),
            Kind::Regex(regex) => self.regexes.push((regex, loc)),
            Kind::Unnamed => {}
        }
    }

    /// Sorts them for lookup, when all are there. A name that exists twice is returned.
    pub(crate) fn finish(&mut self) -> Result<(), &'static LocConf> {
        self.prefixes.sort_by(|a, b| {
            let (a, b) = (&a.core, &b.core);
            b.name.len().cmp(&a.name.len()).then_with(|| a.name.cmp(&b.name)).then_with(|| {
                let rank = |kind: &Kind| u8::from(*kind != Kind::Exact);
                rank(&a.kind).cmp(&rank(&b.kind))
            })
        });
        let twice = self
            .prefixes
            .windows(2)
            .find(|pair| pair[0].core.name == pair[1].core.name && pair[0].core.kind == pair[1].core.kind);
        let mut names: Vec<_> = self.named.clone();
        names.sort_by(|a, b| a.core.name.cmp(&b.core.name));
        let twice = twice.or_else(|| names.windows(2).find(|pair| pair[0].core.name == pair[1].core.name));
        twice.map_or(Ok(()), |pair| Err(pair[1]))
    }

    /// A named location (`name` with its `@`).
    pub fn named(&self, name: &[u8]) -> Option<&'static LocConf> {
        self.named.iter().copied().find(|loc| loc.core.name == name)
    }

    /// Whether there are named locations at all.
    pub fn has_named(&self) -> bool {
        !self.named.is_empty()
    }
}

/// What the lookup found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Nothing below the settings we came from.
    Nothing,
    /// A prefix; something better may follow.
    Prefix,
    /// This one and no other.
    Final,
    /// `/name` where there is only `/name/`: redirect.
    Redirect,
    /// A pattern could not be matched.
    Failed,
}

/// Looks up the location of `r.uri` below the current settings and enters it
/// (`ngx_http_core_find_config_phase`). OK, or the status that ends the request; `DONE` asks for a redirect to
/// the path with a slash.
pub(crate) fn find(r: &Rc<Request>) -> Result<bool, Code> {
    let uri = r.uri.get();
    match lookup(r, &uri) {
        Found::Failed => Err(Code::INTERNAL_SERVER_ERROR),
        Found::Redirect => Ok(true),
        Found::Nothing | Found::Prefix | Found::Final => Ok(false),
    }
}

fn lookup(r: &Rc<Request>, uri: &Bytes) -> Found {
    let level = r.loc();
    let mut found = lookup_prefix(r, level, uri);
    let mut regexes = true;
    match found {
        Found::Final | Found::Redirect | Found::Failed => return found,
        Found::Prefix => {
            let core = &r.loc().core;
            regexes = !matches!(core.kind, Kind::Prefix { regexes: false });
            if !core.locations.prefixes.is_empty() || !core.locations.regexes.is_empty() {
                found = lookup(r, uri);
            }
            if matches!(found, Found::Final | Found::Redirect | Found::Failed) {
                return found;
            }
        }
        Found::Nothing => {}
    }
    if regexes {
        for &(regex, loc) in &level.core.locations.regexes {
            crate::log_at!(r.log_target(), crate::log::Level::Debug, for &**r, "test location: ~ \"{}\"", loc.core.name.escape_ascii());
            match regex.exec(r, uri) {
                Ok(true) => {
                    r.set_loc(loc);
                    if matches!(lookup(r, uri), Found::Failed) {
                        return Found::Failed;
                    }
                    return Found::Final;
                }
                Ok(false) => {}
                Err(error) => {
                    let pattern = regex.source();
                    r.log(
                        crate::log::Level::Alert,
                        format_args!("{error} on \"{}\" using \"{}\"", uri.escape_ascii(), pattern.escape_ascii()),
                    );
                    return Found::Failed;
                }
            }
        }
    }
    found
}

fn lookup_prefix(r: &Rc<Request>, level: &'static LocConf, uri: &Bytes) -> Found {
    let mut redirect = None;
    for &loc in &level.core.locations.prefixes {
        let name = &loc.core.name;
        if name.len() == uri.len() + 1 && loc.core.auto_redirect && name.starts_with(uri) && name.ends_with(b"/") {
            redirect = Some(loc);
        }
        if !uri.starts_with(name) {
            continue;
        }
        if loc.core.kind == Kind::Exact {
            if name.len() == uri.len() {
                r.set_loc(loc);
                return Found::Final;
            }
            continue;
        }
        if let Some(redirect) = redirect
            && name.len() < uri.len()
        {
            r.set_loc(redirect);
            return Found::Redirect;
        }
        r.set_loc(loc);
        return Found::Prefix;
    }
    match redirect {
        Some(loc) => {
            r.set_loc(loc);
            Found::Redirect
        }
        None => Found::Nothing,
    }
}

/// Makes `loc` the location of the request and takes over what depends on it
/// (`ngx_http_update_location_config`).
pub fn enter(r: &Rc<Request>, loc: &'static LocConf) {
    let outer = loc;
    let mut loc = loc;
    if r.method.get().is_one_of(loc.core.limit_except)
        && let Some(limited) = loc.core.limit_except_loc.get()
    {
        loc = limited;
    }
    r.set_loc(loc);
    let core = &loc.core;
    match *core.client_body_in_file_only {
        BodyInFile::Off => {}
        mode => {
            r.request_body_in_file_only.set(true);
            r.request_body_in_persistent_file.set(true);
            r.request_body_in_clean_file.set(mode == BodyInFile::Clean);
        }
    }
    r.request_body_in_single_buf.set(*core.client_body_in_single_buffer);
    if r.keepalive.get() && !keeps_alive(r, loc) {
        r.keepalive.set(false);
    }
    // A server behind us is asked through the settings of `limit_except` as well.
    let stays = || outer.core.handler.filter(|handler| handler.asks_server());
    if let Some(handler) = core.handler.or_else(stays) {
        r.content_handler.set(Some(handler));
    }
}

fn keeps_alive(r: &Request, loc: &LocConf) -> bool {
    let core = &loc.core;
    let conn = r.conn();
    if core.keepalive_timeout.is_zero() || conn.requests.get() >= *core.keepalive_requests {
        return false;
    }
    let age = r.started.get().monotonic_msec - conn.opened.monotonic_msec;
    if age > core.keepalive_time.as_millis() as i64 {
        return false;
    }
    let disabled = *core.keepalive_disable;
    let head = &r.headers_in;
    if head.msie6.get() && r.method.get() == Method::POST && disabled & KeepaliveDisable::MSIE6 != 0 {
        return false;
    }
    !(head.safari.get() && disabled & KeepaliveDisable::SAFARI != 0)
}
