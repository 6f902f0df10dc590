//! Diagnostics in nginx's words: `MESSAGE in FILE:LINE`.

use std::io;

use rsty_diag::{Diagnostic, Source};

use super::lexer::{Lexer, SYNTAX};
use super::parser::COMMAND_LINE;

/// The message with the place as nginx names it.
///
/// nginx reports the line its reader has got to: for the form of the text, the offending byte's; for a directive,
/// the one on which its words end.
pub fn nginx_message(diagnostic: &Diagnostic) -> String {
    let Some(label) = &diagnostic.primary else { return diagnostic.message.clone() };
    let source = &label.source;
    if source.path().as_os_str() == COMMAND_LINE {
        return format!("{} in {COMMAND_LINE}", diagnostic.message);
    }
    let offset = match diagnostic.id {
        SYNTAX => label.span.start,
        _ => head_end(source, label.span.start),
    };
    let line = source.location(offset).line;
    format!("{} in {}:{line}", diagnostic.message, source.path().display())
}

/// Where the words of the directive end that `offset` belongs to; words start at token boundaries, so the lexer
/// can go on from any of them.
fn head_end(source: &Source, offset: usize) -> usize {
    Lexer::starting_at(source, offset).statement().map_or(offset, |statement| statement.at)
}

/// `NUMBER: text` of a failed system call.
pub(crate) fn errno_text(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{number}: {}", crate::log::errno_text(number)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rsty_diag::Span;

    use super::*;

    #[test]
    fn a_directive_over_several_lines_is_named_by_its_last() {
        let source = Source::new("/c/nginx.conf", "\nlog_format x\n  'a'\n  'b';\n");
        let at_name = Diagnostic::error("invalid_value", "bad").at(&source, Span::new(1, 11));
        assert_eq!(nginx_message(&at_name), "bad in /c/nginx.conf:4");
        let at_word = Diagnostic::error("invalid_value", "bad").at(&source, Span::new(16, 19));
        assert_eq!(nginx_message(&at_word), "bad in /c/nginx.conf:4");
    }
}
