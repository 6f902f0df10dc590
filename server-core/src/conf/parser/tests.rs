use super::*;
use crate::conf::message::nginx_message;

fn parse(text: &str) -> Result<Vec<Directive>, String> {
    let source = Source::new("/conf/nginx.conf", text);
    let parsed = parse_source(source, Path::new("/nowhere/")).complete();
    parsed.map(|parsed| parsed.directives).map_err(|error| nginx_message(&error))
}

fn error(text: &str) -> String {
    parse(text).unwrap_err()
}

#[test]
fn blocks_nest_and_know_their_places() {
    let directives = parse("a 1;\nb x {\n  c;\n  d { }\n}\n").unwrap();
    let [a, b] = directives.as_slice() else { panic!("two directives") };
    assert_eq!((a.line(), b.line(), a.args.len()), (1, 2, 1));
    let Block::Directives(inner) = &b.block else { panic!("a block") };
    assert_eq!(inner.len(), 2);
    assert_eq!(b.source.slice(b.span).last(), Some(&b'}'));
}

#[test]
fn lua_blocks_hold_their_code() {
    let directives = parse("content_by_lua_block { say('}') }\nx;").unwrap();
    let Block::Lua { code, .. } = &directives[0].block else { panic!("Lua") };
    assert_eq!(&**code, b" say('}') ");
    assert!(directives[1].name.is("x"));
}

#[test]
fn errors_name_the_line_that_nginx_names() {
    assert_eq!(error("a;\n}\n"), "unexpected \"}\" in /conf/nginx.conf:2");
    assert_eq!(error("a {\n"), "unexpected end of file, expecting \"}\" in /conf/nginx.conf:2");
    assert_eq!(error("a;\nb"), "unexpected end of file, expecting \";\" or \"}\" in /conf/nginx.conf:2");
    assert_eq!(error("include a b;"), "invalid number of arguments in \"include\" directive in /conf/nginx.conf:1");
    let missing = "open() \"/nowhere/x.conf\" failed (2: No such file or directory) in /conf/nginx.conf:1";
    assert_eq!(error("include x.conf;"), missing);
}

#[test]
fn what_came_before_an_error_is_there() {
    let parsed = parse_source(Source::new("c", "a; b { c; d { e; ' "), Path::new("/"));
    assert!(parsed.error.is_some());
    let [a, b] = parsed.directives.as_slice() else { panic!("two directives") };
    assert!(a.name.is("a") && b.name.is("b"));
    let Block::Directives(inner) = &b.block else { panic!("a block") };
    assert_eq!(inner.len(), 2);
}

#[test]
fn a_hundred_thousand_blocks_are_an_error() {
    let text = "a {".repeat(100_000);
    assert!(error(&text).starts_with("blocks are nested deeper than"), "{}", error(&text));
    let fits = format!("{}{}", "a {".repeat(DEPTH_MAX), "}".repeat(DEPTH_MAX));
    assert!(parse(&fits).is_ok());
}

#[test]
fn includes_take_patterns_in_order_and_find_cycles() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("2.inc", "two;");
    write("1.inc", "one;");
    write("nginx.conf", "include *.inc;\ninclude none-*.inc;\nlast;");
    let parsed = parse_file(&folder.path().join("nginx.conf"), folder.path()).unwrap();
    let names: Vec<_> = parsed.directives.iter().map(|d| d.name().into_owned()).collect();
    assert_eq!(names, ["one", "two", "last"]);
    assert_eq!(parsed.sources.len(), 3);
    write("loop.conf", "a { include loop.conf; }");
    let error = parse_file(&folder.path().join("loop.conf"), folder.path()).unwrap().error.unwrap();
    assert_eq!(error.id, "include_cycle");
}

#[test]
fn an_included_file_is_whole_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x"), "}").unwrap();
    let source = Source::new("c", "a { include x; ");
    let error = parse_source(source, folder.path()).error.unwrap();
    assert_eq!(error.message, "unexpected \"}\"");
}

#[test]
fn the_option_g_takes_no_blocks() {
    assert_eq!(parse_parameter(b"daemon off; pid x;").unwrap().len(), 2);
    let message = |text: &[u8]| nginx_message(&parse_parameter(text).unwrap_err());
    assert_eq!(message(b"events { }"), "block directives are not supported in -g option in command line");
    assert_eq!(message(b"daemon off"), "unexpected end of parameter, expecting \";\" in command line");
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let _ = parse_source(Source::new("x", bytes.clone()), Path::new("/nowhere/"));
        let _ = parse_parameter(&bytes);
    }

    #[test]
    fn no_sequence_of_tokens_panics(
        tokens in proptest::collection::vec(
            proptest::sample::select(vec![
                "a", "{", "}", ";", "\"", "'", "\\", "#", "\n", " ", "$", "${", "[[", "]]", "--", "[=[",
                "content_by_lua_block ", "include ", ")", "\0",
            ]),
            0..60,
        )
    ) {
        let text = tokens.concat();
        if let Some(error) = parse_source(Source::new("x", text), Path::new("/nowhere/")).error {
            let _ = nginx_message(&error);
            let _ = rsty_diag::render::full(&error, rsty_diag::render::Style::Plain);
        }
    }
}
