//! `ngx.balancer`: the choice of a server by `balancer_by_lua*`.

use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_ulong};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::{ERROR, ErrorOut, OK, bytes, export, store};
use crate::http::modules::lua::balancer::Balance;
use crate::http::request::Request;
use crate::http::upstream::local_address;
use crate::lua::phase::Phase;
use crate::upstream::address::{AddressError, Target};
use crate::upstream::selection::Verdict;

/// `NGX_PEER_NEXT`
const PEER_NEXT: c_int = 2;
/// `NGX_PEER_FAILED`
const PEER_FAILED: c_int = 4;

/// What the running code may change.
///
/// # Safety
/// A pointer that is not null is the one Lua got for the request that it is serving.
unsafe fn balance_of(r: *const Request) -> Result<Rc<Balance>, &'static CStr> {
    // SAFETY: the caller's promise: requests outlive the Lua code that serves them.
    let r = unsafe { r.as_ref() }.ok_or(c"no request found")?;
    if r.upstream.borrow().is_none() {
        return Err(c"no upstream found");
    }
    let phase = r.lua.borrow().as_ref().map(|ctx| ctx.phase.get()).ok_or(c"no ctx found")?;
    if phase != Phase::BALANCER {
        return Err(c"API disabled in the current context");
    }
    r.ctx::<Balance>().ok_or(c"no upstream found")
}

/// Runs a change, or reports why it can't be made.
///
/// # Safety
/// As [`balance_of`]; `err` is null or writable.
unsafe fn change(
    r: *const Request,
    err: impl ErrorOut,
    change: impl FnOnce(&Balance) -> Result<c_int, &'static CStr>,
) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { balance_of(r) }.and_then(|balance| change(&balance)) {
        Ok(code) => code,
        Err(text) => {
            // SAFETY: the caller's promise.
            unsafe { err.report(text) };
            ERROR
        }
    }
}

