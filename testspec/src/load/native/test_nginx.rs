//! `Test::Nginx::Util`, `Test::Nginx::Socket` and their kind: the functions that prologues call.

use crate::model::{Regex, Value};
use crate::perl::{Interpreter, NativeModule, Outcome, Stop, Want};

use super::{first, inner, one, unshift};

/// The package that holds the run's settings.
pub(in crate::load) const UTIL: &str = "Test::Nginx::Util";

type Function = (&'static str, crate::perl::Native, Option<&'static str>);

const FUNCTIONS: &[Function] = &[
    ("add_block_preprocessor", |it, arguments, _| handler(it, "BlockPreprocessors", &arguments), Some("&")),
    ("add_cleanup_handler", |it, arguments, _| handler(it, "CleanupHandlers", &arguments), Some("$")),
    ("add_response_body_check", add_response_body_check, Some("$")),
    ("add_test_cleanup_handler", |it, arguments, _| handler(it, "TestCleanupHandlers", &arguments), Some("$")),
    ("bail_out", bail_out, None),
    ("check_accum_error_log", |it, _, _| set(it, "CheckAccumErrLog", Value::Int(1)), Some("")),
    ("check_response_body", inner::check_response_body, None),
    ("config_preamble", |it, arguments, _| set(it, "ConfigPreamble", first(&arguments)), Some("$")),
    ("env_to_nginx", env_to_nginx, None),
    ("get_canon_version", canonical_version, None),
    ("get_nginx_version", nginx_version, Some("")),
    ("get_req_from_block", inner::get_req_from_block, None),
    ("html_dir", |it, _, _| get(it, "HtmlDir"), Some("")),
    ("is_running", |_, _, _| one(0), Some("$")),
    ("is_str", is_str, None),
    (
        "is_tcp_port_used",
        |_, arguments, _| one(Value::bool(is_port_used("/proc/net/tcp", &first(&arguments)))),
        Some("$"),
    ),
    (
        "is_udp_port_used",
        |_, arguments, _| one(Value::bool(is_port_used("/proc/net/udp", &first(&arguments)))),
        Some("$"),
    ),
    ("log_level", |it, arguments, _| accessor(it, "LogLevel", &arguments), None),
    ("master_off", |it, _, _| set(it, "MasterProcessEnabled", Value::from("off")), Some("")),
    ("master_on", |it, _, _| set(it, "MasterProcessEnabled", Value::from("on")), Some("")),
    ("master_process_enabled", master_process_enabled, None),
    ("no_long_string", |it, _, _| set(it, "NoLongString", Value::Int(1)), Some("")),
    ("no_nginx_manager", |it, _, _| set(it, "NoNginxManager", Value::Int(1)), Some("")),
    ("no_root_location", |it, _, _| set(it, "NoRootLocation", Value::Int(1)), Some("")),
    ("no_shuffle", |it, _, _| set(it, "NoShuffle", Value::Int(1)), Some("")),
    ("parse_response", inner::parse_response, None),
    ("parse_time", parse_time, Some("$")),
    ("repeat_each", |it, arguments, _| accessor(it, "RepeatEach", &arguments), None),
    ("run_tests", run_tests, Some("")),
    ("server_addr", |it, arguments, _| accessor(it, "ServerAddr", &arguments), None),
    ("server_name", |it, arguments, _| accessor(it, "ServerName", &arguments), None),
    ("server_port", |it, arguments, _| accessor(it, "ServerPort", &arguments), None),
    ("server_port_for_client", |it, arguments, _| accessor(it, "ServerPortForClient", &arguments), None),
    ("server_root", |it, _, _| get(it, "ServRoot"), Some("")),
    ("sleep_time", |it, _, _| get(it, "TestNginxSleep"), None),
    ("timeout", |it, arguments, _| accessor(it, "Timeout", &arguments), None),
    ("transform_response_body", inner::transform_response_body, None),
    ("trim", trim, None),
    ("use_hup", |it, _, _| set(it, "UseHup", Value::Int(1)), Some("")),
    ("verbose", |it, _, _| get(it, "Verbose"), None),
    ("worker_connections", |it, arguments, _| accessor(it, "WorkerConnections", &arguments), None),
    ("workers", |it, arguments, _| accessor(it, "Workers", &arguments), None),
];

