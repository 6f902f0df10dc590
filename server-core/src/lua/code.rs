//! Chunks of Lua from the configuration and from files: names, compilation, cache.

use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::{CString, c_int};

use super::session::{Session, level, session_debug, session_log};
use super::sys::raw::*;
use super::sys::{self, State};
use super::vm::Vm;

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
    /// Its place in the main VM's cache, once compiled.
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
    /// Code with its chunk name.
    pub fn new(source: impl Into<Box<[u8]>>, name: CString) -> Self {
        Self { source: source.into(), name, slot: Slot::default() }
    }

    /// Pushes the compiled function onto the VM's main state. A failure is logged and pushes nothing.
    pub fn push(&self, vm: &Vm, cache: Cache, session: &dyn Session) -> Result<(), LoadError> {
        let state = vm.state();
        if cache == Cache::On && self.slot.push(state) {
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
        if cache == Cache::On {
            self.slot.store(state);
        }
        Ok(())
    }
}

/// Whether compiled code is kept (`lua_code_cache`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Compile at every use.
    Off,
    /// Compile once.
    On,
}

/// Pushes the function of a Lua file, which the VM keeps by its path. A failure is logged and pushes nothing.
pub(crate) fn push_file(vm: &Vm, path: &[u8], cache: Cache, session: &dyn Session) -> Result<(), LoadError> {
    let state = vm.state();
    let shown = String::from_utf8_lossy(path);
    // SAFETY: raw accesses to our registry table; the function is the only value left on success.
    unsafe {
        sys::push_registry_table(state, sys::registry_key(&CODE_CACHE));
        sys::push(state, path);
        lua_rawget_(state, -2);
        if cache == Cache::On && sys::kind(state, -1) == LUA_TFUNCTION {
            session_debug!(session, "code cache hit (key='{shown}')");
            lua_remove(state, -2);
            return Ok(());
        }
        session_debug!(session, "code cache miss (key='{shown}')");
        lua_settop(state, -3);
    }
    let read = std::fs::read(bytes_to_path(path));
    let source = match read {
        Ok(source) => source,
        Err(error) => {
            let reason = system_message(&error);
            session_log!(
                session,
                level::ERR,
                "failed to load external Lua file \"{shown}\": cannot open {shown}: {reason}"
            );
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            return Err(if missing { LoadError::NotFound } else { LoadError::Unreadable });
        }
    };
    let name = CString::new([b"@", path].concat()).unwrap_or_default();
    let code = without_shebang(&source);
    // SAFETY: as above.
    unsafe {
        if luaL_loadbuffer(state, code.as_ptr().cast(), code.len(), name.as_ptr()) != 0 {
            let message = pop_message(state);
            session_log!(session, level::ERR, "failed to load external Lua file \"{shown}\": {message}");
            return Err(LoadError::Code);
        }
        if cache == Cache::On {
            sys::push_registry_table(state, sys::registry_key(&CODE_CACHE));
            sys::push(state, path);
            lua_pushvalue(state, -3);
            lua_rawset(state, -3);
            lua_settop(state, -2);
        }
    }
    Ok(())
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

/// A place in the VM's code table, found without hashing.
#[derive(Debug)]
struct Slot {
    state: Cell<State>,
    reference: Cell<c_int>,
}

impl Default for Slot {
    fn default() -> Self {
        Self { state: Cell::new(std::ptr::null_mut()), reference: Cell::new(LUA_NOREF) }
    }
}

impl Slot {
    fn push(&self, state: State) -> bool {
        if self.state.get() != state {
            return false;
        }
        // SAFETY: the reference was made in this state's table and is never released.
        unsafe {
            lua_rawgeti_(state, LUA_REGISTRYINDEX, self.reference.get());
            if sys::kind(state, -1) == LUA_TFUNCTION {
                return true;
            }
            lua_settop(state, -2);
        }
        false
    }

    /// Keeps the function on the top, which stays there.
    fn store(&self, state: State) {
        // SAFETY: the function is on the top.
        unsafe {
            lua_pushvalue(state, -1);
            self.reference.set(luaL_ref(state, LUA_REGISTRYINDEX));
        }
        self.state.set(state);
    }
}

fn bytes_to_path(bytes: &[u8]) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt;
    std::path::Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// What `strerror` says, without Rust's `(os error N)`.
pub(crate) fn system_message(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
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
