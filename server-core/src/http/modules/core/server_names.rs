//! `server_name`, and which server of an address answers for a host.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::listen::ListenOptions;
use crate::conf::Directive;
use crate::http::conf::{Scope, SrvConf};
use crate::http::regex::{Case, Regex};
use crate::http::request::Request;
use crate::log::Level;

/// One name of a server.
#[derive(Debug)]
pub enum ServerName {
    /// `.example.com`: that name and all below it, kept with the dot.
    Domain(Bytes),
    /// The name itself.
    Exact(Bytes),
    /// `www.example.*`: the part before the star, dot included.
    Head(Bytes),
    /// `~pattern`
    Regex(Regex),
    /// `*.example.com`: the part behind the star, dot included.
    Tail(Bytes),
}

impl ServerName {
    /// The name, where its text is one: patterns are tried in turn, and may be there twice.
    fn text(&self) -> Option<String> {
        match self {
            Self::Domain(name) | Self::Exact(name) => Some(String::from_utf8_lossy(name).into_owned()),
            Self::Head(name) => Some(format!("{}*", String::from_utf8_lossy(name))),
            Self::Tail(name) => Some(format!("*{}", String::from_utf8_lossy(name))),
            Self::Regex(_) => None,
        }
    }
}

/// The servers of one address.
#[derive(Default)]
pub struct PortServers {
    /// Who answers when no name matches.
    pub default: Option<&'static SrvConf>,
    /// Options of the address, from all its `listen` lines.
    pub options: ListenOptions,
    /// Names that were taken when a server came with them, in its words.
    conflicts: Vec<String>,
    /// Whether a server without any `server_name` is here.
    has_nameless: bool,
    /// Whether there is more than one server.
    is_shared: bool,
    exact: HashMap<Bytes, &'static SrvConf>,
    /// The names of `tails` and `heads`, to tell which come twice.
    wild: HashSet<&'static [u8]>,
    tails: Vec<(&'static Bytes, &'static SrvConf)>,
    heads: Vec<(&'static Bytes, &'static SrvConf)>,
    regexes: Vec<(&'static Regex, &'static SrvConf)>,
}

pub(super) fn apply(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    for word in &directive.args {
        let invalid = || {
            let message = format!("server name \"{}\" is invalid", word.lossy());
            directive.error_at(word, "invalid_server_name", message)
        };
        let text = &*word.text;
        let has_no_name = matches!(text, b"." | b"*" | b"*.") || text.is_empty() && !word.quoted;
        if has_no_name || text.starts_with(b"*") && !text.starts_with(b"*.") {
            return Err(invalid());
        }
        if text.contains(&b'/') {
            let message = format!("server name \"{}\" has suspicious symbols", word.lossy());
            scope.cycle.notice(Level::Warn, directive.error_at(word, "suspicious_server_name", message));
        }
        if scope.srv.core.names.is_empty() {
            let shown = text.strip_prefix(b".").unwrap_or(text);
            scope.srv.core.server_name = Bytes::copy_from_slice(shown);
        }
        if let Some(pattern) = text.strip_prefix(b"~") {
            if pattern.is_empty() {
                return Err(directive.error_at(word, "invalid_regex", "empty regex in server name \"~\""));
            }

            let regex = Regex::of_word(scope, directive, word, pattern, Case::Insensitive)?;
            scope.srv.core.names.push(ServerName::Regex(regex));
            continue;
        }
        let lower = Bytes::from(text.to_ascii_lowercase());
        let names = &mut scope.srv.core.names;
        if lower == "$hostname" {
            let host = nix::unistd::gethostname().unwrap_or_default();
            let host = Bytes::from(host.to_string_lossy().to_ascii_lowercase());
            if names.is_empty() {
                scope.srv.core.server_name = host.clone();
            }
            names.push(ServerName::Exact(host));
        } else if lower.starts_with(b"*.") {
            names.push(ServerName::Tail(lower.slice(1..)));
        } else if lower.starts_with(b".") {
            names.push(ServerName::Domain(lower));
        } else if lower.ends_with(b".*") {
            names.push(ServerName::Head(lower.slice(..lower.len() - 1)));
        } else if lower.contains(&b'*') {
            return Err(invalid());
        } else {
            names.push(ServerName::Exact(lower));
        }
    }
    Ok(())
}

