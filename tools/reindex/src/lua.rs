//! The indentation of Lua by its blocks and brackets.
//!
//! A line that starts a statement, a field of a table or an argument below its bracket stands one step inside what
//! encloses it; a word or bracket that closes stands below the line that opened. Every other line goes on with an
//! expression, and moves along with the line that it belongs to, so that what an author has lined up stays so. Lines
//! that start inside a long string, a long comment or a string with escaped line ends keep their bytes. The tokens of
//! the result are compared with those of the text.

use rsty_lint::lua::lexer::{Kind, Lexer, Token};

/// Columns a level is indented by.
pub(crate) const STEP: usize = 4;

/// Lua with each line indented, the outermost level by `base` columns. `None`, for text that is to be left alone, where
/// the blocks don't match, a line starts with a tab, or a line would look like a header of the spec file around it.
pub(crate) fn indented(text: &[u8], base: usize) -> Option<Vec<u8>> {
    if text.starts_with(b"#") {
        return None;
    }
    let tokens = tokens(text)?;
    let kept = spans_over_lines(text, &tokens);
    let mut state = State { open: Vec::new(), root_shift: 0, base, before: None };
    let mut out = Vec::with_capacity(text.len() + 64);
    let (mut at, mut next, mut spans) = (0, 0, kept.iter().peekable());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let (start, end) = (at, at + line.len());
        at = end;
        while spans.next_if(|(_, close)| *close <= start).is_some() {}
        let inside = spans.peek().is_some_and(|(open, close)| *open < start && start < *close);
        let length = tokens.get(next..)?.iter().take_while(|token| (token.start as usize) < end).count();
        let own = tokens.get(next..next + length)?;
        next += length;
        let code = line.trim_ascii_start();
        let width = line.len() - code.len();
        if inside || code.is_empty() {
            out.extend_from_slice(if inside { line } else { line_end(line) });
            // What a line that is kept goes on with is not moved either.
            state.read(own, width, 0)?;
            continue;
        }
        if line.iter().take(width).any(|byte| *byte != b' ') {
            return None;
        }
        let new = state.width(own.first().copied(), width);
        if new == 0 && (code.starts_with(b"---") || code.starts_with(b"===")) && width > 0 {
            return None;
        }
        out.resize(out.len() + new, b' ');
        out.extend_from_slice(code);
        state.read(own, new, new as isize - width as isize)?;
    }
    let same = |(a, b): (&Token, &Token)| {
        a.kind == b.kind && text.get(a.start as usize..a.end as usize) == out.get(b.start as usize..b.end as usize)
    };
    let after = self::tokens(&out)?;
    (state.open.is_empty() && tokens.len() == after.len() && tokens.iter().zip(&after).all(same)).then_some(out)
}

fn tokens(text: &[u8]) -> Option<Vec<Token>> {
    let mut lexer = Lexer::new(text);
    let mut found = Vec::new();
    loop {
        match lexer.read().ok()? {
            Token { kind: Kind::EndOfFile, .. } => return Some(found),
            token => found.push(token),
        }
    }
}

/// The strings and comments that reach over lines, in the order of the text.
fn spans_over_lines(text: &[u8], tokens: &[Token]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut note = |start: usize, end: usize| {
        if text.get(start..end).is_some_and(|part| part.contains(&b'\n')) {
            found.push((start, end));
        }
    };
    let mut at = 0;
    let ends = [text.len()];
    let places = tokens.iter().map(|token| token.start as usize).chain(ends);
    for (index, place) in places.enumerate() {
        // Between tokens are blanks and comments only.
        while let Some(dashes) = text.get(at..place).and_then(|gap| gap.iter().position(|byte| *byte == b'-')) {
            let start = at + dashes;
            at = comment_end(text, start).min(place);
            note(start, at);
        }
        if let Some(token) = tokens.get(index) {
            at = token.end as usize;
            if token.kind == Kind::Text {
                note(place, at);
            }
        }
    }
    found
}

