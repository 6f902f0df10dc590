//! Reloads, deaths and upgrades of processes: E1, E3 to E5, E8 to E10.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::server::{Bench, Conf, Server, Workers, descriptors, memory_kib, signal};
use super::{client, ensure};
use crate::{Failure, Outcome};

/// How long anything may take that has no limit of its own.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clients that ask all the time.
const CLIENTS: usize = 16;

const SLOW: &str = "location = /slow { content_by_lua_block { ngx.sleep(0.1) ngx.say('done') } }\n\
                    location = /count { content_by_lua_block { ngx.say((ngx.shared.counts:incr('n', 1, 0))) } }";
const ZONE: &str = "lua_shared_dict counts 1m;";

/// E1: reloads while requests run lose none of them.
pub(super) fn reload_under_load(bench: &Bench) -> Result<String, Failure> {
    let server = slow_server(bench, "E1").start()?;
    let load = Load::start(server.port);
    for _ in 0..10 {
        server.signal("HUP")?;
        std::thread::sleep(Duration::from_millis(400));
    }
    let answered = load.finish()?;
    until("the old workers leave", || server.workers().len() == 2)?;
    server.finish(Workers::Replaced, &[])?;
    Ok(format!("{answered} requests answered over 10 reloads, none lost"))
}

/// E3: reloads leave nothing behind, and what workers share stays.
pub(super) fn many_reloads(bench: &Bench) -> Result<String, Failure> {
    const RELOADS: u32 = 500;
    let mut server = slow_server(bench, "E3").start()?;
    let reload = |server: &Server| -> Outcome {
        let before = server.workers();
        server.signal("HUP")?;
        until("the workers are replaced", || {
            let now = server.workers();
            now.len() == 2 && now.is_disjoint(&before)
        })
    };
    // The first ones find out how much memory the allocator keeps.
    for _ in 0..20 {
        reload(&server)?;
    }
    server.settle();
    client::get(server.port, "/count")?;
    let usage = |server: &Server| (descriptors(server.master()), memory_kib(server.master()));
    let before = usage(&server);
    for _ in 0..RELOADS {
        reload(&server)?;
    }
    let after = usage(&server);
    let count = client::get(server.port, "/count")?.body;
    ensure(count.trim() == "2", || format!("the shared counter is {count:?} and not 2"))?;
    ensure(after.0 <= before.0, || format!("the master had {} descriptors and has {}", before.0, after.0))?;
    let growth = after.1.saturating_sub(before.1);
    ensure(growth < 8 * 1024, || format!("the master grew by {growth} KiB"))?;
    server.finish(Workers::Replaced, &[])?;
    Ok(format!("{RELOADS} reloads: {} descriptors, {growth} KiB more in the master", after.0))
}

/// E4: a killed worker is replaced at once.
pub(super) fn killed_worker(bench: &Bench) -> Result<String, Failure> {
    let server = slow_server(bench, "E4").start()?;
    // Workers that are a second old are replaced without any wait.
    std::thread::sleep(Duration::from_millis(1100));
    let mut slowest = Duration::ZERO;
    for _ in 0..5 {
        let before = server.workers();
        let Some(victim) = before.first() else { return Err(Failure::Findings("there is no worker".into())) };
        let begin = Instant::now();
        signal(*victim, "KILL")?;
        until("a new worker", || server.workers().difference(&before).count() == 1)?;
        slowest = slowest.max(begin.elapsed());
        std::thread::sleep(Duration::from_millis(1100));
    }
    ensure(slowest < Duration::from_millis(100), || format!("a successor took {slowest:.1?}"))?;
    server.finish(Workers::Replaced, &["exited on signal 9"])?;
    Ok(format!("5 workers killed, the slowest successor after {slowest:.1?}"))
}

/// E5: a worker that dies at its start makes the master slower, not busier.
pub(super) fn crash_loop(bench: &Bench) -> Result<String, Failure> {
    // The first worker answers; the second one kills itself.
    let http = "init_worker_by_lua_block { if ngx.worker.id() == 1 then
        local ffi = require 'ffi'
        ffi.cdef 'int kill(int, int);'
        ffi.C.kill(ngx.worker.pid(), 9)
    end }";
    let server = bench.conf("E5").workers(2).http(http).start()?;
    std::thread::sleep(Duration::from_secs(7));
    let log = server.log();
    let starts = log.lines().filter(|line| line.contains("start worker process ")).count();
    ensure((5..=12).contains(&starts), || format!("{starts} workers were started in 7 s"))?;
    ensure(log.contains("died young"), || "the log does not say that workers keep dying".to_owned())?;
    ensure(client::answers(server.port), || "the other worker does not answer".to_owned())?;
    drop(server);
    Ok(format!("{starts} workers started in some 10 s"))
}

