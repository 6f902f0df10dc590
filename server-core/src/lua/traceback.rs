//! Tracebacks in the form that error logs carry.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::rc::Rc;

use super::sys::raw::{lua_Debug, lua_getinfo, lua_getstack};
use super::sys::{self, State};
use super::thread::{Status, Thread};

/// Frames shown of one coroutine.
const DEPTH: c_int = 22;
/// Coroutines shown of one chain.
const COROUTINES: usize = 5;

/// The frames of a coroutine and of those that resumed it, child first.
pub(crate) fn of_thread(thread: &Rc<Thread>) -> Vec<u8> {
    let mut text = b"stack traceback:".to_vec();
    let mut next = Some(thread.clone());
    for number in 0..COROUTINES {
        let Some(thread) = next else { break };
        text.extend_from_slice(format!("\ncoroutine {number}:").as_bytes());
        append_frames(&mut text, thread.co, 0);
        next = thread.parent().filter(|parent| parent.status.get() != Status::Dead);
    }
    text
}

/// Appends one line a frame, from `level` on.
pub(crate) fn append_frames(text: &mut Vec<u8>, co: State, mut level: c_int) {
    let mut record = MaybeUninit::<lua_Debug>::zeroed();
    // SAFETY: `lua_getstack` fills the record's frame before `lua_getinfo` reads it; the strings in it live
    // as long as the frame's function.
    unsafe {
        while lua_getstack(co, level, record.as_mut_ptr()) != 0 {
            level += 1;
            if level > DEPTH {
                text.extend_from_slice(b"\n\t...");
                break;
            }
            lua_getinfo(co, c"Snl".as_ptr(), record.as_mut_ptr());
            let frame = record.assume_init_ref();
            let source = sys::c_text(frame.short_src.as_ptr());
            text.extend_from_slice(b"\n\t");
            text.extend_from_slice(source);
            text.push(b':');
            if frame.currentline > 0 {
                text.extend_from_slice(format!("{}:", frame.currentline).as_bytes());
            }
            if !sys::c_text(frame.namewhat).is_empty() {
                text.extend_from_slice(b" in function '");
                text.extend_from_slice(sys::c_text(frame.name));
                text.push(b'\'');
                continue;
            }
            match sys::c_text(frame.what).first() {
                Some(b'm') => text.extend_from_slice(b" in main chunk"),
                Some(b'C' | b't') => text.extend_from_slice(b" ?"),
                _ => {
                    text.extend_from_slice(b" in function <");
                    text.extend_from_slice(source);
                    text.extend_from_slice(format!(":{}>", frame.linedefined).as_bytes());
                }
            }
        }
    }
}
