//! `Test::Nginx::Socket::Lua::Stream` and `…::Dgram`: a preprocessor that turns their sections into
//! ordinary ones.
//!
//! The stream servers go into `main_config`, and a `location = /t` whose Lua talks to them goes into
//! `config`. Specs assert line numbers of the configuration, so each piece has as many lines as the
//! original's.

use std::path::Path;

use crate::model::{Block, Value};
use crate::perl::{Interpreter, NativeModule, Outcome, Stop};

use super::test_nginx::{UTIL, time};
use super::unshift;

pub(super) const MODULES: &[NativeModule] = &[
    NativeModule {
        name: "Test::Nginx::Socket::Lua::Stream",
        parents: &["Test::Nginx::Socket::Lua"],
        functions: &[("preprocess_stream", |it, arguments, _| preprocess(it, &arguments, &STREAM), None)],
        exports: &[],
        setup: Some(|it| set_up(it, "Stream")),
    },
    NativeModule {
        name: "Test::Nginx::Socket::Lua::Dgram",
        parents: &["Test::Nginx::Socket::Lua"],
        functions: &[("preprocess_dgram", |it, arguments, _| preprocess(it, &arguments, &DGRAM), None)],
        exports: &[],
        setup: Some(|it| set_up(it, "Dgram")),
    },
];

/// How the two flavours differ.
struct Flavour {
    /// The prefix of the sections.
    prefix: &'static str,
    /// The prefix of the sections with options of `listen`; really spelled like this.
    listen_option: Option<&'static str>,
    port_variable: &'static str,
    socket: &'static str,
    connect: &'static str,
    receive: &'static str,
    /// What the first server's `listen` gets.
    listen: &'static str,
    /// Whether something is always sent.
    triggers: bool,
}

const STREAM: Flavour = Flavour {
    prefix: "stream",
    listen_option: Some("steam_listen_option"),
    port_variable: "TEST_NGINX_STREAM_PORT",
    socket: "tcp",
    connect: "connect",
    receive: "receive(\"*a\")",
    listen: "",
    triggers: false,
};

const DGRAM: Flavour = Flavour {
    prefix: "dgram",
    listen_option: None,
    port_variable: "TEST_NGINX_DGRAM_PORT",
    socket: "udp",
    connect: "setpeername",
    receive: "receive()",
    listen: " udp",
    triggers: true,
};

fn set_up(interpreter: &mut Interpreter, flavour: &str) -> Outcome<()> {
    interpreter.set_global("rsty::flavour", flavour);
    let function = format!("Test::Nginx::Socket::Lua::{flavour}::preprocess_{}", flavour.to_lowercase());
    if let Some(code) = interpreter.code(&function) {
        unshift(interpreter, &format!("{UTIL}::BlockPreprocessors"), Value::Code(code));
    }
    Ok(())
}

fn preprocess(interpreter: &mut Interpreter, arguments: &[Value], flavour: &Flavour) -> Outcome<Vec<Value>> {
    let Some(Value::Block(block)) = arguments.first() else {
        return Ok(Vec::new());
    };
    let prefix = flavour.prefix;
    let servers: Vec<Option<Vec<u8>>> =
        ["", "2", "3"].iter().map(|number| text(block, &format!("{prefix}_server_config{number}"))).collect();
    let shared = text(block, &format!("{prefix}_config"));
    if servers.first().is_some_and(Option::is_some) || shared.is_some() {
        let port = port(interpreter, flavour);
        let main =
            [text(block, "main_config").unwrap_or_default(), main_config(block, flavour, port, shared, &servers)]
                .concat();
        block.set_value("main_config", Value::str(main));
        let location = location(interpreter, block, flavour, port, &servers)?;
        let config = [text(block, "config").unwrap_or_default(), location].concat();
        block.set_value("config", Value::str(config));
        if !block.has("request") {
            block.set_value("request", Value::from("GET /t\n"));
        }
    }
    for suffix in ["response", "response_like"] {
        let (from, to) = (format!("{prefix}_{suffix}"), suffix.replace("response", "response_body"));
        if let Some(value) = block.value(&from) {
            if block.has(&to) {
                let name = block.name();
                let message =
                    [name.as_slice(), format!(": conflicting {from} and {to} sections\n").as_bytes()].concat();
                return Err(Stop::Die(Value::str(message)));
            }
            block.set_value(&to, value);
        }
    }
    Ok(Vec::new())
}