const EXPORTS: &[&str] = &[
    "add_block_preprocessor",
    "add_cleanup_handler",
    "add_test_cleanup_handler",
    "bail_out",
    "check_accum_error_log",
    "config_preamble",
    "env_to_nginx",
    "get_canon_version",
    "get_nginx_version",
    "html_dir",
    "is_running",
    "is_str",
    "is_tcp_port_used",
    "is_udp_port_used",
    "log_level",
    "master_off",
    "master_on",
    "master_process_enabled",
    "no_long_string",
    "no_nginx_manager",
    "no_root_location",
    "no_shuffle",
    "parse_time",
    "repeat_each",
    "run_tests",
    "server_addr",
    "server_name",
    "server_port",
    "server_port_for_client",
    "server_root",
    "sleep_time",
    "timeout",
    "trim",
    "use_hup",
    "verbose",
    "worker_connections",
    "workers",
    "$ServerAddr",
    "$ServerName",
    "$ServerPort",
    "$ServerPortForClient",
    "$NginxVersion",
    "$PcreVersion",
    "$PidFile",
    "$ServRoot",
    "$ConfFile",
    "$NoNginxManager",
    "$RepeatEach",
    "$CheckLeak",
    "$Benchmark",
    "$BenchmarkWarmup",
    "$UseStap",
    "$NoLongString",
];

pub(super) const MODULES: &[NativeModule] = &[
    NativeModule {
        name: "Test::Nginx::Util",
        parents: &[],
        functions: FUNCTIONS,
        exports: EXPORTS,
        // The original uses these itself, so specs name them without a `use` of their own.
        setup: Some(|it| {
            ["Cwd", "File::Path", "File::Spec", "List::Util", "POSIX"]
                .into_iter()
                .try_for_each(|module| it.require(module))
        }),
    },
    NativeModule {
        name: "Test::Nginx::Socket",
        parents: &["Test::Base"],
        functions: FUNCTIONS,
        exports: &[
            "add_block_preprocessor",
            "add_cleanup_handler",
            "add_response_body_check",
            "add_test_cleanup_handler",
            "bail_out",
            "check_accum_error_log",
            "config_preamble",
            "env_to_nginx",
            "html_dir",
            "is_str",
            "log_level",
            "master_off",
            "master_on",
            "master_process_enabled",
            "no_long_string",
            "no_nginx_manager",
            "no_root_location",
            "no_shuffle",
            "plan",
            "repeat_each",
            "run_tests",
            "server_addr",
            "server_name",
            "server_port",
            "server_port_for_client",
            "server_root",
            "timeout",
            "use_hup",
            "worker_connections",
            "workers",
        ],
        setup: Some(|it| socket(it, "Socket")),
    },
    NativeModule {
        name: "Test::Nginx::Socket::Lua",
        parents: &["Test::Nginx::Socket"],
        functions: &[],
        exports: &[],
        setup: Some(|it| socket(it, "Lua")),
    },
    NativeModule {
        name: "Test::Nginx::LWP",
        parents: &["Test::Base"],
        functions: FUNCTIONS,
        exports: &[
            "config_preamble",
            "master_off",
            "master_on",
            "master_process_enabled",
            "no_long_string",
            "no_root_location",
            "no_shuffle",
            "plan",
            "repeat_each",
            "run_tests",
            "worker_connections",
        ],
        setup: Some(|it| socket(it, "LWP")),
    },
];

