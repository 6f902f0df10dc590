//! `listen`: addresses and their options.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use rsty_diag::Diagnostic;

use crate::conf::value::{self, Resolution};
use crate::conf::{Directive, Word};
use crate::cycle::{ListenAddress, ListenSpec, Subsystem, TcpKeepalive};
use crate::http::conf::Scope;
use crate::log::Level;

/// What a server's `listen` says about connections of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenOptions {
    /// `default_server`
    pub default_server: bool,
    /// `ssl`
    pub ssl: bool,
    /// `http2`
    pub http2: bool,
    /// `proxy_protocol`
    pub proxy_protocol: bool,
}

/// One `listen` of a server.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Index into the cycle's addresses.
    pub spec: usize,
    /// Its options.
    pub options: ListenOptions,
}

pub(crate) fn apply(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some((address, options)) = directive.args.split_first() else { return Ok(()) };
    for address in addresses(directive, address)? {
        let mut spec = ListenSpec { subsystem: scope.main.core.subsystem, ..ListenSpec::new(address) };
        let mut listen = ListenOptions::default();
        let mut has_socket_options = false;
        for word in options {
            has_socket_options |= option(&mut spec, &mut listen, directive, word)?;
            if let Some((level, notice)) = remark(directive, word) {
                scope.cycle.notice(level, notice);
            }
        }
        if spec.datagram {
            check_datagrams(directive, options)?;
        }
        add(scope, directive, spec, listen, has_socket_options)?;
    }
    Ok(())
}

