//! The raw Lua C API and the discipline for using it from Rust.
//!
//! Lua errors travel as foreign exceptions: they must not be raised inside `catch_unwind`, a panic must not
//! reach Lua, and nothing with a destructor may be alive where an error is raised. [`c_function!`] writes
//! functions that keep these rules: the body runs inside `catch_unwind`, uses only calls which cannot
//! raise (out of memory apart, which ends the process), and answers with a [`Reply`] or an [`Error`]; the
//! frame around it, which owns nothing, yields or raises.

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;

use super::memory;
use raw::*;

/// The C API itself.
pub mod raw {
    pub use mlua_sys::lua51::*;
}

/// A Lua state: the VM's main one or a coroutine's.
pub type State = *mut lua_State;

unsafe extern "C" {
    /// LuaJIT's addition to the 5.1 API: whether a yield would work here.
    fn lua_isyieldable(state: State) -> c_int;
}

/// What a C function does when its body is through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Returns this many values from the top of the stack.
    Return(c_int),
    /// Suspends the coroutine and hands this many values from the top to the scheduler.
    Yield(c_int),
}

/// An error that a C function raises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// About an argument: `bad argument #N to 'function' (TEXT)`.
    Argument(c_int, Cow<'static, str>),
    /// The value on the top of the stack, as it is.
    OnStack,
    /// A text without any place.
    Plain(&'static str),
    /// A text, after the place of the caller.
    Text(Cow<'static, str>),
    /// A text as bytes, after the place of the caller.
    Bytes(Vec<u8>),
}

impl From<&'static str> for Error {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Error {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

/// The outcome of a C function's body.
pub type Answer = Result<Reply, Error>;

/// Restores the top of the stack when it goes out of scope.
#[derive(Debug)]
pub struct StackGuard {
    state: State,
    top: c_int,
}

impl StackGuard {
    /// Remembers the present top.
    ///
    /// # Safety
    ///
    /// `state` must outlive the guard.
    pub unsafe fn new(state: State) -> Self {
        // SAFETY: the caller gives a live state.
        let top = unsafe { lua_gettop(state) };
        Self { state, top }
    }
}

impl Drop for StackGuard {
    fn drop(&mut self) {
        // SAFETY: the state outlives the guard; lowering the top never raises.
        unsafe { lua_settop(self.state, self.top) };
    }
}

/// Defines an `extern "C-unwind"` function for Lua from a body `fn(State) -> Answer`.
macro_rules! c_function {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($state:ident) $body:block) => {
        $(#[$meta])*
        $vis unsafe extern "C-unwind" fn $name(state: $crate::lua::sys::State) -> std::ffi::c_int {
            fn body($state: $crate::lua::sys::State) -> $crate::lua::sys::Answer $body
            // SAFETY: Lua calls this with the live state of the running coroutine.
            unsafe { $crate::lua::sys::call(state, body) }
        }
    };
}
pub(crate) use c_function;

/// The frame of a C function: runs the body, then returns, yields or raises with nothing alive.
///
/// # Safety
///
/// `state` is the state with which Lua called the C function.
pub(crate) unsafe fn call(state: State, body: fn(State) -> Answer) -> c_int {
    enum Next {
        Reply(Reply),
        Argument(c_int),
        Raise,
        RaiseWhere,
    }
    let enforcement = memory::suspend();
    let next = match catch_unwind(AssertUnwindSafe(|| body(state))) {
        Ok(Ok(reply)) => Next::Reply(reply),
        Ok(Err(error)) => {
            // SAFETY: pushing raises only when memory ends.
            unsafe {
                match error {
                    Error::OnStack => Next::Raise,
                    Error::Plain(text) => {
                        push(state, text.as_bytes());
                        Next::Raise
                    }
                    Error::Text(text) => {
                        luaL_where(state, 1);
                        push(state, text.as_bytes());
                        Next::RaiseWhere
                    }
                    Error::Bytes(text) => {
                        luaL_where(state, 1);
                        push(state, &text);
                        Next::RaiseWhere
                    }
                    Error::Argument(index, text) => {
                        push(state, text.as_bytes());
                        Next::Argument(index)
                    }
                }
            }
        }
        Err(_panic) => {
            // The panic hook has logged it.
            push(state, b"internal error");
            Next::Raise
        }
    };
    drop(enforcement);
    // SAFETY: nothing with a destructor is alive here, and no `catch_unwind` is between here and Lua.
    unsafe {
        match next {
            Next::Reply(Reply::Return(count)) => count,
            Next::Reply(Reply::Yield(count)) => lua_yield(state, count),
            Next::Argument(index) => luaL_argerror(state, index, lua_tostring(state, -1)),
            Next::Raise => lua_error(state),
            Next::RaiseWhere => {
                lua_concat(state, 2);
                lua_error(state)
            }
        }
    }
}

/// Whether the running coroutine may yield.
pub(crate) fn is_yieldable(state: State) -> bool {
    // SAFETY: only reads the state's frames.
    unsafe { lua_isyieldable(state) != 0 }
}

/// `Ok` when the running coroutine may yield, else the error which Lua itself would raise. To be asked before an
/// operation is started.
pub(crate) fn check_yieldable(state: State) -> Result<(), Error> {
    if is_yieldable(state) { Ok(()) } else { Err(Error::Plain("attempt to yield across C-call boundary")) }
}

/// Pushes a string.
pub(crate) fn push(state: State, bytes: &[u8]) {
    // SAFETY: the pointer and the length are of one slice.
    unsafe { lua_pushlstring_(state, bytes.as_ptr().cast(), bytes.len()) };
}

/// Pushes `nil` and a message: the failure that functions return.
pub(crate) fn fail(state: State, message: &str) -> Answer {
    // SAFETY: two slots are always free in a C function.
    unsafe { lua_pushnil(state) };
    push(state, message.as_bytes());
    Ok(Reply::Return(2))
}

/// Pushes `1`: the success that functions return.
pub(crate) fn succeed(state: State) -> Answer {
    // SAFETY: a slot is always free in a C function.
    unsafe { lua_pushinteger(state, 1) };
    Ok(Reply::Return(1))
}

/// Number of values on the stack.
pub(crate) fn top(state: State) -> c_int {
    // SAFETY: reads the state.
    unsafe { lua_gettop(state) }
}

/// The type of a value.
pub(crate) fn kind(state: State, index: c_int) -> c_int {
    // SAFETY: any index is acceptable to `lua_type`.
    unsafe { lua_type(state, index) }
}

/// The name of a value's type.
pub(crate) fn type_name(state: State, index: c_int) -> &'static str {
    // SAFETY: the names are static strings inside LuaJIT.
    let name = unsafe { CStr::from_ptr(lua_typename(state, lua_type(state, index))) };
    name.to_str().unwrap_or("no value")
}

/// The bytes of a string or number at `index` (a number is converted in place).
///
/// The slice is valid while the value stays on the stack: do not hold it across anything that pops.
pub(crate) fn bytes<'a>(state: State, index: c_int) -> Option<&'a [u8]> {
    let mut length = 0;
    // SAFETY: `lua_tolstring` gives null or a pointer to `length` bytes, kept by the value on the stack.
    unsafe {
        let start = lua_tolstring(state, index, &raw mut length);
        if start.is_null() { None } else { Some(slice::from_raw_parts(start.cast(), length)) }
    }
}

/// A string argument (numbers convert); the standard error otherwise.
pub(crate) fn check_bytes<'a>(state: State, index: c_int) -> Result<&'a [u8], Error> {
    bytes(state, index).ok_or_else(|| type_error(state, index, "string"))
}

/// A number argument (numeric strings convert); the standard error otherwise.
pub(crate) fn check_number(state: State, index: c_int) -> Result<f64, Error> {
    // SAFETY: neither call raises.
    unsafe {
        if lua_isnumber(state, index) == 0 {
            return Err(type_error(state, index, "number"));
        }
        Ok(lua_tonumber(state, index))
    }
}

/// An integer argument; fractions are cut off.
pub(crate) fn check_integer(state: State, index: c_int) -> Result<i64, Error> {
    check_number(state, index).map(integer)
}

/// A number as a C program on this machine converts it: what has no place in an integer becomes the least one.
pub(crate) fn integer(number: f64) -> i64 {
    const END: f64 = 9_223_372_036_854_775_808.0;
    if (-END..END).contains(&number) { number as i64 } else { i64::MIN }
}

/// `bad argument #N to 'f' (TYPE expected, got TYPE)`.
pub(crate) fn type_error(state: State, index: c_int, expected: &str) -> Error {
    let got = if kind(state, index) == LUA_TNONE { "no value" } else { type_name(state, index) };
    Error::Argument(index, Cow::Owned(format!("{expected} expected, got {got}")))
}

/// Whether the value is true in Lua's sense.
pub(crate) fn truth(state: State, index: c_int) -> bool {
    // SAFETY: any index is acceptable.
    unsafe { lua_toboolean(state, index) != 0 }
}

/// Turns a negative index into one from the bottom.
pub(crate) fn absolute(state: State, index: c_int) -> c_int {
    if index < 0 && index > LUA_REGISTRYINDEX { top(state) + index + 1 } else { index }
}

/// Pushes `table[name]` for a table of a script, whose metatable may have code. What that raises becomes the error.
pub(crate) fn push_field(state: State, table: c_int, name: &CStr) -> Result<(), Error> {
    let table = absolute(state, table);
    // SAFETY: a raw access to a table does not raise; what may raise runs under `lua_pcall`.
    unsafe {
        push(state, name.to_bytes());
        lua_rawget_(state, table);
        if lua_type(state, -1) != LUA_TNIL || lua_getmetatable(state, table) == 0 {
            return Ok(());
        }
        lua_settop(state, -3);
        lua_pushcclosure(state, index_function, 0);
        lua_pushvalue(state, table);
        push(state, name.to_bytes());
        if lua_pcall(state, 2, 1, 0) == 0 { Ok(()) } else { Err(Error::OnStack) }
    }
}

/// `table[key]` with metamethods; to be called by `lua_pcall`.
pub(crate) unsafe extern "C-unwind" fn index_function(state: State) -> c_int {
    // SAFETY: called with a value and a key; nothing with a destructor is alive.
    unsafe { lua_gettable(state, 1) };
    1
}

/// The key of a private entry in the registry: the address of a static.
pub(crate) fn registry_key<T>(key: &'static T) -> *mut c_void {
    std::ptr::from_ref(key).cast_mut().cast()
}

/// Pushes the private registry table of `key`, which is created when it is not there.
pub(crate) fn push_registry_table(state: State, key: *mut c_void) {
    // SAFETY: raw accesses to the registry with a light userdata key do not raise.
    unsafe {
        lua_pushlightuserdata(state, key);
        lua_rawget_(state, LUA_REGISTRYINDEX);
        if lua_type(state, -1) != LUA_TTABLE {
            lua_settop(state, -2);
            lua_createtable(state, 0, 8);
            lua_pushlightuserdata(state, key);
            lua_pushvalue(state, -2);
            lua_rawset(state, LUA_REGISTRYINDEX);
        }
    }
}

/// Sets `table[name] = function` for the table on the top.
pub(crate) fn set_function(state: State, name: &CStr, function: lua_CFunction) {
    // SAFETY: the table is a fresh one without metamethods.
    unsafe {
        lua_pushcclosure(state, function, 0);
        lua_setfield(state, -2, name.as_ptr());
    }
}

/// Sets the `__gc` of the metatable on the top.
pub fn set_collector(state: State, function: lua_CFunction) {
    set_function(state, c"__gc", function);
}

/// Sets `table[name] = number` for the table on the top.
pub(crate) fn set_integer(state: State, name: &CStr, value: i64) {
    // SAFETY: as in `set_function`.
    unsafe {
        lua_pushinteger(state, value);
        lua_setfield(state, -2, name.as_ptr());
    }
}

/// Sets `table[name] = string` for the table on the top.
pub(crate) fn set_string(state: State, name: &CStr, value: &[u8]) {
    push(state, value);
    // SAFETY: as in `set_function`.
    unsafe { lua_setfield(state, -2, name.as_ptr()) };
}

/// The text of a C string that Lua owns.
///
/// # Safety
///
/// `text` is null or a terminated string.
pub(crate) unsafe fn c_text<'a>(text: *const c_char) -> &'a [u8] {
    if text.is_null() {
        return b"";
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_bytes()
}
