//! The listing of a folder as HTML, JSON, JSONP or XML: pure text.

use super::super::calendar::Moment;

/// Names longer than this are cut in the HTML listing.
const NAME_WIDTH: usize = 50;

/// What an entry of a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Directory,
    File,
    Other,
}

impl EntryKind {
    fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::File => "file",
            Self::Other => "other",
        }
    }
}

/// One entry of a folder.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: EntryKind,
    pub(crate) modified: i64,
    pub(crate) size: u64,
}

/// How sizes are shown in HTML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sizes {
    Exact,
    Rounded,
}

/// Sorts folders first, then by name.
pub(crate) fn sort(entries: &mut [Entry]) {
    entries.sort_by(|a, b| {
        let folder = |entry: &Entry| entry.kind == EntryKind::Directory;
        folder(b).cmp(&folder(a)).then_with(|| a.name.cmp(&b.name))
    });
}

/// The HTML listing. Times are shown `offset` seconds east of Greenwich; `utf8` counts characters, not bytes.
pub(crate) fn html(uri: &[u8], entries: &[Entry], sizes: Sizes, offset: i64, utf8: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + entries.len() * 160);
    let title = escape_html(uri);
    out.extend_from_slice(b"<html>\r\n<head><title>Index of ");
    out.extend_from_slice(&title);
    out.extend_from_slice(b"</title></head>\r\n<body>\r\n<h1>Index of ");
    out.extend_from_slice(&title);
    out.extend_from_slice(b"</h1><hr><pre><a href=\"../\">../</a>\r\n");
    for entry in entries {
        html_line(&mut out, entry, sizes, offset, utf8);
    }
    out.extend_from_slice(b"</pre><hr></body>\r\n</html>\r\n");
    out
}

fn html_line(out: &mut Vec<u8>, entry: &Entry, sizes: Sizes, offset: i64, utf8: bool) {
    let directory = entry.kind == EntryKind::Directory;
    out.extend_from_slice(b"<a href=\"");
    escape_component(out, &entry.name);
    out.extend_from_slice(if directory { b"/\">" } else { b"\">" });

    let starts = character_starts(&entry.name, utf8);
    let mut shown = starts.len();
    if shown > NAME_WIDTH {
        let end = starts[NAME_WIDTH - 3];
        out.extend(escape_html(&entry.name[..end]));
        out.extend_from_slice(b"..&gt;</a>");
    } else {
        out.extend(escape_html(&entry.name));
        if directory && shown < NAME_WIDTH {
            out.push(b'/');
            shown += 1;
        }
        out.extend_from_slice(b"</a>");
        out.resize(out.len() + NAME_WIDTH - shown, b' ');
    }
    let time = Moment::new(entry.modified, offset);
    let month = time.month_abbreviation();
    let date = format!(" {:02}-{month}-{} {:02}:{:02} ", time.day, time.year, time.hour, time.minute);
    out.extend_from_slice(date.as_bytes());
    let size = match (sizes, directory) {
        (Sizes::Exact, true) => format!("{:>19}", "-"),
        (Sizes::Exact, false) => format!("{:19}", entry.size),
        (Sizes::Rounded, true) => format!("{:>7}", "-"),
        (Sizes::Rounded, false) => rounded(entry.size),
    };
    out.extend_from_slice(size.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn rounded(size: u64) -> String {
    for (unit, scale) in [(1u64 << 30, 'G'), (1 << 20, 'M')] {
        if size >= unit {
            return format!("{:6}{scale}", (size + unit / 2) / unit);
        }
    }
    if size > 9999 { format!("{:6}K", (size + 512) / 1024) } else { format!(" {size:6}") }
}

/// The JSON listing; with a callback, a script that calls it.
pub(crate) fn json(entries: &[Entry], callback: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + entries.len() * 120);
    if let Some(callback) = callback {
        out.extend_from_slice(b"/* callback */\r\n");
        out.extend_from_slice(callback);
        out.push(b'(');
    }
    out.push(b'[');
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"\r\n{ \"name\":\"");
        escape_json(&mut out, &entry.name);
        let time = Moment::new(entry.modified, 0).strftime("%a, %d %b %Y %H:%M:%S GMT", "");
        let facts = format!("\", \"type\":\"{}\", \"mtime\":\"{time}\"", entry.kind.name());
        out.extend_from_slice(facts.as_bytes());
        if entry.kind == EntryKind::File {
            out.extend_from_slice(format!(", \"size\":{}", entry.size).as_bytes());
        }
        out.extend_from_slice(b" }");
    }
    out.extend_from_slice(b"\r\n]");
    if callback.is_some() {
        out.extend_from_slice(b");");
    }
    out
}

