//! Lua values to JSON.

use std::ffi::c_int;

use super::settings::{DEEPEST, Instance, InvalidNumbers, Options};
use super::{ARRAY_MT, EMPTY_ARRAY_MT, key, number, push_metatable};
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Error, Reply, State, c_function};

/// A buffer that has grown beyond this is not kept for the next call.
const MAX_KEPT: usize = 1 << 20;

c_function! {
    /// `cjson.encode(value)`.
    pub(super) fn encode(state) {
        if sys::top(state) != 1 {
            return Err(Error::Argument(1, "expected 1 argument".into()));
        }
        let instance = Instance::of(state);
        let options = instance.options.get();
        let mut out = instance.buffer.take();
        out.clear();
        let mut encoder =
            Encoder { state, options, indent: instance.indent.borrow().clone(), out, ran_code: false };
        let outcome = encoder.value(0);
        if outcome.is_ok() {
            sys::push(state, &encoder.out);
        }
        if options.keep_buffer && encoder.out.capacity() <= MAX_KEPT {
            instance.buffer.set(encoder.out);
        }
        outcome.map(|_| Reply::Return(1))
    }
}

/// Whether a value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Yes,
    /// It has a type that JSON does not have, and such values are to be skipped.
    Skipped,
}

/// How the elements of an array are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Raw,
    /// With `__index`.
    Meta,
}

struct Encoder {
    state: State,
    options: Options,
    indent: Vec<u8>,
    out: Vec<u8>,
    /// A metamethod has run, which may have changed a table that is being walked: `lua_next` may raise.
    ran_code: bool,
}

impl Encoder {
    /// Writes the value on the top, and leaves it there.
    fn value(&mut self, depth: c_int) -> Result<Written, Error> {
        match sys::kind(self.state, -1) {
            LUA_TSTRING => self.string(-1),
            LUA_TNUMBER => self.number(-1)?,
            LUA_TBOOLEAN => self.out.extend_from_slice(if sys::truth(self.state, -1) { b"true" } else { b"false" }),
            LUA_TTABLE => self.table(depth.saturating_add(1))?,
            LUA_TNIL => self.out.extend_from_slice(b"null"),
            LUA_TLIGHTUSERDATA => {
                // SAFETY: the value is on the stack.
                let pointer = unsafe { lua_touserdata(self.state, -1) };
                if pointer.is_null() {
                    self.out.extend_from_slice(b"null");
                } else if pointer == key(&ARRAY_MT) {
                    self.out.extend_from_slice(b"[]");
                } else {
                    return self.unsupported();
                }
            }
            _ => return self.unsupported(),
        }
        Ok(Written::Yes)
    }

    fn unsupported(&self) -> Result<Written, Error> {
        if self.options.skip_unsupported { Ok(Written::Skipped) } else { Err(self.failed(-1, "type not supported")) }
    }

    #[cold]
    #[inline(never)]
    fn failed(&self, index: c_int, reason: &str) -> Error {
        format!("Cannot serialise {}: {reason}", sys::type_name(self.state, index)).into()
    }

    fn string(&mut self, index: c_int) {
        let text = sys::bytes(self.state, index).unwrap_or_default();
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        let mut plain = 0;
        for (at, &byte) in text.iter().enumerate() {
            if !NEEDS_ESCAPE[usize::from(byte)] || byte == b'/' && !self.options.escape_slash {
                continue;
            }
            self.out.extend_from_slice(&text[plain..at]);
            plain = at + 1;
            self.escape(byte);
        }
        self.out.extend_from_slice(&text[plain..]);
        self.out.push(b'"');
    }

