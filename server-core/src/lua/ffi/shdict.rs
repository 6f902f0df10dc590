//! Shared dictionaries: the C interface of `shared_dict`.
//!
//! Lua holds a zone as a full userdata whose payload is a pointer to the [`Zone`]. Strings that do not fit into the
//! caller's buffer come back in memory from `malloc`, which Lua frees.

use std::ffi::{c_char, c_int, c_long, c_void};
use std::sync::Arc;

use mlua_sys as ffi;

use super::strings::to_malloc;
use super::{DECLINED, ERROR, ErrorOut, OK, bytes, copy_to, export, store, worker};
use crate::clock;
use crate::log::Level;
use crate::lua::current;
use crate::lua::session::level;
use crate::shared_dict::{End, Failure, Op, Value, Zone, Zones};

pub(super) const NIL: c_int = ffi::LUA_TNIL;
pub(super) const BOOLEAN: c_int = ffi::LUA_TBOOLEAN;
pub(super) const NUMBER: c_int = ffi::LUA_TNUMBER;
pub(super) const STRING: c_int = ffi::LUA_TSTRING;

export! {
    /// The zone behind a userdata.
    ngx_http_lua_ffi_shdict_udata_to_zone, ngx_stream_lua_ffi_shdict_udata_to_zone
    (udata: *mut *mut Zone) -> *mut Zone {
        // SAFETY: a userdata that is not null holds one pointer.
        if udata.is_null() { std::ptr::null_mut() } else { unsafe { *udata } }
    }

    /// Reads a value: its type, and the value where that type belongs.
    ngx_http_lua_ffi_shdict_get, ngx_stream_lua_ffi_shdict_get(
        zone: *mut Zone, key: *const u8, key_len: usize, value_type: *mut c_int, text: *mut *mut u8,
        text_len: *mut usize, number: *mut f64, user_flags: *mut c_int, get_stale: c_int, is_stale: *mut c_int,
        err: *mut *mut c_char,
    ) -> c_int {
        // SAFETY: the contract of the parent module; a zone lives as long as Lua code that can name it.
        unsafe {
            store(err, std::ptr::null_mut());
            told(zone).read(bytes(key, key_len), get_stale != 0, now(), |read| {
                let read = match read {
                    Ok(read) => read,
                    Err(failure) => {
                        err.report(failure.text());
                        return ERROR;
                    }
                };
                store(user_flags, read.flags as c_int);
                store(is_stale, c_int::from(read.stale));
                match read.value {
                    Value::Nil => store(value_type, NIL),
                    Value::Bool(value) => {
                        store(value_type, BOOLEAN);
                        (*text).write(u8::from(value));
                    }
                    Value::Number(value) => {
                        store(value_type, NUMBER);
                        store(number, value);
                    }
                    Value::Str(value) => {
                        store(value_type, STRING);
                        return store_text(value, text, text_len);
                    }
                }
                OK
            })
        }
    }

    /// Stores a value, or deletes with a nil.
    ngx_http_lua_ffi_shdict_store, ngx_stream_lua_ffi_shdict_store(
        zone: *mut Zone, op: c_int, key: *const u8, key_len: usize, value_type: c_int, text: *const u8,
        text_len: usize, number: f64, ttl: c_long, user_flags: c_int, err: *mut *mut c_char, forcible: *mut c_int,
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        unsafe {
            store(forcible, 0);
            let value = match value_type {
                NIL => Value::Nil,
                BOOLEAN => Value::Bool(number != 0.0),
                NUMBER => Value::Number(number),
                STRING => Value::Str(bytes(text, text_len)),
                _ => {
                    err.report(c"unsupported value type");
                    return ERROR;
                }
            };
            let stored = told(zone).store(Op(op), bytes(key, key_len), value, ttl, user_flags as u32, now());
            store(forcible, c_int::from(stored.forcible));
            match stored.result {
                Ok(()) => OK,
                Err(failure) => {
                    err.report(failure.text());
                    if matches!(failure, Failure::Exists | Failure::NotFound) { DECLINED } else { ERROR }
                }
            }
        }
    }

    /// Adds to a number, which may be created.
    ngx_http_lua_ffi_shdict_incr, ngx_stream_lua_ffi_shdict_incr(
        zone: *mut Zone, key: *const u8, key_len: usize, value: *mut f64, err: *mut *mut c_char, has_init: c_int,
        init: f64, init_ttl: c_long, forcible: *mut c_int,
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        unsafe {
            let init = (has_init != 0).then_some((init, init_ttl));
            let (result, evicted) = told(zone).incr(bytes(key, key_len), *value, init, now());
            store(forcible, c_int::from(evicted));
            match result {
                Ok(sum) => {
                    store(value, sum);
                    OK
                }
                Err(failure) => {
                    err.report(failure.text());
                    ERROR
                }
            }
        }
    }

    /// Ends the life of all entries.
    ngx_http_lua_ffi_shdict_flush_all, ngx_stream_lua_ffi_shdict_flush_all(zone: *mut Zone) -> c_int {
        // SAFETY: the contract of the parent module.
        unsafe { told(zone).flush_all(now()) };
        OK
    }

    /// Milliseconds left to live, zero for ever.
    ngx_http_lua_ffi_shdict_get_ttl, ngx_stream_lua_ffi_shdict_get_ttl
    (zone: *mut Zone, key: *const u8, key_len: usize) -> c_long {
        // SAFETY: the contract of the parent module.
        unsafe { told(zone).ttl(bytes(key, key_len), now()).unwrap_or(c_long::from(DECLINED)) }
    }

    /// Sets the milliseconds left to live.
    ngx_http_lua_ffi_shdict_set_expire, ngx_stream_lua_ffi_shdict_set_expire
    (zone: *mut Zone, key: *const u8, key_len: usize, ttl: c_long) -> c_int {
        // SAFETY: the contract of the parent module.
        if unsafe { told(zone).set_expire(bytes(key, key_len), ttl, now()) } { OK } else { DECLINED }
    }

    /// The size in the configuration.
    ngx_http_lua_ffi_shdict_capacity, ngx_stream_lua_ffi_shdict_capacity(zone: *mut Zone) -> usize {
        // SAFETY: the contract of the parent module.
        unsafe { (*zone).capacity() }
    }

    /// Bytes in free pages.
    ngx_http_lua_ffi_shdict_free_space, ngx_stream_lua_ffi_shdict_free_space(zone: *mut Zone) -> usize {
        // SAFETY: the contract of the parent module.
        unsafe { (*zone).free_space() }
    }
}

