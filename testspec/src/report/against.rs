//! Where two servers differ on the same block.
//!
//! Of each server is kept what it showed in the block's last attempt: the verdict, the responses, and what it logged at
//! `warn` and above. What differs on every run of one server (times, process ids, versions, ports, temporary folders)
//! is made equal first.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::bytes::Regex;
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use crate::report::human::{DIM, GREEN, RED, RESET};
use crate::report::visible;
use crate::run::outcome::{BlockId, BlockReport, BlockVerdict};
use crate::run::wire::{self, Response};

/// What a block showed on one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The verdict about the block.
    pub verdict: BlockVerdict,
    status: Vec<String>,
    headers: Vec<String>,
    body: Vec<u8>,
    log: BTreeSet<String>,
    failures: Vec<String>,
}

/// A part of what a server shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The verdict, or the reason for it.
    Verdict,
    /// Status codes.
    Status,
    /// Response headers.
    Headers,
    /// Response bodies.
    Body,
    /// What was logged at `warn` and above.
    Log,
}

/// A block that two servers treat differently.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The block.
    pub id: BlockId,
    /// What each of them showed.
    pub sights: (Sight, Sight),
    /// In which parts they differ; never empty.
    pub parts: Vec<Part>,
}

/// The most lines shown of one part.
const LINES_MAX: usize = 12;
/// The most bytes kept of all bodies of a block.
const BODY_MAX: usize = 256 * 1024;

impl Sight {
    /// What the report tells of the server.
    pub fn of(report: &BlockReport) -> Self {
        let mut sight = Self {
            verdict: report.verdict(),
            status: Vec::new(),
            headers: Vec::new(),
            body: Vec::new(),
            log: BTreeSet::new(),
            failures: Vec::new(),
        };
        let Some(attempt) = report.last() else { return sight };
        let mut raw = attempt.received.clone();
        while !raw.is_empty() {
            let parsed = wire::parse(&raw, false);
            let Some(response) = parsed.response else { break };
            sight.add(&response, &parsed.raw_headers);
            let left = parsed.left.unwrap_or_default();
            if left.len() >= raw.len() {
                break;
            }
            raw = left;
        }
        let settled = &*SETTLER;
        sight.log = attempt.error_log.split(|byte| *byte == b'\n').filter_map(|line| settled.log(line)).collect();
        let prefix = format!("{} {} - ", report.id.file.display(), report.id.name);
        sight.failures.extend(attempt.bail_out.as_deref().map(|reason| settled.text(reason)));
        let names = attempt.failures().map(|assertion| assertion.name.strip_prefix(&prefix).unwrap_or(&assertion.name));
        sight.failures.extend(names.map(|name| settled.text(name)));
        sight
    }

    fn add(&mut self, response: &Response, raw_headers: &[u8]) {
        let settled = &*SETTLER;
        self.status.push(String::from_utf8_lossy(response.code.as_deref().unwrap_or(b"none")).into_owned());
        for line in raw_headers.split(|byte| *byte == b'\n').skip(1) {
            let line = line.trim_ascii_end();
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let name = String::from_utf8_lossy(line.get(..colon).unwrap_or_default()).into_owned();
            let volatile = ["date", "server", "last-modified", "etag", "expires"];
            let value = if volatile.contains(&name.to_ascii_lowercase().as_str()) {
                "…".to_owned()
            } else {
                let value = line.get(colon + 1..).unwrap_or_default().trim_ascii();
                settled.text(&String::from_utf8_lossy(value))
            };
            self.headers.push(format!("{name}: {value}"));
        }
        let room = BODY_MAX.saturating_sub(self.body.len());
        let body = settled.bytes(&response.content);
        self.body.extend_from_slice(body.get(..room.min(body.len())).unwrap_or_default());
    }

    fn lines(&self, part: Part) -> Vec<u8> {
        let joined = |lines: &[String]| lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect();
        match part {
            Part::Verdict => {
                let mut lines = vec![self.verdict.word().to_owned()];
                lines.extend(self.failures.iter().flat_map(|text| text.lines()).map(str::to_owned));
                joined(&lines)
            }
            Part::Status => joined(&self.status),
            Part::Headers => joined(&self.headers),
            Part::Body => self.body.clone(),
            Part::Log => joined(&self.log.iter().cloned().collect::<Vec<_>>()),
        }
    }
}

impl Part {
    const ALL: [Self; 5] = [Self::Verdict, Self::Status, Self::Headers, Self::Body, Self::Log];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Status => "status",
            Self::Headers => "headers",
            Self::Body => "body",
            Self::Log => "log",
        }
    }
}

