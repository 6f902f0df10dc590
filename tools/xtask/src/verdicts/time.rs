//! `verdicts --time`: how long the same spec files take by each harness, side by side.
//!
//! The files are cut into groups, and each group is run by all three in turns, so that whatever else the machine does
//! meets all of them alike. What counts is the ratio of the sums.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::chosen;
use crate::{Failure, Outcome};

/// How many files a group has.
const GROUP: usize = 24;

/// Measures all spec files below `suite/t`, or the given ones. `library` is test-nginx's `lib`.
pub(crate) fn measure(suite: &Path, library: &Path, files: &[&str]) -> Outcome {
    let server = std::env::var_os("TEST_NGINX_BINARY")
        .ok_or_else(|| Failure::Tool("TEST_NGINX_BINARY names no server".to_owned()))?;
    let rsty = std::env::current_exe()?.with_file_name("rsty");
    let library = library.canonicalize()?;
    let files = chosen(suite, files);
    let mut sums = [Duration::ZERO; 3];
    println!("{:>6} {:>12} {:>12} {:>12}", "files", "test-nginx", "same server", "built-in");
    for group in files.chunks(GROUP) {
        let mut prove = Command::new("prove");
        prove.arg("-I").arg(&library).arg("-I.").args(group);
        let mut same = Command::new(&rsty);
        same.args(["test", "--no-records", "--quiet", "--server"]).arg(&server).args(group);
        let mut own = Command::new(&rsty);
        own.args(["test", "--no-records", "--quiet"]).args(group).env_remove("TEST_NGINX_BINARY");
        let mut times = [Duration::ZERO; 3];
        for ((command, time), sum) in [&mut prove, &mut same, &mut own].into_iter().zip(&mut times).zip(&mut sums) {
            *time = wall_time(command, suite)?;
            *sum += *time;
        }
        println!("{:>6} {}", group.len(), row(&times));
    }
    println!("{:>6} {}", files.len(), row(&sums));
    let [original, same, own] = sums.map(|time| time.as_secs_f64().max(0.001));
    println!("{:>6} {:>12} {:>10.1} × {:>10.1} ×", "faster", "", original / same, original / own);
    Ok(())
}

fn row(times: &[Duration]) -> String {
    times.iter().map(|time| format!("{:>10.1} s", time.as_secs_f64())).collect::<Vec<_>>().join(" ")
}

fn wall_time(command: &mut Command, suite: &Path) -> Result<Duration, Failure> {
    let start = Instant::now();
    // Whether all blocks pass is not the question here.
    command.current_dir(suite).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    Ok(start.elapsed())
}
