use std::collections::BTreeMap;

use rsty_diag::Span;

use super::*;
use crate::model::Code;
use crate::run::check::{Assertion, Verdict};
use crate::run::wire::parse;

struct NoPerl;

impl PerlSide for NoPerl {
    fn call(&self, _: &Code, _: Vec<Value>) -> Result<Vec<Value>, String> {
        Err("no Perl here".to_owned())
    }

    fn eval(&self, _: Package, _: &[u8]) -> Result<Value, String> {
        Err("no Perl here".to_owned())
    }

    fn response_body_checks(&self) -> Vec<Code> {
        Vec::new()
    }

    fn take_assertions(&self) -> Vec<Assertion> {
        Vec::new()
    }
}

/// Names without the block's, with `!` before those that failed.
fn checked(raw: &str, sections: &[(&str, Value)]) -> Result<Vec<String>, BailOut> {
    let block = Block::new(b"b".to_vec(), Vec::new(), Span::at(0), 1, 1);
    for (name, value) in sections {
        block.set_value(name, value.clone());
    }
    let variables = BTreeMap::from([("TEST_NGINX_X".to_owned(), b"x".to_vec())]);
    let mut recorder = Recorder::new("b");
    let check = ResponseCheck { block: &block, perl: &NoPerl, request: 0, repeat: 0, many: false, ports: (1984, 1985) };
    let parsed = parse(raw.as_bytes(), false);
    check_response(&check, &parsed, &mut Expander::new(&variables, 1984), &mut recorder)?;
    let (assertions, ..) = recorder.finish();
    let line = |assertion: Assertion| {
        let mark = if assertion.verdict == Verdict::Passed { "" } else { "!" };
        format!("{mark}{}", assertion.name.trim_start_matches("b - "))
    };
    Ok(assertions.into_iter().map(line).collect())
}

const OK: &str = "HTTP/1.1 200 OK\r\nServer: nginx\r\nX-Port: 1984\r\nA: 1\r\nA: 2\r\n\r\nhello 1984 x\n";

#[test]
fn a_status_is_always_asserted() {
    assert_eq!(checked(OK, &[]).unwrap(), ["status code ok"]);
    assert_eq!(checked("HTTP/1.1 404\r\n\r\n", &[]).unwrap(), ["!status code ok"]);
    assert_eq!(checked("", &[("error_code", Value::from(""))]).unwrap(), ["status code ok"]);
    assert_eq!(checked(OK, &[("error_code", Value::from("200\n"))]).unwrap(), ["!status code ok"]);
    assert_eq!(checked(OK, &[("error_code_like", Value::from("^(?:200|404)$"))]).unwrap(), ["status code ok"]);
}

#[test]
fn headers_are_equal_absent_or_empty() {
    let lines = "X_Port: $ServerPort\n! Missing\nA: 1, 2\nEmpty:\nserver: apache\n! A\n";
    let found = checked(OK, &[("response_headers", Value::from(lines))]).unwrap();
    assert_eq!(
        found,
        [
            "status code ok",
            "header X_Port ok",
            "header Missing not present in the raw headers",
            "!header A not present in the raw headers",
            "header Empty ok",
            "!header server ok",
        ]
    );
}

#[test]
fn a_header_pattern_covers_the_whole_value() {
    let found = checked(OK, &[("response_headers_like", Value::from("Server: ng.*\nA: 1"))]).unwrap();
    assert_eq!(found, ["status code ok", "header Server like ok", "!header A like ok"]);
}

#[test]
fn the_body_is_compared_after_expansion() {
    let found = checked(OK, &[("response_body", Value::from("hello $ServerPort $TEST_NGINX_X\n"))]).unwrap();
    assert_eq!(found[1], "response_body - response is expected (repeated req 0, req 0)");
}

#[test]
fn body_patterns_search_and_dots_cross_lines() {
    let found = checked("HTTP/1.1 200\r\n\r\na\nb", &[("response_body_like", Value::from("a.b"))]).unwrap();
    assert_eq!(found[1], "response_body_like - response is expected (a b)");
    let found = checked(OK, &[("response_body_unlike", Value::from("hello"))]).unwrap();
    assert_eq!(found[1], "!response_body_unlike - response is expected (hello 1984 x)");
}

#[test]
fn filters_change_the_body_and_unknown_ones_are_refused() {
    let sections = [("response_body_filters", Value::from("uc length")), ("response_body", Value::from("13"))];
    assert_eq!(checked(OK, &sections).unwrap().len(), 2);
    assert!(!checked(OK, &sections).unwrap()[1].starts_with('!'));
    assert!(checked(OK, &[("response_body_filters", Value::from("rot13"))]).is_err());
}

#[test]
fn json_is_compared_with_sorted_keys() {
    let sections = [
        ("response_body_json_sort", Value::from("")),
        ("response_body", Value::from("{\"a\":[{\"c\":1,\"d\":2}],\"b\":1}\n")),
    ];
    let raw = "HTTP/1.1 200\r\n\r\n{\"b\":1, \"a\":[{\"d\":2,\"c\":1}]}";
    assert!(!checked(raw, &sections).unwrap()[1].starts_with('!'));
}

#[test]
fn only_the_first_assertion_of_a_family_counts() {
    let text = |text: &'static str| Value::from(text);
    let headers = [("response_headers", text("A: 1")), ("response_headers_like", text("A: .*\nB: .*"))];
    assert_eq!(checked(OK, &headers).unwrap().len(), 2);
    let bodies = [("response_body", text("x")), ("response_body_like", text("y")), ("response_body_unlike", text("z"))];
    assert_eq!(checked(OK, &bodies).unwrap().len(), 2);
    assert_eq!(checked(OK, &bodies[1..]).unwrap().len(), 2);
}

#[test]
fn a_pattern_keeps_its_line_end() {
    let found =
        |body: &str| checked(&format!("HTTP/1.1 200\r\n\r\n{body}"), &[("response_body_like", Value::from("x\n"))]);
    assert!(found("x").unwrap()[1].starts_with('!'));
    assert!(!found("x\n").unwrap()[1].starts_with('!'));
}
