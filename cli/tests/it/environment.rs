//! The `TEST_NGINX_*` variables: each changes what a spec sees, what its server is given, or what is said of it.

use std::process::{Output, Stdio};

use libtest_mimic::{Failed, Trial};

use crate::runner::Project;

/// One test for each way in which a variable shows.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("environment::variables_reach_the_configuration", configuration),
        Trial::test("environment::variables_reach_the_code_of_a_spec", code),
        Trial::test("environment::variables_reach_the_server", server),
        Trial::test("environment::variables_decide_what_runs", selection),
        Trial::test("environment::variables_set_the_folder_and_the_log", folder_and_log),
        Trial::test("environment::modes_that_are_not_there_are_refused", refused),
    ]
}

/// Runs one spec with variables; what was printed.
fn run(spec: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<(Output, String), Failed> {
    let project = Project::new(spec)?;
    let mut command = project.command(arguments);
    command.arg("t").envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.output()?;
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    Ok((output, String::from_utf8_lossy(&text).into_owned()))
}

/// That the text is there with the variable, and not without it.
fn shows(spec: &str, arguments: &[&str], variable: (&str, &str), text: &str) -> Result<(), Failed> {
    let (name, value) = variable;
    let (_, with) = run(spec, arguments, &[variable])?;
    let (_, without) = run(spec, arguments, &[])?;
    if with.contains(text) && !without.contains(text) {
        return Ok(());
    }
    Err(format!("{name}={value}: `{text}` is not what it changes\n--- with:\n{with}\n--- without:\n{without}").into())
}

const STREAM: &str = "use Test::Nginx::Socket::Lua::Stream;\nplan tests => 2;\nrun_tests();\n__DATA__\n\
    === TEST 1: streams\n--- stream_server_config\nreturn x;\n--- stream_response: x\n";
const DGRAM: &str = "use Test::Nginx::Socket::Lua::Dgram;\nplan tests => 2;\nrun_tests();\n__DATA__\n\
    === TEST 1: datagrams\n--- dgram_server_config\nreturn x;\n--- dgram_response: x\n";

fn configuration() -> Result<(), Failed> {
    for (name, value, text) in [
        ("TEST_NGINX_LOG_LEVEL", "notice", "logs/error.log notice;"),
        ("TEST_NGINX_MASTER_PROCESS", "on", "master_process on;"),
        ("TEST_NGINX_EVENT_TYPE", "poll", "use poll;"),
        ("TEST_NGINX_LOAD_MODULES", "one.so two.so", "load_module one.so; load_module two.so;"),
        ("TEST_NGINX_REUSE_PORT", "1", "1984 reuseport;"),
        ("TEST_NGINX_WORKER_USER", "somebody", "user somebody;"),
        ("TEST_NGINX_INIT_BY_LUA", "answer = 42", "init_by_lua 'answer = 42'"),
        ("TEST_NGINX_STREAM_PORT", "23456", "listen 23456"),
    ] {
        shows(STREAM, &["--dry-run"], (name, value), text)?;
    }
    // The original writes it in this mode alone.
    shows(STREAM, &["--dry-run", "--hup"], ("TEST_NGINX_POSTPONE_OUTPUT", "1"), "postpone_output 1;")?;
    shows(DGRAM, &["--dry-run"], ("TEST_NGINX_DGRAM_PORT", "23457"), "listen 23457 udp")
}

fn code() -> Result<(), Failed> {
    for (name, value, variable) in [
        ("TEST_NGINX_TIMEOUT", "17", "Timeout"),
        ("TEST_NGINX_SLEEP", "0.025", "TestNginxSleep"),
        ("TEST_NGINX_NO_SHUFFLE", "71", "NoShuffle"),
        ("TEST_NGINX_VERBOSE", "72", "Verbose"),
        ("TEST_NGINX_CHECK_ACCUM_ERR_LOG", "73", "CheckAccumErrLog"),
        ("TEST_NGINX_BENCHMARK_WARMUP", "74", "BenchmarkWarmup"),
        ("TEST_NGINX_CLIENT_PORT", "2345", "ServerPortForClient"),
    ] {
        let spec =
            format!("=== TEST 1: reads\n--- config eval\n\"# value \" . ($Test::Nginx::Util::{variable} // 'none')\n");
        shows(&spec, &["--dry-run"], (name, value), &format!("# value {value}\n"))?;
    }
    let spec = "=== TEST 1: reads\n--- config eval\n\"# root $ENV{TEST_NGINX_SERVER_ROOT}\"\n";
    let (_, text) = run(spec, &["--dry-run"], &[])?;
    let root = text.lines().find_map(|line| line.strip_prefix("# root ")).unwrap_or_default();
    if !root.ends_with("/t/servroot") {
        return Err(format!("TEST_NGINX_SERVER_ROOT names no server root:\n{text}").into());
    }
    Ok(())
}

const ASKS: &str = "=== TEST 1: asks\n--- main_config\nenv LD_PRELOAD;\n--- config\n\
    location = /t { content_by_lua_block { ngx.say('loaded ', os.getenv('LD_PRELOAD')) } }\n\
    --- request\nGET /t\n--- response_body\nloaded nil\n";

fn server() -> Result<(), Failed> {
    // A library that isn't there: the loader says so, and goes on.
    shows(ASKS, &[], ("TEST_NGINX_LD_PRELOAD", "libnobody.so"), "loaded libnobody.so")?;
    shows(ASKS, &[], ("TEST_NGINX_BINARY", "/nowhere/nginx"), "/nowhere/nginx")?;
    let leaves = "=== TEST 1: leaves\n--- config\nlocation = /t { content_by_lua_block {\n\
        ngx.timer.at(10, function(early) ngx.log(ngx.WARN, 'early: ', early) end) ngx.say('x') } }\n\
        --- request\nGET /t\n--- response_body\nx\n--- shutdown_error_log\nearly: true\n";
    shows(leaves, &[], ("TEST_NGINX_FAST_SHUTDOWN", "1"), "1 failed")
}

fn selection() -> Result<(), Failed> {
    let lacking = "=== TEST 1: lacks\n--- config\nno_such_directive on;\n--- request\nGET /t\n";
    shows(lacking, &[], ("TEST_NGINX_IGNORE_MISSING_DIRECTIVES", "1"), "1 skipped")?;
    let slave = "=== TEST 1: skips\n--- config\nlocation = /t { return 200; }\n--- request\nGET /t\n\
        --- skip_slave: 1: 32bit\n";
    shows(slave, &[], ("TEST_NGINX_BUILDSLAVE", "32bit"), "1 skipped")?;
    // What a log holds before the block counts where somebody asked for it.
    let (output, text) = run(ASKS, &["-j", "1"], &[("TEST_NGINX_SERVER_PORT", "23458")])?;
    if !output.status.success() {
        return Err(format!("another port: {text}").into());
    }
    let bare = "=== TEST 1: has no configuration\n--- request\nGET /\n--- error_code: 200\n";
    shows(bare, &[], ("TEST_NGINX_NO_NGINX_MANAGER", "1"), "onnection refused")
}

fn folder_and_log() -> Result<(), Failed> {
    let project = Project::new(ASKS)?;
    let variables = [("TEST_NGINX_SERVROOT", "own-root"), ("TEST_NGINX_ERROR_LOG", "all.log")];
    let output = project.command(&["-j", "1", "t"]).envs(variables).output()?;
    if !output.status.success() || !project.path("own-root/conf/nginx.conf").exists() {
        return Err(format!("no root of our own: {output:?}").into());
    }
    if std::fs::read(project.path("all.log"))?.is_empty() {
        return Err("the log was not appended".into());
    }
    Ok(())
}

fn refused() -> Result<(), Failed> {
    let probe = "=== TEST 1: probes\n--- config\nlocation = /t { return 204; }\n--- request\nGET /t\n\
        --- error_code: 204\n--- stap\nprobe begin {}\n--- stap_out\n";
    shows(probe, &[], ("TEST_NGINX_USE_STAP", "1"), "unset TEST_NGINX_USE_STAP")?;
    shows(ASKS, &[], ("TEST_NGINX_USE_RR", "1"), "unset TEST_NGINX_USE_RR")
}
