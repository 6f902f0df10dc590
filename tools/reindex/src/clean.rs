//! A quick proof that a file is in its canonical form.
//!
//! Most files are, most of the time. Looking at the lines that start with `===` is many times faster than parsing all
//! sections. The proof may fail for a canonical file, which then is parsed; it never succeeds for another one, which a
//! property test checks against the full way.

use memchr::memmem;

use crate::header::Header;

/// Whether the file certainly is canonical, numbered from `first`, with nothing to tell about it.
pub(crate) fn is_surely_canonical(bytes: &[u8], first: i64) -> bool {
    let Some(mut rest) = data(bytes) else { return false };
    let one_line_end = bytes.ends_with(b"\n") && !bytes.ends_with(b"\n\n");
    if !one_line_end || memchr::memchr(b'\r', bytes).is_some() || has_switch(rest) {
        return false;
    }
    let mentions = memmem::find_iter(rest, b"=== TEST ").count();
    let mut number = first;
    let mut headers = 0;
    // One empty line comes before the first header, three before the others.
    let mut spacing = &b"\n"[..];
    loop {
        let Some(block) = rest.strip_prefix(spacing) else { return false };
        let line = block.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let written = |header: Header<'_>| header.exact && header.written(Some(number), false) == line;
        if !Header::read(line).is_some_and(written) || line.ends_with(b" ") || line.ends_with(b"\t") {
            return false;
        }
        number = number.saturating_add(1);
        headers += 1;
        let Some(next) = memmem::find(block, b"\n===") else { return headers == mentions };
        // The empty lines belong to what comes next; before them stands a line with content.
        let Some(end) = next.checked_sub(3) else { return false };
        if end == 0 || block.get(end - 1) == Some(&b'\n') {
            return false;
        }
        rest = block.get(end..).unwrap_or_default();
        spacing = b"\n\n\n\n";
    }
}

/// What follows the first marker line.
fn data(bytes: &[u8]) -> Option<&[u8]> {
    let find = |marker: &[u8]| {
        if bytes.starts_with(marker) {
            return Some(marker.len());
        }
        let at_line_start = [b"\n", marker].concat();
        memmem::find(bytes, &at_line_start).map(|at| at + at_line_start.len())
    };
    let markers = [find(b"__DATA__\n"), find(b"__END__\n")];
    bytes.get(markers.into_iter().flatten().min()?..)
}

/// Whether some header line may be `ONLY` or `LAST`.
fn has_switch(data: &[u8]) -> bool {
    [&b"ONLY"[..], b"LAST"].iter().any(|word| {
        memmem::find_iter(data, word).any(|at| {
            let before = data.get(..at).unwrap_or_default();
            let start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
            before.get(start..).is_some_and(|line| line.starts_with(b"---"))
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rsty_diag::Source;

    use super::*;
    use crate::canonical::{Options, format_parsed};

    #[test]
    fn a_canonical_file_is_known_at_once() {
        let text = b"use x;\n__DATA__\n\n=== TEST 1: a\n--- config\nx\n\n\n\n=== TEST 2: b\n--- config\n";
        assert!(is_surely_canonical(text, 1));
        assert!(!is_surely_canonical(text, 0));
        for other in ["\n=== TEST 1: a\n", "__DATA__\n=== TEST 1: a\n", "__DATA__\n\n=== TEST 1: a\n--- ONLY\n"] {
            assert!(!is_surely_canonical(other.as_bytes(), 1), "{other}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_proof_is_never_wrong(words in proptest::collection::vec(0..14_usize, 0..12), blocks in 0..4_usize) {
            let known = ["\n", "\n\n\n", "--- config\n", "text\n", "=== b\n", " === TEST 1: x\n", "--- x -trim\n", "\r\n",
                "--- (ONLY)\n", "===\n", "__END__\n", "==== TEST 2: c\n", " \n", "=== TEST 1: z\n"];
            let mut text = String::from("__DATA__\n\n=== TEST 1: a\n");
            for (index, word) in words.iter().enumerate() {
                text += known[*word];
                if index < blocks {
                    text += &format!("x\n\n\n\n=== TEST {}: n\n", index + 2);
                }
            }
            if is_surely_canonical(text.as_bytes(), 1) {
                let rewrite = format_parsed(&Source::new("a.t", text.as_str()), &Options::default()).expect("not refused");
                prop_assert_eq!(rewrite.text, None, "{:?}", text);
                prop_assert!(rewrite.diagnostics.is_empty(), "{:?}", text);
            }
        }
    }
}