export! {
    /// Pushes a string or a number to the left or right end of a list; returns its length or -1.
    rsty_shdict_push(
        zone: *mut Zone, key: *const u8, key_len: usize, right: c_int, text: *const u8, text_len: usize,
        number: f64, err: *mut *mut c_char,
    ) -> c_long {
        // SAFETY: the contract of the parent module.
        unsafe {
            let value = if text.is_null() { Value::Number(number) } else { Value::Str(bytes(text, text_len)) };
            match told(zone).push(bytes(key, key_len), end(right), value, now()) {
                Ok(len) => c_long::from(len),
                Err(failure) => {
                    err.report(failure.text());
                    -1
                }
            }
        }
    }

    /// Takes a member from an end of a list: its type, and the value where that type belongs.
    rsty_shdict_pop(
        zone: *mut Zone, key: *const u8, key_len: usize, right: c_int, text: *mut *mut u8, text_len: *mut usize,
        number: *mut f64, err: *mut *mut c_char,
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        unsafe {
            told(zone).pop(bytes(key, key_len), end(right), now(), |value| match value {
                Ok(Value::Str(value)) => if store_text(value, text, text_len) == OK { STRING } else { ERROR },
                Ok(Value::Number(value)) => {
                    store(number, value);
                    NUMBER
                }
                Ok(_) => NIL,
                Err(failure) => {
                    err.report(failure.text());
                    ERROR
                }
            })
        }
    }

    /// The length of a list, or -1.
    rsty_shdict_llen(zone: *mut Zone, key: *const u8, key_len: usize, err: *mut *mut c_char) -> c_long {
        // SAFETY: the contract of the parent module.
        unsafe {
            match told(zone).llen(bytes(key, key_len), now()) {
                Ok(len) => c_long::from(len),
                Err(failure) => {
                    err.report(failure.text());
                    -1
                }
            }
        }
    }

    /// Removes entries whose time is over and counts them.
    rsty_shdict_flush_expired(zone: *mut Zone, max: c_int) -> c_int {
        // SAFETY: the contract of the parent module.
        unsafe { told(zone).flush_expired(max.max(0) as usize, now()) as c_int }
    }

    /// The keys in one block from `malloc`: each a `uint32_t` length and its bytes. Returns how many there are.
    rsty_shdict_keys(zone: *mut Zone, max: c_int, block: *mut *mut u8) -> c_int {
        let mut listed = Vec::new();
        let mut count = 0;
        // SAFETY: the contract of the parent module.
        unsafe {
            told(zone).keys(max.max(0) as usize, now(), |key| {
                listed.extend((key.len() as u32).to_ne_bytes());
                listed.extend(key);
                count += 1;
            });
            *block = to_malloc(&listed, std::ptr::null_mut()).cast();
            if (*block).is_null() { 0 } else { count }
        }
    }
}

