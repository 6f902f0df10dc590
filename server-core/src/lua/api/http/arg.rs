//! `ngx.arg`: assignments to it. (Reading is a Lua function over the exported C ABI.)

use super::request;
use crate::http::modules::lua::filters;
use crate::lua::Phase;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Error, Reply, State, c_function};
use crate::lua::text::{self, Strictness};

pub(super) fn inject(state: State) {
    // SAFETY: fresh tables.
    unsafe {
        lua_createtable(state, 0, 0);
        lua_createtable(state, 0, 2);
        sys::set_function(state, c"__newindex", assign);
        lua_setmetatable(state, -2);
        lua_setfield(state, -2, c"arg".as_ptr());
    }
}

c_function! {
    /// `ngx.arg[1] = data`, `ngx.arg[2] = eof` in a body filter.
    fn assign(state) {
        let (r, ctx) = request()?;
        ctx.phase.get().require(Phase::BODY_FILTER)?;
        let index = sys::check_integer(state, 2)?;
        if index == 2 {
            filters::set_body_eof(&r, ctx, sys::truth(state, 3));
            return Ok(Reply::Return(0));
        }
        if index != 1 {
            return Err(format!("bad index: {index}").into());
        }
        let mut data = Vec::new();
        match sys::kind(state, 3) {
            LUA_TSTRING | LUA_TNUMBER => text::append_scalar(state, 3, &mut data),
            LUA_TNIL => {}
            LUA_TTABLE => text::append_array(state, 3, 3, Strictness::Strict, &mut data)?,
            _ => return Err(Error::from(format!("bad chunk data type: {}", sys::type_name(state, 3)))),
        }
        filters::replace_body(&r, ctx, &data);
        Ok(Reply::Return(0))
    }
}