/// E8: a graceful end lets requests end, and takes no new ones.
pub(super) fn graceful_end(bench: &Bench) -> Result<String, Failure> {
    let server = slow_server(bench, "E8").start()?;
    let port = server.port;
    let request = std::thread::spawn(move || client::get(port, "/slow"));
    std::thread::sleep(Duration::from_millis(40));
    let master = server.master();
    server.signal("QUIT")?;
    let answer = request.join().map_err(|_| Failure::Tool("the client died".to_owned()))?;
    ensure(answer.is_ok_and(|answer| answer.body == "done\n"), || "the running request was lost".to_owned())?;
    let begin = Instant::now();
    until("the server ends", || server.workers().is_empty())?;
    ensure(client::connect(port).is_err(), || "a new connection was accepted".to_owned())?;
    let took = begin.elapsed();
    ensure(took < Duration::from_secs(1), || format!("master {master} took {took:.1?} after the last request"))?;
    Ok(format!("the request was answered, the end came {took:.1?} later"))
}

/// E9: workers notice that their master is gone.
pub(super) fn killed_master(bench: &Bench) -> Result<String, Failure> {
    let server = slow_server(bench, "E9").start()?;
    let workers = server.workers();
    let begin = Instant::now();
    signal(server.master(), "KILL")?;
    let is_alive = |pid: &u32| memory_kib(*pid) > 0;
    until("the workers leave", || !workers.iter().any(is_alive))?;
    let took = begin.elapsed();
    ensure(took < Duration::from_secs(2), || format!("the workers took {took:.1?}"))?;
    Ok(format!("all workers gone after {took:.1?}"))
}

/// E10: a new binary takes over under load.
pub(super) fn upgrade(bench: &Bench) -> Result<String, Failure> {
    let server = slow_server(bench, "E10").start()?;
    let pid_file = server.prefix.join("abuse.pid");
    let pid = || fs::read_to_string(&pid_file).ok().and_then(|text| text.trim().parse::<u32>().ok());
    let old = server.master();
    let load = Load::start(server.port);
    server.signal("USR2")?;
    until("the new master", || pid().is_some_and(|pid| pid != old))?;
    let new = pid().unwrap_or_default();
    std::thread::sleep(Duration::from_millis(500));
    server.signal("QUIT")?;
    std::thread::sleep(Duration::from_secs(1));
    let answered = load.finish();
    let serves = client::answers(server.port);
    signal(new, "TERM")?;
    until("the new master ends", || memory_kib(new) == 0)?;
    ensure(serves, || "the new binary does not answer".to_owned())?;
    Ok(format!("{} requests answered by two masters, none lost", answered?))
}

fn slow_server<'a>(bench: &'a Bench, name: &str) -> Conf<'a> {
    bench.conf(name).workers(2).http(ZONE).server(SLOW)
}

fn until(what: &str, holds: impl Fn() -> bool) -> Outcome {
    let begin = Instant::now();
    while !holds() {
        ensure(begin.elapsed() < PATIENCE, || format!("did not happen in time: {what}"))?;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Clients that ask for a page all the time, each time on a new connection.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Option<String>>>,
}

impl Load {
    pub(super) fn start(port: u16) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = || {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match client::get(port, "/slow") {
                        Ok(answer) if answer.status == 200 && answer.body == "done\n" => {}
                        Ok(answer) => return Some(format!("status {} {:?}", answer.status, answer.body)),
                        Err(error) => return Some(error.to_string()),
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                None
            })
        };
        let clients = (0..CLIENTS).map(|_| client()).collect();
        Self { stop, answered, clients }
    }

    /// The number of answers, when no request was lost.
    pub(super) fn finish(self) -> Result<usize, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            if let Some(reason) = client.join().unwrap_or_else(|_| Some("a client died".to_owned())) {
                return Err(Failure::Findings(format!("a request was lost: {reason}")));
            }
        }
        Ok(self.answered.load(Ordering::Relaxed))
    }
}
