//! Input that was made to hurt: it is judged or refused, in time that grows with its size.

use std::time::{Duration, Instant};

use rsty_diag::Source;
use rsty_lint::settings::{Settings, Switch};
use rsty_lint::{Input, InputKind, check};

fn judge(text: Vec<u8>, kind: InputKind) -> usize {
    let mut settings = Settings::default();
    settings.switch("all", Switch::On).expect("known");
    check(&Input { source: Source::new("a", text), kind }, &settings).len()
}

/// The time for one size and for ten times that.
fn times(make: impl Fn(usize) -> Vec<u8>, size: usize) -> (Duration, Duration) {
    let time = |size| {
        let text = make(size);
        let start = Instant::now();
        judge(text, InputKind::Lua);
        start.elapsed()
    };
    time(size / 10);
    (time(size), time(size * 10))
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    let deep = 100_000;
    for open in [
        "(",
        "{",
        "[[",
        "function f() ",
        "if x then ",
        "do ",
        "x = function() ",
        "a.b[",
        "not ",
        "- ",
        "f{",
        "x = y ^ ",
    ] {
        assert!(judge(open.repeat(deep).into_bytes(), InputKind::Lua) > 0, "{open}");
    }
    // Chains are as long as one likes.
    for (start, link) in [
        ("x = a", ".b"),
        ("x = a", " .. b"),
        ("x = a", " + 1"),
        ("a", "()"),
        ("x = a", " and b"),
        ("local x = 1", " x = x"),
    ] {
        judge(format!("{start}{}", link.repeat(deep)).into_bytes(), InputKind::Lua);
    }
    judge("location / { ".repeat(deep).into_bytes(), InputKind::Configuration);
    judge("=== a\n--- config\n".repeat(deep / 10).into_bytes(), InputKind::Spec);
}

#[test]
fn any_bytes_are_judged() {
    let mut seed = 1_u64;
    for _ in 0..300 {
        let mut text = Vec::new();
        for _ in 0..200 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let words: [&[u8]; 16] = [
                b"local x ",
                b"= ",
                b"function ",
                b"end ",
                b"if ",
                b"then ",
                b"goto a ",
                b"::a:: ",
                b"(",
                b")",
                b"\"",
                b"[[",
                b"{",
                b"}",
                b"content_by_lua_block ",
                &[0xff, 0, b'\n'],
            ];
            text.extend_from_slice(words[(seed >> 40) as usize % words.len()]);
        }
        for kind in [InputKind::Lua, InputKind::Configuration, InputKind::Spec] {
            judge(text.clone(), kind);
        }
    }
}

/// Makes a text of a size.
type Make = fn(usize) -> Vec<u8>;

#[test]
fn time_grows_with_the_size() {
    let cases: [(&str, Make); 6] = [
        ("globals", |size| "x = y\n".repeat(size).into_bytes()),
        ("locals", |size| "do local a = 1 a = 2 print(a) end\n".repeat(size).into_bytes()),
        ("functions", |size| {
            "local function f(a) if a then return a end return f(a) end\n".repeat(size.min(20_000) / 100).into_bytes()
        }),
        ("fields", |size| "ngx.nothing(string.none)\n".repeat(size).into_bytes()),
        ("loops", |size| "while a do local b = c if b then break end end\n".repeat(size).into_bytes()),
        ("comments", |size| "x = 1 -- luacheck: ignore\n".repeat(size.min(9_000)).into_bytes()),
    ];
    for (name, make) in cases {
        let (small, large) = times(make, 2_000);
        assert!(large < small * 30 + Duration::from_millis(300), "{name}: {small:?} and {large:?}");
    }
}
