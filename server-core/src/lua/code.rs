//! Chunks of Lua from the configuration and from files: names, compilation, cache.

use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::{CString, c_int};
use std::ptr;

use super::apps::Space;
use super::session::{Session, level, session_debug, session_log};
use super::sys::raw::*;
use super::sys::{self, StackGuard, State};
use super::vm::Vm;
use crate::cycle::Subsystem;
use crate::dev::files::Stamp;

/// LuaJIT cuts chunk names at this many bytes in messages, so longer ones are shortened from the front.
const CHUNK_NAME_MAX: usize = 56;

/// Where the compiled chunks of a VM are kept.
static CODE_CACHE: u8 = 0;

/// Code that stands in the configuration.
#[derive(Debug)]
pub struct Inline {
    /// The code.
    pub source: Box<[u8]>,
    /// `=content_by_lua(nginx.conf:45)`
    pub name: CString,
    slot: Slot,
}

/// A file of Lua code, as one directive uses it.
#[derive(Debug)]
pub struct File {
    slot: Slot,
}

/// Why a chunk cannot be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// It does not compile.
    Code,
    /// The file is not there.
    NotFound,
    /// The file cannot be read.
    Unreadable,
}

impl Inline {
    /// Code with its chunk name. Its key in the cache begins with `prefix`.
    pub fn new(prefix: &str, source: impl Into<Box<[u8]>>, name: CString) -> Self {
        let source = source.into();
        let slot = Slot::new(format!("{prefix}nhli_{}", digest(&source)));
        Self { source, name, slot }
    }

    /// Pushes the compiled function onto the VM's main state. A failure is logged and pushes nothing.
    pub(crate) fn push(&self, place: Place<'_>, session: &dyn Session) -> Result<(), LoadError> {
        let state = place.vm.state();
        let is_known = match place.space {
            Some(space) => space.push_chunk(place.vm, &self.slot.key),
            None => self.slot.push(state, place.cache, session),
        };
        if is_known {
            return Ok(());
        }
        // SAFETY: compiling does not run anything; on failure the message is popped.
        let status =
            unsafe { luaL_loadbuffer(state, self.source.as_ptr().cast(), self.source.len(), self.name.as_ptr()) };
        if status != 0 {
            let message = pop_message(state);
            session_log!(session, level::ERR, "failed to load inlined Lua code: {message}");
            return Err(LoadError::Code);
        }
        match place.space {
            Some(space) => space.adopt_chunk(place.vm, &self.slot.key, None),
            None => self.slot.store(state),
        }
        Ok(())
    }
}

impl File {
    /// A file by its path; the digest in its key is that of the path as written.
    pub fn new(path: &[u8]) -> Self {
        Self { slot: Slot::new(format!("nhlf_{}", digest(path))) }
    }

    /// Pushes the function of the file at `path`. A failure is logged and pushes nothing.
    pub(crate) fn push(&self, place: Place<'_>, path: &[u8], session: &dyn Session) -> Result<(), LoadError> {
        let Place { vm, space, cache } = place;
        let state = vm.state();
        if let Some(space) = space {
            return self.push_in(vm, space, path, session);
        }
        let has_changed = crate::dev::is_on() && crate::dev::reload::file_changed(bytes_to_path(path));
        if !has_changed && self.slot.push(state, cache, session) {
            return Ok(());
        }
        match compile_file(state, path, session) {
            Ok(()) => {}
            // A bad edit: the old code goes on.
            Err(_) if has_changed && self.slot.push(state, cache, session) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.slot.store(state);
        Ok(())
    }

    /// As [`Self::push`] for an app, which is deployed anew when one of its files changes.
    fn push_in(&self, vm: &Vm, space: &Space, path: &[u8], session: &dyn Session) -> Result<(), LoadError> {
        if space.push_chunk(vm, &self.slot.key) {
            return Ok(());
        }
        let stamp = Stamp::of(bytes_to_path(path)).map_or_else(String::new, |stamp| format!("{stamp:?}"));
        compile_file(vm.state(), path, session)?;
        space.adopt_chunk(vm, &self.slot.key, Some((path, &stamp)));
        Ok(())
    }
}

/// Where a script is to run.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The interpreter.
    pub(crate) vm: &'a Vm,
    /// The app's space in it.
    pub(crate) space: Option<&'a Space>,
    /// Whether compiled code outside of apps is kept.
    pub(crate) cache: Cache,
}

