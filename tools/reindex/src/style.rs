//! Edits of style that go further than headers: the order of sections and the indentation of configuration and Lua.
//!
//! Both keep what the file means as far as can be told from the text, and are still asked for apart: a spec may count
//! the lines of its configuration in an expected error, and its author may have wanted an order.

use rsty_lint::lua::lexer::{Kind, Lexer};

use crate::lua::{self, STEP};

/// Whether a section of this name holds configuration.
pub(crate) fn is_configuration(name: &str) -> bool {
    name.ends_with("config")
}

/// Whether a section of this name holds Lua.
pub(crate) fn is_lua(name: &str) -> bool {
    matches!(name, "src" | "lua") || name.ends_with("_by_lua") || name.ends_with("_by_lua_block")
}

/// The body of a section with its lines indented; `None` where it is to be left alone.
pub(crate) fn section(name: &str, body: &[u8]) -> Option<Vec<u8>> {
    if is_configuration(name) {
        return indented(body);
    }
    let first = body.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty())?;
    let base = first.len() - first.trim_ascii_start().len();
    is_lua(name).then(|| lua::indented(body, base))?
}

/// The place of a section in a block; those of equal rank keep their order.
pub(crate) fn rank(name: &str) -> u8 {
    match name {
        "ONLY" | "LAST" | "SKIP" | "skip_nginx" | "skip_nginx2" | "skip_eval" | "skip_openssl" => 0,
        "main_config" => 1,
        "http_config" | "stream_config" => 2,
        "config" | "server_config" | "stream_server_config" => 3,
        "post_main_config" | "post_http_config" | "post_server_config" => 4,
        "user_files" => 5,
        "request" | "request_eval" | "raw_request" | "pipelined_requests" | "stream_request" => 10,
        "more_headers" | "request_headers" | "raw_request_middle_delay" => 11,
        "error_code" | "error_code_like" => 20,
        "response_headers" | "response_headers_like" | "raw_response_headers_like" => 21,
        "response_body"
        | "response_body_like"
        | "response_body_unlike"
        | "stream_response"
        | "stream_response_like" => 22,
        "error_log" | "grep_error_log" | "grep_error_log_out" | "access_log" => 30,
        "no_error_log" | "no_access_log" => 31,
        "shutdown_error_log" | "no_shutdown_error_log" => 32,
        "timeout" | "wait" | "abort" => 40,
        _ => 25,
    }
}

/// Configuration with each line indented by its depth, one level to start with, and the Lua in it by its own blocks; Lua
/// that does not hold together moves as a whole. `None` where strings of the configuration reach over lines, so
/// that blanks at the start of a line may count.
fn indented(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() + 64);
    let mut depth = 1_usize;
    // Inside Lua: how many braces are open, and how far its lines move.
    let mut lua: Option<(usize, isize)> = None;
    let mut rest = text;
    while !rest.is_empty() {
        let (line, behind) = rest.split_at(memchr::memchr(b'\n', rest).map_or(rest.len(), |found| found + 1));
        rest = behind;
        let body = line.strip_suffix(b"\n").unwrap_or(line);
        let body = body.strip_suffix(b"\r").unwrap_or(body);
        let code = body.trim_ascii_start();
        let before = body.len() - code.len();
        if body.iter().take(before).any(|byte| *byte != b' ') && !code.is_empty() {
            // Tabs have no width that all agree on.
            return None;
        }
        if code.is_empty() {
            out.extend_from_slice(line.strip_prefix(body).unwrap_or_default());
            continue;
        }
        let scan = scan(code, lua.is_some())?;
        let closes_first = code.first() == Some(&b'}');
        let width = match lua {
            Some((1, shift)) if closes_first => shifted(before, shift),
            Some((_, shift)) => shifted(before, shift),
            None => depth.saturating_sub(usize::from(closes_first)) * STEP,
        };
        out.resize(out.len() + width, b' ');
        out.extend_from_slice(code);
        out.extend_from_slice(line.strip_prefix(body).unwrap_or_default());
        match &mut lua {
            Some((open, _)) => {
                *open = (*open + scan.opened).checked_sub(scan.closed)?;
                if *open == 0 {
                    lua = None;
                }
            }
            None if scan.opens_lua => {
                let open = scan.opened.checked_sub(scan.closed)?;
                let block = (open == 1 && code.ends_with(b"{")).then(|| lua_lines(rest)).flatten();
                if let Some((block, lines)) = block.and_then(|block| Some((block, lua::indented(block, width + STEP)?)))
                {
                    out.extend_from_slice(&lines);
                    rest = rest.get(block.len()..).unwrap_or_default();
                    depth += 1;
                    continue;
                }
                let shift = width as isize - before as isize;
                lua = (open > 0).then_some((open, shift));
            }
            None => depth = (depth + scan.opened).checked_sub(scan.closed)?,
        }
    }
    (depth == 1 && lua.is_none()).then_some(out)
}

