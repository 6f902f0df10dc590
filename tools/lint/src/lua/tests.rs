//! What the parser accepts, refuses and resolves.

use super::tree::*;
use super::*;

fn globals(text: &str) -> Vec<(Access, String)> {
    let tree = parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
    let show = |global: &GlobalUse| (global.access, String::from_utf8_lossy(tree.name(global.name)).into_owned());
    tree.globals.iter().map(show).collect()
}

fn refused(text: &str) -> String {
    parse(text.as_bytes()).map_or_else(|error| error.message, |_| panic!("accepted: {text}"))
}

#[test]
fn names_are_resolved_in_the_order_of_the_text() {
    use Access::{Read, Write};
    let found = globals("local a = a; b = a; function c() d.e = c end local function f() return f end");
    let expected = [(Read, "a"), (Write, "b"), (Write, "c"), (Read, "d"), (Read, "c")];
    assert_eq!(found, expected.map(|(access, name)| (access, name.to_owned())));
}

#[test]
fn scopes_end_with_their_blocks() {
    assert!(globals("repeat local x = 1 until x").is_empty());
    assert_eq!(globals("do local x end x()").len(), 1);
    assert_eq!(globals("for i = i, 2 do local j = i end").len(), 1);
    assert_eq!(globals("for k, v in k, v do k(v) end").len(), 2);
    assert_eq!(globals("function m.f() self() end function m:g() self() end").len(), 3);
}

#[test]
fn the_whole_dialect_parses() {
    for text in [
        "#!/usr/bin/env resty\nreturn 1",
        "goto done; do local x end ::done::",
        "local t = {1, [2]=3, a=4; 'x', f{}, ...}",
        "x = 0x1p4 + 1LL + 2i + 0xffULL + .5 + 3.",
        "local goto_ = 1; local goto = 2; goto = 3",
        "for i=1,2 do if i then break end; break; end",
        "while true do break print(1) end",
        "f'a'[[b]]:c{d=1}.e = [==[\n]]]==]",
        "a = -b^-c .. d .. not e == #f",
        "return function(...) return ... end",
        "for i=1,2 do if x then goto continue end local y = 1 ::continue:: end",
        "s = '\\x41\\u{48}\\065\\z   \\\n'",
        ";;; ::a:: ;",
        "--[==[ long\n]==] --[[x]] -- short\nreturn;",
    ] {
        if let Err(error) = parse(text.as_bytes()) {
            panic!("{text}: {error}");
        }
    }
}

#[test]
fn errors_are_told_in_luajits_words() {
    assert_eq!(refused("x ="), "unexpected symbol near '<eof>'");
    assert_eq!(refused("if x then"), "'end' expected (to close 'if') near '<eof>'");
    assert_eq!(refused("local 1"), "<name> expected near '1'");
    assert_eq!(refused("f() = 1"), "unexpected symbol near '='");
    assert_eq!(refused("return 1 2"), "<eof> expected near '2'");
    assert_eq!(refused("break"), "'break' outside a loop");
    assert_eq!(refused("goto x"), "undefined label 'x'");
    assert_eq!(refused("goto x; local a; ::x:: a()"), "<goto x> jumps into the scope of a local");
    assert_eq!(refused("::x:: ::x::"), "duplicate label");
    assert_eq!(refused("function f() return ... end"), "cannot use '...' outside a vararg function");
    assert_eq!(refused("x = 'a\n'"), "unfinished string");
    assert_eq!(refused("x = [==[ ]]"), "unfinished long string");
    assert_eq!(refused("x = 3x"), "malformed number");
    assert_eq!(refused("x = '\\q'"), "invalid escape sequence");
    assert_eq!(refused("(a) = 1"), "unexpected symbol near '='");
}

#[test]
fn depth_is_bounded_and_chains_are_not() {
    let nestings = ["(", "do ", "a[", "f(", "x=function()", "if a then ", "function f() ", "f{"];
    for (head, nested) in nestings.map(|text| ("", text)).into_iter().chain([("x=", "{"), ("x=", "-("), ("x=", "not ")])
    {
        let text = head.to_owned() + &nested.repeat(100_000);
        assert_eq!(refused(&text), "chunk has too many syntax levels", "{nested}");
    }
    for (head, link) in [("x = 1", " + 1"), ("x = a", ".a"), ("f", "()"), ("x = a", ":f()"), ("x = f", "''")] {
        assert!(parse((head.to_owned() + &link.repeat(100_000)).as_bytes()).is_ok(), "{link}");
    }
    assert_eq!(refused(&("x = 1".to_owned() + &" .. 1".repeat(100_000))), "chunk has too many syntax levels");
}

#[test]
fn an_error_in_a_function_in_a_loop_is_only_an_error() {
    assert_eq!(refused("while x do f(function() ) end"), "unexpected symbol near ')'");
    assert_eq!(refused("for i = 1, 2 do local function g() x = end end"), "unexpected symbol near 'end'");
}

#[test]
fn too_many_locals_are_refused() {
    let text = |count: usize| (0..count).map(|n| format!("local v{n}\n")).collect::<Vec<_>>().concat();
    assert!(parse(text(200).as_bytes()).is_ok());
    assert_eq!(refused(&text(201)), "function has more than 200 local variables");
}

#[test]
fn uses_of_locals_are_counted() {
    let tree = parse(b"local a, b = 1 a = b local function f() return a end").expect("valid");
    let counts: Vec<_> = tree.locals.iter().map(|l| (l.reads, l.writes, l.captured)).collect();
    assert_eq!(counts, [(1, 1, true), (1, 0, false), (0, 0, false)]);
}

#[test]
fn comments_for_linters_are_kept() {
    let tree = parse(b"x() -- luacheck: ignore\n-- other\n--[[ rsty: allow(x) ]]").expect("valid");
    let texts: Vec<_> = tree.remarks.iter().map(|(start, end)| &tree.text[*start as usize..*end as usize]).collect();
    assert_eq!(texts, [&b" luacheck: ignore"[..], b" rsty: allow(x) ]]"]);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn any_tokens_are_parsed_or_refused(words in proptest::collection::vec(0..24_usize, 0..60)) {
        let known = ["local ", "x", "=", "function ", "(", ")", "end ", "do ", "repeat ", "until ", "::", "goto ", ",",
            "{", "}", "if ", "then ", "'s'", "while x do ", "for i = 1, 2 do ", "x = function() ", "...", "return ", ";"];
        let text: String = words.iter().map(|word| known[*word]).collect();
        let _ = parse(text.as_bytes());
    }
}
