//! Status, headers and body.

use md5::{Digest as _, Md5};
use sha1::Sha1;

use crate::load::Package;
use crate::model::{Block, Regex, Value};
use crate::run::check::{BailOut, Recorder};
use crate::run::expand::Expander;
use crate::run::perl_side::PerlSide;
use crate::run::wire::{Parsed, Response};

/// The circumstances of one check.
pub struct ResponseCheck<'a> {
    /// The block.
    pub block: &'a Block,
    /// The file's Perl, for filters and callbacks.
    pub perl: &'a dyn PerlSide,
    /// Which request of the block, from 0.
    pub request: usize,
    /// Which repetition, from 0.
    pub repeat: usize,
    /// Whether the block has more than one request, so that expectations must be lists.
    pub many: bool,
    /// `$ServerPort` and `$ServerPortForClient`.
    pub ports: (u16, u16),
}

/// Checks everything that the block says about the response, in the original's order.
pub fn check_response(
    check: &ResponseCheck<'_>,
    parsed: &Parsed,
    expander: &mut Expander<'_>,
    recorder: &mut Recorder,
) -> Result<(), BailOut> {
    let response = parsed.response.as_ref();
    check.status(response, recorder)?;
    check.raw_headers(&parsed.raw_headers, recorder)?;
    check.headers(response, &parsed.raw_headers, recorder)?;
    let body = match response {
        Some(response) => Some(check.filtered_body(response)?),
        None => None,
    };
    check.body(body.as_deref(), expander, recorder)?;
    check.callbacks(body.as_deref(), recorder)
}

