//! Slow and greedy clients.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::client::{self, KeptAlive, Probe};
use super::ensure;
use super::server::{Bench, Server, Workers};
use crate::Failure;

const TIMEOUTS: &str = "client_header_timeout 3s; client_body_timeout 3s; send_timeout 3s; keepalive_timeout 30s;\n";
/// The timeout above, and what a check may wait beyond it.
const TIMEOUT: Duration = Duration::from_secs(3);
const GRACE: Duration = Duration::from_secs(2);
const SLOW_CLIENTS: usize = 400;
const IDLE_CLIENTS: usize = 5000;
const BIG_FILE: usize = 8 << 20;

/// Connections that do not block.
fn crowd(port: u16, count: usize, greeting: &[u8]) -> Result<Vec<TcpStream>, Failure> {
    let mut crowd = Vec::new();
    for _ in 0..count {
        let mut stream = client::connect(port)?;
        stream.write_all(greeting)?;
        stream.set_nonblocking(true)?;
        crowd.push(stream);
    }
    Ok(crowd)
}

/// Sends a piece on each connection every half second, for `time` or until all of them are closed.
fn trickle(crowd: &mut Vec<TcpStream>, piece: &[u8], time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time && !crowd.is_empty() {
        crowd.retain_mut(|stream| !client::is_closed(stream) && stream.write_all(piece).is_ok());
        std::thread::sleep(Duration::from_millis(500));
    }
    crowd.retain_mut(|stream| !client::is_closed(stream));
}

/// C1: request heads that grow by a line now and then are cut off by the timeout for the whole head.
pub(super) fn slow_heads(bench: &Bench) -> Result<String, Failure> {
    let server = bench.conf("C1").http(TIMEOUTS).start()?;
    let probe = Probe::start(server.port);
    let mut crowd = crowd(server.port, SLOW_CLIENTS, b"GET / HTTP/1.1\r\nHost: localhost\r\n")?;
    trickle(&mut crowd, b"X-More: a\r\n", TIMEOUT + GRACE);
    let closed = SLOW_CLIENTS - crowd.len();
    drop(crowd);
    probe.finish()?;
    server.finish(Workers::Same, &[])?;
    ensure(closed * 100 >= SLOW_CLIENTS * 95, || format!("only {closed} of {SLOW_CLIENTS} were closed in time"))?;
    Ok(format!("{closed} of {SLOW_CLIENTS} closed in time"))
}

/// C2: bodies that trickle are waited for, since the timeout is that between two reads; silent ones are cut off.
pub(super) fn slow_bodies(bench: &Bench) -> Result<String, Failure> {
    let location = "location = /body { content_by_lua_block { ngx.req.read_body() ngx.say('read') } }";
    let server = bench.conf("C2").http(TIMEOUTS).server(location).start()?;
    let probe = Probe::start(server.port);
    let head = b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n";
    let mut crowd = crowd(server.port, SLOW_CLIENTS, head)?;
    trickle(&mut crowd, b"x", TIMEOUT + GRACE);
    let held = crowd.len();
    std::thread::sleep(TIMEOUT + GRACE);
    crowd.retain_mut(|stream| !client::is_closed(stream));
    let left = crowd.len();
    drop(crowd);
    probe.finish()?;
    server.finish(Workers::Same, &[])?;
    ensure(held == SLOW_CLIENTS, || format!("only {held} of {SLOW_CLIENTS} were held while they sent"))?;
    ensure(left == 0, || format!("{left} of {SLOW_CLIENTS} are still open after they fell silent"))?;
    Ok(format!("{held} held while they sent, all closed when silent"))
}

/// C3: clients that ask for a large file and do not read it cost little memory, and are cut off.
pub(super) fn slow_readers(bench: &Bench) -> Result<String, Failure> {
    const READERS: usize = 200;
    // A script is told when nobody takes what it sent; one that goes on regardless is not stopped, as in nginx.
    let lua = "location = /big.lua { content_by_lua_block { local piece = ('x'):rep(65536)
        for _ = 1, 128 do ngx.print(piece) if not ngx.flush(true) then return ngx.exit(444) end end } }";
    let conf = bench.conf("C3").http(TIMEOUTS).server(lua);
    let prefix = conf.prefix();
    fs::create_dir_all(prefix.join("html"))?;
    fs::write(prefix.join("html/big"), vec![b'x'; BIG_FILE])?;
    let server = conf.start()?;
    let probe = Probe::start(server.port);
    let mut crowd = crowd(server.port, READERS / 2, b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    crowd.extend(self::crowd(server.port, READERS / 2, b"GET /big.lua HTTP/1.1\r\nHost: localhost\r\n\r\n")?);
    std::thread::sleep(TIMEOUT / 2);
    let during = server.figures();
    let each = during.memory_kib.saturating_sub(server.before().memory_kib) / READERS as u64;
    std::thread::sleep(TIMEOUT / 2 + GRACE);
    let open = server.figures().descriptors.saturating_sub(server.before().descriptors);
    drop(crowd);
    probe.finish()?;
    server.finish(Workers::Same, &[])?;
    ensure(each <= 128, || format!("{each} KiB for a client that does not read"))?;
    // The probe may have a connection open.
    ensure(open <= 1, || format!("{open} connections are still open after the timeout"))?;
    Ok(format!("{each} KiB a client, all closed in time"))
}