/// Whether compiled code is kept from one request to the next (`lua_code_cache`). It is always kept in its VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// The VM is the request's.
    Off,
    /// The VM is the worker's.
    On,
}

/// Compiles a file onto the stack. A failure is logged and pushes nothing.
fn compile_file(state: State, path: &[u8], session: &dyn Session) -> Result<(), LoadError> {
    let shown = String::from_utf8_lossy(path);
    let source = std::fs::read(bytes_to_path(path)).map_err(|error| {
        let reason = system_message(&error);
        session_log!(
            session,
            level::ERR,
            "failed to load external Lua file \"{shown}\": cannot open {shown}: {reason}"
        );
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        if missing { LoadError::NotFound } else { LoadError::Unreadable }
    })?;
    let name = CString::new([b"@", path].concat()).unwrap_or_default();
    let code = without_shebang(&source);
    // SAFETY: compiling does not run anything; on failure the message is popped.
    let status = unsafe { luaL_loadbuffer(state, code.as_ptr().cast(), code.len(), name.as_ptr()) };
    if status != 0 {
        let message = pop_message(state);
        session_log!(session, level::ERR, "failed to load external Lua file \"{shown}\": {message}");
        return Err(LoadError::Code);
    }
    Ok(())
}

/// The MD5 of some bytes in hex, by which chunks are told apart.
fn digest(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(32);
    for byte in openssl::hash::hash(openssl::hash::MessageDigest::md5(), bytes).as_deref().unwrap_or_default() {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// The name of an inline chunk: `=TAG(FILE:LINE)`.
///
/// `file` is the configuration file's path; files below `conf_prefix` are named relative to it, and `nginx.conf`
/// always by its last component.
pub(crate) fn chunk_name(tag: &str, file: &str, conf_prefix: &str, line: usize) -> CString {
    let reserved = tag.len() + line.to_string().len();
    let short = if file.ends_with("/nginx.conf") || file.ends_with("\\nginx.conf") {
        Cow::Borrowed("nginx.conf")
    } else {
        let relative = file.strip_prefix(conf_prefix).filter(|rest| !rest.is_empty()).unwrap_or(file);
        if relative.len() + reserved <= CHUNK_NAME_MAX {
            Cow::Borrowed(relative)
        } else {
            let keep = CHUNK_NAME_MAX.saturating_sub(reserved + 3);
            let mut start = relative.len().saturating_sub(keep);
            while !relative.is_char_boundary(start) {
                start += 1;
            }
            Cow::Owned(format!("...{}", relative.get(start..).unwrap_or_default()))
        }
    };
    CString::new(format!("={tag}({short}:{line})")).unwrap_or_default()
}

/// Pops the message on the top as text.
pub(crate) fn pop_message(state: State) -> String {
    let message = sys::bytes(state, -1).map_or_else(|| "unknown error".into(), String::from_utf8_lossy).into_owned();
    // SAFETY: the message is on the top.
    unsafe { lua_settop(state, -2) };
    message
}

/// A chunk's place in the VM: by number, once its key has been looked up.
///
/// A table maps keys to numbers in the registry, where the functions are; chunks with the same code share one.
#[derive(Debug)]
struct Slot {
    key: CString,
    state: Cell<State>,
    reference: Cell<c_int>,
}

impl Slot {
    fn new(key: String) -> Self {
        let key = CString::new(key).unwrap_or_default();
        Self { key, state: Cell::new(ptr::null_mut()), reference: Cell::new(LUA_REFNIL) }
    }

    /// Pushes the function if the VM has it.
    fn push(&self, state: State, cache: Cache, session: &dyn Session) -> bool {
        if cache == Cache::Off || self.state.get() != state {
            self.state.set(state);
            self.reference.set(LUA_REFNIL);
        }
        self.notice("lookup", session);
        if self.reference.get() == LUA_REFNIL {
            self.look_up(state, session);
        }
        if self.reference.get() == LUA_REFNIL {
            self.notice("miss", session);
            return false;
        }
        // SAFETY: the number is that of a function which stays in the registry.
        unsafe { lua_rawgeti_(state, LUA_REGISTRYINDEX, self.reference.get()) };
        self.notice("hit", session);
        true
    }

    /// Asks the table for the number.
    fn look_up(&self, state: State, session: &dyn Session) {
        // SAFETY: raw accesses to our own table; the guard restores the stack.
        unsafe {
            let _guard = StackGuard::new(state);
            sys::push_registry_table(state, sys::registry_key(&CODE_CACHE));
            lua_getfield_(state, -1, self.key.as_ptr());
            if lua_type(state, -1) == LUA_TNUMBER {
                self.reference.set(lua_tonumber(state, -1) as c_int);
                self.notice("setting ref", session);
            }
        }
    }

    /// Keeps the function on the top, which stays there.
    fn store(&self, state: State) {
        // SAFETY: the function is on the top; raw accesses to our own table and the registry.
        unsafe {
            lua_pushvalue(state, -1);
            self.reference.set(luaL_ref(state, LUA_REGISTRYINDEX));
            sys::push_registry_table(state, sys::registry_key(&CODE_CACHE));
            lua_pushnumber(state, f64::from(self.reference.get()));
            lua_setfield(state, -2, self.key.as_ptr());
            lua_settop(state, -2);
        }
        self.state.set(state);
    }

    fn notice(&self, what: &str, session: &dyn Session) {
        if session.subsystem() == Subsystem::Stream {
            if what == "lookup" {
                session_debug!(session, "looking up Lua code cache with key '{}'", self.key.to_string_lossy());
            }
            return;
        }
        let reference = self.reference.get();
        session_debug!(session, "code cache {what} (key='{}', ref={reference})", self.key.to_string_lossy());
    }
}

fn bytes_to_path(bytes: &[u8]) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt;
    std::path::Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// What `strerror` says, without Rust's `(os error N)`.
pub(crate) fn system_message(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), crate::log::errno_text)
}

