//! `error_log syslog:…` and `access_log syslog:…`: one datagram a line, over UDP or a unix socket.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::{Mutex, TryLockError};

use super::clock::error_log_time;
use super::error_log::{LogContext, with_process_log};
use super::level::Level;

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "intern", "lpr", "news", "uucp", "clock", "authpriv", "ftp", "ntp",
    "audit", "alert", "cron", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

const SEVERITIES: [(&str, u8); 8] =
    [("emerg", 0), ("alert", 1), ("crit", 2), ("error", 3), ("warn", 4), ("notice", 5), ("info", 6), ("debug", 7)];

/// A syslog server with the settings of one directive.
#[derive(Debug)]
pub struct Syslog {
    server: Server,
    facility: u8,
    severity: u8,
    tag: String,
    with_hostname: bool,
    /// The socket, from the first line on; made anew after a failure. Locked while a line is on its way: what goes
    /// wrong with it is told to the other logs only.
    socket: Mutex<Option<Socket>>,
}

#[derive(Debug, PartialEq)]
enum Server {
    Unix(PathBuf),
    Udp(SocketAddr),
}

#[derive(Debug)]
enum Socket {
    Unix(UnixDatagram),
    Udp(UdpSocket),
}

impl Syslog {
    /// Reads `syslog:server=…[,facility=…][,severity=…][,tag=…][,nohostname]`. The error is nginx's message.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut server = None;
        let (mut facility, mut severity, mut tag, mut with_hostname) = (None, None, None, true);
        let options = text.strip_prefix("syslog:").unwrap_or(text);
        for option in options.split(',') {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            match key {
                "server" if server.is_some() => return Err("duplicate syslog \"server\"".into()),
                "server" => server = Some(parse_server(value)?),
                "facility" if facility.is_some() => return Err("duplicate syslog \"facility\"".into()),
                "facility" => {
                    let known = FACILITIES.iter().position(|name| *name == value);
                    facility = Some(known.ok_or_else(|| format!("unknown syslog facility \"{value}\""))? as u8);
                }
                "severity" if severity.is_some() => return Err("duplicate syslog \"severity\"".into()),
                "severity" => {
                    let known = SEVERITIES.iter().find(|(name, _)| *name == value);
                    severity = Some(known.ok_or_else(|| format!("unknown syslog severity \"{value}\""))?.1);
                }
                "tag" if tag.is_some() => return Err("duplicate syslog \"tag\"".into()),
                "tag" => tag = Some(parse_tag(value)?),
                "nohostname" => with_hostname = false,
                _ => return Err(format!("unknown syslog parameter \"{option}\"")),
            }
        }
        Ok(Self {
            server: server.ok_or("no syslog server specified")?,
            facility: facility.unwrap_or(23),
            severity: severity.unwrap_or(6),
            tag: tag.unwrap_or_else(|| "nginx".into()),
            with_hostname,
            socket: Mutex::default(),
        })
    }

    /// Sends one line of the error log with the severity of its level. Lost when nobody listens.
    pub fn send(&self, level: Level, message: &[u8]) {
        let severity = (level as u8).saturating_sub(1);
        self.send_with(severity, message);
    }

    /// Sends one line with the severity of the directive (access logs).
    pub fn send_line(&self, message: &[u8]) {
        self.send_with(self.severity, message);
    }

    fn send_with(&self, severity: u8, message: &[u8]) {
        let mut packet = format!("<{}>{} ", self.facility * 8 + severity, rfc3164_time()).into_bytes();
        if self.with_hostname {
            let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            packet.extend_from_slice(name.trim_end().as_bytes());
            packet.push(b' ');
        }
        packet.extend_from_slice(self.tag.as_bytes());
        packet.extend_from_slice(b": ");
        packet.extend_from_slice(message.strip_suffix(b"\n").unwrap_or(message));
        let mut socket = match self.socket.try_lock() {
            Ok(socket) => socket,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if socket.is_none() {
            match self.connect() {
                Ok(connected) => *socket = Some(connected),
                Err(error) => return self.complain(Level::Alert, "connect() failed", &error),
            }
        }
        let sent = match &*socket {
            Some(Socket::Unix(socket)) => socket.send(&packet),
            Some(Socket::Udp(socket)) => socket.send(&packet),
            None => Ok(0),
        };
        // A full buffer loses the line, which is the contract of such a log.
        if let Err(error) = sent
            && error.kind() != io::ErrorKind::WouldBlock
        {
            *socket = None;
            self.complain(failure_level(&error), "send() failed", &error);
        }
    }

    /// Tells the log of the process, this server excepted, that a line could not be sent.
    fn complain(&self, level: Level, what: &str, error: &io::Error) {
        with_process_log(|log| log.write_for(Some(self), level, error.raw_os_error(), format_args!("{what}")));
    }

    fn connect(&self) -> io::Result<Socket> {
        match &self.server {
            Server::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                socket.connect(path)?;
                Ok(Socket::Unix(socket))
            }
            Server::Udp(address) => {
                let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
                let socket = UdpSocket::bind(any)?;
                socket.set_nonblocking(true)?;
                socket.connect(address)?;
                Ok(Socket::Udp(socket))
            }
        }
    }
}

