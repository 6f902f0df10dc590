//! `abuse`: what hostile clients, dying workers and careless Lua do to a server, as checks that pass or fail.
//!
//! Each check starts a server of its own on a free loopback port, with a folder of its own, does one kind of harm for a
//! bounded time, and looks at two things: the figures that the check is about, and what holds after any of them
//! ([`Server::finish`]): no worker died unasked, nothing alarming stands in the log, descriptors and memory are back
//! where they were, and a plain request is answered.
//!
//! | file | knows |
//! |---|---|
//! | `server.rs` | a server under test: start, workers, figures from `/proc`, post-conditions |
//! | `client.rs` | a small HTTP client and the probe that asks for a page all the time |
//! | `clients.rs` | slow and greedy clients: C1 to C6 |
//! | `processes.rs` | reloads, deaths and upgrades of processes: E1, E3 to E5, E8 to E10 |
//! | `soak.rs` | everything at once for minutes: K |
//! | `shared_memory.rs` | workers that die while they hold a zone's lock: E6, E7 |
//! | `faults.rs` | bad configurations, logs, clocks and system calls: E2, E11 to E13 |
//! | `scripts.rs` | leaks, aborted requests and hostile peers of cosockets: F5 to F7 |
//!
//! A new check is a row in [`CHECKS`] and a function that returns its figures, or [`Failure::Findings`].

mod client;
mod clients;
mod faults;
mod processes;
mod scripts;
mod server;
mod shared_memory;
mod soak;

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use server::Bench;

use crate::{Failure, Outcome};

/// How often a check is worth its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    /// At every change: a few seconds.
    Change,
    /// Every night: up to a minute.
    Night,
    /// Before a release.
    Release,
}

/// One kind of harm.
struct Check {
    id: &'static str,
    tier: Tier,
    title: &'static str,
    run: fn(&Bench) -> Result<String, Failure>,
}

const CHECKS: &[Check] = &[
    Check { id: "C1", tier: Tier::Night, title: "heads that never end", run: clients::slow_heads },
    Check { id: "C2", tier: Tier::Night, title: "bodies that trickle", run: clients::slow_bodies },
    Check { id: "C3", tier: Tier::Night, title: "clients that do not read", run: clients::slow_readers },
    Check { id: "C4", tier: Tier::Night, title: "thousands of idle connections", run: clients::idle_flood },
    Check { id: "C5", tier: Tier::Change, title: "no descriptors left", run: clients::no_descriptors },
    Check { id: "C6", tier: Tier::Change, title: "no room for a body's file", run: clients::full_disk },
    Check { id: "E1", tier: Tier::Change, title: "reloads under load", run: processes::reload_under_load },
    Check { id: "E2", tier: Tier::Change, title: "bad reloads", run: faults::bad_reloads },
    Check { id: "E3", tier: Tier::Night, title: "500 reloads", run: processes::many_reloads },
    Check { id: "E4", tier: Tier::Change, title: "killed workers", run: processes::killed_worker },
    Check { id: "E5", tier: Tier::Change, title: "a worker that dies at its start", run: processes::crash_loop },
    Check { id: "E6", tier: Tier::Night, title: "workers killed inside a zone", run: shared_memory::killed_inside },
    Check { id: "E7", tier: Tier::Change, title: "finalizers that use a zone", run: shared_memory::finalizers },
    Check { id: "E8", tier: Tier::Change, title: "a graceful end", run: processes::graceful_end },
    Check { id: "E9", tier: Tier::Change, title: "a killed master", run: processes::killed_master },
    Check { id: "E10", tier: Tier::Change, title: "a new binary under load", run: processes::upgrade },
    Check { id: "E11", tier: Tier::Change, title: "logs that move and fill up", run: faults::logs },
    Check { id: "E12", tier: Tier::Night, title: "clocks that jump", run: faults::clock_jumps },
    Check { id: "E13", tier: Tier::Night, title: "system calls that fail", run: faults::failing_calls },
    Check { id: "F5", tier: Tier::Night, title: "leaks by area of the API", run: scripts::leaks },
    Check { id: "F6", tier: Tier::Change, title: "clients that leave at every byte", run: scripts::aborts },
    Check { id: "F7", tier: Tier::Change, title: "hostile peers of cosockets", run: scripts::hostile_peers },
    Check {
        id: "K",
        tier: Tier::Release,
        title: "everything for minutes",
        run: |bench| soak::soak(bench, bench.minutes),
    },
];

/// Runs the checks that `arguments` choose: `--tier P|N|R` (default P), `--only ID`, `--program PATH`, `--minutes N`
/// (of K, default 5).
pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let (mut tier, mut only, mut program, mut minutes) = (Tier::Change, None, None, 5.0);
    let mut rest = arguments.iter();
    while let Some(option) = rest.next() {
        let value = rest.next().ok_or_else(|| Failure::Tool(format!("{option} needs a value")))?;
        match *option {
            "--tier" => tier = tier_of(value)?,
            "--only" => only = Some(*value),
            "--minutes" => {
                let number = value.parse::<f64>().ok().filter(|minutes| (0.1..=600.0).contains(minutes));
                minutes = number.ok_or_else(|| Failure::Tool(format!("{value} minutes can't be run")))?;
            }
            "--program" => program = Some(PathBuf::from(value)),
            _ => return Err(Failure::Tool(format!("unknown option {option}"))),
        }
    }
    let chosen: Vec<&Check> =
        CHECKS.iter().filter(|check| only.map_or(check.tier <= tier, |id| check.id.eq_ignore_ascii_case(id))).collect();
    if chosen.is_empty() {
        return Err(Failure::Tool(format!("no check is called {}", only.unwrap_or_default())));
    }
    let program = match program {
        Some(program) => program,
        None => built()?,
    };
    let bench = Bench::new(program, minutes)?;
    let mut failed = Vec::new();
    for check in chosen {
        let begin = Instant::now();
        let (word, text) = match (check.run)(&bench) {
            Ok(figures) => ("pass", figures),
            Err(Failure::Findings(reason)) => ("fail", reason),
            Err(Failure::Tool(reason)) => ("fail", format!("could not run: {reason}")),
        };
        println!("{} {word} {text} ({}, {:.1} s)", check.id, check.title, begin.elapsed().as_secs_f64());
        if word == "fail" {
            failed.push(check.id);
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::Findings(format!("abuse: failed: {}; logs are in {}", failed.join(", "), bench.keep()?.display())))
}

fn tier_of(letter: &str) -> Result<Tier, Failure> {
    match letter {
        "P" => Ok(Tier::Change),
        "N" => Ok(Tier::Night),
        "R" => Ok(Tier::Release),
        _ => Err(Failure::Tool(format!("there is no tier {letter}; tiers are P, N and R"))),
    }
}

/// The release build of the working copy, made if need be.
fn built() -> Result<PathBuf, Failure> {
    let status = Command::new("cargo").args(["build", "--release", "--quiet", "--package", "rsty"]).status()?;
    if !status.success() {
        return Err(Failure::Tool("rsty does not build".to_owned()));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    Ok(target.join("release/rsty"))
}

/// An error that is the server's fault, unless `holds`.
fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(Failure::Findings(reason())) }
}
