//! What only sessions of `stream { }` have: the address that a client wanted before the kernel led it here.

use std::ffi::{c_char, c_int};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::socket::{getsockopt, sockopt};

use super::{ERROR, OK, copy_to, export, write_error};
use crate::http::Request;
use crate::http::connection::{Address, Connection, Stream};

export! {
    /// The address as text, for sockets that the packet filter redirected (`SO_ORIGINAL_DST`).
    ngx_stream_lua_ffi_req_dst_addr(
        r: *const Request, buf: *mut c_char, size: *mut usize, err: *mut u8, err_len: *mut usize,
    ) -> c_int {
        // SAFETY: the contract of the parent module; `size` says how much room there is.
        unsafe {
            let Some(r) = r.as_ref() else {
                write_error(err, err_len, b"no connection");
                return ERROR;
            };
            let found = original_destination(r.conn()).and_then(|address| {
                let text = address.to_string();
                if text.len() <= *size { Ok(text) } else { Err("the buffer is too small".to_owned()) }
            });
            match found {
                Ok(text) => {
                    copy_to(buf.cast(), text.as_bytes());
                    *size = text.len();
                    OK
                }
                Err(text) => {
                    write_error(err, err_len, text.as_bytes());
                    ERROR
                }
            }
        }
    }
}

fn original_destination(conn: &Connection) -> Result<SocketAddr, String> {
    let fd: BorrowedFd<'_> = match &conn.carrier().stream {
        Stream::Fake | Stream::Http2(_) => return Err("invalid fd".to_owned()),
        Stream::Tcp(stream) => stream.as_fd(),
        Stream::Unix(_) => return Err(format!("unsupported address family: {}", libc::AF_UNIX)),
        Stream::Datagrams(_) => return Err("failed to get IPv4 origin addr".to_owned()),
    };
    match conn.local() {
        Address::Ip(SocketAddr::V6(_)) => {
            let found = getsockopt(&fd, sockopt::Ip6tOriginalDst).map_err(|_| "failed to get IPv6 origin addr")?;
            let port = u16::from_be(found.sin6_port);
            Ok((std::net::Ipv6Addr::from(found.sin6_addr.s6_addr), port).into())
        }
        _ => {
            let found = getsockopt(&fd, sockopt::OriginalDst).map_err(|_| "failed to get IPv4 origin addr")?;
            let port = u16::from_be(found.sin_port);
            Ok((std::net::Ipv4Addr::from(found.sin_addr.s_addr.to_ne_bytes()), port).into())
        }
    }
}