/// A first line that starts with `#` is none of Lua's business; its line break stays, for line numbers.
fn without_shebang(source: &[u8]) -> &[u8] {
    if source.first() != Some(&b'#') {
        return source;
    }
    let end = memchr::memchr(b'\n', source).unwrap_or(source.len());
    source.get(end..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_conf_is_named_by_its_last_component() {
        let name = chunk_name("content_by_lua", "/srv/conf/nginx.conf", "/other/", 45);
        assert_eq!(name.as_bytes(), b"=content_by_lua(nginx.conf:45)");
    }

    #[test]
    fn other_files_are_named_relative_to_the_conf_prefix() {
        let name = chunk_name("log_by_lua", "/srv/conf/sites/a.conf", "/srv/conf/", 7);
        assert_eq!(name.as_bytes(), b"=log_by_lua(sites/a.conf:7)");
    }

    #[test]
    fn long_names_lose_their_front() {
        let file = format!("/srv/conf/{}.conf", "x".repeat(80));
        let name = chunk_name("access_by_lua", &file, "/srv/conf/", 123);
        assert!(name.as_bytes().starts_with(b"=access_by_lua(...xxx"));
        assert!(name.as_bytes().len() <= CHUNK_NAME_MAX + 5);
    }

    #[test]
    fn shebang_line_is_dropped_but_counted() {
        assert_eq!(without_shebang(b"#!/bin/lua\nreturn 1"), b"\nreturn 1");
    }
}
