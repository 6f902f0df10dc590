//! The server's readers.

use std::path::Path;

use rsty_diag::Source;
use rsty_server_core::conf::parser;
use rsty_server_core::conf::tree::{Block, Directive, Word};
use rsty_server_core::http::h1::chunked::{ChunkError, Decoder, Step};
use rsty_server_core::http::h1::head::{HeaderLine, Parsed, Underscores, header_line, request_line};
use rsty_server_core::http::h2::client::Trial;

fn parsed(bytes: &[u8]) -> Option<Vec<Directive>> {
    // Included files are looked for where there are none.
    let parsed = parser::parse_source(Source::new("nginx.conf", bytes), Path::new("/nonexistent/folder"));
    parsed.complete().ok().map(|parsed| parsed.directives)
}

/// The reader of configurations on any bytes.
pub(crate) fn conf(bytes: &[u8]) {
    parsed(bytes);
    let _ = parser::parse_parameter(bytes);
}

/// A tree, printed and read again, is the same tree.
pub(crate) fn conf_print_parse(bytes: &[u8]) {
    let Some(tree) = parsed(bytes) else { return };
    let mut text = Vec::new();
    print(&tree, &mut text);
    let again = parsed(&text).unwrap_or_else(|| panic!("refused: {}", text.escape_ascii()));
    assert!(same(&tree, &again), "{}", text.escape_ascii());
}

fn print(directives: &[Directive], out: &mut Vec<u8>) {
    for directive in directives {
        for word in std::iter::once(&directive.name).chain(&directive.args) {
            print_word(word, out);
            out.push(b' ');
        }
        match &directive.block {
            Block::None => out.extend_from_slice(b";\n"),
            Block::Directives(inner) => {
                out.extend_from_slice(b"{\n");
                print(inner, out);
                out.extend_from_slice(b"}\n");
            }
            Block::Lua { code, .. } => {
                out.push(b'{');
                out.extend_from_slice(code);
                out.extend_from_slice(b"}\n");
            }
        }
    }
}

/// A plain word as it is, any other in quotes.
fn print_word(word: &Word, out: &mut Vec<u8>) {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'/' | b'.' | b'-');
    if !word.quoted && !word.text.is_empty() && word.text.iter().all(plain) {
        out.extend_from_slice(&word.text);
        return;
    }
    out.push(b'"');
    for byte in &word.text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

fn same(one: &[Directive], other: &[Directive]) -> bool {
    let words = |directive: &Directive| -> Vec<Box<[u8]>> {
        std::iter::once(&directive.name).chain(&directive.args).map(|word| word.text.clone()).collect()
    };
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| {
            words(one) == words(other)
                && match (&one.block, &other.block) {
                    (Block::None, Block::None) => true,
                    (Block::Directives(one), Block::Directives(other)) => same(one, other),
                    (Block::Lua { code: one, .. }, Block::Lua { code: other, .. }) => one == other,
                    _ => false,
                }
        })
}

/// A head is read alike with and without what follows it, and any part of it is no head.
pub(crate) fn h1_head(bytes: &[u8]) {
    let Ok(Parsed::Complete(line, at)) = request_line(bytes) else { return };
    assert!(at <= bytes.len() && line.skipped + line.len < at);
    for range in
        [Some(&line.method_name), Some(&line.target), line.schema.as_ref(), line.host.as_ref(), Some(&line.protocol)]
    {
        assert!(range.is_none_or(|range| range.start <= range.end && range.end <= line.len), "{line:?}");
    }
    assert!(matches!(request_line(&bytes[..at]), Ok(Parsed::Complete(_, length)) if length == at));
    assert!(!matches!(request_line(&bytes[..at - 1]), Ok(Parsed::Complete(..))));
    for underscores in [Underscores::Allowed, Underscores::Invalid] {
        let mut rest = &bytes[at..];
        while let Ok(Parsed::Complete(line, length)) = header_line(rest, underscores) {
            assert!(length > 0 && length <= rest.len());
            assert_eq!(header_line(&rest[..length], underscores), Ok(Parsed::Complete(line.clone(), length)));
            assert!(!matches!(header_line(&rest[..length - 1], underscores), Ok(Parsed::Complete(..))));
            match line {
                HeaderLine::End => break,
                HeaderLine::Field { name, value, .. } => {
                    assert!(name.end <= value.start && value.start <= value.end && value.end < length);
                }
            }
            rest = &rest[length..];
        }
    }
}

/// A body in chunks gives the same bytes in one buffer and in many.
pub(crate) fn h1_chunked(bytes: &[u8]) {
    let whole = decoded(bytes, bytes.len());
    for size in [1, 2, 7] {
        assert_eq!(decoded(bytes, size), whole, "cut into pieces of {size}");
    }
}

/// The data, and whether the body ended; `size` bytes come at a time.
fn decoded(bytes: &[u8], size: usize) -> Result<(Vec<u8>, bool), ChunkError> {
    let mut decoder = Decoder::default();
    let mut data = Vec::new();
    for piece in bytes.chunks(size.max(1)) {
        let mut rest = piece;
        while !rest.is_empty() && !decoder.is_done() {
            let (used, step) = decoder.step(rest)?;
            rest = &rest[used..];
            if let Step::Data(length) = step {
                assert!(length > 0 && length <= rest.len());
                data.extend_from_slice(&rest[..length]);
                decoder.took(length);
                rest = &rest[length..];
            }
        }
    }
    Ok((data, decoder.is_done()))
}

/// A response over HTTP/2 is read, or refused, alike however it is cut.
pub(crate) fn h2_response(bytes: &[u8]) {
    let whole = Trial::of(bytes, bytes.len());
    assert!(!whole.complete || whole.status.is_some());
    for size in [1, 2, 7] {
        assert_eq!(Trial::of(bytes, size), whole, "cut into pieces of {size}");
    }
}