impl SrvConf {
    /// Whether one of the server's names is this host (in lower case).
    pub(crate) fn serves(&self, host: &[u8]) -> bool {
        self.core.names.iter().any(|name| match name {
            ServerName::Domain(name) => host.ends_with(name) || name.strip_prefix(b".") == Some(host),
            ServerName::Exact(name) => *name == *host,
            ServerName::Head(head) => host.len() > head.len() && host.starts_with(head),
            ServerName::Tail(tail) => host.len() > tail.len() && host.ends_with(tail),
            ServerName::Regex(regex) => regex.is_match(host).unwrap_or(false),
        })
    }
}

impl PortServers {
    /// Adds a server. The first one is the default until another claims to be.
    pub(crate) fn add(&mut self, server: &'static SrvConf, options: ListenOptions) -> Result<(), &'static str> {
        self.is_shared |= self.default.is_some();
        if options.default_server {
            if self.options.default_server {
                return Err("a duplicate default server");
            }
            self.default = Some(server);
        }
        self.default.get_or_insert(server);
        self.options.default_server |= options.default_server;
        self.options.ssl |= options.ssl;
        self.options.http2 |= options.http2;
        self.options.proxy_protocol |= options.proxy_protocol;
        for name in &server.core.names {
            let is_new = match name {
                ServerName::Domain(name) => self.add_exact(&name.slice(1..), server) & self.add_tail(name, server),
                ServerName::Exact(name) => self.add_exact(name, server) && !(name.is_empty() && self.has_nameless),
                ServerName::Head(name) => {
                    let is_new = self.wild.insert(name);
                    if is_new {
                        self.heads.push((name, server));
                    }
                    is_new
                }
                ServerName::Tail(name) => self.add_tail(name, server),
                ServerName::Regex(regex) => {
                    self.regexes.push((regex, server));
                    true
                }
            };
            if !is_new {
                self.conflicts.extend(name.text());
            }
        }
        if server.core.names.is_empty() {
            let is_first = !self.exact.contains_key(&b""[..]);
            if std::mem::replace(&mut self.has_nameless, true) || !is_first {
                self.conflicts.push(String::new());
            }
        }
        Ok(())
    }

    /// Adds a name, unless it is taken; says whether it was free.
    fn add_exact(&mut self, name: &Bytes, server: &'static SrvConf) -> bool {
        match self.exact.entry(name.clone()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(server);
                true
            }
        }
    }

    /// Adds what names end with; says whether it is new.
    fn add_tail(&mut self, tail: &'static Bytes, server: &'static SrvConf) -> bool {
        let is_new = self.wild.insert(tail);
        if is_new {
            self.tails.push((tail, server));
        }
        is_new
    }

    /// Names that more than one server here has, or one has twice: the first keeps them. Where a server is alone,
    /// nobody looks at its names.
    pub(crate) fn conflicts(&self) -> &[String] {
        if self.is_shared { &self.conflicts } else { &[] }
    }

    /// Whether names make a difference here.
    pub fn is_single(&self) -> bool {
        self.exact
            .values()
            .chain(self.tails.iter().chain(&self.heads).map(|(_, server)| server))
            .all(|server| self.default.is_some_and(|default| std::ptr::eq(default, *server)))
            && self.regexes.is_empty()
    }

    /// Whether it makes a difference which host a request is for.
    pub(crate) fn is_named(&self) -> bool {
        self.is_shared || !self.regexes.is_empty()
    }

    /// The server for a host in lower case: exact name, longest `*.name`, longest `name.*`, first pattern.
    pub fn find(&self, r: &Request, host: &Bytes) -> Option<&'static SrvConf> {
        self.find_with(host, |regex| regex.exec(r, host).unwrap_or(false))
    }

    /// As [`PortServers::find`], without a request that could keep what a pattern captures.
    pub fn find_by_name(&self, host: &Bytes) -> Option<&'static SrvConf> {
        self.find_with(host, |regex| regex.is_match(host).unwrap_or(false))
    }

    fn find_with(&self, host: &Bytes, matches: impl Fn(&Regex) -> bool) -> Option<&'static SrvConf> {
        if host.is_empty() {
            return self.exact.get(host).copied();
        }
        if let Some(server) = self.exact.get(host) {
            return Some(server);
        }
        let tails = self.tails.iter().filter(|(tail, _)| host.len() > tail.len() && host.ends_with(tail));
        if let Some((_, server)) = tails.max_by_key(|(tail, _)| tail.len()) {
            return Some(server);
        }
        let heads = self.heads.iter().filter(|(head, _)| host.len() > head.len() && host.starts_with(head));
        if let Some((_, server)) = heads.max_by_key(|(head, _)| head.len()) {
            return Some(server);
        }
        self.regexes.iter().find(|(regex, _)| matches(regex)).map(|(_, server)| *server)
    }
}
