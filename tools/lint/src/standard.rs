//! The globals that exist before a chunk runs, by environment.

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
}