/// The lines of Lua before the one that starts with the brace that closes the block.
fn lua_lines(text: &[u8]) -> Option<&[u8]> {
    let mut lexer = Lexer::new(text);
    let mut open = 1_usize;
    let end = loop {
        let token = lexer.read().ok()?;
        match token.kind {
            Kind::Char(b'{') => open += 1,
            Kind::Char(b'}') if open == 1 => break token.start as usize,
            Kind::Char(b'}') => open -= 1,
            Kind::EndOfFile => return None,
            _ => {}
        }
    };
    let before = text.get(..end)?;
    let start = memchr::memrchr(b'\n', before).map_or(0, |found| found + 1);
    before.get(start..)?.trim_ascii().is_empty().then_some(before.get(..start)?)
}

fn shifted(width: usize, by: isize) -> usize {
    width.saturating_add_signed(by)
}

/// What one line holds.
struct Scan {
    opened: usize,
    closed: usize,
    opens_lua: bool,
}

/// Counts the braces of a line outside strings and comments. `None` where a string goes on in the next line.
fn scan(code: &[u8], is_lua: bool) -> Option<Scan> {
    let mut scan = Scan { opened: 0, closed: 0, opens_lua: false };
    let mut in_lua = is_lua;
    let mut at = 0;
    while let Some(byte) = code.get(at) {
        let rest = code.get(at..).unwrap_or_default();
        match byte {
            b'"' | b'\'' => {
                let mut end = at + 1;
                loop {
                    match code.get(end) {
                        Some(b'\\') => end += 2,
                        Some(close) if close == byte => break,
                        Some(_) => end += 1,
                        None => return None,
                    }
                }
                at = end;
            }
            b'#' if !in_lua && code.get(at.wrapping_sub(1)).is_none_or(u8::is_ascii_whitespace) => return Some(scan),
            b'-' if in_lua && rest.starts_with(b"--") => return (!rest.starts_with(b"--[")).then_some(scan),
            b'[' if in_lua && (rest.starts_with(b"[[") || rest.starts_with(b"[=")) => return None,
            b'{' => {
                let word = code.get(..at).unwrap_or_default().trim_ascii_end();
                let starts =
                    !in_lua && word.split(u8::is_ascii_whitespace).any(|word| word.ends_with(b"_by_lua_block"));
                // Another block in the same line would have to be counted apart.
                if starts && scan.opened != scan.closed {
                    return None;
                }
                in_lua |= starts;
                scan.opens_lua |= starts;
                scan.opened += 1;
            }
            b'}' => scan.closed += 1,
            _ => {}
        }
        at += 1;
    }
    Some(scan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<String> {
        indented(text.as_bytes()).map(|text| String::from_utf8(text).expect("text"))
    }

    #[test]
    fn configuration_is_indented_by_its_depth_and_lua_by_its_blocks() {
        let before = "location /t {\n  content_by_lua_block {\n      if x then\n        y()\n      end\n  }\n}\n\n  set $a '}';\n";
        let after = "    location /t {\n        content_by_lua_block {\n            if x then\n                y()\n            end\n        }\n    }\n\n    set $a '}';\n";
        assert_eq!(text(before).as_deref(), Some(after));
        assert_eq!(text(after).as_deref(), Some(after));
    }

    #[test]
    fn lua_that_shares_lines_with_its_braces_moves_along() {
        let before = "a {\ncontent_by_lua_block { if x then\n  y()\n end }\n}\n";
        let after = "    a {\n        content_by_lua_block { if x then\n          y()\n         end }\n    }\n";
        assert_eq!(text(before).as_deref(), Some(after));
        assert_eq!(text(after).as_deref(), Some(after));
    }

    #[test]
    fn long_strings_in_lua_keep_their_bytes() {
        let before = "init_by_lua_block {\n x = [[\n  }\n]]\n-- }\n}\n";
        let after = "    init_by_lua_block {\n        x = [[\n  }\n]]\n        -- }\n    }\n";
        assert_eq!(text(before).as_deref(), Some(after));
        assert_eq!(text(after).as_deref(), Some(after));
    }

    #[test]
    fn sections_of_lua_start_where_their_first_line_does() {
        let lua = |name| section(name, b"\n  if x then\ny()\nend\n");
        assert_eq!(lua("src").as_deref(), Some(&b"\n  if x then\n      y()\n  end\n"[..]));
        assert_eq!(lua("header_filter_by_lua"), lua("src"));
        assert_eq!(lua("response_body"), None);
    }

    #[test]
    fn what_blanks_may_count_in_is_left_alone() {
        for kept in
            ["set $a 'x\n  y';\n", "content_by_lua_block {\n x = ([[\n  y\n]]\n}\n", "a {\n", "}\n", "\tset $a b;\n"]
        {
            assert_eq!(text(kept), None, "{kept}");
        }
    }

    #[test]
    fn sections_come_in_the_order_of_a_test() {
        let mut names = ["no_error_log", "request", "config", "response_body", "http_config", "mine"];
        names.sort_by_key(|name| rank(name));
        assert_eq!(names, ["http_config", "config", "request", "response_body", "mine", "no_error_log"]);
    }
}
