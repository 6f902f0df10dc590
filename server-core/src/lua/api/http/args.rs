//! Query strings and tables: `ngx.encode_args`, `ngx.decode_args`, `ngx.req.set_uri_args`, `ngx.req.get_post_args`.

use super::control::query_argument;
use super::{expect_arguments, real_request_or};
use crate::lua::current;
use crate::lua::session::level;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Answer, Error, Reply, State, c_function};

/// Pairs that are read when the caller says nothing.
const MAX_ARGS: i64 = 100;

pub(super) fn inject(state: State) {
    sys::set_function(state, c"encode_args", encode_args);
    sys::set_function(state, c"decode_args", decode_args);
}

/// Into `ngx.req`.
pub(super) fn inject_req(state: State) {
    sys::set_function(state, c"set_uri_args", set_uri_args);
    sys::set_function(state, c"get_post_args", get_post_args);
}

c_function! {
    fn encode_args(state) {
        expect_arguments(state, 1, 1, "1 argument")?;
        if sys::kind(state, 1) != LUA_TTABLE {
            return Err(sys::type_error(state, 1, "table"));
        }
        let mut query = Vec::new();
        push_query(state, 1, &mut query)?;
        sys::push(state, &query);
        Ok(Reply::Return(1))
    }
}

c_function! {
    fn decode_args(state) {
        let count = expect_arguments(state, 1, 2, "1 or 2 arguments")?;
        let text = sys::check_bytes(state, 1)?.to_vec();
        let max = if count == 2 { sys::check_integer(state, 2)? } else { MAX_ARGS };
        push_pairs(state, &text, max)
    }
}

c_function! {
    fn set_uri_args(state) {
        expect_arguments(state, 1, 1, "1 argument")?;
        let (r, _) = real_request_or("no request object found")?;
        let mut args = query_argument(state, 1, false)?;
        if sys::kind(state, 1) == LUA_TSTRING {
            args = escape_unsafe(&args);
        }
        r.args.set(args);
        r.valid_unparsed_uri.set(false);
        Ok(Reply::Return(0))
    }
}

c_function! {
    fn get_post_args(state) {
        let count = expect_arguments(state, 0, 1, "0 or 1 arguments")?;
        let max = if count == 1 { sys::check_integer(state, 1)? } else { MAX_ARGS };
        let (r, _) = real_request_or("no request object found")?;
        if r.discard_body.get() {
            return push_pairs(state, b"", max);
        }
        let Some(body) = r.request_body().map(|body| std::rc::Rc::clone(&body)) else {
            return Err("no request body found; maybe you should turn on lua_need_request_body?".into());
        };
        match body.in_memory() {
            Some(bytes) => push_pairs(state, &bytes, max),
            None => sys::fail(state, "request body in temp file not supported"),
        }
    }
}

/// Appends a table of arguments as a query string.
pub(crate) fn push_query(state: State, index: i32, out: &mut Vec<u8>) -> Result<(), Error> {
    let table = sys::absolute(state, index);
    // SAFETY: raw traversal of a table; every key that goes to `lua_next` came from it. Keys are strings, so
    // reading them does not change them.
    unsafe {
        if lua_checkstack(state, 6) == 0 {
            return Err("stack overflow".into());
        }
        lua_pushnil(state);
        while lua_next(state, table) != 0 {
            if lua_type(state, -2) != LUA_TSTRING {
                return Err("attempt to use a non-string key in the \"args\" option table".into());
            }
            let key = sys::bytes(state, -2).unwrap_or_default();
            match lua_type(state, -1) {
                LUA_TNUMBER | LUA_TSTRING => push_pair(out, key, sys::bytes(state, -1)),
                LUA_TBOOLEAN => {
                    if sys::truth(state, -1) {
                        push_pair(out, key, None);
                    }
                }
                LUA_TTABLE => {
                    lua_pushnil(state);
                    while lua_next(state, -2) != 0 {
                        match lua_type(state, -1) {
                            LUA_TBOOLEAN if sys::truth(state, -1) => push_pair(out, key, None),
                            LUA_TBOOLEAN => {}
                            LUA_TNUMBER | LUA_TSTRING => push_pair(out, key, sys::bytes(state, -1)),
                            _ => return Err(bad_value(state)),
                        }
                        lua_settop(state, -2);
                    }
                }
                _ => return Err(bad_value(state)),
            }
            lua_settop(state, -2);
        }
    }
    Ok(())
}