fn text(block: &Block, section: &str) -> Option<Vec<u8>> {
    block.value(section).map(|value| value.to_bytes().to_vec())
}

fn port(interpreter: &mut Interpreter, flavour: &Flavour) -> i64 {
    let environment = interpreter.hash(&"main::ENV".into());
    let chosen =
        environment.borrow().get(flavour.port_variable.as_bytes()).filter(|port| port.is_defined()).map(Value::to_int);
    chosen.unwrap_or_else(|| interpreter.global(&format!("{UTIL}::ServerPort")).to_int() + 1)
}

/// The `stream` block with up to three servers on successive ports.
fn main_config(
    block: &Block,
    flavour: &Flavour,
    port: i64,
    shared: Option<Vec<u8>>,
    servers: &[Option<Vec<u8>>],
) -> Vec<u8> {
    let mut out = b"stream {\n".to_vec();
    out.extend_from_slice(&shared.unwrap_or_default());
    out.push(b'\n');
    for (index, server) in servers.iter().enumerate() {
        // The first server exists even without text of its own.
        let server = match (server, index) {
            (Some(server), _) => server.as_slice(),
            (None, 0) => b"",
            (None, _) => continue,
        };
        let number = if index == 0 { String::new() } else { (index + 1).to_string() };
        let option = match flavour.listen_option {
            Some(section) => {
                let option = text(block, &format!("{section}{number}")).unwrap_or_default();
                format!(" {}", String::from_utf8_lossy(option.strip_suffix(b"\n").unwrap_or(&option)))
            }
            None if index == 0 => flavour.listen.to_owned(),
            None => String::new(),
        };
        out.extend_from_slice(format!("    server {{\n        listen {}{option};\n\n", port + index as i64).as_bytes());
        out.extend_from_slice(server);
        out.extend_from_slice(b"\n    }\n");
    }
    out.extend_from_slice(b"}\n");
    out
}

/// Indentation of some of the generated Lua.
const DEEPER: &str = "                        ";
/// Indentation of the generated Lua.
const LUA: &str = "                    ";

