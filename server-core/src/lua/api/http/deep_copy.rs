//! Copies values from one interpreter to another, which share nothing.

use std::ffi::c_int;

use crate::lua::sys::raw::*;
use crate::lua::sys::{self, State};

/// Tables inside tables, at most; deeper ones are taken for circular.
const MAX_DEPTH: u32 = 100;

/// Whether `nil` may be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nil {
    Allowed,
    Refused,
}

/// Pushes a copy of the value at `index` of `from` onto `to`. On failure both stacks are as before.
pub(super) fn copy(from: State, to: State, index: c_int, nil: Nil) -> Result<(), &'static str> {
    let (top_from, top_to) = (sys::top(from), sys::top(to));
    copy_value(from, to, sys::absolute(from, index), nil, 1).inspect_err(|_| {
        // SAFETY: lowers the tops to what they were.
        unsafe {
            lua_settop(from, top_from);
            lua_settop(to, top_to);
        }
    })
}

fn copy_value(from: State, to: State, index: c_int, nil: Nil, depth: u32) -> Result<(), &'static str> {
    // SAFETY: neither interpreter is running other code. The room on both stacks is asked for; `lua_next` walks a
    // table that nobody changes, and keys that come from a table are neither nil nor NaN: nothing here raises.
    unsafe {
        if lua_checkstack(from, 4) == 0 || lua_checkstack(to, 4) == 0 {
            return Err("stack overflow");
        }
        match lua_type(from, index) {
            LUA_TBOOLEAN => lua_pushboolean(to, lua_toboolean(from, index)),
            LUA_TLIGHTUSERDATA => lua_pushlightuserdata(to, lua_touserdata(from, index)),
            LUA_TNUMBER => lua_pushnumber(to, lua_tonumber(from, index)),
            LUA_TSTRING => sys::push(to, sys::bytes(from, index).unwrap_or_default()),
            LUA_TTABLE => {
                if depth >= MAX_DEPTH {
                    return Err("suspicious circular references, table depth exceed max depth: 100");
                }
                lua_createtable(to, 0, 0);
                lua_pushnil(from);
                while lua_next(from, index) != 0 {
                    let key = sys::top(from) - 1;
                    copy_value(from, to, key, Nil::Refused, depth + 1)?;
                    copy_value(from, to, key + 1, Nil::Refused, depth + 1)?;
                    lua_rawset(to, -3);
                    lua_settop(from, key);
                }
            }
            LUA_TNIL if nil == Nil::Allowed => lua_pushnil(to),
            LUA_TNIL => return Err("unsupported Lua type: LUA_TNIL"),
            LUA_TFUNCTION => return Err("unsupported Lua type: LUA_TFUNCTION"),
            LUA_TUSERDATA => return Err("unsupported Lua type: LUA_TUSERDATA"),
            LUA_TTHREAD => return Err("unsupported Lua type: LUA_TTHREAD"),
            _ => return Err("unsupported Lua type"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Nil, copy};
    use crate::lua::Vm;
    use crate::lua::sys;
    use crate::lua::sys::raw::*;
    use crate::lua::vm::Options;

    /// Copies what an expression gives to another interpreter and shows it there as text.
    fn copied(expression: &str) -> Result<String, &'static str> {
        let (from, to) = (Vm::new(&Options::default()).unwrap(), Vm::new(&Options::default()).unwrap());
        from.run_layer("=test", format!("value = {expression}").as_bytes()).unwrap();
        // SAFETY: plain accesses outside of any call.
        unsafe {
            lua_getfield_(from.state(), LUA_GLOBALSINDEX, c"value".as_ptr());
            let done = copy(from.state(), to.state(), -1, Nil::Allowed);
            assert_eq!(sys::top(from.state()), 1);
            done?;
            assert_eq!(sys::top(to.state()), 1);
            lua_setfield(to.state(), LUA_GLOBALSINDEX, c"value".as_ptr());
        }
        to.run_layer("=test", b"text = type(value) == 'table' and value.a[1] .. #value.a or tostring(value)").unwrap();
        // SAFETY: as above.
        unsafe { lua_getfield_(to.state(), LUA_GLOBALSINDEX, c"text".as_ptr()) };
        Ok(String::from_utf8_lossy(sys::bytes(to.state(), -1).unwrap()).into_owned())
    }

    #[test]
    fn plain_values_and_nested_tables_are_copied() {
        assert_eq!(copied("12.5").unwrap(), "12.5");
        assert_eq!(copied("nil").unwrap(), "nil");
        assert_eq!(copied("true").unwrap(), "true");
        assert_eq!(copied("{ a = { 'x', false } }").unwrap(), "x2");
    }

    #[test]
    fn functions_and_cycles_are_refused() {
        assert_eq!(copied("{ a = { print } }").unwrap_err(), "unsupported Lua type: LUA_TFUNCTION");
        assert_eq!(copied("coroutine.create(print)").unwrap_err(), "unsupported Lua type: LUA_TTHREAD");
        let message = copied("(function () local t = {}; t[1] = t; return t end)()").unwrap_err();
        assert!(message.starts_with("suspicious circular references"));
    }
}
