//! What C modules and scripts bind to besides the functions of `lua-resty-core`: lua-nginx-module's public C functions
//! for shared dictionaries.

use std::ffi::c_int;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::shdict::{self, BOOLEAN, NIL, NUMBER, STRING};
use super::{DECLINED, ERROR, NgxStr, OK, bytes, copy_to, export};
use crate::cycle::Subsystem;
use crate::shared_dict::{Value, Zone, Zones};

/// The zones of the configuration whose scripts run: of `http { }` and of `stream { }`.
static ZONES: [Mutex<Vec<Arc<Zone>>>; 2] = [const { Mutex::new(Vec::new()) }; 2];

fn zones_of(subsystem: Subsystem) -> MutexGuard<'static, Vec<Arc<Zone>>> {
    let [http, stream] = &ZONES;
    let zones = match subsystem {
        Subsystem::Http => http,
        Subsystem::Stream => stream,
    };
    zones.lock().unwrap_or_else(PoisonError::into_inner)
}

fn find(subsystem: Subsystem, name: &[u8]) -> *mut Zone {
    let zones = zones_of(subsystem);
    zones.iter().find(|zone| zone.name() == name).map_or(ptr::null_mut(), |zone| Arc::as_ptr(zone).cast_mut())
}

/// `ngx_http_lua_value_t`: a value of a shared dictionary.
#[repr(C)]
pub struct TypedValue {
    kind: u8,
    value: ValueUnion,
}

/// The value where its type belongs.
#[repr(C)]
union ValueUnion {
    boolean: c_int,
    number: f64,
    /// A buffer of the caller's and its size, which becomes the length.
    text: NgxStr,
}

export! {
    /// The zone of that name, or null.
    ngx_http_lua_find_zone(name: *const u8, name_len: usize) -> *mut Zone {
        // SAFETY: the contract of the parent module.
        find(Subsystem::Http, unsafe { bytes(name, name_len) })
    }

    /// The zone of that name in `stream { }`, or null.
    ngx_stream_lua_find_zone(name: *const u8, name_len: usize) -> *mut Zone {
        // SAFETY: the contract of the parent module.
        find(Subsystem::Stream, unsafe { bytes(name, name_len) })
    }

    /// Reads a value; a string is cut to the size of the caller's buffer.
    ngx_http_lua_shared_dict_get, ngx_stream_lua_shared_dict_get(zone: *mut Zone, key: *const u8, key_len: usize, value: *mut TypedValue) -> isize {
        if zone.is_null() {
            return ERROR as isize;
        }
        // SAFETY: the contract of the parent module; the zone is one that `ngx_http_lua_find_zone` returned.
        let code = unsafe {
            (*zone).read(bytes(key, key_len), false, shdict::now(), |read| {
                let Ok(read) = read else { return ERROR };
                let (kind, filled) = match read.value {
                    Value::Nil => (NIL, DECLINED),
                    Value::Bool(found) => {
                        (*value).value.boolean = c_int::from(found);
                        (BOOLEAN, OK)
                    }
                    Value::Number(found) => {
                        (*value).value.number = found;
                        (NUMBER, OK)
                    }
                    Value::Str(found) => (STRING, fill(&raw mut (*value).value.text, found)),
                };
                if filled == OK {
                    (*value).kind = kind as u8;
                }
                filled
            })
        };
        code as isize
    }
}

/// Copies as much as fits.
///
/// # Safety
/// `out` names a buffer that is writable for as many bytes as its length says.
unsafe fn fill(out: *mut NgxStr, found: &[u8]) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        if (*out).data.is_null() || (*out).len == 0 {
            return ERROR;
        }
        let room = found.len().min((*out).len);
        copy_to((*out).data, found.get(..room).unwrap_or_default());
        (*out).len = room;
    }
    OK
}

/// Makes the zones known to C code, before scripts run.
pub fn publish(subsystem: Subsystem, zones: &Zones) {
    zones_of(subsystem).clone_from(&zones.iter().map(Arc::clone).collect());
}
