//! The page that a browser gets in place of «500 Internal Server Error»: what was said about the request, the source
//! lines it names, and the recent log.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use super::LINES;
use crate::cycle::Cycle;
use crate::http::header::HeaderId;
use crate::http::request::Request;
use crate::log::Level;

/// Lines of source before and after the one that is named.
const AROUND: usize = 4;
/// Places that are shown.
const PLACES: usize = 6;
/// Larger files are not shown.
const FILE_MAX: u64 = 1 << 20;

/// The page for a request that failed, if its client is a browser.
pub(crate) fn error_page(r: &Request) -> Option<Vec<u8>> {
    let accept = r.headers_in.value(HeaderId::Accept)?;
    memchr::memmem::find(&accept, b"text/html")?;
    let marker = format!(": *{} ", r.conn().number);
    LINES.with_borrow(|lines| {
        let own = lines.iter().rev().find(|(level, line)| *level <= Level::Error && line.contains(&marker));
        let message = own.and_then(|(_, line)| line.split_once(&marker)).map_or("", |(_, message)| message);
        let log: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
        let request = r.request_line.borrow().escape_ascii().to_string();
        Some(render(&request, message, &places(message, r.conn().cycle()), &log).into_bytes())
    })
}

/// A place in a file, with the lines around it.
#[derive(Debug, PartialEq)]
struct Place {
    name: String,
    line: usize,
    source: Vec<(usize, String)>,
}

/// A file and a line that a message names.
#[derive(Debug, PartialEq)]
struct Mention<'a> {
    /// `/srv/app.lua`, or the `nginx.conf` of `content_by_lua(nginx.conf:12)`.
    file: &'a str,
    /// For code inside the configuration, the line where it starts.
    base: Option<usize>,
    line: usize,
}

/// Everything in a message that has the form `FILE:LINE:`.
fn mentions(message: &str) -> Vec<Mention<'_>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(colon) = message[from..].find(':').map(|at| from + at) {
        from = colon + 1;
        let digits: usize = message[from..].bytes().take_while(u8::is_ascii_digit).count();
        let Range { start, end } = from..from + digits;
        if digits == 0 || !message[end..].starts_with([':', '>']) {
            continue;
        }
        let Ok(line) = message[start..end].parse() else { continue };
        let begin = message[..colon].rfind([' ', '\t', '\n', '"', '<']).map_or(0, |at| at + 1);
        let name = &message[begin..colon];
        let inline = name.strip_suffix(')').and_then(|name| name.split_once('(')).and_then(|(_, inner)| {
            let (file, base) = inner.rsplit_once(':')?;
            Some((file, base.parse().ok()?))
        });
        found.push(match inline {
            Some((file, base)) => Mention { file, base: Some(base), line },
            None => Mention { file: name, base: None, line },
        });
    }
    found
}

/// The source lines that a message names. Only Lua files and the configuration are shown.
fn places(message: &str, cycle: &Cycle) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for mention in mentions(message) {
        let (text, line) = match mention.base {
            Some(base) => {
                let known = cycle.conf.sources.iter().find(|source| source.path().ends_with(mention.file));
                let Some(source) = known else { continue };
                (source.bytes().to_vec(), base + mention.line - 1)
            }
            None => {
                let path = Path::new(mention.file);
                let small = std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() <= FILE_MAX);
                if !small || path.extension().is_none_or(|extension| extension != "lua") {
                    continue;
                }
                (std::fs::read(path).unwrap_or_default(), mention.line)
            }
        };
        if places.len() == PLACES || places.iter().any(|place| place.name == mention.file && place.line == line) {
            continue;
        }
        let first = line.saturating_sub(AROUND).max(1);
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().enumerate().map(|(index, text)| (index + 1, text.to_owned()));
        let source = lines.skip(first - 1).take(line + AROUND + 1 - first).collect();
        places.push(Place { name: mention.file.to_owned(), line, source });
    }
    places
}

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#d0d7de;--soft:#f6f8fa;--mark:#ffebe9;--red:#cf222e}\
@media(prefers-color-scheme:dark){:root{--line:#30363d;--soft:#161b22;--mark:#4b1113;--red:#ff7b72}}\
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.25rem;color:var(--red);margin-bottom:0}h2{font-size:1rem;margin:1.5rem 0 .25rem}\
pre{font:13px/1.5 ui-monospace,monospace;background:var(--soft);border:1px solid var(--line);border-radius:6px;\
padding:.75rem;overflow-x:auto;margin:.25rem 0}pre b{font-weight:inherit;display:block;background:var(--mark)}\
.note{opacity:.7;font-size:.85rem}";

fn render(request: &str, message: &str, places: &[Place], log: &[&str]) -> String {
    let headline = message.lines().next().unwrap_or_default();
    let headline = headline.split_once("runtime error: ").map_or(headline, |(_, rest)| rest);
    let headline = if headline.is_empty() { "the request failed without a message" } else { headline };
    let mut page = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    let title = escape(headline);
    // Writing to a string can't fail.
    let _ = write!(page, "<title>500: {title}</title><style>{STYLE}</style></head>\n<body><h1>{title}</h1>");
    let _ = write!(page, "<p class=\"note\">500 Internal Server Error for <code>{}</code></p>\n", escape(request));
    for place in places {
        let _ = write!(page, "<h2>{}:{}</h2>\n<pre>", escape(&place.name), place.line);
        for (number, text) in &place.source {
            let text = escape(text);
            let _ = match *number == place.line {
                true => write!(page, "<b>{number:>5}  {text}</b>"),
                false => writeln!(page, "{number:>5}  {text}"),
            };
        }
        page.push_str("</pre>\n");
    }
    let _ = write!(page, "<h2>Message</h2>\n<pre>{}</pre>\n<h2>Recent log</h2>\n<pre>", escape(message));
    for line in log {
        let _ = writeln!(page, "{}", escape(line));
    }
    page.push_str(
        "</pre>\n<p class=\"note\">This page is shown by <code>rsty serve --watch</code> only.</p></body></html>\n",
    );
    page
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{Mention, Place, mentions, render};

    #[test]
    fn places_are_found_in_tracebacks() {
        let message = "runtime error: /srv/app.lua:3: boom: 12\nstack traceback:\n\t[C]: in function 'error'\n\
                       \t/srv/app.lua:3: in function 'run'\n\tcontent_by_lua(nginx.conf:45):2: in main chunk\n\
                       \tin function </srv/b.lua:7>";
        let file = |file, line| Mention { file, base: None, line };
        assert_eq!(
            mentions(message),
            [
                file("/srv/app.lua", 3),
                file("/srv/app.lua", 3),
                Mention { file: "nginx.conf", base: Some(45), line: 2 },
                file("/srv/b.lua", 7)
            ]
        );
    }

    #[test]
    fn nothing_on_the_page_is_markup_of_somebody_else() {
        let place = Place { name: "<i>.lua".into(), line: 1, source: vec![(1, "x = '<script>'".into())] };
        let page = render("GET /<script>", "<script>alert(1)</script>", &[place], &["<script>"]);
        assert!(!page.contains("<script>") && !page.contains("<i>"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    }
}