impl LogContext for Syslog {
    fn connection(&self) -> u64 {
        0
    }

    fn describe(&self, out: &mut Vec<u8>) {
        let server = match &self.server {
            Server::Unix(path) => format!("unix:{}", path.display()),
            Server::Udp(address) => address.to_string(),
        };
        out.extend_from_slice(format!(" while logging to syslog, server: {server}").as_bytes());
    }
}

/// A network that is not there is an error; anything else should not happen.
pub(crate) fn failure_level(error: &io::Error) -> Level {
    const OF_THE_NETWORK: [i32; 9] = [
        libc::ECONNRESET,
        libc::EPIPE,
        libc::ENOTCONN,
        libc::ETIMEDOUT,
        libc::ECONNREFUSED,
        libc::ENETDOWN,
        libc::ENETUNREACH,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
    ];
    match error.raw_os_error() {
        Some(errno) if !OF_THE_NETWORK.contains(&errno) => Level::Alert,
        _ => Level::Error,
    }
}

fn parse_server(value: &str) -> Result<Server, String> {
    if let Some(path) = value.strip_prefix("unix:") {
        return Ok(Server::Unix(path.into()));
    }
    let with_port = value.to_socket_addrs();
    let resolved = with_port.or_else(|_| (value.trim_matches(['[', ']']), 514).to_socket_addrs());
    let address = resolved.ok().and_then(|mut all| all.next());
    address.map(Server::Udp).ok_or_else(|| format!("host not found in syslog server \"{value}\""))
}

fn parse_tag(value: &str) -> Result<String, String> {
    if value.len() > 32 {
        return Err("syslog tag length exceeds 32".into());
    }
    if !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err("syslog \"tag\" only allows alphanumeric characters and underscore".into());
    }
    Ok(value.into())
}

/// `Jan  2 15:04:05`, taken from the cached stamp of the error log.
fn rfc3164_time() -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let stamp = error_log_time();
    let two = |at: usize| usize::from(stamp[at] - b'0') * 10 + usize::from(stamp[at + 1] - b'0');
    let month = MONTHS.get(two(5).wrapping_sub(1)).unwrap_or(&"Jan");
    format!("{month} {:2} {}", two(8), String::from_utf8_lossy(&stamp[11..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_and_checked() {
        let syslog = Syslog::parse("syslog:server=127.0.0.1:5140,facility=local0,tag=a_1,nohostname").unwrap();
        assert_eq!(syslog.server, Server::Udp(([127, 0, 0, 1], 5140).into()));
        assert_eq!((syslog.facility, syslog.with_hostname, syslog.tag.as_str()), (16, false, "a_1"));
        let message = |text| Syslog::parse(text).unwrap_err();
        assert_eq!(message("syslog:tag=x"), "no syslog server specified");
        assert_eq!(message("syslog:server=unix:/x,facility=z"), "unknown syslog facility \"z\"");
        assert_eq!(message("syslog:server=unix:/x,foo"), "unknown syslog parameter \"foo\"");
        assert_eq!(message("syslog:server=unix:/x,server=unix:/y"), "duplicate syslog \"server\"");
    }

    #[test]
    fn a_server_that_is_gone_is_told_to_the_log_of_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let file = super::super::LogFile::at(folder.path().join("e.log"));
        file.open().unwrap();
        super::super::set_process_log(Some(super::super::ErrorLog::to_file(file, Level::Error)));
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let syslog = Syslog::parse(&format!("syslog:server=127.0.0.1:{port}")).unwrap();
        let told = || std::fs::read_to_string(folder.path().join("e.log")).unwrap();
        let since = std::time::Instant::now();
        // The refusal of one line arrives before a later one is sent.
        while told().is_empty() && since.elapsed().as_secs() < 20 {
            syslog.send(Level::Error, b"hello\n");
        }
        super::super::set_process_log(None);
        let text =
            format!(": send() failed (111: Connection refused) while logging to syslog, server: 127.0.0.1:{port}\n");
        assert!(told().contains("[error]") && told().ends_with(&text), "{}", told());
    }

    #[test]
    fn a_line_becomes_one_datagram() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = receiver.local_addr().unwrap().port();
        let syslog = Syslog::parse(&format!("syslog:server=127.0.0.1:{port},nohostname")).unwrap();
        syslog.send(Level::Error, b"hello\n");
        let mut buffer = [0; 200];
        let length = receiver.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]);
        assert!(text.starts_with("<187>") && text.ends_with(" nginx: hello"), "{text}");
    }
}
