//! `cargo xtask fuzz TARGET [--seconds N] [--seed N]`.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a maintenance tool talks to its user directly")]

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rsty_fuzz::driver::{self, Ending};
use rsty_fuzz::{TARGETS, Target, find};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some((targets, seconds, seed)) = options(&arguments) else {
        eprintln!("usage: cargo xtask fuzz TARGET|all [--seconds N] [--seed N]\n");
        for target in TARGETS {
            eprintln!("  {:18} {}", target.name, target.summary);
        }
        return ExitCode::from(2);
    };
    for target in targets {
        match fuzz(target, seconds, seed) {
            Ok(Ending::Fine(tried)) => println!("{}: {tried} inputs, no finding", target.name),
            Ok(Ending::Finding(input, said)) => {
                println!("{}: {said}\nwith {}", target.name, input.escape_ascii());
                return ExitCode::from(1);
            }
            Err(error) => {
                eprintln!("{}: {error}", target.name);
                return ExitCode::from(3);
            }
        }
    }
    ExitCode::SUCCESS
}

/// The targets, the seconds that each gets, and the number of the sequence of inputs.
fn options<'a>(arguments: &[&'a str]) -> Option<(Vec<&'a Target>, u64, u64)> {
    let (name, mut rest) = arguments.split_first()?;
    let targets = if *name == "all" { TARGETS.iter().collect() } else { vec![find(name)?] };
    let (mut seconds, mut seed) = (120, 1);
    while let [option, value, others @ ..] = rest {
        match *option {
            "--seconds" => seconds = value.parse().ok()?,
            "--seed" => seed = value.parse().ok()?,
            _ => return None,
        }
        rest = others;
    }
    rest.is_empty().then_some((targets, seconds, seed))
}

fn fuzz(target: &Target, seconds: u64, seed: u64) -> std::io::Result<Ending> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut seeds = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(root.join("fuzz/seeds").join(target.name))?.collect::<Result<_, _>>()?;
    files.sort_by_key(std::fs::DirEntry::file_name);
    for file in files {
        seeds.push(std::fs::read(file.path())?);
    }
    let current = std::env::temp_dir().join(format!("rsty-fuzz-{}-{}", target.name, std::process::id()));
    // Panics are told once, at the end.
    std::panic::set_hook(Box::new(|_| ()));
    let ending = driver::run(target, &seeds, seed, Duration::from_secs(seconds), &current)?;
    drop(std::panic::take_hook());
    if matches!(ending, Ending::Fine(_)) {
        std::fs::remove_file(current)?;
    }
    Ok(ending)
}
