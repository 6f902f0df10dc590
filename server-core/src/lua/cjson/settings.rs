//! The settings of an instance, and the functions that read and change them.
//!
//! Each function changes its setting when it has an argument that isn't nil, and returns the setting.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int};
use std::ptr;

use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Answer, Error, Reply, State, c_function};

/// The nesting that no setting allows to exceed: each level takes some of the thread's stack.
pub(super) const DEEPEST: c_int = 1500;

/// What becomes of NaN and the infinities when they are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InvalidNumbers {
    /// An error.
    Refused,
    /// JavaScript's words.
    Written,
    /// `null`.
    Null,
}

/// The settings, copied at the start of a call: a metamethod may change them meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) convert_sparse: bool,
    /// Times that the largest index may exceed the number of elements; 0 allows any.
    pub(super) sparse_ratio: c_int,
    /// The largest index up to which an array is never too sparse.
    pub(super) sparse_safe: c_int,
    pub(super) encode_max_depth: c_int,
    pub(super) decode_max_depth: c_int,
    pub(super) encode_invalid_numbers: InvalidNumbers,
    pub(super) decode_invalid_numbers: bool,
    /// Significant digits, 1 to 16.
    pub(super) precision: c_int,
    pub(super) keep_buffer: bool,
    pub(super) empty_table_as_object: bool,
    pub(super) array_mt_on_decode: bool,
    pub(super) comments: bool,
    pub(super) escape_slash: bool,
    pub(super) skip_unsupported: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            convert_sparse: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_max_depth: 1000,
            decode_max_depth: 1000,
            encode_invalid_numbers: InvalidNumbers::Refused,
            decode_invalid_numbers: true,
            precision: 14,
            keep_buffer: true,
            empty_table_as_object: true,
            array_mt_on_decode: false,
            comments: false,
            escape_slash: true,
            skip_unsupported: false,
        }
    }
}

/// The upvalue of an instance's functions.
#[derive(Default)]
pub(super) struct Instance {
    pub(super) options: Cell<Options>,
    /// What one level of indentation is; without any, there are no line breaks either.
    pub(super) indent: RefCell<Vec<u8>>,
    /// Kept from one call to the next. Taken out while it is used.
    pub(super) buffer: Cell<Vec<u8>>,
}

impl Instance {
    /// Pushes a new one as a userdata.
    ///
    /// # Safety
    ///
    /// There is room for three values.
    pub(super) unsafe fn push(state: State) {
        // SAFETY: the memory is as large as asked for, and aligned for any value; it is written before a collector
        // can see it. The tables are fresh.
        unsafe {
            let place = lua_newuserdata(state, size_of::<Self>()).cast::<Self>();
            ptr::write(place, Self::default());
            lua_createtable(state, 0, 1);
            sys::set_collector(state, collect);
            lua_setmetatable(state, -2);
        }
    }

    /// The one whose function is running.
    pub(super) fn of<'a>(state: State) -> &'a Self {
        // SAFETY: the functions of a module are made with this upvalue and no other, which lives as long as they do.
        unsafe { &*lua_touserdata(state, lua_upvalueindex(1)).cast::<Self>() }
    }
}

unsafe extern "C-unwind" fn collect(state: State) -> c_int {
    // SAFETY: called once, by the collector, with the userdata that `push` made; nothing refers to it any more.
    unsafe { ptr::drop_in_place(lua_touserdata(state, 1).cast::<Instance>()) };
    0
}

/// Takes at most `count` arguments; those that are missing become nil.
fn arguments(state: State, count: c_int) -> Result<&'static Instance, Error> {
    if sys::top(state) > count {
        return Err(Error::Argument(count + 1, "found too many arguments".into()));
    }
    // SAFETY: three values at most.
    unsafe { lua_settop(state, count) };
    Ok(Instance::of(state))
}

/// An integer argument within limits, or the present value.
fn integer(state: State, index: c_int, present: c_int, least: c_int, most: c_int) -> Result<c_int, Error> {
    if sys::kind(state, index) == LUA_TNIL {
        return Ok(present);
    }
    let value = sys::check_integer(state, index)?;
    c_int::try_from(value)
        .ok()
        .filter(|value| (least..=most).contains(value))
        .ok_or_else(|| Error::Argument(1, format!("expected integer between {least} and {most}").into()))
}