    #[cold]
    fn escape(&mut self, byte: u8) {
        let short = match byte {
            b'"' | b'\\' | b'/' => byte,
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0c => b'f',
            b'\r' => b'r',
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                self.out.extend_from_slice(b"\\u00");
                self.out.push(HEX[usize::from(byte >> 4)]);
                self.out.push(HEX[usize::from(byte & 15)]);
                return;
            }
        };
        self.out.extend_from_slice(&[b'\\', short]);
    }

    fn number(&mut self, index: c_int) -> Result<(), Error> {
        // SAFETY: the value is a number.
        let value = unsafe { lua_tonumber(self.state, index) };
        if value.is_finite() {
            number::write(&mut self.out, value, self.options.precision as usize);
            return Ok(());
        }
        let word: &[u8] = match self.options.encode_invalid_numbers {
            InvalidNumbers::Refused => return Err(self.failed(index, "must not be NaN or Infinity")),
            InvalidNumbers::Null => b"null",
            InvalidNumbers::Written if value.is_nan() => b"NaN",
            InvalidNumbers::Written if value > 0.0 => b"Infinity",
            InvalidNumbers::Written => b"-Infinity",
        };
        self.out.extend_from_slice(word);
        Ok(())
    }

    fn table(&mut self, depth: c_int) -> Result<(), Error> {
        // A key, a value, and a call of a metamethod or of `next` with its arguments.
        // SAFETY: asks for room.
        if depth > self.options.encode_max_depth.min(DEEPEST) || unsafe { lua_checkstack(self.state, 8) } == 0 {
            return Err(too_deep(depth));
        }
        // SAFETY: the table is on the top.
        if unsafe { lua_getmetatable(self.state, -1) } == 0 {
            return match self.array_length()? {
                None => self.object(depth),
                Some(0) if self.options.empty_table_as_object => self.object(depth),
                Some(length) => self.array(depth, length, Access::Raw),
            };
        }
        if self.takes_metatable(&ARRAY_MT) {
            return self.array(depth, self.raw_length(), Access::Raw);
        }
        // SAFETY: the table is on the top; the metatable's field is read raw.
        if unsafe { luaL_getmetafield_(self.state, -1, c"__len".as_ptr()) } != 0 {
            let length = self.call_length()?;
            return self.array(depth, length, Access::Meta);
        }
        match self.array_length()? {
            Some(length) if length > 0 || !self.options.empty_table_as_object => {
                return self.array(depth, length, Access::Meta);
            }
            _ => {}
        }
        // SAFETY: the table is on the top.
        if unsafe { lua_getmetatable(self.state, -1) } != 0 && self.takes_metatable(&EMPTY_ARRAY_MT) {
            return self.array(depth, self.raw_length(), Access::Raw);
        }
        self.object(depth)
    }

    /// Pops a metatable and says whether it is a certain one of ours.
    fn takes_metatable(&self, metatable: &'static u8) -> bool {
        push_metatable(self.state, metatable);
        // SAFETY: both values are on the stack.
        unsafe {
            let equal = lua_rawequal(self.state, -1, -2) != 0;
            lua_settop(self.state, -3);
            equal
        }
    }

    fn raw_length(&self) -> i64 {
        // SAFETY: the table is on the top.
        unsafe { lua_objlen(self.state, -1) as i64 }
    }

    /// Calls the `__len` on the top with the table below it.
    fn call_length(&mut self) -> Result<i64, Error> {
        self.ran_code = true;
        // SAFETY: room was asked for; what is raised is caught by `lua_pcall`.
        unsafe {
            lua_pushvalue(self.state, -2);
            if lua_pcall(self.state, 1, 1, 0) != 0 {
                return Err(Error::OnStack);
            }
            let length = lua_tonumber(self.state, -1) as i64;
            lua_settop(self.state, -2);
            Ok(length)
        }
    }

    /// The number of elements of the table on the top if all its keys are positive integers.
    fn array_length(&mut self) -> Result<Option<i64>, Error> {
        let (mut largest, mut count) = (0.0_f64, 0_i64);
        // SAFETY: room was asked for; the walk runs no code of the script.
        unsafe {
            lua_pushnil(self.state);
            while lua_next(self.state, -2) != 0 {
                let index = if lua_type(self.state, -2) == LUA_TNUMBER { lua_tonumber(self.state, -2) } else { 0.0 };
                if index < 1.0 || index.trunc() != index {
                    lua_settop(self.state, -3);
                    return Ok(None);
                }
                largest = largest.max(index);
                count += 1;
                lua_settop(self.state, -2);
            }
        }
        let options = &self.options;
        let too_sparse = options.sparse_ratio > 0
            && largest > count as f64 * f64::from(options.sparse_ratio)
            && largest > f64::from(options.sparse_safe);
        match (too_sparse, options.convert_sparse) {
            (false, _) => Ok(Some(largest as i64)),
            (true, true) => Ok(None),
            (true, false) => Err(self.failed(-1, "excessively sparse array")),
        }
    }

    fn array(&mut self, depth: c_int, length: i64, access: Access) -> Result<(), Error> {
        self.out.push(b'[');
        let mut is_first = true;
        for index in 1..=length {
            let start = self.start_element(depth, is_first);
            self.push_element(index, access)?;
            match self.value(depth)? {
                Written::Yes => is_first = false,
                Written::Skipped => self.out.truncate(start),
            }
            // SAFETY: pops the element.
            unsafe { lua_settop(self.state, -2) };
        }
        if length > 0 {
            self.break_line(depth - 1);
        }
        self.out.push(b']');
        Ok(())
    }

    /// Pushes an element of the table on the top.
    fn push_element(&mut self, index: i64, access: Access) -> Result<(), Error> {
        // SAFETY: room was asked for; raw accesses don't raise, and what `__index` raises is caught by `lua_pcall`.
        unsafe {
            match c_int::try_from(index) {
                Ok(index) => lua_rawgeti_(self.state, -1, index),
                Err(_) => {
                    lua_pushnumber(self.state, index as f64);
                    lua_rawget_(self.state, -2);
                }
            }
            if access == Access::Raw || lua_type(self.state, -1) != LUA_TNIL {
                return Ok(());
            }
            lua_settop(self.state, -2);
            self.ran_code = true;
            lua_pushcclosure(self.state, sys::index_function, 0);
            lua_pushvalue(self.state, -2);
            lua_pushnumber(self.state, index as f64);
            if lua_pcall(self.state, 2, 1, 0) == 0 { Ok(()) } else { Err(Error::OnStack) }
        }
    }

    fn object(&mut self, depth: c_int) -> Result<(), Error> {
        self.out.push(b'{');
        let mut is_first = true;
        let mut is_empty = true;
        // SAFETY: room was asked for.
        unsafe { lua_pushnil(self.state) };
        while self.next()? {
            is_empty = false;
            let start = self.start_element(depth, is_first);
            match sys::kind(self.state, -2) {
                LUA_TSTRING => self.string(-2),
                LUA_TNUMBER => {
                    self.out.push(b'"');
                    self.number(-2)?;
                    self.out.push(b'"');
                }
                _ => return Err(self.failed(-2, "table key must be a number or string")),
            }
            self.out.push(b':');
            if !self.indent.is_empty() {
                self.out.push(b' ');
            }
            match self.value(depth)? {
                Written::Yes => is_first = false,
                Written::Skipped => self.out.truncate(start),
            }
            // SAFETY: pops the value.
            unsafe { lua_settop(self.state, -2) };
        }
        if !is_empty {
            self.break_line(depth - 1);
        }
        self.out.push(b'}');
        Ok(())
    }

    /// `lua_next` for the table below the key on the top.
    fn next(&mut self) -> Result<bool, Error> {
        // SAFETY: as long as no code of the script ran, the key is one of the table's, and `lua_next` doesn't raise;
        // afterwards it is called by `lua_pcall`. Room was asked for.
        unsafe {
            if !self.ran_code {
                return Ok(lua_next(self.state, -2) != 0);
            }
            lua_pushcclosure(self.state, next_function, 0);
            lua_insert(self.state, -2);
            lua_pushvalue(self.state, -3);
            lua_insert(self.state, -2);
            if lua_pcall(self.state, 2, 2, 0) != 0 {
                return Err(Error::OnStack);
            }
            if lua_type(self.state, -2) != LUA_TNIL {
                return Ok(true);
            }
            lua_settop(self.state, -3);
            Ok(false)
        }
    }

    /// Writes what comes before an element, and returns where it began.
    fn start_element(&mut self, depth: c_int, is_first: bool) -> usize {
        let start = self.out.len();
        if !is_first {
            self.out.push(b',');
        }
        self.break_line(depth);
        start
    }

    fn break_line(&mut self, depth: c_int) {
        if self.indent.is_empty() {
            return;
        }
        self.out.push(b'\n');
        for _ in 0..depth {
            self.out.extend_from_slice(&self.indent);
        }
    }
}

#[cold]
#[inline(never)]
fn too_deep(depth: c_int) -> Error {
    format!("Cannot serialise, excessive nesting ({depth})").into()
}

/// `next(table, key)`; to be called by `lua_pcall`.
unsafe extern "C-unwind" fn next_function(state: State) -> c_int {
    // SAFETY: called with a table and a key; nothing with a destructor is alive.
    unsafe {
        if lua_next(state, 1) == 0 {
            return 0;
        }
    }
    2
}

/// Bytes that strings don't have as they are.
const NEEDS_ESCAPE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'/' as usize] = true;
    table[b'\\' as usize] = true;
    table[0x7f] = true;
    table
};
