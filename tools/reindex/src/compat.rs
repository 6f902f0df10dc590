//! The classic script's rewriting, byte for byte.
//!
//! The script works on lines and then on the whole text with three substitutions; it does not know
//! blocks, strings or the prologue. Its result depends on the order of the steps, so the order here is
//! the same. Whether a file counts as changed is decided against the text *after* line ends and headers
//! were normalised; that is why a file whose only flaw is CRLF stays as it is.

use memchr::{memchr_iter, memmem};

/// Rewrites `text` as the classic script would with `-b first`; `None` where it would skip the file.
pub fn rewrite(text: &[u8], first: i64) -> Option<Vec<u8>> {
    let (lines, renumbered) = renumber(text, first);
    let mut spaced = space_headers(&end_with_one_newline(&lines));
    close_up_after_data_marker(&mut spaced);
    (renumbered || spaced != lines).then_some(spaced)
}

/// Drops one carriage return before each line end and numbers the headers. The flag tells whether a number changed.
fn renumber(text: &[u8], first: i64) -> (Vec<u8>, bool) {
    let mut out = Vec::with_capacity(text.len() + 64);
    let mut counter = first;
    let mut changed = false;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let (body, end) = match line.strip_suffix(b"\n") {
            Some(body) => (body, &b"\n"[..]),
            None => (line, &b""[..]),
        };
        let body = body.strip_suffix(b"\r").unwrap_or(body);
        match numbered_header(body) {
            Some((digits, rest)) => {
                changed |= !same_number(digits, counter);
                out.extend_from_slice(b"=== TEST ");
                out.extend_from_slice(counter.to_string().as_bytes());
                out.extend_from_slice(rest);
                counter = counter.saturating_add(1);
            }
            None => out.extend_from_slice(body),
        }
        out.extend_from_slice(end);
    }
    (out, changed)
}

/// Splits a line that starts with `===`, blanks, `TEST`, blanks and digits into the digits and what follows.
fn numbered_header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = skip_blanks(line.strip_prefix(b"===")?)?;
    let (word, rest) = rest.split_at_checked(4)?;
    let rest = skip_blanks(word.eq_ignore_ascii_case(b"TEST").then_some(rest)?)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (digits > 0).then(|| rest.split_at(digits))
}

/// What follows one or more blanks; `None` without a blank.
fn skip_blanks(text: &[u8]) -> Option<&[u8]> {
    let blanks = text.iter().take_while(|byte| is_blank(**byte)).count();
    (blanks > 0).then(|| text.get(blanks..).unwrap_or_default())
}

/// Perl's `\s` on bytes.
const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Whether the digits mean the number, leading zeros aside.
fn same_number(digits: &[u8], number: i64) -> bool {
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    let significant = digits.get(zeros..).unwrap_or_default();
    let significant = if significant.is_empty() { &b"0"[..] } else { significant };
    significant == number.to_string().as_bytes()
}

/// Appends a newline, then shortens a run of newlines at the end to one.
fn end_with_one_newline(text: &[u8]) -> Vec<u8> {
    let kept = text.iter().rposition(|byte| *byte != b'\n').map_or(0, |last| last + 1);
    let mut out = Vec::with_capacity(kept + 1);
    out.extend_from_slice(text.get(..kept).unwrap_or(text));
    out.push(b'\n');
    out
}

/// Puts three empty lines before each `===` … `TEST`, which may even be on different lines.
fn space_headers(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 256);
    let mut copied = 0;
    for newline in memchr_iter(b'\n', text) {
        if newline < copied || text.get(newline + 1) == Some(&b'\n') {
            continue;
        }
        let Some(after) = text.get(newline + 1..).and_then(unnumbered_header) else { continue };
        // The run of newlines that ends here is replaced whole.
        let run = text.get(copied..newline).unwrap_or_default();
        let kept = run.iter().rposition(|byte| *byte != b'\n').map_or(0, |last| last + 1);
        out.extend_from_slice(run.get(..kept).unwrap_or_default());
        out.extend_from_slice(b"\n\n\n\n=== TEST");
        copied = text.len() - after.len();
    }
    out.extend_from_slice(text.get(copied..).unwrap_or_default());
    out
}

/// What follows `===`, blanks and `TEST` in any case.
fn unnumbered_header(text: &[u8]) -> Option<&[u8]> {
    let rest = skip_blanks(text.strip_prefix(b"===")?)?;
    let (word, rest) = rest.split_at_checked(4)?;
    word.eq_ignore_ascii_case(b"TEST").then_some(rest)
}

