//! Changing the binary under a running server (SIGUSR2): the new one gets the listening sockets through the
//! variable `NGINX`, as nginx does it, and both serve until the old one is told to leave.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::Pid;
use socket2::{Socket, Type};

use super::sockets::Bound;
use super::sys;
use crate::cycle::{ListenAddress, ListenSpec};
use crate::log::{ErrorLog, Level};

/// The numbers of the sockets, each followed by `;`.
const VARIABLE: &str = "NGINX";

/// Starts the binary that is at this one's path now, with the same arguments.
pub(super) fn start(arguments: &[OsString], bound: &[Bound]) -> std::io::Result<Pid> {
    let sockets = || bound.iter().flat_map(|bound| &bound.sockets);
    let mut list = String::new();
    for socket in sockets() {
        list.push_str(&format!("{};", socket.as_raw_fd()));
    }
    let set_flag =
        |flag: FdFlag| sockets().try_for_each(|socket| fcntl(socket.as_fd(), FcntlArg::F_SETFD(flag)).map(drop));
    let mut command = Command::new(program(arguments)?);
    if let Some((name, rest)) = arguments.split_first() {
        command.arg0(name).args(rest);
    }
    set_flag(FdFlag::empty())?;
    let child = command.env(VARIABLE, list).spawn();
    set_flag(FdFlag::FD_CLOEXEC)?;
    Ok(Pid::from_raw(i32::try_from(child?.id()).unwrap_or(-1)))
}

/// The path of the program: as it was called when that was a path, else where it was found then.
fn program(arguments: &[OsString]) -> std::io::Result<PathBuf> {
    match arguments.first().map(PathBuf::from) {
        Some(path) if path.components().count() > 1 => Ok(path),
        _ => {
            let path = std::env::current_exe()?.to_string_lossy().into_owned();
            Ok(path.trim_end_matches(" (deleted)").into())
        }
    }
}

/// The sockets that an old binary handed to this one; `None` when there is no old binary.
pub(super) fn inherited(log: &ErrorLog) -> Option<Vec<Bound>> {
    let list = std::env::var(VARIABLE).ok()?;
    log.write(Level::Notice, format_args!("using inherited sockets from \"{list}\""));
    let mut bound = Vec::new();
    for number in list.split([';', ':']).filter(|number| !number.is_empty()) {
        let adopted = number.parse().ok().and_then(sys::adopt_descriptor).map(Socket::from);
        let described = adopted.and_then(|socket| Some((describe(&socket)?, socket)));
        let Some((spec, socket)) = described else {
            let text = format_args!("invalid socket number \"{number}\" in {VARIABLE} environment variable, ignoring");
            log.write(Level::Emerg, text);
            continue;
        };
        add(&mut bound, spec, socket);
    }
    Some(bound)
}

fn add(bound: &mut Vec<Bound>, spec: ListenSpec, socket: Socket) {
    match bound.iter_mut().find(|known| known.spec == spec) {
        Some(known) => known.sockets.push(Rc::new(socket)),
        None => bound.push(Bound { spec, sockets: vec![Rc::new(socket)] }),
    }
}

fn describe(socket: &Socket) -> Option<ListenSpec> {
    let address = socket.local_addr().ok()?;
    let address = match (address.as_socket(), address.as_pathname()) {
        (Some(inet), _) => ListenAddress::Inet(inet),
        (None, Some(path)) => ListenAddress::Unix(path.into()),
        (None, None) => return None,
    };
    let datagram = socket.r#type().ok()? == Type::DGRAM;
    let reuseport = matches!(address, ListenAddress::Inet(_)) && socket.reuse_port().unwrap_or(false);
    Some(ListenSpec { reuseport, datagram, ..ListenSpec::new(address) })
}
