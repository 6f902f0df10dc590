use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::run::check::Recorder;
use crate::run::outcome::{Attempt, BlockId};
use crate::run::progress::Step;

/// Everything that could end an element, begin one, or break XML.
const HOSTILE: &str = "</pre></script><script>alert(1)</script><img src=x onerror=alert(1)>\"' onclick='x ]]> &lt; \
    <!-- --> \u{1}\u{b}\u{fffe}\u{202e}\u{1b}[31m javascript:alert(1)";

fn hostile() -> Vec<BlockReport> {
    let report = |number: usize, passes: bool| {
        let mut recorder = Recorder::new(format!("t/a.t {HOSTILE}"));
        recorder.section("response_body");
        let got = format!("{HOSTILE}\none\n\u{0}two");
        recorder.is(Some(if passes { b"a" } else { got.as_bytes() }), Some(b"a"), HOSTILE);
        recorder.like(got.as_bytes(), passes, HOSTILE.as_bytes(), HOSTILE);
        recorder.unlike(got.as_bytes(), !passes, HOSTILE.as_bytes(), HOSTILE);
        recorder.warn(HOSTILE);
        let (assertions, warnings, _) = recorder.finish();
        let attempt = Attempt {
            assertions,
            warnings,
            bail_out: (!passes).then(|| HOSTILE.to_owned()),
            sent: HOSTILE.as_bytes().to_vec(),
            received: b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe</pre>".to_vec(),
            error_log: format!("2026 [error] {HOSTILE}\n").into_bytes(),
            duration: Duration::from_millis(7),
            steps: vec![(Step::Start, Duration::from_millis(3)), (Step::Exchange, Duration::from_millis(4))],
            began: Duration::from_millis(number as u64),
            ..Attempt::default()
        };
        let file = Arc::new(format!("t/{HOSTILE}.t").into());
        BlockReport { id: BlockId { file, number, line: number, name: HOSTILE.to_owned() }, attempts: vec![attempt] }
    };
    vec![report(1, false), report(2, true)]
}

fn page(reports: &[BlockReport]) -> String {
    let mut summary = Summary::default();
    for report in reports {
        summary.add(report);
    }
    let mut page = Vec::new();
    write(reports, &summary, &mut page).unwrap();
    String::from_utf8(page).unwrap()
}

/// The elements and attributes of the page, by a strict XML parser.
fn elements(page: &str) -> Vec<(String, Vec<String>)> {
    let mut reader = quick_xml::Reader::from_str(page);
    reader.config_mut().check_end_names = true;
    let mut found = Vec::new();
    loop {
        use quick_xml::events::Event;
        match reader.read_event().unwrap() {
            Event::Start(element) | Event::Empty(element) => {
                let name = String::from_utf8_lossy(element.name().as_ref()).into_owned();
                let attributes = element.attributes().map(|attribute| attribute.unwrap());
                let attributes = attributes.map(|a| String::from_utf8_lossy(a.key.as_ref()).into_owned()).collect();
                found.push((name, attributes));
            }
            Event::Eof => return found,
            _ => {}
        }
    }
}

#[test]
fn a_hostile_block_adds_no_element_no_attribute_and_no_script() {
    let page = page(&hostile());
    let elements = elements(&page);
    let count = |name: &str| elements.iter().filter(|(element, _)| element == name).count();
    assert_eq!((count("script"), count("img"), count("style")), (1, 0, 1));
    let attributes = elements.iter().flat_map(|(_, attributes)| attributes);
    assert!(attributes.clone().all(|name| !name.starts_with("on")), "an event handler came in");
    assert!(attributes.clone().all(|name| name != "src"), "something is loaded");
    assert!(page.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}' && c != '\u{fffe}')));
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_allows_only_its_own_script() {
    let page = page(&hostile());
    assert!(page.contains("default-src 'none'"));
    let links = page.match_indices("href=\"").map(|(at, text)| &page[at + text.len()..][..1]);
    assert!(links.into_iter().all(|first| first == "#"), "a link leads out of the page");
    assert!(!page.contains("url(") && !page.contains("@import") && !page.contains("://"));
    let nonce = page.split("'nonce-").nth(1).and_then(|rest| rest.split('\'').next()).unwrap();
    assert!(page.contains(&format!("<script nonce=\"{nonce}\">")));
    assert_ne!(page, self::page(&hostile()), "the word that allows the script is new in each page");
}

#[test]
fn changes_within_a_line_are_marked_and_failed_blocks_are_open() {
    let mut recorder = Recorder::new("t/a.t TEST 1: a");
    recorder.section("response_body");
    recorder.is(Some(b"hello, Ada\n"), Some(b"hello, Bob\n"), "body");
    let (assertions, ..) = recorder.finish();
    let id = BlockId { file: Arc::new("t/a b.t".into()), number: 1, line: 9, name: "TEST 1: a".to_owned() };
    let page = page(&[BlockReport { id, attempts: vec![Attempt { assertions, ..Attempt::default() }] }]);
    assert!(page.contains("<span class=\"old\">- hello, <mark>Bob</mark></span>"), "{page}");
    assert!(page.contains("<span class=\"new\">+ hello, <mark>Ada</mark></span>"));
    assert!(page.contains("<details class=\"block is-failed\" id=\"b1\" open=\"open\">"));
    assert!(page.contains("rsty test &#39;t/a b.t:9&#39;"));
    assert!(page.contains("<h1 class=\"failed\">1 of 1 failed</h1>"));
}
