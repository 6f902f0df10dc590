//! Formatting is idempotent, or the file is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rsty_diag::Source;
use rsty_reindex::{Options, Rewrite, Style, compat, format};

fuzz_target!(|bytes: &[u8]| {
    for style in [Style::Kept, Style::Safe, Style::Full] {
        let options = Options { style, ..Options::default() };
        if let Ok(Rewrite { text: Some(once), .. }) = format(&Source::new("a.t", bytes), &options) {
            let twice = format(&Source::new("a.t", once), &options).expect("not refused twice");
            assert_eq!(twice.text, None);
        }
    }
    compat::rewrite(bytes, 1);
});