/// The XML listing.
pub(crate) fn xml(entries: &[Entry]) -> Vec<u8> {
    let mut out = b"<?xml version=\"1.0\"?>\r\n<list>\r\n".to_vec();
    for entry in entries {
        let kind = entry.kind.name();
        let time = Moment::new(entry.modified, 0).strftime("%Y-%m-%dT%H:%M:%SZ", "");
        out.extend_from_slice(format!("<{kind} mtime=\"{time}\"").as_bytes());
        if entry.kind == EntryKind::File {
            out.extend_from_slice(format!(" size=\"{}\"", entry.size).as_bytes());
        }
        out.push(b'>');
        out.extend(escape_html(&entry.name));
        out.extend_from_slice(format!("</{kind}>\r\n").as_bytes());
    }
    out.extend_from_slice(b"</list>\r\n");
    out
}

/// Whether a callback name may be written into a script.
pub(crate) fn callback_is_safe(name: &[u8]) -> bool {
    name.len() <= 128 && name.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.')
}

/// `&`, `<`, `>` and `"` as entities.
pub(crate) fn escape_html(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        match byte {
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'&' => out.extend_from_slice(b"&amp;"),
            b'"' => out.extend_from_slice(b"&quot;"),
            _ => out.push(byte),
        }
    }
    out
}

fn escape_component(out: &mut Vec<u8>, name: &[u8]) {
    for &byte in name {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}

fn escape_json(out: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            0..32 => out.extend_from_slice(format!("\\u{byte:04X}").as_bytes()),
            _ => out.push(byte),
        }
    }
}

/// Where each character starts: of UTF-8 when asked for and valid, else each byte.
fn character_starts(name: &[u8], utf8: bool) -> Vec<usize> {
    match std::str::from_utf8(name) {
        Ok(text) if utf8 => text.char_indices().map(|(start, _)| start).collect(),
        _ => (0..name.len()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, kind: EntryKind, size: u64) -> Entry {
        Entry { name: name.as_bytes().to_vec(), kind, modified: 0, size }
    }

    #[test]
    fn html_lines_have_fixed_columns() {
        let entries = [entry("d", EntryKind::Directory, 0), entry("a&b", EntryKind::File, 123)];
        let page = String::from_utf8(html(b"/x/", &entries, Sizes::Exact, 0, false)).expect("ascii");
        let lines: Vec<&str> = page.split("\r\n").collect();
        assert_eq!(lines[1], "<head><title>Index of /x/</title></head>");
        assert_eq!(lines[3], "<h1>Index of /x/</h1><hr><pre><a href=\"../\">../</a>");
        assert_eq!(lines[4], format!("<a href=\"d/\">d/</a>{:48} 01-Jan-1970 00:00 {:>19}", "", "-"));
        assert_eq!(lines[5], format!("<a href=\"a%26b\">a&amp;b</a>{:47} 01-Jan-1970 00:00 {:19}", "", 123));
        assert_eq!(lines[6], "</pre><hr></body>");
    }

    #[test]
    fn long_names_are_cut() {
        let page = html(b"/", &[entry(&"n".repeat(51), EntryKind::File, 1)], Sizes::Rounded, 0, false);
        let shown = format!(">{}..&gt;</a> 01-Jan-1970 00:00       1\r\n", "n".repeat(47));
        assert!(String::from_utf8_lossy(&page).contains(&shown));
    }

    #[test]
    fn sizes_are_rounded_to_units() {
        assert_eq!(rounded(9999), "   9999");
        assert_eq!(rounded(10_240), "    10K");
        assert_eq!(rounded(1_572_864), "     2M");
        assert_eq!(rounded(1 << 31), "     2G");
    }

    #[test]
    fn json_and_xml_name_kinds() {
        let entries = [entry("d", EntryKind::Directory, 0), entry("f\"", EntryKind::File, 7)];
        assert_eq!(
            String::from_utf8_lossy(&json(&entries, Some(b"cb"))),
            "/* callback */\r\ncb([\r\n{ \"name\":\"d\", \"type\":\"directory\", \"mtime\":\"Thu, 01 Jan 1970 00:00:00 GMT\" },\
             \r\n{ \"name\":\"f\\\"\", \"type\":\"file\", \"mtime\":\"Thu, 01 Jan 1970 00:00:00 GMT\", \"size\":7 }\r\n]);"
        );
        assert!(
            String::from_utf8_lossy(&xml(&entries))
                .contains("<file mtime=\"1970-01-01T00:00:00Z\" size=\"7\">f&quot;</file>")
        );
        assert!(callback_is_safe(b"a.b_1") && !callback_is_safe(b"a(b"));
    }
}
