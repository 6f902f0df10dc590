//! `ngx_http_geo_module`: variables that follow from addresses.

use std::net::IpAddr;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::cidr::Cidr;
use crate::conf::{Arity, Block, Contexts, Directive, Rule, Word};
use crate::http::conf::Scope;
use crate::http::connection::Address;
use crate::http::header::HeaderId;
use crate::http::request::Request;
use crate::http::variables::{Flags, Source, VarIndex};

/// Settings of `http { }`: all blocks; a variable knows its block by index.
#[derive(Default)]
pub struct MainConf {
    blocks: Vec<Geo>,
}

/// Settings of a server.
pub type SrvConf = ();
/// Settings of a location.
pub type LocConf = ();

struct Geo {
    /// The variable with the address; the client's address without one.
    source: Option<VarIndex>,
    proxies: Vec<Cidr>,
    recursive: bool,
    /// Looked up anew for each use.
    volatile: bool,
    networks: Networks,
    default: Bytes,
}

enum Networks {
    /// Blocks from the longest prefix to the shortest.
    Blocks(Vec<(Cidr, Bytes)>),
    /// IPv4 ranges; later ones win.
    Ranges(Vec<(u32, u32, Bytes)>),
}

/// The directive table.
pub(crate) const RULES: &[Rule] =
    &[Rule { name: "geo", contexts: Contexts::HTTP, args: Arity::Block(1, 2), apply: geo }];

fn geo(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Block::Directives(entries) = &directive.block else { return Ok(()) };
    let (source, name) = match &directive.args[..] {
        [name] => (None, name),
        [source, name] => (Some(variable(directive, source)?), name),
        _ => return Ok(()),
    };
    let name_text = variable(directive, name)?;
    let source = source.map(|source| scope.main.core.variables.index(source));
    let ranges = entries.first().is_some_and(|entry| entry.name.is("ranges"));
    let networks = if ranges { Networks::Ranges(Vec::new()) } else { Networks::Blocks(Vec::new()) };
    let mut geo =
        Geo { source, proxies: Vec::new(), recursive: false, volatile: false, networks, default: Bytes::new() };
    for entry in entries {
        geo.add(entry)?;
    }
    if let Networks::Blocks(blocks) = &mut geo.networks {
        blocks.sort_by_key(|(block, _)| std::cmp::Reverse(block.prefix()));
    }
    let flags = if geo.volatile { Flags::CHANGEABLE.or(Flags::NO_CACHE) } else { Flags::CHANGEABLE };
    let index = scope.main.geo.blocks.len();
    scope.main.geo.blocks.push(geo);
    let defined = scope.main.core.variables.define(name_text, Source::Getter(value, index), None, flags);
    defined.map_err(|error| directive.error_at(name, "duplicate_variable", error.to_string()))
}

fn variable<'a>(directive: &Directive, word: &'a Word) -> Result<&'a [u8], Diagnostic> {
    word.text.strip_prefix(b"$").ok_or_else(|| {
        let message = format!("invalid variable name \"{}\"", word.lossy());
        directive.error_at(word, "invalid_variable", message)
    })
}

impl Geo {
    fn add(&mut self, entry: &Directive) -> Result<(), Diagnostic> {
        let key = &*entry.name.text;
        let value = match (key, &entry.args[..]) {
            (b"ranges", []) => return Ok(()),
            (b"proxy_recursive", []) => {
                self.recursive = true;
                return Ok(());
            }
            (b"volatile", []) => {
                self.volatile = true;
                return Ok(());
            }
            (_, [value]) => value,
            _ => return Err(entry.error("invalid_parameter", "invalid number of the geo parameters")),
        };
        let text = Bytes::copy_from_slice(&value.text);
        match (key, &mut self.networks) {
            (b"default", _) => self.default = text,
            (b"proxy", _) => self.proxies.push(network(entry, value)?),
            (b"delete", Networks::Blocks(blocks)) => {
                let block = network(entry, value)?;
                blocks.retain(|(known, _)| *known != block);
            }
            (b"delete", Networks::Ranges(ranges)) => {
                let (first, last) = range(entry, value)?;
                ranges.retain(|(from, to, _)| (*from, *to) != (first, last));
            }
            (_, Networks::Blocks(blocks)) => {
                let block = network(entry, &entry.name)?;
                blocks.retain(|(known, _)| *known != block);
                blocks.push((block, text));
            }
            (_, Networks::Ranges(ranges)) => {
                let (first, last) = range(entry, &entry.name)?;
                // It cuts a hole into those before it, whose pieces are rows of their own from now on.
                *ranges = std::mem::take(ranges).into_iter().flat_map(|range| without(range, first, last)).collect();
                ranges.push((first, last, text));
            }
        }
        Ok(())
    }

    fn address(&self, r: &Request) -> Option<IpAddr> {
        let address = match self.source {
            Some(index) => {
                let text = r.fresh_variable(index)?;
                let is_unix = text.starts_with(b"unix:");
                if is_unix {
                    std::net::Ipv4Addr::BROADCAST.into()
                } else {
                    std::str::from_utf8(&text).ok()?.parse().ok()?
                }
            }
            None => match &*r.conn().peer.borrow() {
                Address::Ip(address) => address.ip(),
                // Nobody's address.
                Address::Unix(_) => std::net::Ipv4Addr::BROADCAST.into(),
            },
        };
        if self.proxies.is_empty() {
            return Some(address);
        }
        let header = r.headers_in.value(HeaderId::XForwardedFor).unwrap_or_default();
        Some(super::realip::forwarded_for(address, &header, &self.proxies, self.recursive))
    }
}

/// A row of addresses without some of them: nothing, one row or two.
fn without((from, to, value): (u32, u32, Bytes), first: u32, last: u32) -> impl Iterator<Item = (u32, u32, Bytes)> {
    let before = (from < first).then(|| (from, to.min(first - 1), value.clone()));
    let behind = (to > last).then(|| (from.max(last + 1), to, value));
    before.into_iter().chain(behind)
}

fn network(entry: &Directive, word: &Word) -> Result<Cidr, Diagnostic> {
    let text: &[u8] = if word.is("255.255.255.255") { b"255.255.255.255/32" } else { &word.text };
    Cidr::parse(text)
        .map(|(block, _)| block)
        .ok_or_else(|| entry.error_at(word, "invalid_value", format!("invalid network \"{}\"", word.lossy())))
}

fn range(entry: &Directive, word: &Word) -> Result<(u32, u32), Diagnostic> {
    let parse = || {
        let text = std::str::from_utf8(&word.text).ok()?;
        let (first, last) = text.split_once('-')?;
        let number = |text: &str| text.parse::<std::net::Ipv4Addr>().ok().map(u32::from);
        let (first, last) = (number(first)?, number(last)?);
        (first <= last).then_some((first, last))
    };
    parse().ok_or_else(|| entry.error_at(word, "invalid_value", format!("invalid range \"{}\"", word.lossy())))
}

fn value(r: &Request, index: usize) -> Option<Bytes> {
    let geo = r.main_conf().geo.blocks.get(index)?;
    let found = geo.address(r).and_then(|address| match &geo.networks {
        Networks::Blocks(blocks) => blocks.iter().find(|(block, _)| block.contains(address)).map(|found| &found.1),
        Networks::Ranges(ranges) => match address.to_canonical() {
            IpAddr::V4(address) => {
                let number = u32::from(address);
                ranges.iter().rev().find(|(first, last, _)| (*first..=*last).contains(&number)).map(|found| &found.2)
            }
            IpAddr::V6(_) => None,
        },
    });
    Some(found.unwrap_or(&geo.default).clone())
}
