//! The body of a `*_by_lua_block`: where its closing brace is.
//!
//! Only strings, comments, long brackets and braces matter. An unfinished short string is no string, as in
//! OpenResty's reader: its quote is skipped and the scan goes on behind it.

use memchr::memmem;
use rsty_diag::{Diagnostic, Span};

use super::lexer::{BUFFER, Lexer};

/// The code between the braces; the lexer stands behind `{` before and behind `}` afterwards.
pub(super) fn read(lexer: &mut Lexer<'_>, bytes: &[u8], in_stream: bool) -> Result<Span, Diagnostic> {
    let start = lexer.position;
    let mut depth = 1usize;
    // nginx names the line of the last opening brace when the end is missing.
    let mut last_open = start;
    loop {
        let token_start = lexer.position;
        let Some((token, at)) = next_token(bytes, token_start) else {
            let message = "unexpected end of file, expecting terminating characters for lua code block";
            return Err(lexer.error(message, Span::at(last_open.saturating_sub(1))));
        };
        if lexer.window.end.saturating_sub(at) < BUFFER / 2 {
            lexer.window.refill(at);
        }
        lexer.position = match token {
            Token::Open => {
                depth += 1;
                last_open = at + 1;
                at + 1
            }
            Token::Close => {
                depth -= 1;
                if depth == 0 {
                    lexer.position = at + 1;
                    lexer.window.advance(at, at + 1);
                    return Ok(Span::new(start, at));
                }
                at + 1
            }
            Token::LongBracket { level, body } => {
                let closing = [b"]".as_slice(), &vec![b'='; level], b"]"].concat();
                // What lies behind the reader's buffer is not found.
                let held = bytes.get(body..lexer.window.end.max(body)).unwrap_or_default();
                let Some(length) = memmem::find(held, &closing) else {
                    let shown = String::from_utf8_lossy(&closing);
                    let hint = if in_stream { "" } else { ", the inlined Lua code may be too long" };
                    let message = format!("Lua code block missing the closing long bracket \"{shown}\"{hint}");
                    return Err(lexer.error(message, Span::new(at, body)));
                };
                body + length + closing.len()
            }
            Token::Skip { end } => end,
        };
        let position = lexer.position;
        lexer.window.advance(token_start, position);
    }
}

enum Token {
    Open,
    Close,
    /// The opening of a long string or comment, with the number of `=` and the offset behind it.
    LongBracket {
        level: usize,
        body: usize,
    },
    /// A short string or a line comment.
    Skip {
        end: usize,
    },
}

/// The first token from `from` on, with its offset.
fn next_token(bytes: &[u8], from: usize) -> Option<(Token, usize)> {
    let mut at = from;
    loop {
        let rest = bytes.get(at..)?;
        at += rest.iter().position(|byte| matches!(byte, b'{' | b'}' | b'[' | b'-' | b'"' | b'\''))?;
        let rest = bytes.get(at..)?;
        let token = match rest.first()? {
            b'{' => Some(Token::Open),
            b'}' => Some(Token::Close),
            b'[' => long_bracket(bytes, at),
            b'-' if rest.get(1) == Some(&b'-') => Some(long_bracket(bytes, at + 2).unwrap_or_else(|| {
                let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                Token::Skip { end: at + length }
            })),
            quote @ (b'"' | b'\'') => short_string(bytes, at, *quote),
            _ => None,
        };
        match token {
            Some(token) => return Some((token, at)),
            None => at += 1,
        }
    }
}

fn long_bracket(bytes: &[u8], at: usize) -> Option<Token> {
    let rest = bytes.get(at..)?.strip_prefix(b"[")?;
    let level = rest.iter().take_while(|byte| **byte == b'=').count();
    (rest.get(level) == Some(&b'[')).then_some(Token::LongBracket { level, body: at + level + 2 })
}

fn short_string(bytes: &[u8], at: usize, quote: u8) -> Option<Token> {
    let mut position = at + 1;
    loop {
        match bytes.get(position)? {
            b'\n' => return None,
            b'\\' if matches!(bytes.get(position + 1), None | Some(b'\n')) => return None,
            b'\\' => position += 2,
            byte if *byte == quote => return Some(Token::Skip { end: position + 1 }),
            _ => position += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use rsty_diag::Source;

    use super::super::lexer::Origin;
    use super::*;

    /// The code of a block whose text follows the opening brace.
    fn body(text: &str) -> Result<String, String> {
        let source = Source::new("nginx.conf", text);
        let mut lexer = Lexer::new(&source, Origin::File);
        let span = read(&mut lexer, source.bytes(), false).map_err(|error| error.message)?;
        assert_eq!(lexer.position, span.end + 1);
        Ok(String::from_utf8_lossy(source.slice(span)).into_owned())
    }

    #[test]
    fn braces_in_strings_and_comments_do_not_count() {
        for code in [
            " x = {} ",
            " x = '}' .. \"}\" ",
            " -- }\n ",
            " --[[ } ]] ",
            " --[==[ } ]] } ]==] ",
            " x = [[ } ]] ",
            " x = [=[ ]] } ]=] ",
            " x = '\\'}' ",
            " x = a[b[1]] - 1 ",
            " if a then b = { c = { } } end ",
        ] {
            assert_eq!(body(&format!("{code}}} rest")).as_deref(), Ok(code));
        }
    }

    #[test]
    fn an_unfinished_string_is_skipped() {
        assert_eq!(body(" say(\"x }\n} }").as_deref(), Ok(" say(\"x "));
    }

    #[test]
    fn missing_ends_have_their_texts() {
        let missing = "unexpected end of file, expecting terminating characters for lua code block";
        assert_eq!(body(" x = {").unwrap_err(), missing);
        assert_eq!(body("").unwrap_err(), missing);
        let bracket = "Lua code block missing the closing long bracket \"]=]\", the inlined Lua code may be too long";
        assert_eq!(body(" x = [=[ } }").unwrap_err(), bracket);
        assert_eq!(body(" --[=[ } }").unwrap_err(), bracket);
    }

    #[test]
    fn a_long_bracket_must_fit_the_readers_buffer() {
        let code = |length| format!(" x = [[{}]] }} ", "a".repeat(length));
        assert!(body(&code(4000)).is_ok());
        assert!(body(&code(4200)).is_err());
        assert!(body(&format!("{}{}", "y = 1\n".repeat(2000), code(2000))).is_ok());
    }
}
