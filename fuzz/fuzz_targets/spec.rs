//! The spec parser loses no byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rsty_diag::Source;
use rsty_testspec::syntax;

fuzz_target!(|bytes: &[u8]| {
    let document = syntax::parse(&Source::new("a.t", bytes));
    let mut at = document.prologue.map_or(0, |span| span.end);
    at = at.max(document.marker.end).max(document.preamble.end);
    for block in &document.blocks {
        assert_eq!(block.span.start, at);
        at = block.span.end;
    }
    assert_eq!(at, bytes.len());
});
