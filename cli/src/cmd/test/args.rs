//! The arguments of `rsty test`.

use std::path::PathBuf;

use clap::ValueEnum;

/// Arguments of `rsty test`.
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Spec files and folders; FILE:LINE, FILE:FROM-TO or FILE:'TEST N' for a part of a file.
    #[arg(value_name = "PATH", default_value = "t")]
    pub(super) paths: Vec<String>,

    /// Run the specs on this nginx binary instead of the built-in server.
    #[arg(long, value_name = "PROGRAM", help_heading = "Server")]
    pub(super) server: Option<PathBuf>,
    /// Run each block on this server too, and show where the two differ.
    #[arg(long, value_name = "PROGRAM", help_heading = "Server", conflicts_with_all = ["watch", "bless", "interactive", "stress", "baseline", "tap"])]
    pub(super) against: Option<PathBuf>,
    /// Refuse shell commands in spec files.
    #[arg(long, help_heading = "Server", hide_short_help = true)]
    pub(super) no_shell: bool,
    /// Look here for local Perl modules.
    #[arg(short = 'I', long = "include", value_name = "FOLDER", help_heading = "Server", hide_short_help = true)]
    pub(super) include: Vec<PathBuf>,
    /// Set a variable of the environment of specs and servers, unless it is set already.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_variable, help_heading = "Server", hide_short_help = true)]
    pub(super) env: Vec<(String, String)>,

    /// Use this configuration file instead of the nearest rsty.toml.
    #[arg(long, value_name = "FILE", conflicts_with = "no_config", help_heading = "Server", hide_short_help = true)]
    pub(super) config: Option<PathBuf>,
    /// Ignore configuration files.
    #[arg(long, help_heading = "Server", hide_short_help = true)]
    pub(super) no_config: bool,

    /// Only blocks whose path and name match: words with `and`, `or`, `not`, parentheses.
    #[arg(short = 'k', long = "filter", value_name = "EXPR", help_heading = "Selection")]
    pub(super) filter: Option<String>,
    /// Only blocks that failed in the last run; all of them if none did.
    #[arg(long, help_heading = "Selection")]
    pub(super) last_failed: bool,
    /// Blocks that failed in the last run come first.
    #[arg(long, help_heading = "Selection", hide_short_help = true)]
    pub(super) failed_first: bool,
    /// Only the Nth of M parts, balanced by recorded durations.
    #[arg(long, value_name = "N/M", value_parser = parse_partition, help_heading = "Selection", hide_short_help = true)]
    pub(super) partition: Option<(usize, usize)>,
    /// Balance --partition by the durations in this file (a `records.json` of `.rsty/`).
    #[arg(long, value_name = "FILE", help_heading = "Selection", hide_short_help = true)]
    pub(super) durations: Option<PathBuf>,
    /// Print the chosen blocks and run nothing.
    #[arg(long, help_heading = "Selection")]
    pub(super) list: bool,
    /// Print the nginx.conf of the chosen blocks and run nothing.
    #[arg(long, conflicts_with = "list", help_heading = "Selection")]
    pub(super) dry_run: bool,

    /// Run again whenever a spec, or a file that its server had opened, changes.
    #[arg(long, help_heading = "Run", conflicts_with_all = ["list", "dry_run", "bless", "interactive", "stress"])]
    pub(super) watch: bool,
    /// Write what came into the sections that expected something else, after showing the difference.
    #[arg(long, help_heading = "Run", conflicts_with_all = ["list", "dry_run", "interactive", "stress"])]
    pub(super) bless: bool,
    /// As --bless, but ask for each block.
    #[arg(long, help_heading = "Run", conflicts_with_all = ["list", "dry_run", "stress"], hide_short_help = true)]
    pub(super) interactive: bool,
    /// Take unknown sections and plans that do not balance for errors.
    #[arg(long, help_heading = "Run", hide_short_help = true)]
    pub(super) strict: bool,
    /// How many blocks run at the same time.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "Run")]
    pub(super) jobs: Option<u16>,
    /// Run files in a random order; a seed repeats one.
    #[arg(long, value_name = "SEED", num_args = 0..=1, default_missing_value = "0", help_heading = "Run", hide_short_help = true)]
    pub(super) shuffle: Option<u64>,
    /// Stop after the first failed block.
    #[arg(short = 'x', long, help_heading = "Run")]
    pub(super) fail_fast: bool,
    /// Stop after N failed blocks.
    #[arg(long, value_name = "N", value_parser = parse_count, conflicts_with = "fail_fast", help_heading = "Run", hide_short_help = true)]
    pub(super) max_fail: Option<usize>,
    /// Try a failed block again, up to N times; one that then passes is reported as flaky.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Run", hide_short_help = true)]
    pub(super) retries: u32,
    /// What a flaky block counts as.
    #[arg(long, value_enum, default_value_t, value_name = "RESULT", help_heading = "Run", hide_short_help = true)]
    pub(super) flaky_result: FlakyResult,
    /// Run everything N times, and tell how often each block failed.
    #[arg(long, value_name = "N", value_parser = parse_count, help_heading = "Run", hide_short_help = true)]
    pub(super) stress: Option<usize>,
    /// Reload one server between the blocks of a file instead of starting one for each (as TEST_NGINX_USE_HUP).
    #[arg(long, help_heading = "Run", hide_short_help = true)]
    pub(super) hup: bool,
    /// Put load on each block and sample the server's memory N times (as TEST_NGINX_CHECK_LEAK).
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "100", value_parser = parse_count, conflicts_with = "benchmark", help_heading = "Run", hide_short_help = true)]
    pub(super) check_leak: Option<usize>,
    /// Measure each block's throughput and latency with so many requests, over so many connections (as TEST_NGINX_BENCHMARK).
    #[arg(long, value_name = "REQUESTS [CONNECTIONS]", value_parser = parse_benchmark, help_heading = "Run", hide_short_help = true)]
    pub(super) benchmark: Option<String>,
    /// Tell which lines of the project's Lua files ran, and write it here in lcov's form. Compiled Lua is off meanwhile.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["list", "dry_run", "watch", "against", "check_leak", "benchmark"], help_heading = "Output", hide_short_help = true)]
    pub(super) coverage: Option<PathBuf>,
    /// The client's idle timeout in seconds (as TEST_NGINX_TIMEOUT).
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, help_heading = "Run", hide_short_help = true)]
    pub(super) timeout: Option<f64>,
    /// The longest time for one block in seconds.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, default_value = "120", help_heading = "Run", hide_short_help = true)]
    pub(super) block_timeout: f64,
    /// Tell of blocks that run longer than this, and what they wait for.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, default_value = "5", help_heading = "Run", hide_short_help = true)]
    pub(super) slow: f64,

    /// The form of the output.
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Output")]
    pub(super) format: Option<Format>,
    /// Print TAP, as `prove` reads it: --format tap.
    #[arg(long, help_heading = "Output", conflicts_with_all = ["json", "format"], hide_short_help = true)]
    pub(super) tap: bool,
    /// Print JSON lines: --format json.
    #[arg(long, help_heading = "Output", conflicts_with = "format", hide_short_help = true)]
    pub(super) json: bool,
    /// Write a JUnit report.
    #[arg(long, value_name = "FILE", help_heading = "Output", hide_short_help = true)]
    pub(super) junit: Option<PathBuf>,
    /// Write an HTML report.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) html: Option<PathBuf>,
    /// Name every block, not only those that fail.
    #[arg(short, long, help_heading = "Output")]
    pub(super) verbose: bool,
    /// Keep no records of this run for --last-failed and --partition.
    #[arg(long, help_heading = "Output", hide_short_help = true)]
    pub(super) no_records: bool,
    /// No live progress.
    #[arg(short, long, help_heading = "Output", hide_short_help = true)]
    pub(super) quiet: bool,

    /// Fail only where a block in this list no longer passes.
    #[arg(long, value_name = "FILE", help_heading = "Baseline", hide_short_help = true)]
    pub(super) baseline: Option<PathBuf>,
    /// Add the blocks that pass to the baseline.
    #[arg(long, requires = "baseline", help_heading = "Baseline", hide_short_help = true)]
    pub(super) update_baseline: bool,
    /// With --update-baseline: also remove blocks that no longer pass.
    #[arg(long, requires = "update_baseline", help_heading = "Baseline", hide_short_help = true)]
    pub(super) allow_shrink: bool,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Human,
    /// JSON lines.
    Json,
    /// TAP as Test::More writes it.
    Tap,
    /// TAP version 13, with YAML diagnostics.
    Tap13,
    /// TAP version 14: a subtest each block.
    Tap14,
    /// For people, with annotations for GitHub; the default in GitHub Actions.
    Github,
}

