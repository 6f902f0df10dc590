//! Files without a prologue: settings and default sections above the first block.
//!
//! | section | meaning |
//! |---|---|
//! | `repeat_each: N` | how often each block runs |
//! | `workers: N`, `worker_connections: N` | as the directives |
//! | `master_process: on` or `off` | as the directive |
//! | `no_shuffle`, `no_root_location`, `no_long_string`, `no_diff`, `check_accum_error_log`, `use_hup` | switches, without a value |
//! | `config_preamble` | text before each block's `config` |
//! | `env_to_nginx` | one `env` argument a line |
//!
//! Every other section there is a default: a block that lacks it inherits it, filters included.

use rsty_diag::{Diagnostic, closest};

use crate::model::Value;
use crate::perl::Interpreter;
use crate::syntax::{Document, SectionNode};

use super::native::UTIL;

/// Settings that take a value, with the package variable that holds them.
const VALUES: [(&str, &str); 5] = [
    ("config_preamble", "ConfigPreamble"),
    ("master_process", "MasterProcessEnabled"),
    ("repeat_each", "RepeatEach"),
    ("worker_connections", "WorkerConnections"),
    ("workers", "Workers"),
];

/// Settings that are on where they stand.
const SWITCHES: [(&str, &str); 5] = [
    ("check_accum_error_log", "CheckAccumErrLog"),
    ("no_long_string", "NoLongString"),
    ("no_root_location", "NoRootLocation"),
    ("no_shuffle", "NoShuffle"),
    ("use_hup", "UseHup"),
];

/// Sections that a block may inherit.
pub(crate) const INHERITED: [&str; 86] = [
    "abort",
    "access_log",
    "charset",
    "chunked_body",
    "config",
    "curl",
    "curl_error",
    "curl_options",
    "curl_protocol",
    "dgram_config",
    "dgram_request",
    "dgram_response",
    "dgram_response_like",
    "dgram_server_config",
    "dgram_server_config2",
    "dgram_server_config3",
    "error_code",
    "error_code_like",
    "error_log",
    "error_log_file",
    "gen_dgram_request",
    "grep_error_log",
    "grep_error_log_out",
    "http09",
    "http2",
    "http3",
    "http_config",
    "ignore_response",
    "init",
    "log_dgram_response",
    "log_level",
    "log_stream_response",
    "main_config",
    "more_headers",
    "must_die",
    "no_access_log",
    "no_check_leak",
    "no_error_log",
    "no_http2",
    "no_http3",
    "no_mockeagain",
    "no_shutdown_error_log",
    "pipelined_requests",
    "post_main_config",
    "post_setup_server_root",
    "quic_max_idle_timeout",
    "raw_request",
    "raw_request_middle_delay",
    "raw_response_headers_like",
    "raw_response_headers_unlike",
    "reload_fails",
    "request",
    "request_eval",
    "response_body",
    "response_body_filters",
    "response_body_json_sort",
    "response_body_like",
    "response_body_unlike",
    "response_headers",
    "response_headers_like",
    "server_addr_for_client",
    "server_name",
    "shutdown",
    "shutdown_error_log",
    "skip_eval",
    "skip_nginx",
    "skip_nginx2",
    "skip_openssl",
    "stap",
    "stap_out",
    "steam_listen_option",
    "stream_config",
    "stream_request",
    "stream_request2",
    "stream_request3",
    "stream_response",
    "stream_response_like",
    "stream_server_config",
    "stream_server_config2",
    "stream_server_config3",
    "suppress_stderr",
    "tcp_listen",
    "tcp_reply",
    "timeout",
    "user_files",
    "wait",
];

/// Applies the settings above the first block and returns the sections that blocks inherit.
pub(super) fn apply<'a>(
    document: &'a Document,
    interpreter: &mut Interpreter,
    problems: &mut Vec<Diagnostic>,
) -> Vec<&'a SectionNode> {
    let mut inherited = Vec::new();
    for section in &document.defaults {
        let name = document.section_name(section);
        let text = document.slice(section.value_span());
        if let Some((_, variable)) = VALUES.iter().find(|(setting, _)| *setting == name) {
            let value = if name == "config_preamble" { text } else { text.trim_ascii() };
            if name != "config_preamble" && !is_valid(name, value) {
                problems.push(
                    Diagnostic::error("bad_setting", format!("`{name}` can't be `{}`", String::from_utf8_lossy(value)))
                        .at(&document.source, section.span),
                );
            }
            interpreter.set_global(&format!("{UTIL}::{variable}"), Value::str(value));
        } else if let Some((_, variable)) = SWITCHES.iter().find(|(setting, _)| *setting == name) {
            interpreter.set_global(&format!("{UTIL}::{variable}"), 1);
        } else if name == "no_diff" {
            interpreter.hash(&"main::ENV".into()).borrow_mut().insert(b"TEST_SHOW_NO_DIFFS", Value::Int(1));
        } else if name == "env_to_nginx" {
            let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
            let list = interpreter.array(&format!("{UTIL}::EnvToNginx").into());
            list.borrow_mut().extend(lines.map(Value::str));
        } else if INHERITED.contains(&name) || is_used(document, name) {
            inherited.push(section);
        } else {
            let settings = VALUES.iter().chain(&SWITCHES).map(|(setting, _)| *setting);
            let known = settings.chain(["env_to_nginx", "no_diff"]).chain(INHERITED);
            let mut diagnostic = Diagnostic::error("unknown_setting", format!("unknown setting or section `{name}`"))
                .at(&document.source, section.name);
            if let Some(near) = closest(name, known) {
                diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
            }
            problems.push(diagnostic);
        }
    }
    inherited
}

fn is_valid(name: &str, value: &[u8]) -> bool {
    match name {
        "master_process" => matches!(value, b"on" | b"off"),
        "workers" if value == b"auto" => true,
        _ => !value.is_empty() && value.iter().all(u8::is_ascii_digit),
    }
}

/// Whether a block has a section of this name, so that it is no slip.
fn is_used(document: &Document, name: &str) -> bool {
    document.blocks.iter().any(|block| document.has_section(block, name))
}

/// The flavour that the sections in the file ask for.
pub(super) fn flavour_module(document: &Document) -> &'static str {
    let has = |prefix: &str| {
        let mut sections = document.blocks.iter().flat_map(|block| &block.sections).chain(&document.defaults);
        sections.any(|section| document.section_name(section).starts_with(prefix))
    };
    if has("stream_") {
        "Test::Nginx::Socket::Lua::Stream"
    } else if has("dgram_") {
        "Test::Nginx::Socket::Lua::Dgram"
    } else {
        "Test::Nginx::Socket::Lua"
    }
}
