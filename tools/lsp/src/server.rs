//! The conversation with the editor.
//!
//! Messages are answered one after the other. What has arrived meanwhile is looked at first: a request that was cancelled
//! is not worked on, and a file that has changed again is judged once, as it is after the last change.

use std::collections::VecDeque;

use lsp_server::{Connection, ErrorCode, Message, Notification, ProtocolError, Request, Response};
use rsty_diag::Span;
use serde_json::{Value, json};

use crate::documents::{Documents, Encoding};
use crate::{definition, findings, hover};

/// Why the conversation ended early.
pub type Failure = ProtocolError;

/// Talks to a client until it says goodbye.
pub fn run(connection: &Connection) -> Result<(), Failure> {
    let (id, parameters) = connection.initialize_start()?;
    let encodings = parameters.pointer("/capabilities/general/positionEncodings").and_then(Value::as_array);
    let utf8 = encodings.is_some_and(|known| known.iter().any(|encoding| encoding == "utf-8"));
    let encoding = if utf8 { Encoding::Utf8 } else { Encoding::Utf16 };
    connection.initialize_finish(id, capabilities(encoding))?;
    let mut server = Server { connection, documents: Documents::new(encoding), waiting: VecDeque::new(), ends: false };
    if parameters.pointer("/capabilities/workspace/didChangeWatchedFiles/dynamicRegistration") == Some(&true.into()) {
        server.watch();
    }
    while let Some(message) = server.next() {
        match message {
            Message::Request(request) => {
                if connection.handle_shutdown(&request)? {
                    return Ok(());
                }
                server.answer(request);
            }
            Message::Notification(notification) => server.notice(&notification),
            Message::Response(_) => {}
        }
    }
    Ok(())
}

/// Files on which findings in open files depend.
const WATCHED: [&str; 3] = ["**/rsty.toml", "**/.luacheckrc", "**/*.lua"];

fn capabilities(encoding: Encoding) -> Value {
    json!({
        "capabilities": {
            "positionEncoding": match encoding { Encoding::Utf8 => "utf-8", Encoding::Utf16 => "utf-16" },
            "textDocumentSync": { "openClose": true, "change": 2, "save": false },
            "codeActionProvider": { "codeActionKinds": ["quickfix"] },
            "definitionProvider": true,
            "documentFormattingProvider": true,
            "hoverProvider": true,
        },
        "serverInfo": { "name": "rsty", "version": env!("CARGO_PKG_VERSION") },
    })
}

struct Server<'c> {
    connection: &'c Connection,
    documents: Documents,
    /// Messages that have arrived, oldest first.
    waiting: VecDeque<Message>,
    /// Whether the last of them is the wish to end.
    ends: bool,
}