/// The end of the comment whose dashes stand at `start`. One of a line ends before the line end.
fn comment_end(text: &[u8], start: usize) -> usize {
    let rest = text.get(start + 2..).unwrap_or_default();
    let level = rest.iter().skip(1).take_while(|byte| **byte == b'=').count();
    if rest.first() == Some(&b'[') && rest.get(level + 1) == Some(&b'[') {
        let close = [&b"]"[..], &vec![b'='; level], b"]"].concat();
        let body = rest.get(level + 2..).unwrap_or_default();
        return memchr::memmem::find(body, &close)
            .map_or(text.len(), |found| start + 2 + level + 2 + found + close.len());
    }
    memchr::memchr2(b'\n', b'\r', rest).map_or(text.len(), |found| start + 2 + found)
}

fn line_end(line: &[u8]) -> &[u8] {
    let kept = line.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    line.get(kept..).unwrap_or_default()
}

/// Something that was opened and is not yet closed.
struct Open {
    what: What,
    /// Columns before the line that opened it.
    width: usize,
    /// How far lines move that go on with an expression here.
    shift: isize,
    /// For brackets: whether the line ended behind it.
    ends_line: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// Statements up to `end` or `until`.
    Block,
    /// A condition up to `then`.
    Condition,
    /// The head of a loop up to `do`.
    Head,
    Table,
    /// Arguments, parentheses, an index.
    Bracket,
}

struct State {
    open: Vec<Open>,
    root_shift: isize,
    base: usize,
    before: Option<Kind>,
}

impl State {
    /// The columns before a line that starts with this token, or with a comment.
    fn width(&mut self, first: Option<Token>, width: usize) -> usize {
        let kind = first.map(|token| token.kind);
        let top = self.open.last();
        let inner = top.map_or(self.base, |open| open.width + STEP);
        let new = match (kind, top) {
            (Some(kind), Some(open)) if closes(kind, open.what) => Some(open.width),
            (_, Some(open)) if open.what == What::Bracket => {
                let starts = matches!(self.before, Some(Kind::Char(b'(' | b'[' | b',')));
                (open.ends_line && starts).then_some(inner)
            }
            (_, Some(open)) if open.what == What::Table => {
                matches!(self.before, Some(Kind::Char(b'{' | b',' | b';'))).then_some(inner)
            }
            (_, Some(open)) if open.what != What::Block => None,
            _ => (!self.before.is_some_and(wants_more) && !kind.is_some_and(goes_on)).then_some(inner),
        };
        match new {
            Some(new) => {
                let shift = new as isize - width as isize;
                match self.open.last_mut() {
                    Some(open) => open.shift = shift,
                    None => self.root_shift = shift,
                }
                new
            }
            None => {
                let shift = self.open.last().map_or(self.root_shift, |open| open.shift);
                width.saturating_add_signed(shift).max(self.base)
            }
        }
    }

    /// Takes in the tokens of a line that stands `width` columns in and moved by `shift`. `None` where blocks don't match.
    fn read(&mut self, tokens: &[Token], width: usize, shift: isize) -> Option<()> {
        for (index, token) in tokens.iter().enumerate() {
            let ends_line = index + 1 == tokens.len();
            let top = self.open.last().map(|open| open.what);
            let mut push = |what| self.open.push(Open { what, width, shift, ends_line });
            match token.kind {
                Kind::Function | Kind::Repeat => push(What::Block),
                Kind::If => push(What::Condition),
                Kind::For | Kind::While => push(What::Head),
                Kind::Char(b'{') => push(What::Table),
                Kind::Char(b'(' | b'[') => push(What::Bracket),
                Kind::Do if top == Some(What::Head) => self.open.last_mut()?.what = What::Block,
                Kind::Do => push(What::Block),
                Kind::Then => self.turn(What::Condition, What::Block)?,
                Kind::Elseif => self.turn(What::Block, What::Condition)?,
                Kind::Else => self.turn(What::Block, What::Block)?,
                Kind::End | Kind::Until => self.close(What::Block)?,
                Kind::Char(b'}') => self.close(What::Table)?,
                Kind::Char(b')' | b']') => self.close(What::Bracket)?,
                _ => {}
            }
            self.before = Some(token.kind);
        }
        Some(())
    }

    fn turn(&mut self, from: What, to: What) -> Option<()> {
        let top = self.open.last_mut().filter(|open| open.what == from)?;
        top.what = to;
        Some(())
    }

    fn close(&mut self, what: What) -> Option<()> {
        self.open.pop().filter(|open| open.what == what).map(|_| ())
    }
}