impl ResponseCheck<'_> {
    fn bail(&self, text: &str) -> BailOut {
        BailOut(format!("{} - {text}", self.block.display_name()))
    }

    /// The value for this request.
    fn indexed(&self, value: &Value) -> Result<Value, BailOut> {
        match value {
            Value::Array(items) => {
                let index = if self.many { self.request } else { 0 };
                Ok(items.borrow().get(index).cloned().unwrap_or_default())
            }
            _ if self.many => {
                Err(self.bail("You asked for many requests, the expected results should be arrays as well."))
            }
            other => Ok(other.clone()),
        }
    }

    fn section(&self, name: &str) -> Result<Option<Value>, BailOut> {
        self.block.value(name).map(|value| self.indexed(&value)).transpose()
    }

    fn status(&self, response: Option<&Response>, recorder: &mut Recorder) -> Result<(), BailOut> {
        const WHAT: &str = "status code ok";
        let code = response.and_then(|response| response.code.as_deref()).filter(|code| *code != b"0");
        let code = code.unwrap_or_default();
        if recorder.dry_run().is_some() {
            recorder.pass(WHAT);
        } else if let Some(like) = self.section("error_code_like")? {
            recorder.section("error_code_like");
            let regex = compile(&like, "ms");
            recorder.like(code, is_match(&regex, code), &regex.to_text(), WHAT);
        } else if let Some(value) = self.block.value("error_code") {
            recorder.section("error_code");
            let expected = self.indexed(&value)?;
            let expected = expected.is_defined().then(|| expected.to_bytes());
            recorder.is(Some(code), expected.as_ref().map(|bytes| bytes.as_slice()), WHAT);
        } else {
            recorder.is(Some(code), Some(b"200"), WHAT);
        }
        Ok(())
    }

    fn raw_headers(&self, raw: &[u8], recorder: &mut Recorder) -> Result<(), BailOut> {
        if let Some(value) = self.section("raw_response_headers_like")? {
            recorder.section("raw_response_headers_like");
            let regex = compile(&value, "s");
            recorder.like(raw, is_match(&regex, raw), &regex.to_text(), "raw resp headers like");
        }
        if let Some(value) = self.section("raw_response_headers_unlike")? {
            recorder.section("raw_response_headers_unlike");
            let regex = compile(&value, "s");
            recorder.unlike(raw, is_match(&regex, raw), &regex.to_text(), "raw resp headers unlike");
        }
        Ok(())
    }

    fn headers(&self, response: Option<&Response>, raw: &[u8], recorder: &mut Recorder) -> Result<(), BailOut> {
        let actual = |name: &[u8]| {
            let name = String::from_utf8_lossy(name);
            response.and_then(|response| response.header(&name)).unwrap_or_default()
        };
        if let Some(value) = self.section("response_headers")? {
            recorder.section("response_headers");
            for (name, expected) in expected_headers(&value.to_bytes()) {
                let shown = String::from_utf8_lossy(&name).into_owned();
                let Some(expected) = expected else {
                    let regex = Regex::new([br"^\s*".as_slice(), &quote_meta(&name), br"\s*:"].concat(), "ms");
                    let what = format!("header {shown} not present in the raw headers");
                    recorder.unlike(raw, is_match(&regex, raw), &regex.to_text(), &what);
                    continue;
                };
                let expected = self.with_ports(&expected);
                recorder.is(Some(&actual(&name)), Some(&expected), &format!("header {shown} ok"));
            }
        } else if let Some(value) = self.section("response_headers_like")? {
            recorder.section("response_headers_like");
            for (name, expected) in expected_headers(&value.to_bytes()) {
                let shown = String::from_utf8_lossy(&name).into_owned();
                let regex = Regex::new([b"^".as_slice(), &expected.unwrap_or_default(), b"$"].concat(), "");
                let got = actual(&name);
                let what = format!("header {shown} like ok");
                recorder.like(&got, is_match(&regex, &got), &regex.to_text(), &what);
            }
        }
        Ok(())
    }

    /// The body behind the block's `response_body_filters`.
    pub(crate) fn filtered_body(&self, response: &Response) -> Result<Vec<u8>, BailOut> {
        let Some(filters) = self.block.value("response_body_filters") else { return Ok(response.content.clone()) };
        let items = match &filters {
            Value::Array(items) => items.borrow().clone(),
            Value::Code(_) => vec![filters.clone()],
            text => {
                let text = text.to_bytes();
                let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
                words.map(|word| Value::str(word.to_vec())).collect()
            }
        };
        let items =
            match items.first() {
                Some(Value::Array(_)) => match items.get(self.request) {
                    Some(Value::Array(own)) => own.borrow().clone(),
                    Some(_) => return Err(self.bail(
                        "the --- response_body_filters two-dimensional array only be like [[uc], [lc]] not [[uc], lc]",
                    )),
                    None => {
                        return Err(self
                            .bail("the ---response_body_filters two-dimensional array unmatch the specified request"));
                    }
                },
                _ => items,
            };
        items.iter().try_fold(response.content.clone(), |body, filter| self.filter(filter, body))
    }

    fn filter(&self, filter: &Value, body: Vec<u8>) -> Result<Vec<u8>, BailOut> {
        if let Value::Code(code) = filter {
            let result = self.perl.call(code, vec![Value::str(body)]).map_err(|message| self.bail(&message))?;
            return Ok(result.last().map(|value| value.to_bytes().to_vec()).unwrap_or_default());
        }
        let name = filter.to_bytes();
        let first = |change: fn(&u8) -> u8| {
            let mut body = body.clone();
            if let Some(byte) = body.first_mut() {
                *byte = change(byte);
            }
            body
        };
        Ok(match name.as_slice() {
            b"md5_hex" => hex(&Md5::digest(&body)),
            b"sha1_hex" => hex(&Sha1::digest(&body)),
            b"uc" => body.to_ascii_uppercase(),
            b"lc" => body.to_ascii_lowercase(),
            b"ucfirst" => first(u8::to_ascii_uppercase),
            b"lcfirst" => first(u8::to_ascii_lowercase),
            b"length" => body.len().to_string().into_bytes(),
            other => {
                let name = String::from_utf8_lossy(other);
                let text = format!("unknown filter, \"{name}\", specified in the --- response_body_filters section");
                return Err(self.bail(&text));
            }
        })
    }

    /// Checks the filtered body.
    pub(crate) fn body(
        &self,
        body: Option<&[u8]>,
        expander: &mut Expander<'_>,
        recorder: &mut Recorder,
    ) -> Result<(), BailOut> {
        if let (Some(file), Some(body)) = (self.block.value("write_resp_body_file"), body) {
            let path = file.to_text();
            std::fs::write(&path, body)
                .map_err(|error| self.bail(&format!("failed to write to file '{path}': {error}")))?;
        }
        let content = body.map(without_client_headers);
        let content = content.as_deref();
        if self.block.has("response_body") || self.block.has("response_body_eval") {
            return self.exact_body(content, expander, recorder);
        }
        for (name, wanted) in [("response_body_like", true), ("response_body_unlike", false)] {
            let Some(value) = self.section(name)? else { continue };
            recorder.section(name);
            let value = match &value {
                Value::Regex(_) => value.clone(),
                text => Value::str(self.with_ports(&text.to_bytes())),
            };
            let regex = compile(&value, "s");
            let content = content.unwrap_or_default();
            let what = format!("{name} - response is expected ({})", summary(content));
            let matched = is_match(&regex, content);
            if wanted {
                recorder.like(content, matched, &regex.to_text(), &what);
            } else {
                recorder.unlike(content, matched, &regex.to_text(), &what);
            }
            break;
        }
        Ok(())
    }

    fn exact_body(
        &self,
        content: Option<&[u8]>,
        expander: &mut Expander<'_>,
        recorder: &mut Recorder,
    ) -> Result<(), BailOut> {
        let sorted = if self.block.has("response_body_json_sort") { content.and_then(sorted_json) } else { None };
        let content = sorted.as_deref().or(content);
        let expected = match self.section("response_body_eval")?.filter(Value::is_true) {
            Some(text) => self.perl.eval(Package::Socket, &text.to_bytes()).unwrap_or_default(),
            None => self.section("response_body")?.unwrap_or_default(),
        };
        recorder.section("response_body");
        let place = format!("(repeated req {}, req {})", self.repeat, self.request);
        match &expected {
            Value::Regex(regex) => {
                let content = content.unwrap_or_default();
                let what = format!("response_body - like {place}");
                recorder.like(content, is_match(regex, content), &regex.to_text(), &what);
            }
            other => {
                let what = format!("response_body - response is expected {place}");
                if !other.is_defined() {
                    recorder.is(content, None, &what);
                    return Ok(());
                }
                let text = self.in_charset(self.with_ports(&other.to_bytes()));
                let text = expander.expand(&text).map_err(|error| self.bail(&error.to_string()))?;
                recorder.is(content, Some(&text), &what);
            }
        }
        Ok(())
    }

    /// The expected body in the block's charset; it is written in UTF-8.
    fn in_charset(&self, text: Vec<u8>) -> Vec<u8> {
        let Some(charset) = self.block.value("charset") else { return text };
        let name = charset.to_text().trim().to_ascii_lowercase();
        match (name.as_str(), std::str::from_utf8(&text)) {
            ("iso-8859-1" | "latin1" | "latin-1", Ok(decoded)) => {
                decoded.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
            }
            _ => text,
        }
    }

    fn callbacks(&self, body: Option<&[u8]>, recorder: &mut Recorder) -> Result<(), BailOut> {
        for code in self.perl.response_body_checks() {
            let body = body.map_or(Value::Undef, |body| Value::str(body.to_vec()));
            let number = |index: usize| Value::Int(i64::try_from(index).unwrap_or(i64::MAX));
            let dry_run = recorder.dry_run().map_or(Value::Int(0), Value::from);
            let arguments =
                vec![Value::Block(self.block.clone()), body, number(self.request), number(self.repeat), dry_run];
            self.perl.call(&code, arguments).map_err(|message| self.bail(&message))?;
            for assertion in self.perl.take_assertions() {
                recorder.adopt(assertion);
            }
        }
        Ok(())
    }

    fn with_ports(&self, text: &[u8]) -> Vec<u8> {
        let mut text = text.to_vec();
        for (name, port) in [("$ServerPortForClient", self.ports.1), ("$ServerPort", self.ports.0)] {
            if memchr::memmem::find(&text, name.as_bytes()).is_some() {
                text = replace_word(&text, name.as_bytes(), port.to_string().as_bytes());
            }
        }
        text
    }
}

