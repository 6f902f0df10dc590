//! Whether a server's answers depend on the time that passes between two requests.
//!
//! The original sleeps 45 ms between requests, and specs count on it without saying so: an entry of a cache goes
//! stale, a bucket runs empty, an interval is over. None of that shows in what a sleeping server waits for. So that
//! pause may be cut short only where nothing in the configuration can keep a time: a block whose directives and Lua
//! know neither clocks nor caches, zones, peers, or code of other files.

use memchr::memmem;

use crate::model::{Block, Value};
use crate::run::configure::CONFIGURATION_SECTIONS;

/// Words in directives and Lua of what goes stale, or looks at a clock.
const WORDS: &[&str] = &[
    "cache",
    "clock",
    "date",
    "expire",
    "fail_timeout",
    "keepalive",
    "limit_",
    "now",
    "os.time",
    "shared",
    "stale",
    "time_iso",
    "time_local",
    "ngx.time",
    "utctime",
    "localtime",
    "today",
    "ttl",
    "upstream",
    "valid",
    "msec",
    "include",
    "_by_lua_file",
    "dofile",
    "loadfile",
    "buffer=",
    "userid",
    "_pass ",
];

/// Modules that are part of the server and keep no time.
const MODULES: &[&str] = &[
    "resty.core",
    "ngx.",
    "cjson",
    "ffi",
    "bit",
    "jit",
    "table.",
    "string.buffer",
    "thread",
    "resty.string",
    "resty.md5",
];

/// Whether it may matter how long after one request the next one comes.
pub(crate) fn ages(block: &Block) -> bool {
    let sections = CONFIGURATION_SECTIONS.iter().chain(&["user_files", "init"]);
    let mut values = sections.filter_map(|name| block.value(name));
    // Without a section of its own the block runs with that of another.
    !block.has("config")
        || values.any(|value| match value {
            Value::Array(_) => true,
            text => text_ages(&text.to_bytes()),
        })
}

fn text_ages(text: &[u8]) -> bool {
    WORDS.iter().any(|word| memmem::find(text, word.as_bytes()).is_some())
        || memmem::find_iter(text, b"require").any(|at| !is_timeless_module(text.get(at + 7..).unwrap_or_default()))
}

/// Whether the module named behind a `require` is one of [`MODULES`].
fn is_timeless_module(rest: &[u8]) -> bool {
    let name: Vec<u8> = rest
        .iter()
        .copied()
        .skip_while(|byte| matches!(byte, b' ' | b'(' | b'"' | b'\'' | b'\\' | b'['))
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        .collect();
    MODULES.iter().any(|module| name.starts_with(module.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_caches_and_foreign_code_age() {
        for text in [
            "proxy_cache_valid 200 10ms;",
            "lua_shared_dict d 1m;",
            "content_by_lua_block { ngx.say(ngx.now()) }",
            "limit_req zone=one;",
            "content_by_lua_file html/a.lua;",
            "init_by_lua_block { lru = require \"resty.lrucache\" }",
            "content_by_lua_block { require('mine').go() }",
        ] {
            assert!(text_ages(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_only_answers_does_not() {
        for text in [
            "location = /t { set_random $n 1 5; echo $n; }",
            "content_by_lua_block { local f = require \"ffi\"; ngx.say(require('cjson').encode({})) }",
            "rewrite_by_lua 'ngx.req.set_uri(\"/x\")'; proxy_read_timeout 1s;",
        ] {
            assert!(!text_ages(text.as_bytes()), "{text}");
        }
    }
}
