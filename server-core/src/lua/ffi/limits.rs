//! The rates of `limit_req_zone` and the numbers of `limit_conn`, as `rsty.limits` shows and changes them.

use std::cell::Cell;
use std::ffi::c_int;

use super::{DECLINED, OK, bytes, export, store};
use crate::http::conf::MainConf;
use crate::http::modules::limit_zones::LimitZone;

thread_local! {
    static MAIN: Cell<Option<&'static MainConf>> = const { Cell::new(None) };
}

/// Sets the settings whose zones Lua code of this process sees.
pub(crate) fn set_main(conf: &'static MainConf) {
    MAIN.set(Some(conf));
}

fn zone(of_connections: c_int, name: &[u8]) -> Option<&'static LimitZone> {
    let main = MAIN.get()?;
    let zones = if of_connections == 0 { &main.limit_req.zones } else { &main.limit_conn.zones };
    zones.find(name)
}

export! {
    /// The number of a zone: thousandths of a request a second, or the connections that are allowed, 0 when each
    /// location says so itself.
    rsty_limit_get(of_connections: c_int, name: *const u8, len: usize, out: *mut f64) -> c_int {
        // SAFETY: the contract of the parent module.
        let Some(zone) = zone(of_connections, unsafe { bytes(name, len) }) else { return DECLINED };
        // SAFETY: as above.
        unsafe { store(out, zone.number() as f64) };
        OK
    }

    /// Sets it, in all workers.
    rsty_limit_set(of_connections: c_int, name: *const u8, len: usize, value: f64) -> c_int {
        // SAFETY: the contract of the parent module.
        let Some(zone) = zone(of_connections, unsafe { bytes(name, len) }) else { return DECLINED };
        zone.set_number(value as u64);
        OK
    }
}
