//! The servers of an `upstream { }`.

use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::blocks::{not_found, with};
use crate::conf::value;
use crate::conf::{Directive, Word};
use crate::http::conf::Scope;
use crate::upstream::address::Target;
use crate::upstream::group::{Group, Server};
use crate::upstream::peer::Peer;
use crate::upstream::resolver::ResolverConf;
use crate::upstream::roster::Roster;

/// `server ADDRESS [parameters]`
pub(super) fn server(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some((address, parameters)) = directive.args.split_first() else { return Ok(()) };
    let name = Bytes::copy_from_slice(&address.text);
    let target = Target::parse(&name, 80).map_err(|error| {
        let message = format!("{error} in upstream \"{}\"", address.lossy());
        directive.error_at(address, "invalid_address", message)
    })?;
    let mut server = Server {
        name,
        target,
        weight: 1,
        max_conns: 0,
        max_fails: 1,
        fail_timeout: 10,
        backup: false,
        down: false,
        resolve: false,
        addresses: Vec::new(),
    };
    for word in parameters {
        read(directive, word, &mut server)?;
    }
    let takes_backup = with(scope, |building| building.group.method.takes_backups());
    if server.backup && takes_backup == Some(false) {
        let message = "balancing method does not support parameter \"backup\"";
        return Err(directive.error("invalid_parameter", message));
    }
    // An address stays what it is.
    server.resolve &= server.target.literal().is_none();
    if !server.resolve {
        server.addresses = server.target.resolve();
        if server.addresses.is_empty() {
            return Err(not_found(directive, &address.lossy()));
        }
    }
    with(scope, |building| building.group.servers.push(server));
    Ok(())
}

fn read(directive: &Directive, word: &Word, server: &mut Server) -> Result<(), Diagnostic> {
    let text = &*word.text;
    let number = |prefix: &[u8]| text.strip_prefix(prefix).and_then(value::number);
    let count = |prefix: &[u8]| number(prefix).and_then(|number| u32::try_from(number).ok());
    if let Some(weight) = number(b"weight=").filter(|weight| *weight > 0) {
        server.weight = weight;
    } else if let Some(most) = count(b"max_conns=") {
        server.max_conns = most;
    } else if let Some(most) = count(b"max_fails=") {
        server.max_fails = most;
    } else if let Some(time) =
        text.strip_prefix(b"fail_timeout=").and_then(|time| value::time(time, value::Resolution::Seconds))
    {
        server.fail_timeout = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    } else if text == b"backup" {
        server.backup = true;
    } else if text == b"down" {
        server.down = true;
    } else if text == b"resolve" {
        server.resolve = true;
    } else {
        let message = format!("invalid parameter \"{}\"", word.lossy());
        return Err(directive.error_at(word, "invalid_parameter", message));
    }
    Ok(())
}

/// `resolver ADDRESS … [valid=TIME] [ipv4=on|off] [ipv6=on|off]`
pub(super) fn resolver(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let words: Vec<_> = directive.args.iter().map(Word::lossy).collect();
    let conf = ResolverConf::parse(words.iter().map(AsRef::as_ref))
        .map_err(|error| directive.error("invalid_value", error.to_string()))?;
    let known = with(scope, |building| building.group.resolver.replace(Rc::new(conf)));
    if known.flatten().is_some() { Err(value::duplicate(directive)) } else { Ok(()) }
}

/// `zone NAME [SIZE]`
pub(super) fn zone(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    /// Pages that a zone must have at least.
    const LEAST: usize = 8 * 4096;
    if let Some(word) = directive.arg(0)
        && word.text.is_empty()
    {
        return Err(directive.error_at(word, "invalid_value", "invalid zone name \"\""));
    }
    let mut size = LEAST;
    if let (Some(name), Some(word)) = (directive.arg(0), directive.arg(1)) {
        size = value::size(&word.text).ok_or_else(|| {
            let message = format!("invalid zone size \"{}\"", word.lossy());
            directive.error_at(word, "invalid_value", message)
        })?;
        if size < LEAST {
            let message = format!("zone \"{}\" is too small", name.lossy());
            return Err(directive.error_at(word, "invalid_value", message));
        }
    }
    if let Some(name) = directive.arg(0) {
        scope.declare_zone(directive, "zone", &name.text)?;
    }
    with(scope, |building| building.zone = Some(size));
    Ok(())
}

/// The servers and the backups of a group, each address by itself.
pub(super) fn peers_of(group: &Group) -> (Vec<Peer>, Vec<Peer>) {
    let of = |backup: bool| {
        let servers = group.servers.iter().filter(|server| server.backup == backup);
        servers.flat_map(|server| server.addresses.iter().map(|address| server.peer(address.clone()))).collect()
    };
    (of(false), of(true))
}

/// Lets all workers share what is known of servers, and change it.
pub(super) fn finish_zone(
    directive: &Directive,
    size: usize,
    primary: &mut [Peer],
    backup: &mut [Peer],
) -> Result<Roster, Diagnostic> {
    let roster = Roster::new(size, primary.len() + backup.len())
        .map_err(|error| directive.error("zone", format!("could not map the zone ({error})")))?;
    roster.enter(primary, backup);
    Ok(roster)
}
