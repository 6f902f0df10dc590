//! Frames of a server that are not about the response: settings, windows, pings and goodbyes.

use super::Broken;
use super::flow::Flow;
use crate::http::h2::frame::{self, Head, Kind, MAX_WINDOW, flags, settings};

/// Checks the head of such a frame, before anything of its payload is here.
pub(super) fn check(flow: &Flow, head: &Head) -> Result<(), Broken> {
    let name = match head.kind {
        Kind::RstStream => "rst stream",
        Kind::Goaway => "goaway",
        Kind::WindowUpdate => "window update",
        Kind::Settings => "settings",
        Kind::Ping => "ping",
        _ => return Ok(()),
    };
    let of_connection = matches!(head.kind, Kind::Goaway | Kind::Settings | Kind::Ping);
    if of_connection && head.stream != 0 {
        return flow.speaker.fail(format_args!("upstream sent {name} frame with non-zero stream id: {}", head.stream));
    }
    if head.kind == Kind::Settings && head.has(flags::ACK) && head.len > 0 {
        let message = format_args!("upstream sent settings frame with ack flag and non-zero length: {}", head.len);
        return flow.speaker.fail(message);
    }
    let fits = match head.kind {
        Kind::Goaway => head.len >= 8,
        Kind::Ping => head.len == 8,
        Kind::Settings => head.len.is_multiple_of(6),
        _ => head.len == 4,
    };
    if !fits {
        return flow.speaker.fail(format_args!("upstream sent {name} frame with invalid length: {}", head.len));
    }
    if head.kind == Kind::Ping && head.has(flags::ACK) {
        return flow.speaker.fail(format_args!("upstream sent ping frame with ack flag"));
    }
    Ok(())
}

/// The server says that it serves no streams behind `last`.
pub(super) fn goaway(flow: &Flow, last: u32, error: u32) -> Result<(), Broken> {
    flow.speaker.debug(format_args!("goaway: {error}, stream {last}"));
    if last < flow.id() {
        return flow.speaker.fail(format_args!("upstream sent goaway with error {error}"));
    }
    Ok(())
}

/// The server takes more.
pub(super) fn window_update(flow: &Flow, stream: u32, more: u32) -> Result<(), Broken> {
    let more = more & MAX_WINDOW;
    flow.speaker.debug(format_args!("window update: {more}"));
    if more == 0 {
        return flow.speaker.fail(format_args!("upstream sent zero window update"));
    }
    flow.widen(stream, more)
}

/// One of the server's settings. Only the window of streams means something to who sends one request at a time, in
/// frames of the usual size and without a table for header fields.
pub(super) fn setting(flow: &Flow, id: u16, value: u32) -> Result<(), Broken> {
    flow.speaker.debug(format_args!("setting: {id} {value}"));
    if id == settings::INITIAL_WINDOW_SIZE { flow.set_initial(value) } else { Ok(()) }
}

/// All settings of a frame are known.
pub(super) fn end_settings(flow: &Flow) -> Result<(), Broken> {
    flow.answer("settings", frame::push_settings_ack)
}

/// The server wants to know whether we are there.
pub(super) fn ping(flow: &Flow, payload: [u8; 8]) -> Result<(), Broken> {
    flow.answer("ping", |out| frame::push_ping_ack(out, payload))
}