/// Notes the flavour; a module that builds on another one is set up after it, so the last one counts.
fn socket(interpreter: &mut Interpreter, flavour: &str) -> Outcome<()> {
    interpreter.require(UTIL)?;
    interpreter.require("HTTP::Response")?;
    // `plan` belongs to the exports of these modules too.
    for module in ["Test::Nginx::Socket", "Test::Nginx::LWP"] {
        if let Some(code) = interpreter.code("Test::More::plan") {
            interpreter.alias_sub(&format!("{module}::plan"), &code);
        }
    }
    interpreter.set_global("rsty::flavour", flavour);
    read_modes(interpreter);
    Ok(())
}

/// Modes that a `BEGIN` block before the `use` may have switched in the environment.
fn read_modes(interpreter: &mut Interpreter) {
    for (name, mode) in [("TEST_NGINX_USE_HUP", "UseHup"), ("TEST_NGINX_USE_STAP", "UseStap")] {
        let value = interpreter.hash(&"main::ENV".into()).borrow().get(name.as_bytes()).cloned();
        interpreter.set_global(&variable(mode), value.unwrap_or_default());
    }
}

fn variable(name: &str) -> String {
    format!("{UTIL}::{name}")
}

fn get(interpreter: &mut Interpreter, name: &str) -> Outcome<Vec<Value>> {
    Ok(vec![interpreter.global(&variable(name))])
}

fn set(interpreter: &mut Interpreter, name: &str, value: Value) -> Outcome<Vec<Value>> {
    interpreter.set_global(&variable(name), value.clone());
    Ok(vec![value])
}

fn accessor(interpreter: &mut Interpreter, name: &str, arguments: &[Value]) -> Outcome<Vec<Value>> {
    match arguments.first() {
        Some(value) => set(interpreter, name, value.clone()),
        None => get(interpreter, name),
    }
}

fn master_process_enabled(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    match arguments.first() {
        Some(value) => {
            set(interpreter, "MasterProcessEnabled", Value::from(if value.is_true() { "on" } else { "off" }))
        }
        None => get(interpreter, "MasterProcessEnabled"),
    }
}

/// Registers a callback; the last one registered runs first.
fn handler(interpreter: &mut Interpreter, list: &str, arguments: &[Value]) -> Outcome<Vec<Value>> {
    unshift(interpreter, &variable(list), first(arguments));
    Ok(Vec::new())
}

fn add_response_body_check(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    interpreter.array(&"Test::Nginx::Socket::ResponseBodyChecks".into()).borrow_mut().push(first(&arguments));
    Ok(Vec::new())
}

fn env_to_nginx(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    if arguments.is_empty() {
        return Err(interpreter.die("env_to_nginx: no arguments specified"));
    }
    for argument in arguments {
        let text = argument.to_bytes();
        if !text.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_') || text.contains(&b'\n') {
            let shown = argument.to_text();
            return Err(Stop::Die(format!("env_to_nginx: bad argument value: {shown}\n").as_str().into()));
        }
        interpreter.array(&variable("EnvToNginx").as_str().into()).borrow_mut().push(argument);
    }
    Ok(Vec::new())
}

fn bail_out(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    interpreter.call_named("Test::More::BAIL_OUT", arguments, Want::Void)
}

/// Regex-aware equality.
fn is_str(interpreter: &mut Interpreter, arguments: Vec<Value>, want: Want) -> Outcome<Vec<Value>> {
    let function =
        if matches!(arguments.get(1), Some(Value::Regex(_))) { "Test::More::like" } else { "Test::More::is" };
    interpreter.call_named(function, arguments, want)
}

/// Ends the prologue; the tests run when it has been left.
fn run_tests(interpreter: &mut Interpreter, _: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    set_versions(interpreter);
    let port = interpreter.global(&variable("ServerPort"));
    let environment = interpreter.hash(&"main::ENV".into());
    if !environment.borrow().get(b"TEST_NGINX_SERVER_PORT").is_some_and(Value::is_defined) {
        environment.borrow_mut().insert(b"TEST_NGINX_SERVER_PORT", Value::Str(port.to_bytes()));
    }
    interpreter.set_global("rsty::started", 1);
    Err(Stop::Exit(0))
}

