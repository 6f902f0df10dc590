//! What memcached answers to commands other than `get`: a line, or for `stats` several up to `END`.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::command::{Call, Command};
use crate::http::header::HeaderList;
use crate::http::request::Request;
use crate::http::upstream::body::{BodyError, Framing, Unframe};
use crate::http::upstream::{Failure, Head, Reader};
use crate::log::Level;

/// Reads a reply, which is the body of the response as well.
#[derive(Default)]
pub(super) struct ReplyReader {
    reply: Bytes,
}

impl Reader for ReplyReader {
    fn head(&mut self, r: &Rc<Request>, input: &mut BytesMut) -> Result<Option<Head>, Failure> {
        let command = r.ctx::<Call>().map_or(Command::Version, |call| call.command);
        let Some(length) = length_of(input, command) else { return Ok(None) };
        let reply = input.split_to(length).freeze();
        let line = reply.strip_suffix(b"\r\n").unwrap_or(&reply);
        let Some(status) = status_of(line, command) else {
            r.log_bytes(Level::Error, &[b"memcached sent invalid response: \"", line, b"\""]);
            return Err(Failure::INVALID_HEADER);
        };
        let mut fields = HeaderList::default();
        fields.add("Content-Length", reply.len().to_string());
        self.reply = reply;
        Ok(Some(Head { status, keeps: status != 502, fields: fields.into(), ..Head::default() }))
    }

    fn framing(&mut self, head: &Head, _length: Option<u64>, _chunked: bool) -> Framing {
        if head.status == 404 {
            return Framing::Ended;
        }
        Framing::Custom(Box::new(Reply(std::mem::take(&mut self.reply))))
    }
}

/// How long a reply is, once it is complete.
fn length_of(input: &[u8], command: Command) -> Option<usize> {
    if command == Command::Stats && (input.starts_with(b"STAT") || input.starts_with(b"END") || input.len() < 4) {
        if input.starts_with(b"END\r\n") {
            return Some(5);
        }
        return memchr::memmem::find(input, b"\r\nEND\r\n").map(|at| at + 7);
    }
    memchr::memmem::find(input, b"\r\n").map(|at| at + 2)
}

/// The status that a line stands for; `None` when it is no answer to the command.
fn status_of(line: &[u8], command: Command) -> Option<u16> {
    let error = line == b"ERROR" || line.starts_with(b"CLIENT_ERROR ") || line.starts_with(b"SERVER_ERROR ");
    if error {
        return Some(502);
    }
    match (command, line) {
        (_, b"STORED") if command.stores() => Some(201),
        (_, b"NOT_STORED" | b"EXISTS") if command.stores() => Some(200),
        (_, b"NOT_FOUND") => Some(404),
        (Command::Delete, b"DELETED") | (Command::FlushAll, b"OK") => Some(200),
        (Command::Version, _) if line.starts_with(b"VERSION ") => Some(200),
        (Command::Stats, _) if line.starts_with(b"STAT ") || line == b"END" => Some(200),
        (Command::Incr | Command::Decr, _) if line.first().is_some_and(u8::is_ascii_digit) => Some(201),
        _ => None,
    }
}

/// A reply that is here already.
struct Reply(Bytes);

impl Unframe for Reply {
    fn take(&mut self, _input: &mut BytesMut) -> Result<Option<Bytes>, BodyError> {
        let reply = std::mem::take(&mut self.0);
        Ok((!reply.is_empty()).then_some(reply))
    }

    fn is_ended(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_have_their_statuses() {
        for (command, line, status) in [
            (Command::Set, "STORED", Some(201)),
            (Command::Add, "NOT_STORED", Some(200)),
            (Command::Delete, "NOT_FOUND", Some(404)),
            (Command::Incr, "17", Some(201)),
            (Command::Incr, "SERVER_ERROR out of memory", Some(502)),
            (Command::Set, "VERSION 1", None),
        ] {
            assert_eq!(status_of(line.as_bytes(), command), status, "{line}");
        }
    }

    #[test]
    fn statistics_end_with_their_last_line() {
        assert_eq!(length_of(b"STAT a 1\r\nEN", Command::Stats), None);
        assert_eq!(length_of(b"STAT a 1\r\nEND\r\nmore", Command::Stats), Some(15));
        assert_eq!(length_of(b"ERROR\r\n", Command::Stats), Some(7));
        assert_eq!(length_of(b"STORED\r\n", Command::Set), Some(8));
    }
}