/// Builds the table `ngx.shared` on top of the stack: per zone `{ [1] = userdata }`, all with one metatable that is its
/// own `__index`. Lua puts the methods there.
///
/// # Safety
/// `state` is a valid Lua state with room for five values. Every zone outlives the VM.
pub unsafe fn push_shared(state: *mut ffi::lua_State, zones: &Zones) {
    // SAFETY: the caller's promise. Nothing with a destructor is alive where Lua may throw for want of memory.
    unsafe {
        ffi::lua_createtable(state, 0, 0);
        ffi::lua_createtable(state, 0, 22);
        ffi::lua_pushvalue(state, -1);
        ffi::lua_setfield(state, -2, c"__index".as_ptr());
        for zone in zones {
            let name = zone.name();
            ffi::lua_pushlstring(state, name.as_ptr().cast(), name.len());
            ffi::lua_createtable(state, 1, 0);
            let payload = ffi::lua_newuserdata(state, size_of::<*const Zone>()).cast::<*const Zone>();
            payload.write(Arc::as_ptr(zone));
            ffi::lua_rawseti(state, -2, 1);
            ffi::lua_pushvalue(state, -3);
            ffi::lua_setmetatable(state, -2);
            ffi::lua_rawset(state, -4);
        }
        ffi::lua_pop(state, 1);
    }
}

/// Copies a string to the caller's buffer, or to a new block when the buffer is too small.
///
/// # Safety
/// `*text` is writable for `*text_len` bytes.
unsafe fn store_text(value: &[u8], text: *mut *mut u8, text_len: *mut usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        if *text_len < value.len() {
            let block: *mut c_void = libc::malloc(value.len());
            if block.is_null() {
                return ERROR;
            }
            *text = block.cast();
        }
        copy_to(*text, value);
        *text_len = value.len();
    }
    OK
}

fn end(right: c_int) -> End {
    if right == 0 { End::Left } else { End::Right }
}

/// The zone, after saying that one of its users died, if that was noticed.
///
/// # Safety
/// `zone` points to a zone that outlives the call.
unsafe fn told<'a>(zone: *const Zone) -> &'a Zone {
    // SAFETY: the caller's promise.
    let zone = unsafe { &*zone };
    if zone.take_recovered() {
        report_recovery(zone);
    }
    zone
}

#[cold]
fn report_recovery(zone: &Zone) {
    let name = String::from_utf8_lossy(zone.name());
    let text = format_args!("a change in lua_shared_dict zone \"{name}\" whose process died was undone");
    match current::session() {
        Some(session) => session.log(level::WARN, text),
        None => worker::log(Level::Warn, text),
    }
}

pub(super) fn now() -> u64 {
    clock::now().epoch_msec() as u64
}