/// Whether a token at the start of a line belongs below the line that opened.
fn closes(kind: Kind, what: What) -> bool {
    match what {
        What::Block => matches!(kind, Kind::End | Kind::Until | Kind::Else | Kind::Elseif),
        What::Condition => kind == Kind::Then,
        What::Head => kind == Kind::Do,
        What::Table => kind == Kind::Char(b'}'),
        What::Bracket => matches!(kind, Kind::Char(b')' | b']')),
    }
}

/// Whether no statement ends with this token.
fn wants_more(kind: Kind) -> bool {
    match kind {
        Kind::Char(byte) => !matches!(byte, b')' | b']' | b'}' | b';'),
        Kind::And | Kind::Or | Kind::Not | Kind::In | Kind::Local | Kind::Goto | Kind::Return | Kind::Function => true,
        Kind::Until => true,
        _ => is_operator(kind),
    }
}

/// Whether no statement starts with this token.
fn goes_on(kind: Kind) -> bool {
    match kind {
        Kind::Char(byte) => byte != b';',
        Kind::And | Kind::Or | Kind::In | Kind::Text => true,
        _ => is_operator(kind),
    }
}

fn is_operator(kind: Kind) -> bool {
    matches!(kind, Kind::Concat | Kind::Equal | Kind::GreaterEqual | Kind::LessEqual | Kind::NotEqual)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<String> {
        let once = indented(text.as_bytes(), 0)?;
        assert_eq!(indented(&once, 0).as_deref(), Some(&once[..]), "twice is once");
        Some(String::from_utf8(once).expect("text"))
    }

    #[test]
    fn blocks_stand_one_step_inside() {
        let before = "for i = 1, 2 do\nif i > 1 then\nrepeat\nf()\nuntil g()\n  elseif h then\n      k()\nelse\n-- no\nl()\nend\nend\nlocal function m() return end\ndo\nn()\nend\n";
        let after = "for i = 1, 2 do\n    if i > 1 then\n        repeat\n            f()\n        until g()\n    elseif h then\n        k()\n    else\n        -- no\n        l()\n    end\nend\nlocal function m() return end\ndo\n    n()\nend\n";
        assert_eq!(text(before).as_deref(), Some(after));
    }

    #[test]
    fn brackets_count_once_a_line() {
        let before = "f({\na = 1,\nb = {\n2,\n},\n}, function()\ng()\nend)\nh(\n1,\n2\n)\n";
        let after =
            "f({\n    a = 1,\n    b = {\n        2,\n    },\n}, function()\n    g()\nend)\nh(\n    1,\n    2\n)\n";
        assert_eq!(text(before).as_deref(), Some(after));
    }

    #[test]
    fn what_goes_on_moves_along() {
        let before = "do\nlocal a = b\n       .. c\n   if d\n      and e\n   then\n    ngx.say(\"x\",\n            \"y\")\n   end\nreturn a,\n       b\nend\n";
        let after = "do\n    local a = b\n           .. c\n    if d\n       and e\n    then\n        ngx.say(\"x\",\n                \"y\")\n    end\n    return a,\n           b\nend\n";
        assert_eq!(text(before).as_deref(), Some(after));
    }

    #[test]
    fn long_strings_and_comments_keep_their_bytes() {
        let before = "do\nlocal a = [==[\n  x\n end ]==] .. [[\ny]]\n--[[ do\n  z\n]] f()\nlocal b = 'p\\\n  q'\nend\n";
        let after = "do\n    local a = [==[\n  x\n end ]==] .. [[\ny]]\n    --[[ do\n  z\n]] f()\n    local b = 'p\\\n  q'\nend\n";
        assert_eq!(text(before).as_deref(), Some(after));
    }

    #[test]
    fn blanks_on_empty_lines_go_and_line_ends_stay() {
        assert_eq!(text("do\r\n  \r\nf()\r\nend\r\n").as_deref(), Some("do\r\n\r\n    f()\r\nend\r\n"));
    }

    #[test]
    fn what_is_no_lua_is_left_alone() {
        for kept in ["do\n", "end\n", "if x then }\nend\n", "f(}\n", "x = 'a\n", "\tx = 1\n", "  --- x\n", "#!lua\n"] {
            assert_eq!(text(kept), None, "{kept}");
        }
    }
}