/// Leaves one empty line between the first `__DATA__` or `__END__` that a header follows and that header.
fn close_up_after_data_marker(text: &mut Vec<u8>) {
    let found = memmem::find_iter(text, b"__").find_map(|at| {
        let rest = text.get(at..)?;
        let marker = [&b"__DATA__"[..], b"__END__"].into_iter().find(|marker| rest.starts_with(marker))?;
        let after = rest.get(marker.len()..)?;
        let newlines = after.iter().take_while(|byte| **byte == b'\n').count();
        let header = after.get(newlines..)?.starts_with(b"=== TEST");
        (newlines > 0 && header).then_some((at + marker.len(), newlines))
    });
    if let Some((at, newlines)) = found {
        text.splice(at..at + newlines, *b"\n\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> Option<String> {
        rewrite(text.as_bytes(), 1).map(|bytes| String::from_utf8(bytes).expect("tests use text"))
    }

    #[test]
    fn headers_are_numbered_in_order_and_keep_what_follows_the_digits() {
        let text = "__DATA__\n\n=== TEST 4: a\n\n\n\n=== test  9b : x \n";
        assert_eq!(rewritten(text).as_deref(), Some("__DATA__\n\n=== TEST 1: a\n\n\n\n=== TEST 2b : x \n"));
    }

    #[test]
    fn a_header_without_number_is_spaced_but_takes_no_number() {
        assert_eq!(
            rewritten("a\n=== TEST: x\n=== TEST 1\n").as_deref(),
            Some("a\n\n\n\n=== TEST: x\n\n\n\n=== TEST 1\n")
        );
    }

    #[test]
    fn a_clean_file_is_skipped() {
        assert_eq!(rewritten("__DATA__\n\n=== TEST 1: a\n--- config\n"), None);
    }

    #[test]
    fn crlf_alone_is_no_change_but_goes_with_any_other() {
        assert_eq!(rewritten("=== TEST 1\r\nx\r\n"), None);
        assert_eq!(rewritten("=== TEST 2\r\nx\r\r\n").as_deref(), Some("=== TEST 1\nx\r\n"));
    }

    #[test]
    fn leading_zeros_and_spelling_alone_are_no_change() {
        assert_eq!(rewritten("===   Test  01: a\n"), None);
        assert_eq!(rewritten("===   Test  01: a\nx").as_deref(), Some("=== TEST 1: a\nx\n"));
    }

    #[test]
    fn one_newline_ends_the_file_and_blanks_shield_the_lines_before() {
        assert_eq!(rewritten("").as_deref(), Some("\n"));
        assert_eq!(rewritten("\n\n\n").as_deref(), Some("\n"));
        assert_eq!(rewritten("a\n\n\n").as_deref(), Some("a\n"));
        assert_eq!(rewritten("a\n\n \n"), None);
        assert_eq!(rewritten("a\r").as_deref(), Some("a\n"));
    }

    #[test]
    fn marker_and_number_on_two_lines_are_joined() {
        assert_eq!(rewritten("a\n===\n\nTEST 5\n").as_deref(), Some("a\n\n\n\n=== TEST 5\n"));
    }

    #[test]
    fn only_a_marker_right_before_a_header_is_closed_up() {
        let text = "my $x = '__DATA__';\n__END__\n=== TEST 1\n";
        assert_eq!(rewritten(text).as_deref(), Some("my $x = '__DATA__';\n__END__\n\n=== TEST 1\n"));
        assert_eq!(rewritten("__DATA__ \n=== TEST 1\n").as_deref(), Some("__DATA__ \n\n\n\n=== TEST 1\n"));
    }

    #[test]
    fn numbers_start_where_asked_and_may_be_huge_or_negative() {
        assert_eq!(rewrite(b"=== TEST 1\n", 0).as_deref(), Some(&b"=== TEST 0\n"[..]));
        assert_eq!(rewrite(b"=== TEST 1\n", -1).as_deref(), Some(&b"=== TEST -1\n"[..]));
        let huge = b"=== TEST 99999999999999999999999999\n";
        assert_eq!(rewrite(huge, 1).as_deref(), Some(&b"=== TEST 1\n"[..]));
    }

    #[test]
    fn any_bytes_survive() {
        assert_eq!(rewrite(b"\xff\0\n=== TEST 2\n", 1).as_deref(), Some(&b"\xff\0\n\n\n\n=== TEST 1\n"[..]));
    }
}