fn trim(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    one(Value::str(first(&arguments).to_bytes().trim_ascii()))
}

/// `3s`, `300ms`, `3` as seconds.
fn parse_time(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    one(time(&first(&arguments)))
}

/// A time section's value in seconds; undefined stays so.
pub(super) fn time(value: &Value) -> Value {
    if !value.is_defined() {
        return Value::Undef;
    }
    let text = value.to_bytes();
    let is_number_end = |text: &[u8]| text.last().is_some_and(|byte| !byte.is_ascii_alphabetic() && *byte != b'_');
    if let Some(number) = text.strip_suffix(b"ms").filter(|number| is_number_end(number)) {
        return Value::Num(Value::str(number).to_number() / 1000.0);
    }
    match text.strip_suffix(b"s").filter(|number| is_number_end(number)) {
        Some(number) => Value::str(number),
        None => value.clone(),
    }
}

fn canonical(parts: &[i64]) -> String {
    let part = |at: usize| parts.get(at).copied().unwrap_or(0);
    format!("{}.{:03}{:03}", part(0), part(1), part(2))
}

fn canonical_version(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let parts: Vec<i64> = arguments.iter().map(Value::to_int).collect();
    one(canonical(&parts).as_str())
}

fn nginx_version(interpreter: &mut Interpreter, _: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    set_versions(interpreter);
    get(interpreter, "NginxVersion")
}

/// Sets what is known about the server from its `-V` text.
pub(in crate::load) fn set_versions(interpreter: &mut Interpreter) {
    let text = interpreter.host.server_version();
    let numbers = |pattern: &str, text: &[u8]| -> Option<(Vec<i64>, Option<u8>)> {
        let groups = Regex::new(pattern, "s").captures_at(text, 0).ok()??;
        let part = |at: usize| groups.get(at).copied().flatten().and_then(|(start, end)| text.get(start..end));
        let numbers = (1..4).filter_map(|at| part(at).map(|digits| Value::str(digits).to_int())).collect();
        Some((numbers, part(4).and_then(|letter| letter.first().copied())))
    };
    if let Some((parts, letter)) = numbers(r"built with OpenSSL (\d+)\.(\d+)\.(\d+)([a-z])?", &text) {
        let mut version = canonical(&parts);
        if let Some(letter) = letter {
            version.push_str(&format!("{:03}", letter - b'a'));
        }
        interpreter.set_global(&variable("OpenSSLVersion"), version.as_str());
    }
    let server = numbers(r"(?:nginx|openresty+?)[^/]*/(\d+)\.(\d+)\.(\d+)", &text)
        .or_else(|| numbers(r"\w+/(\d+)\.(\d+)\.(\d+)", &text));
    let mut pcre = 0;
    if let Some((parts, _)) = server {
        let version = canonical(&parts);
        let raw: Vec<String> = parts.iter().map(i64::to_string).collect();
        interpreter.set_global(&variable("NginxVersion"), version.as_str());
        interpreter.set_global(&variable("NginxRawVersion"), raw.join(".").as_str());
        let contains = |part: &[u8]| memchr::memmem::find(&text, part).is_some();
        if (parts.first().copied(), parts.get(1).copied()) >= (Some(1), Some(25)) && !contains(b"--without-pcre2") {
            pcre = 2;
        } else if contains(b"pcre") {
            pcre = 1;
        }
    }
    interpreter.set_global(&variable("PcreVersion"), pcre);
}

/// Whether a table of the kernel lists a local port.
fn is_port_used(table: &str, port: &Value) -> bool {
    let wanted = format!(":{:04X}", port.to_int());
    let text = std::fs::read_to_string(table).unwrap_or_default();
    text.lines().skip(1).any(|line| line.split_ascii_whitespace().nth(1).is_some_and(|local| local.ends_with(&wanted)))
}