impl Difference {
    /// How two sights of a block differ; nothing if they don't.
    pub fn between(id: &BlockId, first: Sight, second: Sight) -> Option<Self> {
        let differs = |part: &Part| match part {
            // With one verdict, other words for it are no difference: what was seen is compared below.
            Part::Verdict => first.verdict != second.verdict,
            part => first.lines(*part) != second.lines(*part),
        };
        let parts: Vec<Part> = Part::ALL.into_iter().filter(differs).collect();
        (!parts.is_empty()).then(|| Self { id: id.clone(), sights: (first, second), parts })
    }

    /// What differs, in full, for people: `-` is the first server, `+` the second.
    pub fn text(&self) -> String {
        let place = visible(format!("{}:{}  {}", self.id.file.display(), self.id.line, self.id.name).as_bytes());
        let mut out = format!("{place}\n");
        for part in &self.parts {
            out.push_str(&format!("  {DIM}{}{RESET}\n", part.word()));
            let (first, second) = (self.sights.0.lines(*part), self.sights.1.lines(*part));
            let difference = TextDiff::from_lines(first.as_slice(), second.as_slice());
            let changes = difference.grouped_ops(2);
            let changes: Vec<_> =
                changes.iter().flatten().flat_map(|operation| difference.iter_changes(operation)).collect();
            for change in changes.iter().take(LINES_MAX) {
                let (colour, sign) = match change.tag() {
                    ChangeTag::Delete => (RED, '-'),
                    ChangeTag::Insert => (GREEN, '+'),
                    ChangeTag::Equal => (DIM, ' '),
                };
                let line = change.value();
                let line = line.strip_suffix(b"\n").unwrap_or(line);
                let line: String = visible(line).chars().take(300).collect();
                out.push_str(&format!("    {colour}{sign} {line}{RESET}\n"));
            }
            if changes.len() > LINES_MAX {
                out.push_str(&format!("    {DIM}… {} more lines{RESET}\n", changes.len() - LINES_MAX));
            }
        }
        out
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        let side = |sight: &Sight, part: Part| String::from_utf8_lossy(&sight.lines(part)).into_owned();
        let parts = self.parts.iter().map(|part| {
            let sides = json!({"server": side(&self.sights.0, *part), "against": side(&self.sights.1, *part)});
            (part.word().to_owned(), sides)
        });
        let value = json!({
            "type": "difference",
            "file": self.id.file.to_string_lossy(),
            "line": self.id.line,
            "number": self.id.number,
            "name": self.id.name,
            "server": self.sights.0.verdict.word(),
            "against": self.sights.1.verdict.word(),
            "parts": Value::Object(parts.collect()),
        });
        format!("{value}\n")
    }
}

/// The differences as a table; nothing where there are none.
pub fn table(differences: &[Difference], names: (&str, &str)) -> String {
    if differences.is_empty() {
        return String::new();
    }
    let place = |difference: &Difference| {
        let id = &difference.id;
        let text = visible(format!("{}:{}  {}", id.file.display(), id.line, id.name).as_bytes());
        if text.chars().count() > 60 { text.chars().take(59).chain(['…']).collect() } else { text }
    };
    let places: Vec<String> = differences.iter().map(place).collect();
    let width = places.iter().map(|place| place.chars().count()).max().unwrap_or(0).max(5);
    let first = names.0.chars().count().max(7);
    let second = names.1.chars().count().max(7);
    let mut out = format!(
        "{DIM}{:<width$}  {:<first$}  {:<second$}  what differs{RESET}\n",
        "block",
        visible(names.0.as_bytes()),
        visible(names.1.as_bytes())
    );
    for (difference, place) in differences.iter().zip(&places) {
        let parts: Vec<&str> = difference.parts.iter().map(|part| part.word()).collect();
        out.push_str(&format!(
            "{place:<width$}  {}  {}  {}\n",
            coloured(difference.sights.0.verdict, first),
            coloured(difference.sights.1.verdict, second),
            parts.join(", ")
        ));
    }
    out
}

fn coloured(verdict: BlockVerdict, width: usize) -> String {
    let colour = match verdict {
        BlockVerdict::Failed => RED,
        BlockVerdict::Passed => GREEN,
        BlockVerdict::Flaky | BlockVerdict::Skipped => DIM,
    };
    format!("{colour}{:<width$}{RESET}", verdict.word())
}