/// The address of a server without any `listen`.
pub(super) fn add_default(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    // As nginx: port 80 for the superuser, 8000 for others.
    let port = if nix::unistd::geteuid().is_root() { 80 } else { 8000 };
    let address = ListenAddress::Inet(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    add(scope, directive, ListenSpec::new(address), ListenOptions::default(), false)
}

fn add(
    scope: &mut Scope<'_>,
    directive: &Directive,
    spec: ListenSpec,
    options: ListenOptions,
    has_socket_options: bool,
) -> Result<(), Diagnostic> {
    let is_same = |known: &ListenSpec| {
        (&known.address, known.datagram, known.subsystem) == (&spec.address, spec.datagram, spec.subsystem)
    };
    let known = scope.cycle.listen.iter().position(is_same);
    let index = match known {
        None => {
            scope.cycle.listen.push(spec);
            scope.cycle.listen.len() - 1
        }
        Some(index) => {
            if scope.srv.core.listens.iter().any(|listen| listen.spec == index) {
                let message = format!("a duplicate listen {}", spec.address);
                return Err(directive.error("duplicate_listen", message));
            }
            if has_socket_options {
                scope.cycle.listen[index] = spec;
            }
            index
        }
    };
    scope.srv.core.listens.push(Listen { spec: index, options });
    Ok(())
}

/// What only streams have is refused.
fn check_datagrams(directive: &Directive, options: &[Word]) -> Result<(), Diagnostic> {
    const OF_STREAMS: &[&str] = &["backlog", "ssl", "so_keepalive", "proxy_protocol", "fastopen", "deferred"];
    for word in options {
        let name = word.text.split(|byte| *byte == b'=').next().unwrap_or_default();
        if let Some(name) = OF_STREAMS.iter().find(|known| known.as_bytes() == name) {
            let message = format!("\"{name}\" parameter is incompatible with \"udp\"");
            return Err(directive.error_at(word, "invalid_parameter", message));
        }
    }
    Ok(())
}

/// What nginx tells of words of `listen`: of `http2`, which works, that a directive took its place; of a filter of other
/// systems, that Linux has none.
fn remark(directive: &Directive, word: &Word) -> Option<(Level, Diagnostic)> {
    if &*word.text == b"http2" {
        let message = "the \"listen ... http2\" directive is deprecated, use the \"http2\" directive instead";
        return Some((Level::Warn, directive.error_at(word, "deprecated_parameter", message)));
    }
    word.text.starts_with(b"accept_filter=").then(|| {
        let message = format!("accept filters \"{}\" are not supported on this platform, ignored", word.lossy());
        (Level::Emerg, directive.error_at(word, "unsupported_parameter", message))
    })
}

/// One word behind the address; says whether it is about the socket.
fn option(
    spec: &mut ListenSpec,
    listen: &mut ListenOptions,
    directive: &Directive,
    word: &Word,
) -> Result<bool, Diagnostic> {
    let (name, parameter) = match memchr::memchr(b'=', &word.text) {
        Some(at) => (&word.text[..at], Some(&word.text[at + 1..])),
        None => (&word.text[..], None),
    };
    let invalid = || {
        let message = format!("invalid {} \"{}\"", String::from_utf8_lossy(name), word.lossy());
        directive.error_at(word, "invalid_value", message)
    };
    let number = |text: &[u8]| value::number(text).and_then(|number| i32::try_from(number).ok());
    match (name, parameter) {
        (b"default_server" | b"default", None) => listen.default_server = true,
        (b"ssl", None) => listen.ssl = true,
        (b"udp", None) if spec.subsystem == Subsystem::Stream => {
            spec.datagram = true;
            return Ok(true);
        }
        (b"http2" | b"quic", None) if spec.subsystem == Subsystem::Stream => {
            let message = format!("invalid parameter \"{}\"", word.lossy());
            return Err(directive.error_at(word, "invalid_parameter", message));
        }
        (b"http2", None) => listen.http2 = true,
        (b"quic", None) => {
            // What nginx says that was built without HTTP/3.
            let message = "the \"quic\" parameter requires ngx_http_v3_module";
            return Err(directive.error_at(word, "unsupported_parameter", message));
        }
        (b"proxy_protocol", None) => listen.proxy_protocol = true,
        (b"bind", None) => return Ok(true),
        (b"multipath", None) => {
            spec.multipath = true;
            return Ok(true);
        }
        (b"deferred", None) => {
            spec.deferred = true;
            return Ok(true);
        }
        (b"reuseport", None) => {
            spec.reuseport = true;
            return Ok(true);
        }
        (b"backlog", Some(text)) => {
            spec.backlog = number(text).filter(|backlog| *backlog > 0).ok_or_else(invalid)?;
            return Ok(true);
        }
        (b"rcvbuf", Some(text)) => {
            spec.receive_buffer = Some(value::size(text).ok_or_else(invalid)?);
            return Ok(true);
        }
        (b"sndbuf", Some(text)) => {
            spec.send_buffer = Some(value::size(text).ok_or_else(invalid)?);
            return Ok(true);
        }
        (b"fastopen", Some(text)) => {
            spec.fastopen = Some(number(text).ok_or_else(invalid)?);
            return Ok(true);
        }
        // See `remark`.
        (b"accept_filter", Some(_)) => {}
        (b"ipv6only", Some(text)) => {
            spec.ipv6_only = match text {
                b"on" => true,
                b"off" => false,
                _ => {
                    let message = format!("invalid ipv6only flags \"{}\"", String::from_utf8_lossy(text));
                    return Err(directive.error_at(word, "invalid_value", message));
                }
            };
            return Ok(true);
        }
        (b"so_keepalive", Some(text)) => {
            spec.keepalive = Some(keepalive(text).ok_or_else(|| {
                let message = format!("invalid so_keepalive value: \"{}\"", String::from_utf8_lossy(text));
                directive.error_at(word, "invalid_value", message)
            })?);
            return Ok(true);
        }
        _ => {
            let message = format!("invalid parameter \"{}\"", word.lossy());
            return Err(directive.error_at(word, "invalid_parameter", message));
        }
    }
    Ok(false)
}

fn keepalive(text: &[u8]) -> Option<TcpKeepalive> {
    let plain = |on| TcpKeepalive { on, idle: None, interval: None, count: None };
    match text {
        b"on" => return Some(plain(true)),
        b"off" => return Some(plain(false)),
        _ => {}
    }
    let mut fields = text.split(|byte| *byte == b':');
    let time = |field: Option<&[u8]>| -> Option<Option<Duration>> {
        match field {
            None | Some(b"") => Some(None),
            Some(text) => value::time(text, Resolution::Seconds).map(Some),
        }
    };
    let (idle, interval) = (time(fields.next())?, time(fields.next())?);
    let count = match fields.next() {
        None | Some(b"") => None,
        Some(text) => Some(u32::try_from(value::number(text)?).ok()?),
    };
    (fields.next().is_none() && (idle.is_some() || interval.is_some() || count.is_some())).then_some(TcpKeepalive {
        on: true,
        idle,
        interval,
        count,
    })
}

fn addresses(directive: &Directive, word: &Word) -> Result<Vec<ListenAddress>, Diagnostic> {
    let error = |problem: &str| {
        let message = format!("{problem} in \"{}\" of the \"listen\" directive", word.lossy());
        directive.error_at(word, "invalid_address", message)
    };
    if let Some(path) = word.text.strip_prefix(b"unix:") {
        if path.is_empty() {
            return Err(error("invalid unix socket path"));
        }
        return Ok(vec![ListenAddress::Unix(PathBuf::from(std::ffi::OsStr::from_bytes(path)))]);
    }
    let text = word.lossy();
    let number = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err(error("invalid port")),
    };
    // One port, or all from one to another.
    let ports = |text: &str| match text.split_once('-') {
        None => number(text).map(|port| port..=port),
        Some((first, last)) => {
            let ports = number(first)?..=number(last)?;
            if ports.is_empty() { Err(error("invalid port range")) } else { Ok(ports) }
        }
    };
    let inet = |ip: IpAddr, ports: RangeInclusive<u16>| {
        ports.map(|port| ListenAddress::Inet(SocketAddr::new(ip, port))).collect::<Vec<_>>()
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(|| error("invalid host"))?;
        let ip: Ipv6Addr = host.parse().map_err(|_| error("invalid IPv6 address"))?;
        let ports = match rest.strip_prefix(':') {
            Some(text) => ports(text)?,
            None if rest.is_empty() => 80..=80,
            None => return Err(error("invalid port")),
        };
        return Ok(inet(IpAddr::V6(ip), ports));
    }
    let (host, ports) = match text.split_once(':') {
        Some((host, text)) => (host, ports(text)?),
        None if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => ("*", ports(&text)?),
        None => (&*text, 80..=80),
    };
    if host.is_empty() {
        return Err(error("no host"));
    }
    if host == "*" {
        return Ok(inet(IpAddr::V4(Ipv4Addr::UNSPECIFIED), ports));
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(inet(ip, ports));
    }
    let mut found = Vec::new();
    for port in ports {
        let addresses = (host, port).to_socket_addrs().map_err(|_| error("host not found"))?;
        found.extend(addresses.map(ListenAddress::Inet));
    }
    found.dedup();
    if found.is_empty() { Err(error("host not found")) } else { Ok(found) }
}