export! {
    /// Names the server for this attempt.
    ngx_http_lua_ffi_balancer_set_current_peer, ngx_stream_lua_ffi_balancer_set_current_peer(
        r: *const Request, address: *const u8, address_len: usize, port: c_int, host: *const u8, host_len: isize,
        err: *mut *mut c_char,
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        let (address, host) = unsafe { (bytes(address, address_len), bytes(host, host_len.max(0) as usize)) };
        let set = |balance: &Balance| {
            let port = u16::try_from(port).unwrap_or(0);
            let target = Target::parse(&Bytes::copy_from_slice(address), port).map_err(text_of)?;
            if !target.uri.is_empty() && !target.is_unix {
                return Err(c"invalid host");
            }
            let peer = target.literal().ok_or(c"no host allowed")?;
            *balance.peer.borrow_mut() = Some((peer, host.to_vec()));
            Ok(OK)
        };
        // SAFETY: the contract of the parent module.
        unsafe { change(r, err, set) }
    }

    /// Keeps the connection to the server for later requests.
    ngx_http_lua_ffi_balancer_enable_keepalive(
        r: *const Request, timeout: c_ulong, requests: c_uint, err: *mut *mut c_char,
    ) -> c_int {
        let set = |balance: &Balance| {
            if balance.peer.borrow().is_none() {
                return Err(c"no current peer set");
            }
            // Zero is no limit.
            let timeout = if timeout == 0 { FOREVER } else { Duration::from_millis(timeout) };
            let requests = if requests == 0 { u32::MAX } else { requests };
            balance.keepalive.set(Some((timeout, requests)));
            Ok(OK)
        };
        // SAFETY: the contract of the parent module.
        unsafe { change(r, err, set) }
    }

    /// Allows more attempts, within the limit of the configuration.
    ngx_http_lua_ffi_balancer_set_more_tries, ngx_stream_lua_ffi_balancer_set_more_tries(r: *const Request, count: c_int, err: *mut *mut c_char) -> c_int {
        let mut reduced = false;
        let limit = {
            // SAFETY: the contract of the parent module.
            unsafe { r.as_ref() }.map_or(0, |r| if r.conn().is_stream() {
                *r.loc().stream.upstream.next_upstream_tries
            } else {
                r.loc().proxy.tries_limit()
            })
        };
        let set = |balance: &Balance| {
            let mut count = u32::try_from(count).unwrap_or(0);
            let total = (balance.total_tries.get() + balance.tries.get()).saturating_sub(1);
            if limit > 0 && total.saturating_add(count) > limit {
                count = limit.saturating_sub(total);
                reduced = true;
            }
            balance.more_tries.set(count);
            Ok(OK)
        };
        // SAFETY: the contract of the parent module.
        let code = unsafe { change(r, err, set) };
        if code == OK {
            let text = if reduced { c"reduced tries due to limit".as_ptr().cast_mut() } else { std::ptr::null_mut() };
            // SAFETY: the contract of the parent module. Nobody writes through the pointer.
            unsafe { store(err, text) };
        }
        code
    }

    /// How the last attempt failed: 4 failed, 2 answered with an error, 0 there was none.
    ngx_http_lua_ffi_balancer_get_last_failure, ngx_stream_lua_ffi_balancer_get_last_failure(
        r: *const Request, status: *mut c_int, err: *mut *mut c_char,
    ) -> c_int {
        let get = |balance: &Balance| {
            let (state, code) = match balance.last_failure.get() {
                None => (0, 0),
                Some((Verdict::Next, code)) => (PEER_NEXT, code),
                Some((_, code)) => (PEER_FAILED, code),
            };
            // SAFETY: the contract of the parent module.
            unsafe { store(status, c_int::from(code)) };
            Ok(state)
        };
        // SAFETY: the contract of the parent module.
        unsafe { change(r, err, get) }
    }

    /// Sets deadlines in milliseconds; those that are not positive stay.
    ngx_http_lua_ffi_balancer_set_timeouts, ngx_stream_lua_ffi_balancer_set_timeouts(
        r: *const Request, connect: c_long, send: c_long, read: c_long, err: *mut *mut c_char,
    ) -> c_int {
        let set = |balance: &Balance| {
            let mut timeouts = balance.timeouts.get();
            for (slot, msec) in timeouts.iter_mut().zip([connect, send, read]) {
                if let Ok(msec @ 1..) = u64::try_from(msec) {
                    *slot = Some(Duration::from_millis(msec));
                }
            }
            balance.timeouts.set(timeouts);
            Ok(OK)
        };
        // SAFETY: the contract of the parent module.
        unsafe { change(r, err, set) }
    }

    /// Writes the request anew, with what the code changed of it.
    ngx_http_lua_ffi_balancer_recreate_request(r: *const Request, err: *mut *mut c_char) -> c_int {
        let set = |balance: &Balance| {
            balance.recreate.set(true);
            Ok(OK)
        };
        // SAFETY: the contract of the parent module.
        unsafe { change(r, err, set) }
    }

    /// Speaks TLS with the server, or does not.
    ngx_http_lua_ffi_balancer_set_upstream_tls(r: *const Request, on: c_int, err: *mut *mut c_char) -> c_int {
        let set = |balance: &Balance| {
            balance.tls.set(on != 0);
            Ok(OK)
        };
        // SAFETY: the contract of the parent module.
        unsafe { change(r, err, set) }
    }

    /// Connects from a local address.
    ngx_http_lua_ffi_balancer_bind_to_local_addr, ngx_stream_lua_ffi_balancer_bind_to_local_addr(
        r: *const Request, address: *const u8, address_len: usize, err: *mut u8, err_len: *mut usize,
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        let address = unsafe { bytes(address, address_len) };
        let set = |balance: &Balance| {
            balance.bind.set(Some(local_address(address).ok_or(c"invalid addr ")?));
            Ok(OK)
        };
        // SAFETY: the contract of the parent module.
        unsafe { change(r, (err, err_len), set) }
    }
}

/// As long as matters.
const FOREVER: Duration = Duration::from_hours(24 * 365);

fn text_of(error: AddressError) -> &'static CStr {
    match error {
        AddressError::InvalidHost => c"invalid host",
        AddressError::InvalidPort => c"invalid port",
        AddressError::NoHost => c"no host",
        AddressError::NoPath => c"no path in the unix domain socket",
    }
}
