//! A system that does not do as it should: configurations that can't be used, logs that can't be written, clocks that jump,
//! calls that fail. E2, E11 to E13.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::client::{self, Probe};
use super::server::{Bench, Server, Workers};
use super::{ensure, processes};
use crate::{Failure, Outcome};

/// How long a signal may take to act.
const PATIENCE: Duration = Duration::from_secs(10);

fn until(what: &str, mut holds: impl FnMut() -> bool) -> Outcome {
    let begin = Instant::now();
    while !holds() {
        ensure(begin.elapsed() < PATIENCE, || format!("did not happen in time: {what}"))?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// E2: reloads with configurations that can't be used leave everything as it was, and say where the fault is.
pub(super) fn bad_reloads(bench: &Bench) -> Result<String, Failure> {
    let location = "location = /count { content_by_lua_block { ngx.print((ngx.shared.d:incr('n', 1, 0))) } }";
    let server = bench.conf("E2").workers(2).http("lua_shared_dict d 1m;").server(location).start()?;
    let file = server.prefix.join("nginx.conf");
    let good = fs::read_to_string(&file)?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let bad: [(&str, String, String); 4] = [
        ("an unknown directive", good.replace("root html;", "rooot html;"), "unknown directive \"rooot\"".into()),
        ("a block that does not end", good.trim_end().trim_end_matches('}').into(), "unexpected end of file".into()),
        (
            "an address that is taken",
            good.replace("root html;", &format!("root html; listen 127.0.0.1:{port};")),
            "Address already in use".into(),
        ),
        (
            "Lua that does not compile",
            good.replace("lua_shared_dict", "init_by_lua_block { local = 1 } lua_shared_dict"),
            "init_by_lua error".into(),
        ),
    ];
    let before = server.workers();
    let probe = Probe::start(server.port);
    for (what, text, expected) in &bad {
        client::get(server.port, "/count")?;
        fs::write(&file, text)?;
        let said = server.said().len();
        server.signal("HUP")?;
        until(what, || server.said().get(said..).is_some_and(|new| new.contains(expected)))?;
        ensure(server.workers() == before, || format!("{what} replaced the workers"))?;
    }
    fs::write(&file, &good)?;
    let count = client::get(server.port, "/count")?.body;
    ensure(count == "5", || format!("the shared counter is {count:?} and not 5"))?;
    server.signal("HUP")?;
    until("a good reload", || server.workers().len() == 2 && server.workers().is_disjoint(&before))?;
    probe.finish()?;
    server.finish(Workers::Replaced, &["unknown directive", "unexpected end of file", "bind() to", "init_by_lua"])?;
    Ok(format!("{} kinds of bad configurations refused, none of them felt", bad.len()))
}

/// E11: no line is lost when logs are rotated under load, and logs that can't be written stop nobody.
pub(super) fn logs(bench: &Bench) -> Result<String, Failure> {
    const ROTATIONS: usize = 10;
    let server_text = "access_log logs/access.log; access_log /dev/full;
        location = /slow { content_by_lua_block { ngx.sleep(0.01) ngx.print('done\\n') } }";
    let server = bench.conf("E11").workers(2).server(server_text).start()?;
    let folder = server.prefix.join("logs");
    let load = processes::Load::start(server.port);
    for number in 0..ROTATIONS {
        std::thread::sleep(Duration::from_millis(200));
        fs::rename(folder.join("access.log"), folder.join(format!("access.{number}")))?;
        server.signal("USR1")?;
        until("a new log", || folder.join("access.log").exists())?;
    }
    let answered = load.finish()?;
    let lines = || -> usize {
        let files = fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok);
        files.map(|file| fs::read_to_string(file.path()).map_or(0, |text| text.matches("GET /slow ").count())).sum()
    };
    // The last lines are written when their requests end, a moment after their answers came.
    let _ = until("all lines", || lines() >= answered);
    let written = lines();
    fs::rename(&folder, server.prefix.join("gone"))?;
    server.signal("USR1")?;
    until("a complaint", || server.said().contains("access.log\" failed"))?;
    let serves = (0..20).all(|_| client::answers(server.port));
    fs::create_dir(&folder)?;
    // Workers are another user where the check is run by root.
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    server.signal("USR1")?;
    until("a log in the new folder", || folder.join("access.log").exists())?;
    until("lines in it", || {
        client::answers(server.port)
            && fs::read_to_string(folder.join("access.log")).is_ok_and(|text| text.contains("GET /probe "))
    })?;
    server.finish(Workers::Same, &["access.log\" failed", "No space left on device", "/dev/full"])?;
    ensure(written == answered, || format!("{answered} requests were answered and {written} were logged"))?;
    ensure(serves, || "without its folder of logs, the server does not answer".to_owned())?;
    Ok(format!("{answered} lines over {ROTATIONS} rotations, none lost; no folder and a full disk were survived"))
}

/// E12: waits go by a clock that does not jump, and nothing gets stuck when the time of day does.
pub(super) fn clock_jumps(bench: &Bench) -> Result<String, Failure> {
    const LIBRARY: [&str; 2] =
        ["/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"];
    const DAY: &str = "86400";
    let library = LIBRARY.into_iter().find(|path| Path::new(path).exists());
    let library = library.ok_or_else(|| Failure::Tool("needs libfaketime (package faketime)".to_owned()))?;
    let location = "location = /sleep { content_by_lua_block { ngx.sleep(0.3) ngx.print('slept') } }
        location = /timer { content_by_lua_block {
            ngx.timer.at(0.3, function () ngx.shared.d:incr('fired', 1, 0) end) ngx.print('set') } }
        location = /fired { content_by_lua_block { ngx.print(ngx.shared.d:get('fired') or 0) } }
        location = /now { content_by_lua_block { ngx.update_time() ngx.print(ngx.time()) } }
        location = /keep { content_by_lua_block { ngx.shared.d:set('kept', 'yes', 60) ngx.print('ok') } }
        location = /kept { content_by_lua_block { ngx.print(tostring(ngx.shared.d:get('kept'))) } }";
    // Workers have only the variables that are named.
    let main = "env FAKETIME_TIMESTAMP_FILE; env FAKETIME_NO_CACHE; env FAKETIME_DONT_FAKE_MONOTONIC;";
    let conf = bench.conf("E12").main(main).http("lua_shared_dict d 1m; keepalive_timeout 30s;").server(location);
    let control = conf.prefix().join("clock");
    fs::create_dir_all(conf.prefix())?;
    fs::write(&control, "+0")?;
    let file = control.to_string_lossy().into_owned();
    let server = conf.start_with(&[
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", &file),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ])?;
    let ask = |path: &str| client::get(server.port, path).map(|answer| answer.body);
    let seconds = || ask("/now").ok().and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    let begin = seconds();
    let mut slowest = Duration::ZERO;
    let jumps = [(format!("+{DAY}"), "nil"), (format!("-{DAY}"), "yes"), ("+0".to_owned(), "yes")];
    for (before, (offset, kept)) in jumps.into_iter().enumerate() {
        ask("/keep")?;
        ask("/timer")?;
        let waiting = {
            let port = server.port;
            std::thread::spawn(move || {
                let begin = Instant::now();
                client::get(port, "/sleep").map(|answer| (answer.body, begin.elapsed()))
            })
        };
        std::thread::sleep(Duration::from_millis(100));
        fs::write(&control, &offset)?;
        let (body, took) =
            waiting.join().map_err(|_| Failure::Tool("the client died".to_owned()))?.map_err(Failure::from)?;
        ensure(body == "slept", || format!("at {offset} the sleeper answered {body:?}"))?;
        slowest = slowest.max(took);
        let fired = (before + 1).to_string();
        until("the timer", || ask("/fired").is_ok_and(|text| text == fired))?;
        if offset != "+0" {
            let now = seconds();
            ensure((now - begin).abs() > 80_000, || {
                format!("at {offset} the server's time is {now}, and was {begin}")
            })?;
            let found = ask("/kept")?;
            ensure(found == kept, || format!("at {offset}, what was to live for a minute is {found}"))?;
        }
    }
    server.finish(Workers::Same, &[])?;
    ensure(slowest < Duration::from_secs(2), || format!("a sleep of 300 ms took {slowest:.1?}"))?;
    Ok(format!("three jumps of a day; a sleep of 300 ms took at most {slowest:.1?}"))
}

/// System calls that fail now and then, and how. A call that is made to fail is not made: `close` is none for this list.
const FAULTS: &[(&str, &str)] = &[
    ("accept4", "ECONNABORTED"),
    ("accept4", "EMFILE"),
    ("recvfrom", "ECONNRESET"),
    ("recvfrom", "EINTR"),
    ("sendto", "EPIPE"),
    ("sendto", "EINTR"),
    ("writev", "ECONNRESET"),
    ("epoll_wait", "EINTR"),
    ("connect", "ENETUNREACH"),
    ("openat", "ENFILE"),
    ("pread64", "EIO"),
    ("setsockopt", "EINVAL"),
    ("socket", "ENOBUFS"),
];

/// E13: system calls that fail are an error of the one request that needed them.
pub(super) fn failing_calls(bench: &Bench) -> Result<String, Failure> {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        return Err(Failure::Tool("needs strace".to_owned()));
    }
    let location = "location = /lua { content_by_lua_block {
            local s = ngx.socket.tcp()
            if s:connect('127.0.0.1', ngx.var.server_port) then
                s:send('GET /probe HTTP/1.0\\r\\n\\r\\n') s:receive('*a') s:close()
            end
            ngx.print('done') } }
        location = /proxy { proxy_pass http://127.0.0.1:$server_port/probe; }
        location = /file { try_files /page.txt =404; }
        location = /body { client_body_in_file_only clean; content_by_lua_block { ngx.req.read_body() ngx.print('read') } }";
    let mut server = bench.conf("E13").server(location).start()?;
    fs::write(server.prefix.join("html/page.txt"), "x".repeat(100_000))?;
    let paths = ["/probe", "/lua", "/proxy", "/file", "/body"];
    let round = |server: &Server| -> (usize, usize) {
        let mut fine = 0;
        for path in paths {
            fine += usize::from(client::get(server.port, path).is_ok_and(|answer| answer.status == 200));
        }
        (fine, paths.len() - fine)
    };
    for _ in 0..20 {
        round(&server);
    }
    server.settle();
    let (mut fine, mut failed) = (0, 0);
    for (call, error) in FAULTS {
        let tracer = Tracer::start(&server, call, error)?;
        // A worker that has no descriptors left waits half a second before it accepts again.
        let rounds = if *error == "EMFILE" { 3 } else { 15 };
        for _ in 0..rounds {
            let (good, bad) = round(&server);
            fine += good;
            failed += bad;
        }
        tracer.stop()?;
        let begin = Instant::now();
        until(&format!("an answer after {call} failed with {error}"), || client::answers(server.port))?;
        let took = begin.elapsed();
        ensure(took < Duration::from_secs(2), || {
            format!("after {call} with {error}, the first answer took {took:.1?}")
        })?;
        let (_, bad) = round(&server);
        ensure(bad == 0, || format!("after {call} with {error}, {bad} of {} requests fail", paths.len()))?;
    }
    // The log says what failed; only what stays broken would be a finding.
    server.finish(Workers::Same, &["failed (", "() failed", "Too many open files"])?;
    ensure(failed > 0, || "no call failed: strace injected nothing".to_owned())?;
    ensure(fine > failed, || format!("{failed} requests failed and only {fine} did not"))?;
    Ok(format!("{} kinds of failures: {failed} requests felt one, {fine} did not", FAULTS.len()))
}

/// A strace that makes every fifth call of a kind fail in the workers.
struct Tracer {
    child: Child,
    _output: PathBuf,
}

impl Tracer {
    fn start(server: &Server, call: &str, error: &str) -> Result<Self, Failure> {
        let output = server.prefix.join(format!("strace.{call}.{error}"));
        let workers: BTreeSet<u32> = server.workers();
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", &format!("trace={call}")]);
        command.args(["-e", &format!("inject={call}:error={error}:when=4+5"), "-o"]).arg(&output);
        for pid in &workers {
            command.args(["-p", &pid.to_string()]);
        }
        let child = command.stderr(Stdio::null()).spawn()?;
        let is_traced = |pid: &u32| {
            let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            text.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() != "0"))
        };
        let mut tracer = Self { child, _output: output };
        let attached = until("strace attaches", || workers.iter().all(is_traced));
        if attached.is_err() {
            let _ = tracer.child.kill();
            let _ = tracer.child.wait();
            return Err(Failure::Tool("strace can't attach to the workers".to_owned()));
        }
        Ok(tracer)
    }

    fn stop(mut self) -> Outcome {
        super::server::signal(self.child.id(), "INT")?;
        self.child.wait()?;
        Ok(())
    }
}
