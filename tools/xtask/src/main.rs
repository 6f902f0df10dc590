//! Maintenance tasks: `cargo xtask TASK`.
//!
//! A task prints what it does on standard error and its result on standard output, and exits with 0, or with 1
//! where a check failed, or with 3 where it could not run.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a maintenance tool talks to its user directly")]

use std::process::ExitCode;

mod abuse;
mod arrows;
mod bench;
mod fuzz;
mod generate;
mod perl;
mod speed;
mod upstream;
mod verdicts;

const USAGE: &str = "\
usage: cargo xtask TASK

  abuse [--tier P|N|R] [--only ID] [--program PATH]
                      attack a server and check that it holds: quick checks (P, the default), nightly, before a release
  arrows              check the direction of dependencies and the size of files
  fuzz TARGET|all [--seconds N] [--seed N]
                      try what must hold for any bytes on changed seeds (default: 120 seconds a target)
  upstream [DIR]      bring the test suites of upstream modules out of Debian's source packages (default: upstream)
  gen [--check]       write the linter's tables from what the server has, or compare them
  perl DIR LIB [FILE] compare values and plans of spec files with the system's Perl; LIB is test-nginx's lib folder
  verdicts [--time] [--keep FOLDER [--kept]] [--part N/M] DIR LIB [FILE]
                      compare the verdicts of `rsty test` and of test-nginx on TEST_NGINX_BINARY, block by block;
                      --time: the wall time of both, and of `rsty test` on the built-in server;
                      --keep: keep each file's results, and do not repeat them;
                      --kept: run nothing, print what all sides have run so far;
                      --part: only run a part of the files, and keep the results
  speed [--rsty PATH] [--selene PATH] [--reindex PATH] DIR…
                      compare the linter with luacheck and selene, and the formatter with the original script, in CPU time
                      and memory on the files below DIR; needs GNU time
  bench [SECONDS] [--only CASE]
                      compare rsty with nginx in alternating runs (default: all cases, 2 seconds a run)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["abuse", options @ ..] => abuse::run(options),
        ["arrows"] => arrows::check(),
        ["fuzz", options @ ..] => fuzz::run(options),
        ["upstream"] => upstream::bring("upstream".as_ref()),
        ["perl", folder, library, files @ ..] => perl::compare(folder.as_ref(), library.as_ref(), files),
        ["verdicts", arguments @ ..] => verdicts::Options::read(arguments).and_then(|options| verdicts::run(&options)),
        ["upstream", folder] => upstream::bring(folder.as_ref()),
        ["gen"] => generate::write(false),
        ["gen", "--check"] => generate::write(true),
        ["speed", arguments @ ..] => speed::run(arguments),
        ["bench", options @ ..] => match bench_options(options) {
            Ok((seconds, only)) => bench::run(seconds, only),
            Err(failure) => Err(failure),
        },
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Findings(text)) => {
            println!("{text}");
            ExitCode::from(1)
        }
        Err(Failure::Tool(text)) => {
            eprintln!("xtask: {text}");
            ExitCode::from(3)
        }
    }
}

/// `[SECONDS] [--only CASE]`
fn bench_options<'a>(options: &[&'a str]) -> Result<(u32, Option<&'a str>), Failure> {
    let (seconds, rest) = match options {
        [seconds, rest @ ..] if !seconds.starts_with('-') => match seconds.parse() {
            Ok(seconds) => (seconds, rest),
            Err(_) => return Err(Failure::Tool(format!("\"{seconds}\" is not a number of seconds"))),
        },
        rest => (2, rest),
    };
    match rest {
        [] => Ok((seconds, None)),
        ["--only", case] => Ok((seconds, Some(case))),
        _ => Err(Failure::Tool("bench takes a number of seconds and --only CASE".to_owned())),
    }
}

/// Why a task did not end well.
#[derive(Debug)]
enum Failure {
    /// A check found something; the text says what.
    Findings(String),
    /// The task could not do its work; the text says why.
    Tool(String),
}

type Outcome = Result<(), Failure>;

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Tool(error.to_string())
    }
}
