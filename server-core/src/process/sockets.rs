//! Listening sockets: binding, and carrying over to the next cycle.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::rc::Rc;
use std::time::Duration;

use rsty_diag::Diagnostic;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::conf::message::errno_text;
use crate::cycle::{Identity, ListenAddress, ListenSpec};
use crate::log::{ErrorLog, Level};

/// How often nginx tries to bind, and how long it waits in between.
pub(super) const TRIES: usize = 5;
pub(super) const PAUSE: Duration = Duration::from_millis(500);

/// What the log says before another try, and when there will be none.
pub(super) const TRY_AGAIN: &str = "try again to bind() after 500ms";
pub(super) const STILL_BUSY: &str = "still could not bind()";

/// What is done about an address that is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// The caller tries again; it has other things to do meanwhile.
    Once,
    /// Nothing: only the configuration is tested.
    Tests,
    /// It is tried again a few times, since nobody is served yet.
    Waits,
}

/// One address with its sockets: one, or one for each worker with `reuseport`.
#[derive(Clone)]
pub(super) struct Bound {
    pub(super) spec: ListenSpec,
    pub(super) sockets: Vec<Rc<Socket>>,
}

impl Bound {
    /// The socket that a worker accepts on.
    pub(super) fn for_worker(&self, worker: usize) -> Option<&Rc<Socket>> {
        self.sockets.get(worker).or_else(|| self.sockets.first())
    }
}

/// Binds all addresses of a cycle. Sockets that `previous` has for the same address are taken over.
pub(super) fn bind_all(
    specs: &[ListenSpec],
    workers: usize,
    previous: &[Bound],
    identity: Identity,
    patience: Patience,
    log: &ErrorLog,
) -> Result<Vec<Bound>, Diagnostic> {
    let testing = patience == Patience::Tests;
    let tries = if identity == Identity::Nginx && patience == Patience::Waits { TRIES } else { 1 };
    let mut bound: Vec<Option<Bound>> = specs.iter().map(|spec| inherit(spec, previous)).collect();
    let mut last_failure = None;
    for attempt in 0..tries {
        last_failure = None;
        for (spec, slot) in specs.iter().zip(&mut bound) {
            if let Err(failure) = fill(spec, workers, slot) {
                let busy = failure.error.kind() == io::ErrorKind::AddrInUse;
                if testing && busy {
                    continue;
                }
                let message = format!("{} to {} failed", failure.call, spec.address);
                if let (Identity::Nginx, Some(errno)) = (identity, failure.error.raw_os_error()) {
                    log.write_errno(Level::Emerg, errno, format_args!("{message}"));
                }
                let text = format!("{message} ({})", errno_text(&failure.error));
                let diagnostic = Diagnostic::error("bind_failed", text);
                if !busy {
                    return Err(mark_reported(diagnostic, identity));
                }
                last_failure = Some(diagnostic.help("another process listens there; choose another port"));
            }
        }
        if last_failure.is_none() {
            break;
        }
        if attempt + 1 < tries {
            log.write(Level::Notice, format_args!("{TRY_AGAIN}"));
            std::thread::sleep(PAUSE);
            crate::clock::update();
        }
    }
    match last_failure {
        None => Ok(bound.into_iter().flatten().collect()),
        Some(_) if identity == Identity::Nginx && patience == Patience::Once => {
            Err(Diagnostic::error(BUSY, STILL_BUSY))
        }
        Some(_) if identity == Identity::Nginx => Err(Diagnostic::error("bind_failed", STILL_BUSY)),
        Some(failure) => Err(failure),
    }
}

/// The id of an error that may be gone in a moment: an address is taken.
pub(crate) const BUSY: &str = "address_busy";

/// The id of diagnostics that are in the log already and need no further word.
pub(crate) const REPORTED: &str = "reported";

fn mark_reported(diagnostic: Diagnostic, identity: Identity) -> Diagnostic {
    match identity {
        Identity::Nginx => Diagnostic { id: REPORTED, ..diagnostic },
        Identity::Rsty => diagnostic,
    }
}

fn inherit(spec: &ListenSpec, previous: &[Bound]) -> Option<Bound> {
    let same = previous.iter().find(|old| {
        old.spec.address == spec.address && old.spec.datagram == spec.datagram && old.spec.reuseport == spec.reuseport
    })?;
    for socket in &same.sockets {
        if !spec.datagram {
            // A changed backlog takes effect; the socket works on where the system refuses.
            let _ = socket.listen(spec.backlog);
        }
    }
    Some(Bound { spec: spec.clone(), sockets: same.sockets.clone() })
}

struct BindFailure {
    call: &'static str,
    error: io::Error,
}

fn fill(spec: &ListenSpec, workers: usize, slot: &mut Option<Bound>) -> Result<(), BindFailure> {
    let wanted = if spec.reuseport { workers.max(1) } else { 1 };
    let bound = slot.get_or_insert_with(|| Bound { spec: spec.clone(), sockets: Vec::new() });
    while bound.sockets.len() < wanted {
        bound.sockets.push(Rc::new(bind(spec)?));
    }
    Ok(())
}