/// An argument that is a boolean or the name of a choice, as its number; or the present value.
fn choice(state: State, index: c_int, present: usize, names: &[&str]) -> Result<usize, Error> {
    match sys::kind(state, index) {
        LUA_TNIL => Ok(present),
        LUA_TBOOLEAN => Ok(usize::from(sys::truth(state, index))),
        _ => {
            let name = sys::check_bytes(state, index)?;
            names.iter().position(|known| known.as_bytes() == name).ok_or_else(|| {
                Error::Argument(index, format!("invalid option '{}'", String::from_utf8_lossy(name)).into())
            })
        }
    }
}

fn switch(state: State, index: c_int, present: bool) -> Result<bool, Error> {
    Ok(choice(state, index, usize::from(present), &["off", "on"])? != 0)
}

fn return_boolean(state: State, value: bool) -> Answer {
    // SAFETY: there is room for a result.
    unsafe { lua_pushboolean(state, c_int::from(value)) };
    Ok(Reply::Return(1))
}

fn return_integer(state: State, value: c_int) -> Answer {
    // SAFETY: as above.
    unsafe { lua_pushinteger(state, lua_Integer::from(value)) };
    Ok(Reply::Return(1))
}

/// Functions with one argument that is on or off.
macro_rules! switches {
    ($($name:ident: $field:ident),* $(,)?) => {$(
        c_function! {
            pub(super) fn $name(state) {
                let instance = arguments(state, 1)?;
                let mut options = instance.options.get();
                options.$field = switch(state, 1, options.$field)?;
                instance.options.set(options);
                return_boolean(state, options.$field)
            }
        }
    )*};
}

/// Functions with one argument that is a number within limits.
macro_rules! integers {
    ($($name:ident: $field:ident, $least:expr, $most:expr);* $(;)?) => {$(
        c_function! {
            pub(super) fn $name(state) {
                let instance = arguments(state, 1)?;
                let mut options = instance.options.get();
                options.$field = integer(state, 1, options.$field, $least, $most)?;
                instance.options.set(options);
                return_integer(state, options.$field)
            }
        }
    )*};
}

switches! {
    decode_allow_comment: comments,
    decode_array_with_array_mt: array_mt_on_decode,
    decode_invalid_numbers: decode_invalid_numbers,
    encode_empty_table_as_object: empty_table_as_object,
    encode_escape_forward_slash: escape_slash,
    encode_skip_unsupported_value_types: skip_unsupported,
}

integers! {
    decode_max_depth: decode_max_depth, 1, c_int::MAX;
    encode_max_depth: encode_max_depth, 1, c_int::MAX;
    encode_number_precision: precision, 1, 16;
}

c_function! {
    pub(super) fn encode_keep_buffer(state) {
        let instance = arguments(state, 1)?;
        let mut options = instance.options.get();
        options.keep_buffer = switch(state, 1, options.keep_buffer)?;
        instance.options.set(options);
        if !options.keep_buffer {
            instance.buffer.take();
        }
        return_boolean(state, options.keep_buffer)
    }
}

c_function! {
    pub(super) fn encode_sparse_array(state) {
        let instance = arguments(state, 3)?;
        let mut options = instance.options.get();
        options.convert_sparse = switch(state, 1, options.convert_sparse)?;
        options.sparse_ratio = integer(state, 2, options.sparse_ratio, 0, c_int::MAX)?;
        options.sparse_safe = integer(state, 3, options.sparse_safe, 0, c_int::MAX)?;
        instance.options.set(options);
        return_boolean(state, options.convert_sparse)?;
        return_integer(state, options.sparse_ratio)?;
        return_integer(state, options.sparse_safe)?;
        Ok(Reply::Return(3))
    }
}

c_function! {
    pub(super) fn encode_invalid_numbers(state) {
        const NAMES: [&str; 3] = ["off", "on", "null"];
        const RESULTS: [Option<&CStr>; 3] = [None, None, Some(c"null")];
        use InvalidNumbers::{Null, Refused, Written};
        let instance = arguments(state, 1)?;
        let mut options = instance.options.get();
        let chosen = choice(state, 1, options.encode_invalid_numbers as usize, &NAMES)?;
        options.encode_invalid_numbers = match chosen {
            0 => Refused,
            1 => Written,
            _ => Null,
        };
        instance.options.set(options);
        match RESULTS.get(chosen).copied().flatten() {
            Some(name) => {
                sys::push(state, name.to_bytes());
                Ok(Reply::Return(1))
            }
            None => return_boolean(state, chosen == 1),
        }
    }
}

c_function! {
    pub(super) fn encode_indent(state) {
        let instance = arguments(state, 1)?;
        if sys::kind(state, 1) != LUA_TNIL {
            *instance.indent.borrow_mut() = sys::check_bytes(state, 1)?.to_vec();
        }
        sys::push(state, &instance.indent.borrow());
        Ok(Reply::Return(1))
    }
}
