//! Spec files: their structure, their Perl, their canonical form.

use rsty_diag::Source;
use rsty_reindex::{Options, Rewrite, Style, compat, format};
use rsty_testspec::load::{Environment, Shell, load};
use rsty_testspec::perl::Limits;
use rsty_testspec::syntax;

/// No byte is lost.
pub(crate) fn spans(bytes: &[u8]) {
    let document = syntax::parse(&Source::new("a.t", bytes));
    let mut at = document.prologue.map_or(0, |span| span.end);
    at = at.max(document.marker.end).max(document.preamble.end);
    for block in &document.blocks {
        assert_eq!(block.span.start, at);
        at = block.span.end;
    }
    assert_eq!(at, bytes.len());
}

/// Formatting twice is formatting once.
pub(crate) fn reindex_roundtrip(bytes: &[u8]) {
    for style in [Style::Kept, Style::Safe, Style::Full] {
        for numbers in [true, false] {
            let options = Options { style, numbers, ..Options::default() };
            if let Ok(Rewrite { text: Some(once), .. }) = format(&Source::new("a.t", bytes), &options) {
                let twice = format(&Source::new("a.t", once.clone()), &options).expect("not refused twice");
                assert_eq!(twice.text, None, "{options:?} after {}", once.escape_ascii());
            }
        }
    }
    compat::rewrite(bytes, 1);
}

/// What Perl can do to the machine; programs that name it are not run.
const DANGEROUS: [&[u8]; 14] = [
    b"`",
    b"qx",
    b"system",
    b"exec",
    b"open",
    b"unlink",
    b"rmtree",
    b"remove_tree",
    b"rename",
    b"mkdir",
    b"mkpath",
    b"chdir",
    b"write",
    b"kill",
];

/// A spec file is loaded, its blocks and plan are evaluated, within bounds.
pub(crate) fn perl(bytes: &[u8]) {
    if DANGEROUS.iter().any(|word| bytes.windows(word.len()).any(|found| found == *word)) {
        return;
    }
    let mut environment = Environment::new("/nonexistent/folder");
    environment.shell = Shell::Refused;
    environment.limits = Limits { steps: 50_000, bytes: 1 << 20, ..Limits::default() };
    if let Ok(file) = load(&Source::new("a.t", bytes), environment) {
        for block in file.blocks() {
            // That a block's code dies is an answer.
            drop(file.preprocess(block));
        }
        file.plan();
        file.take_warnings();
    }
}
