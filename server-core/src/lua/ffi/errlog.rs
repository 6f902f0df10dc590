//! The error log: `ngx.errlog`.
//!
//! Lines are captured in a ring of a fixed size in bytes (`lua_capture_error_log`, [`enable_capture`]); the oldest
//! ones make room for new ones.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{c_char, c_int};

use super::{DONE, ERROR, OK, bytes, export, store, worker, write_error};
use crate::clock;
use crate::http::request::Request;
use crate::log::{Level, set_capture};
use crate::lua::current;

struct Record {
    /// Where in the ring it begins.
    at: usize,
    level: Level,
    time: f64,
    text: Vec<u8>,
}

struct Ring {
    records: VecDeque<Record>,
    /// Where the next record begins.
    tail: usize,
    room: usize,
    level: Level,
    /// The record that was handed out last.
    taken: Vec<u8>,
}

/// What nginx keeps of a record beside its text.
const RECORD_HEAD: usize = 16;

thread_local! {
    static RING: RefCell<Option<Ring>> = const { RefCell::new(None) };
}

/// Makes a ring for as many lines as fit into `room` bytes. Nothing is captured before [`start_capture`].
pub fn enable_capture(room: usize) {
    let (records, taken) = (VecDeque::new(), Vec::new());
    RING.set(Some(Ring { records, tail: 0, room, level: Level::Debug, taken }));
}

/// Captures the lines of this process from now on, if there is a ring.
pub fn start_capture() {
    if RING.with_borrow(Option::is_some) {
        set_capture(Some(capture));
    }
}

fn capture(level: Level, line: &[u8]) {
    RING.with(|ring| {
        // A line that is written while the ring is in use is lost.
        if let Ok(mut ring) = ring.try_borrow_mut()
            && let Some(ring) = ring.as_mut()
        {
            ring.push(level, line);
        }
    });
}

/// As in nginx a record is in one piece: one that does not fit behind the last goes to the start of the ring, and what
/// is in its way there is lost.
impl Ring {
    fn push(&mut self, level: Level, line: &[u8]) {
        let size = line.len() + RECORD_HEAD;
        if level > self.level || size > self.room {
            return;
        }
        if self.free() < size {
            if self.room - self.tail < size {
                while self.records.front().is_some_and(|oldest| oldest.at >= self.tail) {
                    self.records.pop_front();
                }
                self.tail = 0;
            }
            while self.free() < size {
                self.pop();
            }
        }
        let time = clock::now().epoch_msec() as f64 / 1000.0;
        self.records.push_back(Record { at: self.tail, level, time, text: line.to_vec() });
        self.tail += size;
    }

    fn pop(&mut self) -> Option<Record> {
        let oldest = self.records.pop_front();
        if self.records.is_empty() {
            self.tail = 0;
        }
        oldest
    }

    /// Bytes behind the last record, up to the end of the ring or to the oldest record.
    fn free(&self) -> usize {
        match self.records.front() {
            None => self.room,
            Some(oldest) if self.tail > oldest.at => self.room - self.tail,
            Some(oldest) => oldest.at - self.tail,
        }
    }
}

export! {
    /// Captures only lines up to a level.
    ngx_http_lua_ffi_errlog_set_filter_level, ngx_stream_lua_ffi_errlog_set_filter_level
    (level: c_int, err: *mut u8, err_len: *mut usize) -> c_int {
        RING.with_borrow_mut(|ring| {
            let text: &[u8] = match (ring, level_of(level)) {
                (None, _) => b"directive \"lua_capture_error_log\" is not set",
                (_, None) => b"bad log level",
                (Some(ring), Some(level)) => {
                    ring.level = level;
                    return OK;
                }
            };
            // SAFETY: the contract of the parent module.
            unsafe { write_error(err, err_len, text) };
            ERROR
        })
    }

    /// Takes the oldest captured line and returns its length, -4 when there is none.
    ngx_http_lua_ffi_errlog_get_msg, ngx_stream_lua_ffi_errlog_get_msg(
        text: *mut *const c_char, level: *mut c_int, err: *mut u8, err_len: *mut usize, time: *mut f64,
    ) -> c_int {
        RING.with_borrow_mut(|ring| {
            let Some(ring) = ring else {
                // SAFETY: the contract of the parent module.
                unsafe { write_error(err, err_len, b"directive \"lua_capture_error_log\" is not set") };
                return ERROR;
            };
            let Some(record) = ring.pop() else { return DONE };
            ring.taken = record.text;
            // SAFETY: the contract of the parent module; the text stays until the next call.
            unsafe {
                store(text, ring.taken.as_ptr().cast());
                store(level, record.level as c_int);
                store(time, record.time);
            }
            ring.taken.len() as c_int
        })
    }
}

export! {
    /// The level of the error log in effect.
    ngx_http_lua_ffi_errlog_get_sys_filter_level, ngx_stream_lua_ffi_errlog_get_sys_filter_level(_r: *const Request) -> c_int {
        if let Some(session) = current::session() {
            return (0..=8).rev().find(|&level| session.logs(level)).map_or(0, c_int::from);
        }
        worker::log_level().map_or(0, |level| level as c_int)
    }

    /// Writes a line as it is.
    ngx_http_lua_ffi_raw_log, ngx_stream_lua_ffi_raw_log(_r: *const Request, level: c_int, text: *const u8, len: usize) -> c_int {
        let Some(known) = level_of(level) else { return ERROR };
        // SAFETY: the contract of the parent module.
        let text = String::from_utf8_lossy(unsafe { bytes(text, len) });
        match current::session() {
            Some(session) => {
                if session.logs(known as u8) {
                    session.log(known as u8, format_args!("{text}"));
                }
            }
            None => worker::log(known, format_args!("{text}")),
        }
        OK
    }
}

fn level_of(number: c_int) -> Option<Level> {
    const LEVELS: [Level; 9] = [
        Level::Stderr,
        Level::Emerg,
        Level::Alert,
        Level::Crit,
        Level::Error,
        Level::Warn,
        Level::Notice,
        Level::Info,
        Level::Debug,
    ];
    usize::try_from(number).ok().and_then(|number| LEVELS.get(number)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_lines_make_room() {
        let (records, taken) = (VecDeque::new(), Vec::new());
        let mut ring = Ring { records, tail: 0, room: 100, level: Level::Info, taken };
        for text in ["first, 20 bytes long", "second, 20 bytes too", "third line, as long "] {
            ring.push(Level::Error, text.as_bytes());
        }
        ring.push(Level::Debug, b"not wanted");
        ring.push(Level::Error, &[b'x'; 85]); // One byte too long for the ring.
        let texts: Vec<_> = std::iter::from_fn(|| ring.pop()).map(|record| record.text).collect();
        assert_eq!(texts, [b"second, 20 bytes too".to_vec(), b"third line, as long ".to_vec()]);
    }
}