fn location(
    interpreter: &mut Interpreter,
    block: &Block,
    flavour: &Flavour,
    port: i64,
    servers: &[Option<Vec<u8>>],
) -> Outcome<Vec<u8>> {
    let prefix = flavour.prefix;
    let address = interpreter.global(&format!("{UTIL}::ServerAddr")).to_text();
    let mut out = Vec::new();
    let line = |out: &mut Vec<u8>, indent: &str, lines: &[&str]| {
        for line in lines {
            if !line.is_empty() {
                out.extend_from_slice(indent.as_bytes());
                out.extend_from_slice(line.as_bytes());
            }
            out.push(b'\n');
        }
    };
    line(&mut out, "            ", &["lua_socket_log_errors off;", "", "location = /t {"]);
    line(&mut out, "                ", &["content_by_lua_block {"]);
    let open = format!("local sock, err = ngx.socket.{}()", flavour.socket);
    line(&mut out, LUA, &[&open, "assert(sock, err)", ""]);
    let wants_data =
        ["response_body", "response_body_like", &format!("{prefix}_response"), &format!("{prefix}_response_like")]
            .iter()
            .any(|section| block.has(section));
    for (index, server) in servers.iter().enumerate() {
        if index > 0 && server.is_none() {
            continue;
        }
        let number = if index == 0 { String::new() } else { (index + 1).to_string() };
        let connect = format!("local ok, err = sock:{}(\"{address}\", {})", flavour.connect, port + index as i64);
        line(
            &mut out,
            LUA,
            &[
                &connect,
                "if not ok then",
                "    ngx.say(\"connect to stream server error: \", err)",
                "    return",
                "end",
            ],
        );
        let failed = ["if not bytes then", "    ngx.say(\"send stream request error: \", err)", "    return", "end"];
        if let Some(request) = text(block, &format!("{prefix}_request{number}")) {
            let file = data_file(interpreter, &request)?;
            let open = format!("local f = assert(io.open('{file}', 'r'))");
            line(
                &mut out,
                LUA,
                &[
                    &open,
                    "local data = assert(f:read(\"*a\"))",
                    "assert(f:close())",
                    "local bytes, err = sock:send(data)",
                ],
            );
            line(&mut out, LUA, &failed);
        } else if flavour.triggers {
            match text(block, "gen_dgram_request").filter(|_| index == 0) {
                Some(code) => out.extend_from_slice(&code),
                None => {
                    let name = if index == 0 { String::new() } else { format!(" {number}") };
                    let send = format!("local bytes, err = sock:send('trigger dgram req{name}')");
                    line(&mut out, LUA, &[&send]);
                    line(&mut out, LUA, &failed);
                }
            }
        }
        if index == 0 && block.has("abort") {
            let seconds = match time(&block.value("timeout").unwrap_or_default()) {
                Value::Undef => interpreter.global(&format!("{UTIL}::Timeout")),
                seconds => seconds,
            };
            let milliseconds = crate::model::format_number(seconds.to_number() * 1000.0);
            line(&mut out, LUA, &["", &format!("sock:settimeout({milliseconds})")]);
            block.set_value("timeout", Value::Undef);
            block.set_value("abort", Value::Undef);
        }
        if !flavour.triggers {
            line(&mut out, LUA, &[""]);
        }
        // Later answers stand deeper, as in the original.
        let indent = if index > 0 && !flavour.triggers { DEEPER } else { LUA };
        let receive = format!("local data, err = sock:{}", flavour.receive);
        line(&mut out, indent, &[&receive, "if not data then"]);
        if index == 0 {
            line(&mut out, indent, &["    sock:close()"]);
        }
        line(&mut out, indent, &["    ngx.say(\"receive stream response error: \", err)", "    return", "end"]);
        if wants_data {
            if index == 0 && block.has(&format!("log_{prefix}_response")) {
                line(
                    &mut out,
                    indent,
                    &[
                        "print(\"stream response: \", data)",
                        "ngx.say(\"received \", #data, \" bytes of response data.\")",
                    ],
                );
            } else {
                line(&mut out, indent, &["ngx.print(data)"]);
            }
        }
    }
    line(&mut out, "", &["                }", "            }"]);
    Ok(out)
}

/// Writes a request where the generated Lua reads it, and returns the path as the Lua spells it.
fn data_file(interpreter: &mut Interpreter, request: &[u8]) -> Outcome<String> {
    let counter = interpreter.global("rsty::data_files").to_int() + 1;
    interpreter.set_global("rsty::data_files", counter);
    // Lanes run at the same time in one working directory: the files lie beside the server root of each.
    let root = interpreter.global(&format!("{UTIL}::ServRoot")).to_text();
    let folder = Path::new(&root).parent().unwrap_or(Path::new("t")).join("tmp");
    let name = folder.join(format!("data{counter}.txt")).display().to_string();
    let path = interpreter.path(name.as_bytes());
    let written = match path.parent() {
        Some(directory) => std::fs::create_dir_all(directory).and_then(|()| std::fs::write(&path, request)),
        None => Ok(()),
    };
    written.map_err(|error| interpreter.die(format!("cannot open {name} for writing: {error}")))?;
    interpreter.array(&"rsty::temporary_files".into()).borrow_mut().push(Value::from(name.as_str()));
    Ok(name)
}
