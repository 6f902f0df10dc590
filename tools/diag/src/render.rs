//! Renderings of a [`Diagnostic`]: one line, and the full form with the source line.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::diagnostic::{Diagnostic, Severity};
use crate::source::Span;

/// Whether the rendering may use colour. The caller decides, from the terminal and `NO_COLOR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// ANSI colours.
    Coloured,
    /// Plain text.
    Plain,
}

/// `file:line:column: severity: message`, without the help.
pub fn concise(diagnostic: &Diagnostic) -> String {
    let word = diagnostic.severity.word();
    match &diagnostic.primary {
        Some(label) => {
            let at = label.source.location(label.span.start);
            let name = printable(label.source.name().as_bytes());
            format!("{name}:{}:{}: {word}: {}", at.line, at.column, diagnostic.message)
        }
        None => format!("{word}: {}", diagnostic.message),
    }
}

/// The message with the offending source lines, markers, further places and help.
pub fn full(diagnostic: &Diagnostic, style: Style) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let mut group = Group::with_title(level.primary_title(diagnostic.message.as_str()).id(diagnostic.id));
    // Each place shows its own excerpt: files may be large, and the renderer scans what it is given.
    let places = diagnostic.primary.iter().map(|label| (&**label, AnnotationKind::Primary));
    let places = places.chain(diagnostic.labels.iter().map(|label| (label, AnnotationKind::Context)));
    let excerpts: Vec<_> = places.map(|(label, kind)| (Excerpt::of(label), label, kind)).collect();
    for (excerpt, label, kind) in &excerpts {
        let mut annotation = kind.span(excerpt.span.range());
        if !label.text.is_empty() {
            annotation = annotation.label(label.text.as_str());
        }
        group = group.element(
            Snippet::source(excerpt.text.as_str())
                .path(excerpt.path.as_str())
                .line_start(excerpt.line)
                .annotation(annotation),
        );
    }
    for help in &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let renderer = match style {
        Style::Coloured => Renderer::styled(),
        Style::Plain => Renderer::plain(),
    };
    renderer.render(&[group])
}

/// Bytes as text that can't disturb a terminal or a log: control characters become `\xNN`, invalid UTF-8
/// becomes the replacement character.
pub fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for character in String::from_utf8_lossy(bytes).chars() {
        match character {
            '\t' => out.push('\t'),
            c if c.is_control() || is_bidi_control(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The lines that a label touches, printable, with the span moved accordingly.
struct Excerpt {
    path: String,
    line: usize,
    text: String,
    span: Span,
}

impl Excerpt {
    /// A place over more lines than this shows its first line only.
    const LINES_MAX: usize = 6;
    /// A line longer than this is cut around the place.
    const BYTES_MAX: usize = 400;

    fn of(label: &crate::Label) -> Self {
        let source = &label.source;
        let first = source.location(label.span.start);
        let last = source.location(label.span.end.saturating_sub(1).max(label.span.start));
        let last_line = if last.line - first.line < Self::LINES_MAX { last.line } else { first.line };
        let start = source.line_start(first.line).unwrap_or(0);
        let end = source.line_start(last_line).unwrap_or(0) + source.line(last_line).map_or(0, <[u8]>::len);
        let start = start.max(label.span.start.saturating_sub(Self::BYTES_MAX));
        let end = end.min(label.span.end.min(end) + Self::BYTES_MAX).max(start);
        let cut = |from: usize, to: usize| -> String {
            let lines = source.slice(Span::new(from, to)).split(|byte| *byte == b'\n');
            lines.map(printable).collect::<Vec<_>>().join("\n")
        };
        let from = label.span.start.clamp(start, end);
        let to = label.span.end.clamp(from, end);
        let before = cut(start, from);
        let inside = cut(from, to);
        let span = Span::new(before.len(), before.len() + inside.len());
        let text = before + &inside + &cut(to, end);
        Self { path: printable(source.name().as_bytes()), line: first.line, text, span }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;

    fn sample() -> Diagnostic {
        let source = Source::new("nginx.conf", "http {\n    proxypass x;\n}\n");
        Diagnostic::error("unknown_directive", "unknown directive \"proxypass\"")
            .at(&source, Span::new(11, 20))
            .help("did you mean `proxy_pass`?")
    }

    #[test]
    fn concise_is_one_line_with_place() {
        assert_eq!(concise(&sample()), "nginx.conf:2:5: error: unknown directive \"proxypass\"");
    }

    #[test]
    fn full_shows_line_marker_and_help() {
        let text = full(&sample(), Style::Plain);
        assert!(text.starts_with("error[unknown_directive]: unknown directive \"proxypass\""), "{text}");
        assert!(text.contains("nginx.conf:2:5"), "{text}");
        assert!(text.contains("    proxypass x;"), "{text}");
        assert!(text.contains("^^^^^^^^^"), "{text}");
        assert!(text.contains("did you mean `proxy_pass`?"), "{text}");
    }

    #[test]
    fn escape_sequences_never_reach_the_terminal() {
        let source = Source::new("x", "a\x1b[2Jb\n");
        let text = full(&Diagnostic::error("e", "m").at(&source, Span::new(5, 6)), Style::Plain);
        assert!(!text.contains('\x1b'), "{text:?}");
        assert!(text.contains("\\u{1b}[2Jb"), "{text}");
    }

    #[test]
    fn a_span_at_the_end_of_the_file_renders() {
        let source = Source::new("x", "a\n");
        for span in [Span::at(2), Span::at(99), Span::new(0, 99)] {
            let text = full(&Diagnostic::error("e", "m").at(&source, span), Style::Plain);
            assert!(text.contains("error[e]: m"), "{text}");
        }
    }
}
