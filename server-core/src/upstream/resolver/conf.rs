//! The parameters of the `resolver` directive.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::hosts::Hosts;

const DNS_PORT: u16 = 53;
/// Where `local=on` finds name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where `local=on` finds names.
const HOSTS: &str = "/etc/hosts";

/// Name servers and what to ask them.
#[derive(Clone, Debug)]
pub struct ResolverConf {
    /// The servers, asked in turn.
    pub servers: Vec<SocketAddr>,
    /// How long an answer is kept; `None` takes the answer's own time to live.
    pub valid: Option<Duration>,
    /// Whether IPv4 addresses are looked up.
    pub ipv4: bool,
    /// Whether IPv6 addresses are looked up.
    pub ipv6: bool,
    /// The names of the hosts file, with `local=on`.
    pub(super) hosts: Hosts,
}

/// Why a `resolver` directive can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfError {
    /// A parameter that is neither an address nor a known option.
    #[error("invalid parameter: {0}")]
    InvalidParameter(String),
    /// Only parameters, no address.
    #[error("no name servers defined")]
    NoServers,
    /// Both families are switched off.
    #[error("\"ipv4\" and \"ipv6\" cannot both be \"off\"")]
    NoFamily,
    /// The system's list of name servers can't be read.
    #[error("failed to read \"{RESOLV_CONF}\": {0}")]
    ResolvConf(#[source] std::io::Error),
}

impl ResolverConf {
    /// Reads the arguments of the directive.
    pub fn parse<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Self, ConfError> {
        let mut conf = Self { servers: Vec::new(), valid: None, ipv4: true, ipv6: true, hosts: Hosts::default() };
        for argument in arguments {
            conf.argument(argument)?;
        }
        if !conf.ipv4 && !conf.ipv6 {
            return Err(ConfError::NoFamily);
        }
        if conf.servers.is_empty() {
            return Err(ConfError::NoServers);
        }
        Ok(conf)
    }

    fn argument(&mut self, argument: &str) -> Result<(), ConfError> {
        let invalid = || ConfError::InvalidParameter(argument.to_owned());
        let flag = |value: &str| match value {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(invalid()),
        };
        match argument.split_once('=') {
            Some(("valid", value)) => self.valid = Some(seconds(value).ok_or_else(invalid)?),
            Some(("ipv4", value)) => self.ipv4 = flag(value)?,
            Some(("ipv6", value)) => self.ipv6 = flag(value)?,
            Some(("local", value)) => {
                if flag(value)? {
                    self.take_local()?;
                }
            }
            Some(("status_zone", _)) => {}
            Some(_) => return Err(invalid()),
            None => self.servers.push(server(argument).ok_or_else(invalid)?),
        }
        Ok(())
    }

    fn take_local(&mut self) -> Result<(), ConfError> {
        let text = std::fs::read_to_string(RESOLV_CONF).map_err(ConfError::ResolvConf)?;
        self.servers.extend(name_servers(&text));
        self.hosts = Hosts::read(Path::new(HOSTS)).unwrap_or_default();
        Ok(())
    }
}

/// The `nameserver` lines of a resolv.conf.
fn name_servers(text: &str) -> impl Iterator<Item = SocketAddr> + '_ {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then_some(())?;
        server(words.next()?)
    })
}

/// `ADDRESS`, `ADDRESS:PORT` or `[V6]:PORT`.
fn server(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address);
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, DNS_PORT));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (text, DNS_PORT),
    };
    match host {
        "localhost" => Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)),
        "ip6-localhost" => Some(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port)),
        _ => None,
    }
}

/// A time as nginx writes it, in whole seconds by default: `30`, `30s`, `5m`, `1h`, `2d`.
fn seconds(text: &str) -> Option<Duration> {
    let (number, factor) = match text.as_bytes().last()? {
        b's' => (&text[..text.len() - 1], 1),
        b'm' => (&text[..text.len() - 1], 60),
        b'h' => (&text[..text.len() - 1], 3600),
        b'd' => (&text[..text.len() - 1], 86_400),
        _ => (text, 1),
    };
    let number: u64 = number.parse().ok()?;
    Some(Duration::from_secs(number.checked_mul(factor)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_parameters_are_read() {
        let conf = ResolverConf::parse(["127.0.0.1:5353", "[::1]", "valid=5m", "ipv6=off"]).unwrap();
        assert_eq!(conf.servers, ["127.0.0.1:5353".parse().unwrap(), "[::1]:53".parse().unwrap()]);
        assert_eq!(conf.valid, Some(Duration::from_mins(5)));
        assert!(conf.ipv4 && !conf.ipv6);
    }

    #[test]
    fn slips_are_errors() {
        for (arguments, text) in [
            (&["127.0.0.1", "valid=x"][..], "invalid parameter: valid=x"),
            (&["127.0.0.1", "ipv6=maybe"], "invalid parameter: ipv6=maybe"),
            (&["127.0.0.1:99999"], "invalid parameter: 127.0.0.1:99999"),
            (&["valid=3s"], "no name servers defined"),
            (&["127.0.0.1", "ipv4=off", "ipv6=off"], "\"ipv4\" and \"ipv6\" cannot both be \"off\""),
        ] {
            assert_eq!(ResolverConf::parse(arguments.iter().copied()).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn only_nameserver_lines_of_resolv_conf_count() {
        let found: Vec<_> = name_servers("search x\nnameserver 127.0.0.53\n#nameserver 1.1.1.1\noptions y\n").collect();
        assert_eq!(found, ["127.0.0.53:53".parse().unwrap()]);
    }
}
