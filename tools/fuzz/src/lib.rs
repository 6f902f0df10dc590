//! What must hold for any bytes: one function a target, which panics where it does not.
//!
//! Two drivers call them: `cargo xtask fuzz TARGET`, which needs nothing but the stable compiler (see [`driver`]), and
//! the programs in `fuzz/`, which libFuzzer drives by coverage. A finding becomes a unit test with a name in the crate
//! that it was found in.

#![forbid(unsafe_code)]

pub mod bytecode;
pub mod driver;
mod lint;
#[cfg(feature = "server")]
mod server;
mod spec;

/// Something that must hold for any bytes.
#[derive(Debug)]
pub struct Target {
    /// Its name; inputs to begin with stand in `fuzz/seeds/NAME`.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Tries one input. Panics where the promise is broken.
    pub run: fn(&[u8]),
}

/// All targets, by name.
pub static TARGETS: &[Target] = &[
    Target {
        name: "bytecode",
        summary: "names and counts of globals are those of LuaJIT's bytecode; needs `luajit` or `RSTY_LUAJIT`",
        run: bytecode::same_globals,
    },
    #[cfg(feature = "server")]
    Target { name: "conf", summary: "the server's reader of configurations ends without a panic", run: server::conf },
    #[cfg(feature = "server")]
    Target {
        name: "conf_print_parse",
        summary: "a configuration that is printed and read again is the same tree",
        run: server::conf_print_parse,
    },
    #[cfg(feature = "server")]
    Target {
        name: "h1_chunked",
        summary: "a chunked body is decoded alike however it is cut into buffers",
        run: server::h1_chunked,
    },
    #[cfg(feature = "server")]
    Target {
        name: "h1_head",
        summary: "a request's head is read alike whatever follows it; places lie inside the line",
        run: server::h1_head,
    },
    #[cfg(feature = "server")]
    Target {
        name: "h2_response",
        summary: "a response over HTTP/2 is read, or refused, alike however it is cut",
        run: server::h2_response,
    },
    Target {
        name: "lint_conf",
        summary: "Lua inside nginx configuration is judged without a panic; places lie inside the text",
        run: lint::conf,
    },
    Target { name: "lint_fixes", summary: "fixed code is still Lua", run: lint::fixed_code_is_lua },
    Target {
        name: "lua",
        summary: "the Lua parser and all rules end without a panic; places lie inside the text",
        run: lint::lua,
    },
    Target { name: "perl", summary: "the Perl of a spec file is evaluated or refused", run: spec::perl },
    Target {
        name: "reindex_roundtrip",
        summary: "formatting is idempotent in all styles, or refused",
        run: spec::reindex_roundtrip,
    },
    Target { name: "spec", summary: "the spec parser's spans put together give the file again", run: spec::spans },
];

/// The target of a name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
