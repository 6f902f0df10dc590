//! `server_name`, and which server of an address answers for a host.

use std::collections::HashMap;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::listen::ListenOptions;
use crate::conf::Directive;
use crate::http::conf::{Scope, SrvConf};
use crate::http::regex::{Case, Regex};
use crate::http::request::Request;

/// One name of a server.
#[derive(Debug)]
pub enum ServerName {
    /// The name itself.
    Exact(Bytes),
    /// `www.example.*`: the part before the star, dot included.
    Head(Bytes),
    /// `~pattern`
    Regex(Regex),
    /// `*.example.com` (`.example.com` adds the exact name as well): the part behind the star, dot included.
    Tail(Bytes),
}

/// The servers of one address.
#[derive(Default)]
pub struct PortServers {
    /// Who answers when no name matches.
    pub default: Option<&'static SrvConf>,
    /// Options of the address, from all its `listen` lines.
    pub options: ListenOptions,
    /// Whether a name may lead away from the default server, or captures something.
    named: bool,
    exact: HashMap<Bytes, &'static SrvConf>,
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
        if text.is_empty() && !word.quoted || text.contains(&b'/') && text.first() != Some(&b'~') {
            return Err(invalid());
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
            names.push(ServerName::Exact(lower.slice(1..)));
            names.push(ServerName::Tail(lower));
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
        if options.default_server {
            if self.options.default_server {
                return Err("a duplicate default server");
            }
            self.default = Some(server);
        }
        let first = *self.default.get_or_insert(server);
        self.named |= !std::ptr::eq(first, server);
        self.options.default_server |= options.default_server;
        self.options.ssl |= options.ssl;
        self.options.http2 |= options.http2;
        self.options.proxy_protocol |= options.proxy_protocol;
        for name in &server.core.names {
            match name {
                ServerName::Exact(name) => {
                    self.exact.entry(name.clone()).or_insert(server);
                }
                ServerName::Head(name) => self.heads.push((name, server)),
                ServerName::Tail(name) => self.tails.push((name, server)),
                ServerName::Regex(regex) => {
                    self.named = true;
                    self.regexes.push((regex, server));
                }
            }
        }
        Ok(())
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
        self.named
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
