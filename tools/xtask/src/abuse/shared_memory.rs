//! Workers that die while they hold the lock of a shared dictionary, and Lua that runs in the wrong moment.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::client;
use super::ensure;
use super::server::{Bench, Workers, signal};
use crate::Failure;

/// How many workers are killed, and how long that may take.
const KILLS: usize = 300;
const LIMIT: Duration = Duration::from_mins(2);
/// A worker that lives for more than a second is replaced at once; so many of them are never younger when it is their turn.
const WORKERS: usize = 8;
const BETWEEN: Duration = Duration::from_millis(150);
const CLIENTS: usize = 4;

/// Each request spends nearly all its time inside the zone. What it says: increments done, the longest operation in
/// milliseconds, and the values that were not what had been stored.
const CHURN: &str = r#"
location = /churn { content_by_lua_block {
    local zone, longest, bad = ngx.shared.zone, 0, 0
    local function timed(...)
        ngx.update_time()
        local begin = ngx.now()
        local result = zone[...](zone, select(2, ...))
        ngx.update_time()
        longest = math.max(longest, (ngx.now() - begin) * 1000)
        return result
    end
    local key = ngx.var.arg_client
    for i = 1, 40 do
        local name = key .. ":" .. i
        local kept = timed("get", name)
        if kept and kept ~= ngx.md5(kept:sub(33)) .. kept:sub(33) then bad = bad + 1 end
        local text = name .. (" "):rep(math.random(3000))
        timed("set", name, ngx.md5(text) .. text, i % 3 == 0 and 0.05 or 0)
        timed("lpush", "list" .. key, name)
        if i % 2 == 0 then timed("rpop", "list" .. key) end
        timed("expire", name, 1)
    end
    local sum, refused = zone:incr("count" .. key, 1, 0)
    if not sum then bad = bad + 1 end
    ngx.print(math.floor(longest), " ", bad)
} }
location = /count { content_by_lua_block { ngx.print(ngx.shared.counts:get(ngx.var.arg_client) or 0) } }
location = /add { content_by_lua_block {
    for _ = 1, 20 do ngx.shared.counts:incr(ngx.var.arg_client, 1, 0) end
    ngx.print("added")
} }
"#;

/// E6: whatever a dying worker was doing in a zone is undone: nothing waits, nothing is damaged, nothing acknowledged
/// is lost.
pub(super) fn killed_inside(bench: &Bench) -> Result<String, Failure> {
    let http = "lua_shared_dict zone 256k; lua_shared_dict counts 64k;";
    let server = bench.conf("E6").workers(WORKERS).http(http).server(CHURN).start()?;
    let port = server.port;
    let over = AtomicBool::new(false);
    let longest = AtomicU64::new(0);
    let bad = AtomicU64::new(0);
    let mut kills = 0;
    let added: Vec<u64> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (over, longest, bad) = (&over, &longest, &bad);
                scope.spawn(move || {
                    let mut added = 0;
                    while !over.load(Ordering::Relaxed) {
                        // A connection that dies with its worker is no finding; what was answered has to be true.
                        if let Ok(answer) = client::get(port, &format!("/churn?client={client}")) {
                            let mut words = answer.body.split(' ').map(|word| word.parse::<u64>().unwrap_or(u64::MAX));
                            longest.fetch_max(words.next().unwrap_or(u64::MAX), Ordering::Relaxed);
                            bad.fetch_add(words.next().unwrap_or(1), Ordering::Relaxed);
                        }
                        if client::get(port, &format!("/add?client={client}"))
                            .is_ok_and(|answer| answer.body == "added")
                        {
                            added += 20;
                        }
                    }
                    added
                })
            })
            .collect();
        let begin = Instant::now();
        while kills < KILLS && begin.elapsed() < LIMIT {
            let workers = server.workers();
            // Process ids grow: the oldest one comes first.
            if workers.len() == WORKERS
                && let Some(victim) = workers.first()
                && signal(*victim, "KILL").is_ok()
            {
                kills += 1;
            }
            std::thread::sleep(BETWEEN + Duration::from_micros((kills as u64 * 1313) % 9000));
        }
        over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap_or(0)).collect()
    });
    let mut lost = 0;
    for (client, added) in added.iter().enumerate() {
        let kept: u64 = client::get(port, &format!("/count?client={client}"))?.body.parse().unwrap_or(0);
        lost += added.saturating_sub(kept);
    }
    let undone = server.log().matches("was undone").count();
    server.finish(Workers::Replaced, &["exited on signal 9", "died young"])?;
    let (longest, bad) = (longest.into_inner(), bad.into_inner());
    let added: u64 = added.iter().sum();
    ensure(kills == KILLS, || format!("only {kills} workers could be killed in time"))?;
    ensure(bad == 0, || format!("{bad} values were damaged"))?;
    ensure(lost == 0, || format!("{lost} of {added} acknowledged increments were lost"))?;
    ensure(longest <= 200, || format!("an operation took {longest} ms"))?;
    Ok(format!("{kills} kills, {undone} changes undone, {added} increments kept, longest operation {longest} ms"))
}

/// E7: finalizers that run while a value is made from a zone's content may use the zone themselves.
pub(super) fn finalizers(bench: &Bench) -> Result<String, Failure> {
    let location = r#"
    location = /gc { content_by_lua_block {
        local zone, runs = ngx.shared.zone, 0
        zone:set("text", ("x"):rep(20000))
        zone:rpush("list", ("y"):rep(5000))
        collectgarbage("setpause", 50)
        for i = 1, 20000 do
            local proxy = newproxy(true)
            getmetatable(proxy).__gc = function()
                runs = runs + 1
                zone:set("inner", runs)
                zone:get("text")
                zone:incr("count", 1, 0)
            end
            proxy = nil
            zone:get("text")
            zone:lpush("list", zone:rpop("list"))
            if i % 100 == 0 then zone:get_keys(0) end
        end
        collectgarbage()
        ngx.print(runs > 1000 and zone:get("count") == runs and "fine" or "runs: " .. runs)
    } }"#;
    let mut server = bench.conf("E7").http("lua_shared_dict zone 1m;").server(location).start()?;
    let begin = Instant::now();
    let answer = client::get(server.port, "/gc");
    let took = begin.elapsed();
    let answer = answer.map_err(|error| Failure::Findings(format!("no answer after {took:.1?}: {error}")))?;
    ensure(answer.body == "fine", || format!("answered {} with {}", answer.status, answer.body))?;
    server.settle();
    server.finish(Workers::Same, &[])?;
    Ok(format!("20000 finalizers in {took:.1?}"))
}
