//! The globals that exist before a chunk runs, by environment, and the fields of the libraries among them.
//!
//! The fields are the server's own: `cargo xtask gen` asks a running server, of HTTP and of stream, for all its tables and
//! writes what it says to `standard/api.tsv`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::embed::Subsystem;

/// The names of all standards.
pub const ALL: [&str; 12] =
    ["busted", "lua51", "lua51c", "lua52", "lua52c", "lua53", "lua54", "luajit", "max", "min", "ngx_lua", "none"];

/// The globals of a standard; `None` where there is no such one.
pub fn names(standard: &str) -> Option<impl Iterator<Item = &'static str>> {
    let parts: &[&[&str]] = match standard {
        "none" => &[],
        "min" => &[&CORE],
        "lua51" => &[&CORE, &LUA51],
        "lua51c" => &[&CORE, &LUA51, &["gcinfo"]],
        "lua52" => &[&CORE, &LUA52],
        "lua52c" => &[&CORE, &LUA52, &["loadstring", "module", "unpack"]],
        "lua53" => &[&CORE, &LUA53],
        "lua54" => &[&CORE, &LUA53, &["warn"]],
        "luajit" => &[&CORE, &LUA51, &LUAJIT],
        "max" => &[&CORE, &LUA51, &LUA52, &LUA53, &LUAJIT, &["warn"]],
        "ngx_lua" => &[&CORE, &LUA51, &LUAJIT, &NGX],
        "busted" => &[&BUSTED],
        _ => return None,
    };
    Some(parts.iter().flat_map(|part| part.iter().copied()))
}

/// One line a table: subsystem, path, `m` where a metatable gives further fields, and the names of its fields.
const API: &str = include_str!("standard/api.tsv");

/// Fields that come with a library's `require`, or that a metatable gives: in both subsystems, and in HTTP only.
const FURTHER: [(&str, &[&str], &[&str]); 2] = [
    ("ngx", &["ctx", "ssl", "status"], &["headers_sent", "is_subrequest"]),
    ("table", &["clone", "isarray", "isempty", "nkeys"], &[]),
];

/// Tables whose fields come and go: dictionaries, variables, headers, and those that belong to the interpreter.
const OPEN: [&str; 4] = ["debug", "jit", "ngx.shared", "package"];

/// The libraries of a subsystem by path, each with its fields, sorted.
type Libraries = BTreeMap<&'static str, Vec<&'static str>>;

fn libraries(subsystem: Subsystem) -> &'static Libraries {
    static LIBRARIES: OnceLock<[Libraries; 3]> = OnceLock::new();
    let [http, stream, any] = LIBRARIES.get_or_init(|| {
        let (http, stream) = (read("http"), read("stream"));
        let mut any = http.clone();
        for (path, fields) in &stream {
            let all = any.entry(path).or_default();
            all.extend(fields);
            all.sort_unstable();
            all.dedup();
        }
        [http, stream, any]
    });
    match subsystem {
        Subsystem::Any => any,
        Subsystem::Http => http,
        Subsystem::Stream => stream,
    }
}

fn read(subsystem: &str) -> Libraries {
    let row = |line: &'static str| {
        let mut columns = line.strip_prefix(subsystem)?.strip_prefix('\t')?.split('\t');
        let (path, kind, names) = (columns.next()?, columns.next()?, columns.next()?);
        let closed = kind == "-" || matches!(path, "ngx" | "string");
        let known = closed && !path.is_empty() && !OPEN.contains(&path) && !path.starts_with("jit.");
        let mut fields: Vec<&str> = names.split(' ').collect();
        for (_, both, http) in FURTHER.iter().filter(|(library, ..)| *library == path) {
            fields.extend(*both);
            fields.extend(http.iter().filter(|_| subsystem == "http"));
        }
        fields.sort_unstable();
        known.then_some((path, fields))
    };
    API.lines().filter_map(row).collect()
}

/// The library of a global's name.
pub(crate) fn library(subsystem: Subsystem, name: &str) -> Option<&'static str> {
    libraries(subsystem).get_key_value(name).map(|(name, _)| *name)
}

/// The library that is a field of another one.
pub(crate) fn inner_library(subsystem: Subsystem, outer: &str, name: &str) -> Option<&'static str> {
    library(subsystem, &format!("{outer}.{name}"))
}

/// The fields of a library.
pub(crate) fn fields(subsystem: Subsystem, library: &str) -> impl Iterator<Item = &'static str> + Clone {
    libraries(subsystem).get(library).map(Vec::as_slice).unwrap_or_default().iter().copied()
}

/// Whether a library has a field; `None` for what is no library.
pub(crate) fn has_field(subsystem: Subsystem, library: &str, name: &str) -> Option<bool> {
    libraries(subsystem).get(library).map(|fields| fields.binary_search(&name).is_ok())
}

/// In every version of Lua.
const CORE: [&str; 32] = [
    "_G",
    "_VERSION",
    "arg",
    "assert",
    "collectgarbage",
    "coroutine",
    "debug",
    "dofile",
    "error",
    "getmetatable",
    "io",
    "ipairs",
    "load",
    "loadfile",
    "math",
    "next",
    "os",
    "package",
    "pairs",
    "pcall",
    "print",
    "rawequal",
    "rawget",
    "rawset",
    "require",
    "select",
    "setmetatable",
    "string",
    "table",
    "tonumber",
    "tostring",
    "type",
];
const LUA51: [&str; 7] = ["getfenv", "loadstring", "module", "newproxy", "setfenv", "unpack", "xpcall"];
const LUA52: [&str; 4] = ["_ENV", "bit32", "rawlen", "xpcall"];
const LUA53: [&str; 4] = ["_ENV", "rawlen", "utf8", "xpcall"];
/// What LuaJIT adds, built as OpenResty builds it.
const LUAJIT: [&str; 4] = ["bit", "gcinfo", "jit", "rawlen"];
const NGX: [&str; 2] = ["ndk", "ngx"];
const BUSTED: [&str; 23] = [
    "after_each",
    "assert",
    "before_each",
    "context",
    "describe",
    "expose",
    "finally",
    "insulate",
    "it",
    "lazy_setup",
    "lazy_teardown",
    "match",
    "mock",
    "pending",
    "randomize",
    "setup",
    "spec",
    "spy",
    "strict_setup",
    "strict_teardown",
    "stub",
    "teardown",
    "test",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_standard_has_names() {
        for standard in ALL {
            let names = names(standard).expect("listed");
            assert!(standard == "none" || standard == "busted" || names.filter(|name| *name == "xpcall").count() <= 3);
        }
        assert!(names("lua9").is_none());
        assert!(names("ngx_lua").expect("known").any(|name| name == "ngx"));
        assert!(names("min").expect("known").any(|name| name == "print"));
    }

    #[test]
    fn http_and_stream_have_their_own_libraries() {
        let has = |subsystem, name| has_field(subsystem, "ngx.req", name);
        assert_eq!(has(Subsystem::Http, "get_headers"), Some(true));
        assert_eq!(has(Subsystem::Stream, "get_headers"), Some(false));
        assert_eq!(has(Subsystem::Any, "get_headers"), Some(true));
        assert_eq!(has_field(Subsystem::Stream, "ngx", "headers_sent"), Some(false));
        assert!(inner_library(Subsystem::Http, "ngx", "location").is_some());
        assert!(inner_library(Subsystem::Stream, "ngx", "location").is_none());
    }
}