impl Server<'_> {
    /// The next message; `None` when the client is gone.
    fn next(&mut self) -> Option<Message> {
        if self.waiting.is_empty() {
            let message = self.connection.receiver.recv().ok()?;
            self.queue(message);
        }
        // What comes behind the wish to end is read where that is answered.
        while !self.ends
            && let Ok(message) = self.connection.receiver.try_recv()
        {
            self.queue(message);
        }
        self.waiting.pop_front()
    }

    fn queue(&mut self, message: Message) {
        self.ends |= matches!(&message, Message::Request(request) if request.method == "shutdown");
        self.waiting.push_back(message);
    }

    /// Asks the client to tell when files change on the disk.
    fn watch(&self) {
        let watchers: Vec<Value> = WATCHED.iter().map(|pattern| json!({ "globPattern": pattern })).collect();
        let method = "workspace/didChangeWatchedFiles";
        let registration = json!({ "id": "files", "method": method, "registerOptions": { "watchers": watchers } });
        let parameters = json!({ "registrations": [registration] });
        let request = Request { id: 1.into(), method: "client/registerCapability".to_owned(), params: parameters };
        self.connection.sender.send(Message::Request(request)).ok();
    }

    /// Whether a notification of this kind that waits has this value at this place.
    fn waits(&self, method: &str, place: &str, value: &Value) -> bool {
        self.waiting.iter().any(|message| {
            matches!(message, Message::Notification(next)
                if next.method == method && next.params.pointer(place) == Some(value))
        })
    }

    fn publish(&self, uri: &str) {
        if let Some(document) = self.documents.find(uri) {
            self.send("textDocument/publishDiagnostics", findings::published(&self.documents, uri, document));
        }
    }

    fn notice(&mut self, notification: &Notification) {
        let parameters = &notification.params;
        if matches!(
            notification.method.as_str(),
            "workspace/didChangeConfiguration" | "workspace/didChangeWatchedFiles"
        ) {
            return self.documents.uris().into_iter().for_each(|uri| self.publish(uri));
        }
        let Some(uri) = parameters.pointer("/textDocument/uri").and_then(Value::as_str) else { return };
        let version = parameters.pointer("/textDocument/version").and_then(Value::as_i64).unwrap_or_default();
        match notification.method.as_str() {
            "textDocument/didOpen" => {
                let Some(text) = parameters.pointer("/textDocument/text").and_then(Value::as_str) else { return };
                self.documents.set(uri, text.as_bytes(), version);
            }
            "textDocument/didChange" => {
                let changes = parameters.pointer("/contentChanges").and_then(Value::as_array);
                changes.into_iter().flatten().for_each(|change| self.documents.change(uri, change, version));
            }
            "textDocument/didClose" => {
                self.documents.close(uri);
                self.send("textDocument/publishDiagnostics", json!({ "uri": uri, "diagnostics": [] }));
                return;
            }
            _ => return,
        }
        if !self.waits("textDocument/didChange", "/textDocument/uri", &json!(uri)) {
            self.publish(uri);
        }
    }

    fn answer(&self, request: Request) {
        if self.waits("$/cancelRequest", "/id", &json!(request.id)) {
            let code = ErrorCode::RequestCanceled as i32;
            let response = Response::new_err(request.id, code, "the request was cancelled".to_owned());
            self.connection.sender.send(Message::Response(response)).ok();
            return;
        }
        let result = self.result(&request);
        let response = match result {
            Some(value) => Response::new_ok(request.id, value),
            None => {
                let text = format!("there is no method {}", request.method);
                Response::new_err(request.id, ErrorCode::MethodNotFound as i32, text)
            }
        };
        // The client may be gone; then the loop ends.
        self.connection.sender.send(Message::Response(response)).ok();
    }

    /// `None` for a method that is not known.
    fn result(&self, request: &Request) -> Option<Value> {
        let parameters = &request.params;
        let uri = parameters.pointer("/textDocument/uri").and_then(Value::as_str).unwrap_or_default();
        let document = self.documents.find(uri);
        let offset = |name: &str| self.documents.offset(&document?.source, parameters.pointer(name)?);
        let found = match request.method.as_str() {
            "textDocument/hover" => {
                document.and_then(|document| hover::find(&self.documents, document, offset("/position")?))
            }
            "textDocument/definition" => {
                document.and_then(|document| definition::find(&self.documents, uri, document, offset("/position")?))
            }
            "textDocument/formatting" => document.and_then(|document| findings::formatted(&self.documents, document)),
            "textDocument/codeAction" => document.and_then(|document| {
                let wanted = Span::new(offset("/range/start")?, offset("/range/end")?);
                Some(findings::actions(&self.documents, uri, document, wanted))
            }),
            _ => return None,
        };
        Some(found.unwrap_or(Value::Null))
    }

    fn send(&self, method: &str, parameters: Value) {
        let notification = Notification { method: method.to_owned(), params: parameters };
        self.connection.sender.send(Message::Notification(notification)).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A client of a server that runs in a thread.
    struct Client {
        connection: Connection,
        last: i32,
    }

    impl Client {
        fn request(&mut self, method: &str, parameters: Value) -> Value {
            self.last += 1;
            let request = Request { id: self.last.into(), method: method.to_owned(), params: parameters };
            self.connection.sender.send(Message::Request(request)).expect("server lives");
            loop {
                if let Message::Response(response) = self.receive() {
                    return response.response_result.expect("no error");
                }
            }
        }

        fn notify(&self, method: &str, parameters: Value) {
            let notification = Notification { method: method.to_owned(), params: parameters };
            self.connection.sender.send(Message::Notification(notification)).expect("server lives");
        }

        fn receive(&self) -> Message {
            self.connection.receiver.recv_timeout(Duration::from_secs(10)).expect("an answer in time")
        }

        fn published(&self) -> Value {
            loop {
                if let Message::Notification(notification) = self.receive() {
                    return notification.params;
                }
            }
        }
    }

    fn at(line: u32, character: u32) -> Value {
        json!({ "line": line, "character": character })
    }

    #[test]
    fn changes_of_parts_arrive_where_they_belong() {
        let (server, client) = Connection::memory();
        let thread = std::thread::spawn(move || run(&server));
        let mut client = Client { connection: client, last: 0 };
        client.request("initialize", json!({ "capabilities": {} }));
        client.notify("initialized", json!({}));
        let uri = "file:///nowhere/a.lua";
        // 20,000 lines: each change is answered, and what is told is about the text after it.
        let text = "do local a = '\u{e4}\u{1f600}' print(a) end\n".repeat(20_000);
        client.notify("textDocument/didOpen", json!({ "textDocument": { "uri": uri, "version": 1, "text": text } }));
        assert_eq!(client.published()["diagnostics"], json!([]));
        let change = |version: u32, line: u32, from: u32, to: u32, text: &str| {
            let range = json!({ "start": at(line, from), "end": at(line, to) });
            json!({ "textDocument": { "uri": uri, "version": version },
                    "contentChanges": [{ "range": range, "text": text }] })
        };
        // Behind the string, of whose two letters one takes two units.
        client.notify("textDocument/didChange", change(2, 19_999, 18, 18, " x = 1"));
        let told = client.published();
        assert_eq!(told["diagnostics"][0]["range"], json!({ "start": at(19_999, 19), "end": at(19_999, 20) }));
        client.notify("textDocument/didChange", change(3, 19_999, 18, 24, ""));
        assert_eq!(client.published()["diagnostics"], json!([]));
        // A place that no text has changes nothing worse than the end.
        client.notify("textDocument/didChange", change(4, 99_999, 5, 9, "y = 2"));
        assert_eq!(client.published()["diagnostics"][0]["range"]["start"], at(20_000, 0));
        client.request("shutdown", Value::Null);
        client.notify("exit", Value::Null);
        thread.join().expect("no panic").expect("a clean end");
    }

    /// All that a server says to a client that says all this at once, and then ends.
    fn said_at_once(capabilities: Value, messages: Vec<(Option<i32>, &str, Value)>) -> Vec<Message> {
        let (server, client) = Connection::memory();
        let hello =
            [(Some(0), "initialize", json!({ "capabilities": capabilities })), (None, "initialized", json!({}))];
        let goodbye = [(Some(99), "shutdown", Value::Null), (None, "exit", Value::Null)];
        for (id, method, params) in hello.into_iter().chain(messages).chain(goodbye) {
            let method = method.to_owned();
            let message = match id {
                Some(id) => Message::Request(Request { id: id.into(), method, params }),
                None => Message::Notification(Notification { method, params }),
            };
            client.sender.send(message).expect("room for it");
        }
        run(&server).expect("a clean end");
        client.receiver.try_iter().collect()
    }

    #[test]
    fn what_is_cancelled_or_outdated_is_not_worked_on() {
        let file = json!({ "uri": "file:///nowhere/a.lua" });
        let change = |version: u32, text: &str| {
            let document = json!({ "uri": file["uri"], "version": version });
            (None, "textDocument/didChange", json!({ "textDocument": document, "contentChanges": [{ "text": text }] }))
        };
        let hover = |id| (Some(id), "textDocument/hover", json!({ "textDocument": file, "position": at(0, 5) }));
        let open = json!({ "textDocument": { "uri": file["uri"], "version": 1, "text": "a = 1" } });
        let said = said_at_once(
            json!({}),
            vec![
                (None, "textDocument/didOpen", open),
                change(2, "b = 2"),
                change(3, "ngx.say(1)"),
                hover(7),
                hover(8),
                (None, "$/cancelRequest", json!({ "id": 7 })),
                (None, "$/cancelRequest", json!({ "id": 7_000 })),
            ],
        );
        let published: Vec<&Value> = said
            .iter()
            .filter_map(|message| match message {
                Message::Notification(told) => Some(&told.params["version"]),
                _ => None,
            })
            .collect();
        assert_eq!(published, [3]);
        let answer = |id: i32| {
            said.iter().find_map(|message| match message {
                Message::Response(response) if response.id == id.into() => Some(response.response_result.clone()),
                _ => None,
            })
        };
        let cancelled = answer(7).expect("an answer").expect_err("cancelled");
        assert_eq!(cancelled.code, ErrorCode::RequestCanceled as i32);
        assert!(answer(8).expect("an answer").expect("not cancelled")["contents"].is_object());
        assert!(answer(99).expect("an answer").is_ok());
    }

    #[test]
    fn open_files_are_judged_anew_when_the_workspace_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let uri = crate::documents::uri_of(&folder.path().join("a.lua"));
        let (server, client) = Connection::memory();
        let thread = std::thread::spawn(move || run(&server));
        let mut client = Client { connection: client, last: 0 };
        let watched = json!({ "workspace": { "didChangeWatchedFiles": { "dynamicRegistration": true } } });
        client.request("initialize", json!({ "capabilities": watched }));
        client.notify("initialized", json!({}));
        let Message::Request(wish) = client.receive() else { panic!("no wish") };
        assert_eq!(wish.method, "client/registerCapability");
        let text = "return mine()";
        client.notify("textDocument/didOpen", json!({ "textDocument": { "uri": uri, "version": 1, "text": text } }));
        assert_eq!(client.published()["diagnostics"][0]["code"], "undefined_global");
        std::fs::write(folder.path().join("rsty.toml"), "[lint]\nread-globals = [\"mine\"]\n").expect("a file");
        client.notify("workspace/didChangeWatchedFiles", json!({ "changes": [] }));
        assert_eq!(client.published()["diagnostics"], json!([]));
        std::fs::remove_file(folder.path().join("rsty.toml")).expect("a file");
        client.notify("workspace/didChangeConfiguration", json!({ "settings": null }));
        assert_eq!(client.published()["diagnostics"][0]["code"], "undefined_global");
        client.request("shutdown", Value::Null);
        client.notify("exit", Value::Null);
        thread.join().expect("no panic").expect("a clean end");
    }

    #[test]
    fn a_session_from_hello_to_goodbye() {
        let (server, client) = Connection::memory();
        let thread = std::thread::spawn(move || run(&server));
        let mut client = Client { connection: client, last: 0 };
        let hello = client.request("initialize", json!({ "capabilities": {} }));
        assert_eq!(hello["capabilities"]["positionEncoding"], "utf-16");
        client.notify("initialized", json!({}));

        let lua = json!({ "uri": "file:///nowhere/a.lua" });
        let text = "count = 1\nlocal a = 2\nngx.say(a)\n";
        client.notify(
            "textDocument/didOpen",
            json!({ "textDocument": { "uri": lua["uri"], "version": 1, "text": text } }),
        );
        let told = client.published();
        assert_eq!(told["diagnostics"][0]["code"], "undeclared_global");
        assert_eq!(told["diagnostics"][0]["range"], json!({ "start": at(0, 0), "end": at(0, 5) }));

        let range = json!({ "start": at(0, 0), "end": at(0, 0) });
        let actions = client.request("textDocument/codeAction", json!({ "textDocument": lua, "range": range }));
        assert_eq!(actions[0]["edit"]["changes"]["file:///nowhere/a.lua"][0]["newText"], "local ");
        assert_eq!(actions[1]["title"], "allow undeclared_global here");

        let place = json!({ "textDocument": lua, "position": at(2, 8) });
        assert_eq!(client.request("textDocument/definition", place)["range"]["start"], at(1, 6));
        let place = json!({ "textDocument": lua, "position": at(2, 5) });
        assert!(client.request("textDocument/hover", place)["contents"]["value"].as_str().is_some());

        let change =
            json!({ "textDocument": { "uri": lua["uri"], "version": 2 }, "contentChanges": [{ "text": "return 1" }] });
        client.notify("textDocument/didChange", change);
        assert_eq!(client.published()["diagnostics"], json!([]));

        let spec = json!({ "uri": "file:///nowhere/a.t" });
        let text = "__DATA__\n=== TEST 7: a\n--- config\n";
        client.notify(
            "textDocument/didOpen",
            json!({ "textDocument": { "uri": spec["uri"], "version": 1, "text": text } }),
        );
        client.published();
        let edits = client.request("textDocument/formatting", json!({ "textDocument": spec, "options": {} }));
        assert_eq!(edits[0]["newText"], "__DATA__\n\n=== TEST 1: a\n--- config\n");

        client.request("shutdown", Value::Null);
        client.notify("exit", Value::Null);
        thread.join().expect("no panic").expect("a clean end");
    }
}