/// C4: idle connections are cheap, and where no more fit, idle ones make room for new requests.
pub(super) fn idle_flood(bench: &Bench) -> Result<String, Failure> {
    let server = bench.conf("C4").connections(IDLE_CLIENTS + 200).http(TIMEOUTS).start()?;
    let probe = Probe::start(server.port);
    let request = b"GET /probe HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let idle = crowd(server.port, IDLE_CLIENTS, request)?;
    std::thread::sleep(Duration::from_millis(500));
    let grown = server.figures().memory_kib.saturating_sub(server.before().memory_kib);
    probe.finish()?;
    drop(idle);
    server.finish(Workers::Same, &[])?;
    let bytes = grown * 1024 / IDLE_CLIENTS as u64;
    ensure(bytes < 20_000, || format!("{bytes} bytes for an idle connection"))?;

    let server = bench.conf("C4-cap").connections(128).http(TIMEOUTS).start()?;
    let idle = crowd(server.port, 100, request)?;
    let mut answered = 0;
    let mut active = Vec::new();
    for _ in 0..60 {
        let mut client = KeptAlive::open(server.port)?;
        answered += usize::from(client.get("/probe").is_ok_and(|answer| answer.status == 200));
        active.push(client);
    }
    drop((idle, active));
    server.finish(Workers::Same, &[])?;
    ensure(answered == 60, || format!("only {answered} of 60 requests beyond the cap were answered"))?;
    Ok(format!("{bytes} bytes an idle connection; idle ones make room at the cap"))
}

/// C5: without free descriptors the worker waits quietly, serves those it has, and recovers at once.
pub(super) fn no_descriptors(bench: &Bench) -> Result<String, Failure> {
    const WAIT: Duration = Duration::from_secs(3);
    let server = bench.conf("C5").main("worker_rlimit_nofile 48;").start()?;
    let mut regular = KeptAlive::open(server.port)?;
    regular.get("/probe")?;
    let crowd: Vec<TcpStream> = (0..80).map(|_| client::connect(server.port)).collect::<Result<_, _>>()?;
    let cpu = server.cpu_time();
    std::thread::sleep(WAIT / 2);
    let served = regular.get("/probe").is_ok_and(|answer| answer.status == 200);
    std::thread::sleep(WAIT / 2);
    let busy = server.cpu_time().saturating_sub(cpu).as_secs_f64() / WAIT.as_secs_f64();
    let lines = server.log().matches("Too many open files").count();
    drop(crowd);
    let begin = Instant::now();
    let answered = client::answers(server.port);
    let recovered = begin.elapsed();
    drop(regular);
    server.finish(Workers::Same, &["Too many open files", "worker_connections exceed"])?;
    ensure(served, || "a connection that was there before is not served".to_owned())?;
    ensure(busy < 0.2, || format!("the worker used {:.0} % of a core while it could accept nothing", busy * 100.0))?;
    ensure(lines <= 20, || format!("{lines} lines about it in the log"))?;
    ensure(answered && recovered < Duration::from_secs(1), || format!("recovered only after {recovered:.1?}"))?;
    Ok(format!("{:.0} % of a core, {lines} log lines, recovered in {recovered:.1?}", busy * 100.0))
}

/// C6: a body that does not fit on the disk is an error of that request alone, and leaves no file.
pub(super) fn full_disk(bench: &Bench) -> Result<String, Failure> {
    let location = "location = /body { content_by_lua_block { ngx.req.read_body() ngx.say('read') } }";
    let conf = bench.conf("C6");
    let disk = conf.prefix().join("disk");
    fs::create_dir_all(&disk)?;
    let mount = SmallDisk::mount(&disk)?;
    let http =
        format!("client_max_body_size 20m; client_body_buffer_size 4k; client_body_temp_path {};", disk.display());
    let server = conf.http(&http).server(location).start()?;
    let probe = Probe::start(server.port);
    let small = post(&server, 100_000)?;
    let large = post(&server, 4 << 20)?;
    let after = post(&server, 100_000)?;
    probe.finish()?;
    let left = walkdir::WalkDir::new(&disk).into_iter().filter_map(Result::ok).filter(|e| e.file_type().is_file());
    let left = left.count();
    server.finish(Workers::Same, &[])?;
    drop(mount);
    ensure(small == 200 && after == 200, || format!("bodies that fit were answered with {small} and {after}"))?;
    ensure(matches!(large, 500 | 507), || format!("a body that does not fit was answered with {large}"))?;
    ensure(left == 0, || format!("{left} files were left"))?;
    Ok(format!("{large} for the body that did not fit, no file left"))
}

/// The status of a request with a body of that size; 0 when the connection ended without one.
fn post(server: &Server, size: usize) -> Result<u16, Failure> {
    let mut stream = client::connect(server.port)?;
    write!(stream, "POST /body HTTP/1.0\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n")?;
    // The server may answer and close before it has read everything.
    let sent = stream.write_all(&vec![b'x'; size]);
    let mut answer = Vec::new();
    let received = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    if status == 0 {
        eprintln!("abuse: no answer to {size} bytes: sent {sent:?}, received {received:?}");
    }
    Ok(status)
}

/// A file system of a megabyte, gone when dropped. It takes the rights of the superuser.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path) -> Result<Self, Failure> {
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m,mode=1777", "abuse"]).arg(at).status()?;
        if !status.success() {
            return Err(Failure::Tool("mounting a small file system takes root's rights".to_owned()));
        }
        fs::set_permissions(at, fs::Permissions::from_mode(0o1777))?;
        Ok(Self(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        match Command::new("umount").arg(self.0).status() {
            Ok(status) if status.success() => {}
            other => eprintln!("abuse: cannot unmount {}: {other:?}", self.0.display()),
        }
    }
}