fn bind(spec: &ListenSpec) -> Result<Socket, BindFailure> {
    let failed = |call: &'static str| move |error: io::Error| BindFailure { call, error };
    let domain = match &spec.address {
        ListenAddress::Unix(_) => Domain::UNIX,
        ListenAddress::Inet(address) => Domain::for_address(*address),
    };
    let kind = if spec.datagram { Type::DGRAM } else { Type::STREAM };
    let protocol = match &spec.address {
        ListenAddress::Unix(_) => None,
        ListenAddress::Inet(_) if spec.datagram => Some(Protocol::UDP),
        ListenAddress::Inet(_) if spec.multipath => Some(Protocol::MPTCP),
        ListenAddress::Inet(_) => Some(Protocol::TCP),
    };
    let socket = Socket::new(domain, kind, protocol).map_err(failed("socket()"))?;
    socket.set_nonblocking(true).map_err(failed("ioctl(FIONBIO)"))?;
    configure(&socket, spec).map_err(failed("setsockopt()"))?;
    let address = match &spec.address {
        ListenAddress::Inet(address) => SockAddr::from(*address),
        ListenAddress::Unix(path) => SockAddr::unix(path).map_err(failed("bind()"))?,
    };
    socket.bind(&address).map_err(failed("bind()"))?;
    if let ListenAddress::Unix(path) = &spec.address {
        let everybody = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(path, everybody).map_err(failed("chmod()"))?;
    }
    if !spec.datagram {
        socket.listen(spec.backlog).map_err(failed("listen()"))?;
    }
    Ok(socket)
}

fn configure(socket: &Socket, spec: &ListenSpec) -> io::Result<()> {
    let ListenAddress::Inet(address) = &spec.address else { return Ok(()) };
    socket.set_reuse_address(true)?;
    if spec.reuseport {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(spec.ipv6_only)?;
    }
    if let Some(size) = spec.receive_buffer {
        socket.set_recv_buffer_size(size)?;
    }
    if let Some(size) = spec.send_buffer {
        socket.set_send_buffer_size(size)?;
    }
    if spec.deferred && !spec.datagram {
        super::sys::set_tcp_option(socket, libc::TCP_DEFER_ACCEPT, 1)?;
    }
    if let Some(queue) = spec.fastopen {
        super::sys::set_tcp_option(socket, libc::TCP_FASTOPEN, queue)?;
    }
    if let Some(keepalive) = spec.keepalive {
        socket.set_keepalive(keepalive.on)?;
        let mut times = socket2::TcpKeepalive::new();
        if let Some(idle) = keepalive.idle {
            times = times.with_time(idle);
        }
        if let Some(interval) = keepalive.interval {
            times = times.with_interval(interval);
        }
        if let Some(count) = keepalive.count {
            times = times.with_retries(count);
        }
        if keepalive.on {
            socket.set_tcp_keepalive(&times)?;
        }
    }
    Ok(())
}

/// Removes the files of unix sockets that are bound, when the server ends.
pub(super) fn remove_unix_files(bound: &[Bound], kept: &[ListenSpec], log: &ErrorLog) {
    remove_unix_files_of(bound.iter().map(|bound| &bound.spec), kept, log);
}

/// Removes the files of unix sockets.
pub(super) fn remove_unix_files_of<'a>(
    listen: impl IntoIterator<Item = &'a ListenSpec>,
    kept: &[ListenSpec],
    log: &ErrorLog,
) {
    for old in listen {
        let ListenAddress::Unix(path) = &old.address else { continue };
        if kept.iter().any(|spec| spec.address == old.address) {
            continue;
        }
        if let Err(error) = std::fs::remove_file(path) {
            let errno = error.raw_os_error().unwrap_or(0);
            log.write_errno(Level::Emerg, errno, format_args!("unlink() {} failed", path.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(port: u16) -> ListenSpec {
        ListenSpec::new(ListenAddress::Inet(([127, 0, 0, 1], port).into()))
    }

    fn bind_one(spec: ListenSpec, previous: &[Bound]) -> Result<Vec<Bound>, Diagnostic> {
        let log = ErrorLog::to_stderr(Level::Stderr);
        bind_all(&[spec], 2, previous, Identity::Rsty, Patience::Waits, &log)
    }

    #[test]
    fn a_busy_address_is_an_error_that_names_it() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = bind_one(local(port), &[]).err().unwrap();
        let expected = format!("bind() to 127.0.0.1:{port} failed (98: Address already in use)");
        assert_eq!(error.message, expected);
    }

    #[test]
    fn the_next_cycle_takes_over_the_socket() {
        let first = bind_one(local(0), &[]).ok().unwrap();
        let second = bind_one(local(0), &first).ok().unwrap();
        assert!(Rc::ptr_eq(&first[0].sockets[0], &second[0].sockets[0]));
    }

    #[test]
    fn reuseport_has_a_socket_for_each_worker() {
        let port = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        };
        let spec = ListenSpec { reuseport: true, ..local(port) };
        let bound = bind_one(spec, &[]).ok().unwrap();
        assert_eq!(bound[0].sockets.len(), 2);
        assert!(!Rc::ptr_eq(bound[0].for_worker(0).unwrap(), bound[0].for_worker(1).unwrap()));
    }
}
