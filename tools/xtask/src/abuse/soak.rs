//! K: a server that is used in every way for minutes, reloaded and hurt now and then, stays as good as at its start.

use std::fs;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::client;
use super::ensure;
use super::server::{Bench, Server, descriptors, memory_kib, signal};
use crate::Failure;

const CLIENTS: usize = 8;
const WORKERS: usize = 4;
const PATHS: [&str; 5] = ["/static.txt", "/lua", "/proxy", "/churn", "/app"];
/// What a kill may take with it: requests of that worker that were under way.
const AFTER_KILL: Duration = Duration::from_secs(1);
/// Slow clients that are there all the time.
const SLOW: usize = 50;

const LOCATIONS: &str = r#"
location = /lua { content_by_lua_block { ngx.sleep(0.001) ngx.print(ngx.md5(ngx.var.request_id)) } }
location = /proxy { proxy_pass http://back/probe; proxy_http_version 1.1; proxy_set_header Connection ""; }
location = /churn { content_by_lua_block {
    local zone = ngx.shared.zone
    for i = 1, 20 do zone:set(math.random(5000), ("x"):rep(math.random(500)), math.random()) end
    ngx.print(zone:incr("n", 1, 0))
} }
location = /app { lua_app app; content_by_lua_block { ngx.print(require("part").name) } }
"#;

/// What the clients noticed.
#[derive(Default)]
struct Notes {
    /// How long requests took, in microseconds, in the first and in the last fifth of the time.
    early: Vec<u64>,
    late: Vec<u64>,
    lost: Vec<String>,
}

/// K: for `minutes`.
pub(super) fn soak(bench: &Bench, minutes: f64) -> Result<String, Failure> {
    let length = Duration::from_secs_f64(minutes * 60.0);
    let port = super::server::free_port()?;
    let http = format!(
        "lua_shared_dict zone 1m; lua_app app {{ root app; }} client_header_timeout 5s;
         upstream back {{ zone back 64k; server 127.0.0.1:{port}; keepalive 8; }}
         server {{ listen 127.0.0.1:{port}; location / {{ return 200 \"behind\\n\"; }} }}"
    );
    let conf = bench.conf("K").workers(WORKERS).http(&http).server(LOCATIONS);
    let prefix = conf.prefix();
    fs::create_dir_all(prefix.join("html"))?;
    fs::create_dir_all(prefix.join("app"))?;
    fs::write(prefix.join("html/static.txt"), "s".repeat(20_000))?;
    fs::write(prefix.join("app/part.lua"), "return { name = 'part' }")?;
    let server = conf.start()?;
    let (over, answered, killed) = (AtomicBool::new(false), AtomicUsize::new(0), Mutex::new(None::<Instant>));
    let begin = Instant::now();
    let mut samples = Vec::new();
    let notes = std::thread::scope(|scope| -> Result<Notes, Failure> {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (over, answered, killed) = (&over, &answered, &killed);
                let port = server.port;
                scope.spawn(move || ask_all_the_time(port, number, begin, length, over, answered, killed))
            })
            .collect();
        let slow = scope.spawn(|| hold_heads(server.port, &over));
        let (mut reload, mut kill, mut sample) = (length / 10, length / 3, length / 20);
        while begin.elapsed() < length {
            std::thread::sleep(Duration::from_millis(200));
            let now = begin.elapsed();
            if now >= reload {
                server.signal("HUP")?;
                reload += length / 10;
            } else if now >= kill {
                *killed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
                if let Some(victim) = server.workers().last() {
                    // One that a reload has just ended is no loss.
                    let _ = signal(*victim, "KILL");
                }
                kill += length / 3;
            }
            if now >= sample {
                samples.push(figures(&server));
                sample += length / 20;
            }
        }
        over.store(true, Ordering::Relaxed);
        let mut all = Notes::default();
        for client in clients {
            let notes = client.join().map_err(|_| Failure::Tool("a client died".to_owned()))?;
            all.early.extend(notes.early);
            all.late.extend(notes.late);
            all.lost.extend(notes.lost);
        }
        slow.join().map_err(|_| Failure::Tool("the slow clients died".to_owned()))?;
        Ok(all)
    })?;
    let log = server.log();
    let alarming = log.lines().find(|line| {
        line.contains("panicked at") || (line.contains("[alert]") && !line.contains("exited on signal 9"))
    });
    ensure(alarming.is_none(), || format!("the log says: {}", alarming.unwrap_or_default()))?;
    ensure(notes.lost.is_empty(), || {
        format!("{} requests were lost, the first: {}", notes.lost.len(), notes.lost.first().map_or("", |text| text))
    })?;
    let (early, late) = (percentile(notes.early, 99), percentile(notes.late, 99));
    // Below a few milliseconds, the machine decides and not the server.
    ensure(late <= (early * 3 / 2).max(early + 5_000), || {
        format!("99 of 100 requests took at most {early} µs at the beginning and {late} µs at the end")
    })?;
    let (middle, last) = (samples.get(samples.len() / 4), samples.last());
    if let (Some(middle), Some(last)) = (middle, last) {
        ensure(last.0 <= middle.0 + middle.0 / 5 + 8 * 1024, || format!("memory grew: {samples:?}"))?;
        ensure(last.1 <= middle.1 + SLOW + 32, || format!("descriptors grew: {samples:?}"))?;
    }
    drop(server);
    Ok(format!(
        "{} requests in {minutes} min, none lost; p99 {early} µs, then {late} µs; {:?} KiB and descriptors at the end",
        answered.into_inner(),
        samples.last().copied().unwrap_or_default()
    ))
}

/// Memory and descriptors of master and workers.
fn figures(server: &Server) -> (u64, usize) {
    let all = server.figures();
    (all.memory_kib + memory_kib(server.master()), all.descriptors + descriptors(server.master()))
}

fn percentile(mut times: Vec<u64>, percent: usize) -> u64 {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0)
}

fn ask_all_the_time(
    port: u16,
    number: usize,
    begin: Instant,
    length: Duration,
    over: &AtomicBool,
    answered: &AtomicUsize,
    killed: &Mutex<Option<Instant>>,
) -> Notes {
    let mut notes = Notes::default();
    let mut turn = number;
    while !over.load(Ordering::Relaxed) {
        let path = PATHS.get(turn % PATHS.len()).copied().unwrap_or("/probe");
        turn += 1;
        let asked = Instant::now();
        match client::get(port, path) {
            Ok(answer) if answer.status == 200 => {
                answered.fetch_add(1, Ordering::Relaxed);
                let took = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
                let now = begin.elapsed();
                if now < length / 5 {
                    notes.early.push(took);
                } else if now > length.mul_f64(0.8) {
                    notes.late.push(took);
                }
            }
            failed => {
                let killed = *killed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                // A worker that is killed takes its requests with it.
                if killed.is_none_or(|at| at.elapsed() > AFTER_KILL && asked > at) {
                    notes.lost.push(match failed {
                        Ok(answer) => format!("{path}: {} {:?}", answer.status, answer.body),
                        Err(error) => format!("{path}: {error}"),
                    });
                }
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    notes
}

/// Keeps connections whose heads do not end; those that are closed come again.
fn hold_heads(port: u16, over: &AtomicBool) {
    let mut crowd = Vec::new();
    while !over.load(Ordering::Relaxed) {
        crowd.retain_mut(|stream: &mut std::net::TcpStream| {
            !client::is_closed(stream) && stream.write_all(b"X-More: a\r\n").is_ok()
        });
        while crowd.len() < SLOW {
            let Ok(mut stream) = client::connect(port) else { break };
            if stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").is_err() || stream.set_nonblocking(true).is_err() {
                break;
            }
            crowd.push(stream);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}