/// What a block counts as that failed first and then passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum FlakyResult {
    /// It passed.
    #[default]
    Pass,
    /// It failed.
    Fail,
}

impl Args {
    /// The form of the output that the options and the surroundings ask for.
    pub(super) fn output_format(&self) -> Format {
        match self.format {
            Some(format) => format,
            None if self.tap => Format::Tap,
            None if self.json => Format::Json,
            None if std::env::var_os("GITHUB_ACTIONS").is_some() => Format::Github,
            None => Format::Human,
        }
    }

    /// After how many failed blocks the run ends.
    pub(super) fn failures_max(&self) -> Option<usize> {
        if self.fail_fast { Some(1) } else { self.max_fail }
    }
}

const EXAMPLES: &str = "\
Examples:
  rsty test                         every spec below t/
  rsty test t/set.t:12              the block at line 12
  rsty test -k 'cookie and not slow' --watch
  rsty test --server /usr/sbin/nginx --html report.html";

const EXIT_CODES: &str = "\
Exit codes: 0 all passed, 1 a block failed, 2 wrong usage or unusable spec file, 3 the runner could
not work, 4 nothing was selected. All options: rsty test --help";

fn parse_partition(text: &str) -> Result<(usize, usize), String> {
    let parsed = text.split_once('/').and_then(|(part, parts)| part.parse().ok().zip(parts.parse().ok()));
    match parsed {
        Some((part, parts)) if part >= 1 && part <= parts && parts <= 10_000 => Ok((part, parts)),
        _ => Err("expected N/M with N from 1 to M".to_owned()),
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds < 1e6 => Ok(seconds),
        _ => Err("expected a number of seconds above 0".to_owned()),
    }
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(count) if (1..=1_000_000).contains(&count) => Ok(count),
        _ => Err("expected a number from 1 on".to_owned()),
    }
}

/// The two numbers as the variable has them.
fn parse_benchmark(text: &str) -> Result<String, String> {
    let numbers: Result<Vec<usize>, String> = text.split([',', ' ']).map(parse_count).collect();
    match numbers.as_deref() {
        Ok([requests]) => Ok(requests.to_string()),
        Ok([requests, connections]) => Ok(format!("{requests} {connections}")),
        _ => Err("expected one number, or two with a blank between".to_owned()),
    }
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_where_they_are_read() {
        assert_eq!(parse_partition("2/4"), Ok((2, 4)));
        for wrong in ["0/4", "5/4", "x", "1/", "1/99999"] {
            assert!(parse_partition(wrong).is_err(), "{wrong}");
        }
        assert!(parse_seconds("0").is_err());
        assert!(parse_count("0").is_err());
        assert_eq!(parse_benchmark("1000 2"), Ok("1000 2".to_owned()));
        assert!(parse_benchmark("1,2,3").is_err());
        assert_eq!(parse_variable("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert!(parse_variable("=x").is_err());
    }
}