/// Makes equal what says nothing about a server.
struct Settler {
    replacements: Vec<(Regex, &'static [u8])>,
    log_line: Option<Regex>,
}

static SETTLER: LazyLock<Settler> = LazyLock::new(|| {
    let patterns: [(&str, &'static [u8]); 5] = [
        (r"(?-u)\b(?:nginx|openresty)/\d+(?:\.\d+)+", b"nginx/*"),
        (r"(?-u)/[^\s:,;\x22')]*/t/servroot", b"servroot"),
        (r"(?-u)\b(127\.0\.0\.1|localhost|0\.0\.0\.0|\[::1\]):\d+", b"$1:*"),
        (r"(?-u)\b0x[0-9a-f]{6,}\b", b"0x*"),
        (r"(?-u)\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", b"*"),
    ];
    Settler {
        replacements: patterns.into_iter().filter_map(|(text, with)| Some((Regex::new(text).ok()?, with))).collect(),
        log_line: Regex::new(r"(?s-u)\A\S+ \S+ (\[(?:warn|error|crit|alert|emerg)\]) \d+#\d+: (?:\*\d+ )?(.*)").ok(),
    }
});

impl Settler {
    fn bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let replace = |bytes: Vec<u8>, (regex, with): &(Regex, &'static [u8])| {
            if regex.is_match(&bytes) { regex.replace_all(&bytes, *with).into_owned() } else { bytes }
        };
        self.replacements.iter().fold(bytes.to_vec(), replace)
    }

    fn text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.bytes(text.as_bytes())).into_owned()
    }

    /// A line at `warn` or above, without date and process.
    fn log(&self, line: &[u8]) -> Option<String> {
        let groups = self.log_line.as_ref()?.captures(line)?;
        let group = |index: usize| groups.get(index).map(|group| group.as_bytes());
        let text = [group(1)?, b" ", group(2)?].concat();
        Some(String::from_utf8_lossy(&self.bytes(&text)).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::run::check::Recorder;
    use crate::run::outcome::Attempt;

    fn report(passes: bool, received: &[u8], log: &[u8]) -> BlockReport {
        let mut recorder = Recorder::new("t/a.t TEST 1: a");
        recorder.is(Some(b"a"), Some(if passes { b"a" } else { b"b" }), "x");
        let (assertions, ..) = recorder.finish();
        let id = BlockId { file: Arc::new("t/a.t".into()), number: 1, line: 7, name: "TEST 1: a".to_owned() };
        let attempt =
            Attempt { assertions, received: received.to_vec(), error_log: log.to_vec(), ..Attempt::default() };
        BlockReport { id, attempts: vec![attempt] }
    }

    fn difference(first: &BlockReport, second: &BlockReport) -> Option<Difference> {
        Difference::between(&first.id, Sight::of(first), Sight::of(second))
    }

    #[test]
    fn what_changes_with_every_run_is_no_difference() {
        let first = report(
            true,
            b"HTTP/1.1 200 OK\r\nServer: nginx/1.31.2\r\nDate: Sun, 22 Nov 2026 10:00:00 GMT\r\nContent-Length: 12\r\n\r\nnginx/1.31.2",
            b"2026/11/22 10:00:00 [error] 12#12: *1 at /tmp/rsty-a/0/t/servroot/html/x, peer 127.0.0.1:4711\n2026 debug\n",
        );
        let second = report(
            true,
            b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 22 Nov 2026 10:00:09 GMT\r\nContent-Length: 12\r\n\r\nnginx/1.22.1",
            b"2026/11/22 10:00:09 [error] 77#0: *3 at /tmp/rsty-b/7/t/servroot/html/x, peer 127.0.0.1:4\n",
        );
        assert!(difference(&first, &second).is_none());
    }

    #[test]
    fn each_part_that_differs_is_named() {
        let first = report(
            true,
            b"HTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 2\r\n\r\na\nHTTP/1.1 204 No Content\r\n\r\n",
            b"",
        );
        let second = report(
            false,
            b"HTTP/1.1 500 Error\r\nX: 2\r\nContent-Length: 2\r\n\r\nb\n",
            b"2026/11/22 10:00:09 [alert] 77#0: boom\n",
        );
        let found = difference(&first, &second).unwrap();
        assert_eq!(found.parts, Part::ALL);
        let text = found.text();
        for line in ["- 200", "- 204", "+ 500", "- X: 1", "+ X: 2", "- a", "+ b", "+ [alert] boom"] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let table = table(std::slice::from_ref(&found), ("built-in", "nginx"));
        assert!(table.contains("t/a.t:7  TEST 1: a  "), "{table}");
        assert!(table.contains("verdict, status, headers, body, log"), "{table}");
        let value: Value = serde_json::from_str(&found.json()).unwrap();
        assert_eq!(value["parts"]["body"]["against"], "b\n");
    }
}
