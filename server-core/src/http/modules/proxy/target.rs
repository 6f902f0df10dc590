//! Where a request goes: the servers, and the URI they are asked for.

use std::rc::Rc;

use bytes::Bytes;

use super::conf::Pass;
use crate::http::code::Code;
use crate::http::h1;
use crate::http::request::Request;
use crate::log::Level;
use crate::upstream::address::{PeerAddress, Target};
use crate::upstream::group::Group;
use crate::upstream::resolver::Resolver;

/// Where one request goes.
pub(super) struct Destination {
    /// The servers.
    pub(super) group: Rc<Group>,
    /// The value of the `Host` header, unless the configuration sets another.
    pub(super) host: Bytes,
    /// The port as text; empty for unix sockets.
    pub(super) port: Bytes,
    /// The URI to ask for.
    pub(super) uri: Bytes,
    /// Whether the servers are named by a unix socket's path (for log lines).
    pub(super) is_unix: bool,
}

/// Host and port, for `$proxy_host` and `$proxy_port`.
pub(super) struct ProxyVars {
    /// `$proxy_host`
    pub(super) host: Bytes,
    /// `$proxy_port`
    pub(super) port: Bytes,
}

impl Destination {
    /// Decides about a request; names of variables are looked up.
    pub(super) async fn of(r: &Rc<Request>) -> Result<Self, Code> {
        let Some(pass) = r.loc().proxy.pass.clone() else { return Err(Code::INTERNAL_SERVER_ERROR) };
        match &*pass {
            Pass::Fixed { target, group, location, .. } => {
                let group = group.get().cloned().ok_or(Code::INTERNAL_SERVER_ERROR)?;
                Self::new(r, group, target, fixed_uri(r, &slashed(&target.uri), location))
            }
            Pass::Variable(url) => {
                let url = url.eval(r);
                let https = url.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"https://"));
                let http = url.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"http://"));
                if https {
                    r.log(Level::Error, format_args!("https protocol requires SSL support"));
                    return Err(Code::INTERNAL_SERVER_ERROR);
                }
                if !http {
                    r.log_bytes(Level::Error, &[b"invalid URL prefix in \"", &url, b"\""]);
                    return Err(Code::INTERNAL_SERVER_ERROR);
                }
                let target = Target::parse(&url.slice(7..), 80).map_err(|error| {
                    let text = error.to_string();
                    r.log_bytes(Level::Error, &[text.as_bytes(), b" in upstream \"", &url[7..], b"\""]);
                    Code::INTERNAL_SERVER_ERROR
                })?;
                let uri = slashed(&target.uri);
                let uri = if uri.is_empty() { fixed_uri(r, b"", b"") } else { uri };
                let group = group_of(r, &target).await?;
                Self::new(r, group, &target, uri)
            }
        }
    }

    fn new(r: &Request, group: Rc<Group>, target: &Target, uri: Bytes) -> Result<Self, Code> {
        if uri.is_empty() {
            r.log(Level::Error, format_args!("zero length URI to proxy"));
            return Err(Code::INTERNAL_SERVER_ERROR);
        }
        let port = if target.is_unix { Bytes::new() } else { Bytes::from(target.port.to_string()) };
        Ok(Self { group, host: target.host_header(80), port, uri, is_unix: target.is_unix })
    }
}

/// A URI that consists of arguments only belongs to `/`.
fn slashed(uri: &Bytes) -> Bytes {
    if uri.first() == Some(&b'?') { [b"/", &uri[..]].concat().into() } else { uri.clone() }
}

/// The request's URI, with `uri` in the place of the location's prefix if there is one.
fn fixed_uri(r: &Request, uri: &[u8], location: &[u8]) -> Bytes {
    if uri.is_empty() && r.valid_unparsed_uri.get() {
        return r.unparsed_uri.get();
    }
    let path = r.uri.get();
    let cut = if uri.is_empty() { 0 } else { location.len().min(path.len()) };
    let mut out = uri.to_vec();
    if r.quoted_uri.get() || r.internal.get() {
        out.extend_from_slice(&h1::uri::escape(&path[cut..]));
    } else {
        out.extend_from_slice(&path[cut..]);
    }
    if !r.args.is_empty() {
        out.push(b'?');
        out.extend_from_slice(&r.args.borrow());
    }
    out.into()
}

/// The servers of a host that variables named.
async fn group_of(r: &Rc<Request>, target: &Target) -> Result<Rc<Group>, Code> {
    let port = target.has_port.then_some(target.port);
    if let Some(group) = r.main_conf().upstream.find(&target.host, port).filter(|_| !target.is_unix) {
        return Ok(Rc::clone(group));
    }
    if let Some(address) = target.literal() {
        return Ok(Rc::new(Group::of(target.host.clone(), [address])));
    }
    let host = target.host.clone();
    let name = String::from_utf8_lossy(&host).into_owned();
    let Some(resolver) = resolver_of(r) else {
        r.log(Level::Error, format_args!("no resolver defined to resolve {name}"));
        return Err(Code::BAD_GATEWAY);
    };
    match resolver.resolve(&name, *r.loc().core.resolver_timeout).await {
        Ok(addresses) => {
            let addresses = addresses.into_iter().map(|ip| PeerAddress::Ip((ip, target.port).into()));
            Ok(Rc::new(Group::of(host, addresses)))
        }
        Err(error) => {
            r.log(Level::Error, format_args!("{name} could not be resolved ({error})"));
            Err(Code::BAD_GATEWAY)
        }
    }
}

/// The resolver of the request's location.
fn resolver_of(r: &Request) -> Option<Rc<Resolver>> {
    r.loc().core.resolver.as_ref().map(Resolver::of)
}