fn bad_value(state: State) -> Error {
    format!("attempt to use {} as query arg value", sys::type_name(state, -1)).into()
}

fn push_pair(out: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    if !out.is_empty() {
        out.push(b'&');
    }
    escape_component(key, out);
    if let Some(value) = value {
        out.push(b'=');
        escape_component(value, out);
    }
}

/// Pushes the table of a query string's pairs; a second result says when there were more than `max`.
pub(crate) fn push_pairs(state: State, text: &[u8], max: i64) -> Answer {
    // SAFETY: a fresh table.
    unsafe { lua_createtable(state, 0, 4) };
    let table = sys::top(state);
    let mut count = 0;
    let mut pairs = text.split(|&byte| byte == b'&').peekable();
    while let Some(pair) = pairs.next() {
        if pairs.peek().is_none() && pair.is_empty() {
            break;
        }
        let (key, value) = match memchr::memchr(b'=', pair) {
            Some(at) => (pair.get(..at).unwrap_or_default(), pair.get(at + 1..)),
            None => (pair, None),
        };
        let key = unescape_component(key);
        if !key.is_empty() {
            sys::push(state, &key);
            match value {
                Some(value) => sys::push(state, &unescape_component(value)),
                // SAFETY: the stack was checked by Lua for a C function.
                None => unsafe { lua_pushboolean(state, 1) },
            }
            add_multi(state, table);
        }
        count += 1;
        if max > 0 && count == max && pairs.peek().is_some() {
            if let Some(session) = current::session()
                && session.logs(level::DEBUG)
            {
                session.log(level::DEBUG, format_args!("lua hit query args limit {max}"));
            }
            sys::push(state, b"truncated");
            return Ok(Reply::Return(2));
        }
    }
    Ok(Reply::Return(1))
}

/// Pops a key and a value and adds them to a table in which repeated keys hold arrays.
pub(crate) fn add_multi(state: State, table: i32) {
    // SAFETY: key and value are on the top, the table is without metamethods for raw access.
    unsafe {
        lua_pushvalue(state, -2);
        lua_rawget_(state, table);
        match lua_type(state, -1) {
            LUA_TNIL => {
                lua_settop(state, -2);
                lua_rawset(state, table);
            }
            LUA_TTABLE => {
                lua_insert(state, -2);
                lua_rawseti_(state, -2, lua_objlen(state, -2) as i32 + 1);
                lua_settop(state, -3);
            }
            _ => {
                lua_createtable(state, 4, 0);
                lua_insert(state, -2);
                lua_rawseti_(state, -2, 1);
                lua_insert(state, -2);
                lua_rawseti_(state, -2, 2);
                lua_rawset(state, table);
            }
        }
    }
}

/// Appends text with everything but unreserved characters (RFC 3986, and `!'()*`) escaped.
pub(crate) fn escape_component(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~!'()*".contains(&byte) {
            out.push(byte);
        } else {
            push_escaped(out, byte);
        }
    }
}

/// Spaces and control bytes, escaped; everything else as it is.
fn escape_unsafe(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        if byte <= b' ' || byte == 0x7f { push_escaped(&mut out, byte) } else { out.push(byte) }
    }
    out
}

fn push_escaped(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

/// Text with `%XX` decoded and `+` as a space; a stray `%` stays.
pub(crate) fn unescape_component(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail) {
            (b'%', [high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex(*high) << 4 | hex(*low));
                rest = tail;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(byte),
        }
    }
    out
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_escape_reserved_bytes() {
        let mut out = Vec::new();
        escape_component(b"a b&=/\xff~", &mut out);
        assert_eq!(out, b"a%20b%26%3D%2F%FF~");
    }

    #[test]
    fn stray_percent_signs_stay() {
        assert_eq!(unescape_component(b"%41%4+b%"), b"A%4 b%");
    }
}
