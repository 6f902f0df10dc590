//! How long an editor waits in a long file: `cargo run --release -p rsty-lsp --example latency [LINES]` opens one of so
//! many lines, changes a letter in its middle a hundred times, and asks for a hover text as often.

use std::io::Write;
use std::time::{Duration, Instant};

use lsp_server::{Connection, Message, Notification, Request};
use serde_json::{Value, json};

const ROUNDS: i32 = 100;
const URI: &str = "file:///nowhere/long.lua";

fn main() -> std::io::Result<()> {
    let lines: usize = std::env::args().nth(1).and_then(|lines| lines.parse().ok()).unwrap_or(20_000);
    let (server, client) = Connection::memory();
    let thread = std::thread::spawn(move || rsty_lsp::run(&server).is_ok());
    let tell = |method: &str, params: Value| {
        let message = Message::Notification(Notification { method: method.to_owned(), params });
        client.sender.send(message).map_err(std::io::Error::other)
    };
    let ask = |id: i32, method: &str, params: Value| {
        let message = Message::Request(Request { id: id.into(), method: method.to_owned(), params });
        client.sender.send(message).map_err(std::io::Error::other)
    };
    let hear = || client.receiver.recv_timeout(Duration::from_mins(1)).map_err(std::io::Error::other);
    ask(0, "initialize", json!({ "capabilities": {} }))?;
    hear()?;
    tell("initialized", json!({}))?;

    let unit = "local function work(name, list)\n    for index, value in ipairs(list) do\n        if value ~= name then\n            ngx.say(index, \": \", value)\n        end\n    end\nend\nwork(\"a\", { 1, 2, 3 })\n";
    let unit_lines = unit.lines().count();
    let text = format!("do\n{unit}end\n");
    let text = text.repeat(lines / (unit_lines + 2));
    let started = Instant::now();
    tell("textDocument/didOpen", json!({ "textDocument": { "uri": URI, "version": 1, "text": text } }))?;
    hear()?;
    let opened = started.elapsed();

    let middle = lines / (unit_lines + 2) / 2 * (unit_lines + 2) + 4;
    let (mut changed, mut hovered) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let place = |character: u32| json!({ "line": middle, "character": character });
        let change = json!({ "range": { "start": place(12), "end": place(12) }, "text": " " });
        let started = Instant::now();
        tell(
            "textDocument/didChange",
            json!({ "textDocument": { "uri": URI, "version": round }, "contentChanges": [change] }),
        )?;
        hear()?;
        changed.push(started.elapsed());
        let started = Instant::now();
        ask(round, "textDocument/hover", json!({ "textDocument": { "uri": URI }, "position": place(17) }))?;
        hear()?;
        hovered.push(started.elapsed());
    }
    ask(-1, "shutdown", Value::Null)?;
    hear()?;
    tell("exit", Value::Null)?;
    let ended = thread.join().unwrap_or(false);
    changed.sort_unstable();
    hovered.sort_unstable();
    let middle_and_last = |times: &[Duration]| (times.get(times.len() / 2).copied(), times.last().copied());
    writeln!(std::io::stdout(), "{lines} lines, {} bytes, ended well: {ended}", text.len())?;
    writeln!(std::io::stdout(), "opened: {opened:?}")?;
    writeln!(std::io::stdout(), "changed (median, longest): {:?}", middle_and_last(&changed))?;
    writeln!(std::io::stdout(), "hover (median, longest): {:?}", middle_and_last(&hovered))
}