/// The pattern that a value stands for: a pattern keeps its own flags, a text gets these.
fn compile(value: &Value, flags: &str) -> Regex {
    match value {
        Value::Regex(regex) => regex.clone(),
        text => Regex::new(text.to_bytes().to_vec(), flags),
    }
}

/// A pattern that can't be used matches nothing.
fn is_match(regex: &Regex, text: &[u8]) -> bool {
    regex.is_match(text).unwrap_or(false)
}

/// Lines `Name: value`, `! Name` or `Name`, by name; a later line replaces an earlier one.
fn expected_headers(text: &[u8]) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut headers: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        let (name, value) = match line.strip_prefix(b"!") {
            Some(name) => (name.trim_ascii_start(), None),
            None => match memchr::memchr(b':', line) {
                Some(at) => (line[..at].trim_ascii_end(), Some(line[at + 1..].trim_ascii_start().to_vec())),
                None => (line, None),
            },
        };
        match headers.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => headers.push((name.to_vec(), value)),
        }
    }
    headers
}

fn quote_meta(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() * 2);
    for &byte in text {
        if !byte.is_ascii_alphanumeric() && byte != b'_' {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out
}

/// Replaces `name` where no word character follows.
fn replace_word(text: &[u8], name: &[u8], with: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut from = 0;
    for at in memchr::memmem::find_iter(text, name) {
        let end = at + name.len();
        let ends_word = text.get(end).is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
        if ends_word {
            out.extend_from_slice(&text[from..at]);
            out.extend_from_slice(with);
            from = end;
        }
    }
    out.extend_from_slice(&text[from..]);
    out
}

/// The body without two header lines that some HTTP clients add to an echoed request.
fn without_client_headers(body: &[u8]) -> Vec<u8> {
    let added: [&[u8]; 2] = [b"TE: deflate,gzip;q=0.3\r\n", b"Connection: TE, close\r\n"];
    body.split_inclusive(|byte| *byte == b'\n').filter(|line| !added.contains(line)).collect::<Vec<_>>().concat()
}

/// The body on one line: ends trimmed, runs of blanks become one space.
fn summary(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim().replace('\n', " ");
    let mut out = String::new();
    let mut blanks = 0;
    for c in text.chars() {
        blanks = if c.is_whitespace() { blanks + 1 } else { 0 };
        if blanks == 2 {
            out.pop();
            out.push(' ');
        } else if blanks < 2 {
            out.push(c);
        }
    }
    out
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

/// The JSON text with the keys of its objects sorted, and a line end; `None` where it is not JSON.
fn sorted_json(text: &[u8]) -> Option<Vec<u8>> {
    let value: serde_json::Value = serde_json::from_slice(text).ok()?;
    let mut out = serde_json::to_vec(&sorted(value)).ok()?;
    out.push(b'\n');
    Some(out)
}

fn sorted(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            entries.sort_by(|(left, _), (right, _)| left.cmp(right));
            serde_json::Value::Object(entries.into_iter().collect())
        }
        serde_json::Value::Array(items) => serde_json::Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
