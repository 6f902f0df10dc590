//! Options and descriptors of cosockets.

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::RawFd;

use super::{ERROR, ErrorOut, OK, export, store, write_error};
use crate::lua::socket::tcp::{TcpSocket, errno_text};

/// The content of a socket's userdatum: the address of a pointer to a [`TcpSocket`].
type Handle = *const c_void;

/// The level and the name of an option in its system call, by the numbers that `resty.core.socket` uses.
const fn option_name(option: c_int) -> Option<(c_int, c_int)> {
    Some(match option {
        1 => (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
        2 => (libc::SOL_SOCKET, libc::SO_REUSEADDR),
        3 => (libc::IPPROTO_TCP, libc::TCP_NODELAY),
        4 => (libc::SOL_SOCKET, libc::SO_SNDBUF),
        5 => (libc::SOL_SOCKET, libc::SO_RCVBUF),
        6 => (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
        7 => (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
        _ => return None,
    })
}

/// An open socket.
///
/// # Safety
/// The handle is null or the content of a socket's userdatum; the socket is used before Lua runs again.
unsafe fn open_socket<'a>(handle: Handle) -> Option<&'a TcpSocket> {
    // SAFETY: the caller's promise; the userdatum owns the socket unless it was collected.
    let socket = unsafe { handle.cast::<*const TcpSocket>().as_ref().and_then(|socket| socket.as_ref()) }?;
    socket.transport.borrow().is_some().then_some(socket)
}

/// The descriptor of an open socket.
///
/// # Safety
/// As for [`open_socket`].
unsafe fn descriptor(handle: Handle) -> Option<RawFd> {
    // SAFETY: the caller's promise.
    let socket = unsafe { open_socket(handle) }?;
    socket.descriptor.get().or_else(|| socket.transport.borrow().as_ref().map(|transport| transport.fd()))
}

/// The system's text for its last error.
fn last_error() -> &'static str {
    errno_text(nix::errno::Errno::last_raw())
}

export! {
    /// Reads an option.
    ngx_http_lua_ffi_socket_tcp_getoption, ngx_stream_lua_ffi_socket_tcp_getoption(
        socket: Handle, option: c_int, value: *mut c_int, err: *mut u8, errlen: *mut usize
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        let (fd, errors) = unsafe { (descriptor(socket), (err, errlen)) };
        let Some(fd) = fd else {
            // SAFETY: as above.
            unsafe { errors.report(c"closed") };
            return ERROR;
        };
        let Some((level, name)) = option_name(option) else {
            // SAFETY: as above.
            unsafe { write_error(err, errlen, format!("unsupported option {option}").as_bytes()) };
            return ERROR;
        };
        let (mut found, mut length): (c_int, _) = (0, size_of::<c_int>() as libc::socklen_t);
        // SAFETY: the descriptor is open; value and length are ours.
        let status = unsafe { libc::getsockopt(fd, level, name, (&raw mut found).cast(), &raw mut length) };
        if status != 0 {
            // SAFETY: as above.
            unsafe { write_error(err, errlen, last_error().as_bytes()) };
            return ERROR;
        }
        // SAFETY: as above.
        unsafe { store(value, found) };
        OK
    }

    /// Sets an option.
    ngx_http_lua_ffi_socket_tcp_setoption, ngx_stream_lua_ffi_socket_tcp_setoption(
        socket: Handle, option: c_int, value: c_int, err: *mut u8, errlen: *mut usize
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        let (fd, errors) = unsafe { (descriptor(socket), (err, errlen)) };
        let Some(fd) = fd else {
            // SAFETY: as above.
            unsafe { errors.report(c"closed") };
            return ERROR;
        };
        let Some((level, name)) = option_name(option) else {
            // SAFETY: as above.
            unsafe { write_error(err, errlen, format!("unsupported option: {option}").as_bytes()) };
            return ERROR;
        };
        let length = size_of::<c_int>() as libc::socklen_t;
        // SAFETY: the descriptor is open; the value is ours.
        let status = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), length) };
        if status != 0 {
            // SAFETY: as above.
            unsafe { write_error(err, errlen, last_error().as_bytes()) };
            return ERROR;
        }
        OK
    }

    /// The descriptor; -1 with an error text.
    ngx_http_lua_ffi_socket_tcp_getfd, ngx_stream_lua_ffi_socket_tcp_getfd(
        _request: *mut c_void, socket: Handle, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        if let Some(fd) = unsafe { descriptor(socket) } {
            return fd;
        }
        // SAFETY: as above.
        unsafe { err.report(c"closed") };
        -1
    }
}

export! {
    /// Makes the functions here use another descriptor, unless that is negative. The answer is the one they used.
    ngx_http_lua_ffi_socket_tcp_hack_fd(socket: Handle, fd: c_int, err: *mut u8, errlen: *mut usize) -> c_int {
        // SAFETY: the contract of the parent module.
        let former = unsafe { descriptor(socket) };
        // SAFETY: as above.
        let (Some(former), Some(socket)) = (former, unsafe { open_socket(socket) }) else {
            // SAFETY: as above.
            unsafe { (err, errlen).report(c"closed") };
            return -1;
        };
        if fd >= 0 {
            socket.descriptor.set(Some(fd));
        }
        former
    }
}
