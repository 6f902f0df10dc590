//! `bench`: rsty and nginx with its Lua module, in alternating runs of one call.
//!
//! The server is pinned to the first core and the load to the second. On a shared machine requests per second rank
//! nothing by themselves; the figure to look at is the CPU time that the server spent on one request, and its ratio to
//! nginx's in the same call. Where nginx is not installed, rsty is measured alone.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Failure, Outcome};

/// Runs of each server and path; the median counts.
const ROUNDS: usize = 5;
/// Starts measured for the start-up time.
const STARTS: usize = 15;
/// How long a server may take to its first response.
const START_LIMIT: Duration = Duration::from_secs(10);

const PATHS: &[(&str, &str)] = &[
    ("hello", "/hello"),
    ("return 200", "/plain"),
    ("static 10 kB", "/static.bin"),
    ("api mix", "/mix"),
    ("capture", "/capture"),
];

/// Measures all paths, with runs of `seconds` each, and prints a table.
pub(crate) fn run(seconds: u32) -> Outcome {
    let folder = tempfile::tempdir()?;
    let mut servers = vec![Server::rsty(folder.path())?];
    match Server::nginx(folder.path())? {
        Some(nginx) => servers.push(nginx),
        None => eprintln!("bench: nginx with its Lua module is not installed; rsty is measured alone"),
    }
    let running: Vec<Running> = servers.iter().map(Server::start).collect::<Result<_, _>>()?;
    println!("{:<14} {:<6} {:>12} {:>14} {:>10}", "path", "server", "requests/s", "CPU µs/request", "RSS MiB");
    for (title, path) in PATHS {
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); servers.len()];
        for _ in 0..ROUNDS {
            for (server, rows) in running.iter().zip(&mut samples) {
                rows.push(server.load(path, seconds)?);
            }
        }
        let medians: Vec<Sample> = samples.iter().map(|rows| Sample::median(rows)).collect();
        for (server, median) in running.iter().zip(&medians) {
            let (rate, cpu, memory) = (median.rate, median.cpu_micros, median.memory_mib);
            println!("{title:<14} {:<6} {rate:>12.0} {cpu:>14.2} {memory:>10.1}", server.name);
        }
        if let [ours, theirs] = medians.as_slice() {
            println!(
                "{title:<14} ratio  {:>12.2} {:>14.2} {:>10.2}",
                ours.rate / theirs.rate,
                ours.cpu_micros / theirs.cpu_micros,
                ours.memory_mib / theirs.memory_mib
            );
        }
    }
    drop(running);
    for server in &servers {
        let mut times = Vec::new();
        for _ in 0..STARTS {
            times.push(server.start()?.started_in);
        }
        times.sort();
        let (best, middle) = (times[0], times[STARTS / 2]);
        println!("start-up to first response: {:<6} median {middle:.1?}, best {best:.1?}", server.name);
    }
    Ok(())
}

/// A server that can be started.
struct Server {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    port: u16,
}

impl Server {
    fn rsty(folder: &Path) -> Result<Self, Failure> {
        let status = Command::new("cargo").args(["build", "--release", "--quiet", "--package", "rsty"]).status()?;
        if !status.success() {
            return Err(Failure::Tool("rsty does not build".to_owned()));
        }
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
        let program = fs::canonicalize(target.join("release/rsty"))?;
        let port = free_port()?;
        let prefix = configuration(&folder.join("rsty"), "", port)?;
        let arguments = vec!["serve".into(), "-p".into(), prefix, "-c".into(), "nginx.conf".into()];
        Ok(Self { name: "rsty", program, arguments, port })
    }

    fn nginx(folder: &Path) -> Result<Option<Self>, Failure> {
        let modules = Path::new("/usr/lib/nginx/modules");
        let program = PathBuf::from("/usr/sbin/nginx");
        let needed = ["ndk_http_module.so", "ngx_http_lua_module.so"];
        if !program.exists() || !needed.iter().all(|name| modules.join(name).exists()) {
            return Ok(None);
        }
        let load = needed.map(|name| format!("load_module {};\n", modules.join(name).display())).concat();
        let port = free_port()?;
        let prefix = configuration(&folder.join("nginx"), &load, port)?;
        let arguments = vec!["-p".into(), prefix, "-c".into(), "nginx.conf".into(), "-e".into(), "error.log".into()];
        Ok(Some(Self { name: "nginx", program, arguments, port }))
    }

    fn start(&self) -> Result<Running, Failure> {
        let begin = Instant::now();
        let mut child = Command::new("taskset")
            .args(["-c", "0"])
            .arg(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| Failure::Tool(format!("cannot start {} through taskset: {error}", self.name)))?;
        loop {
            if answers(self.port) {
                break;
            }
            if let Some(status) = child.try_wait()? {
                return Err(Failure::Tool(format!("{} ended at its start: {status}", self.name)));
            }
            if begin.elapsed() > START_LIMIT {
                child.kill()?;
                child.wait()?;
                return Err(Failure::Tool(format!("{} does not answer", self.name)));
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(Running { name: self.name, port: self.port, child, started_in: begin.elapsed() })
    }
}

/// A server process; stopped when dropped.
struct Running {
    name: &'static str,
    port: u16,
    child: Child,
    started_in: Duration,
}

impl Running {
    fn load(&self, path: &str, seconds: u32) -> Result<Sample, Failure> {
        let before = cpu_time(self.child.id())?;
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let output = Command::new("taskset")
            .args(["-c", "1", "wrk", "-t1", "-c64", &format!("-d{seconds}s"), &url])
            .output()
            .map_err(|error| Failure::Tool(format!("cannot run wrk through taskset: {error}; is wrk installed?")))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let after = cpu_time(self.child.id())?;
        if text.contains("Non-2xx") || !output.status.success() {
            return Err(Failure::Tool(format!("{} failed under load at {path}:\n{text}", self.name)));
        }
        let requests = text
            .lines()
            .find_map(|line| line.trim().split_once(" requests in ")?.0.parse::<f64>().ok())
            .ok_or_else(|| Failure::Tool(format!("wrk's answer has no count of requests:\n{text}")))?;
        Ok(Sample {
            rate: requests / f64::from(seconds),
            cpu_micros: after.saturating_sub(before).as_secs_f64() * 1e6 / requests,
            memory_mib: memory_mib(self.child.id())?,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended {
            eprintln!("bench: {} (process {}) could not be stopped: {error}", self.name, self.child.id());
        }
    }
}

#[derive(Clone, Copy)]
struct Sample {
    rate: f64,
    cpu_micros: f64,
    memory_mib: f64,
}

impl Sample {
    fn median(samples: &[Self]) -> Self {
        let middle = |field: fn(&Self) -> f64| {
            let mut values: Vec<f64> = samples.iter().map(field).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Self { rate: middle(|s| s.rate), cpu_micros: middle(|s| s.cpu_micros), memory_mib: middle(|s| s.memory_mib) }
    }
}

/// Writes the folder with its configuration; the answer is the prefix.
fn configuration(prefix: &Path, load_modules: &str, port: u16) -> Result<String, Failure> {
    fs::create_dir_all(prefix.join("html"))?;
    fs::create_dir_all(prefix.join("logs"))?;
    fs::write(prefix.join("html/static.bin"), vec![b'x'; 10_000])?;
    let text = format!(
        r#"{load_modules}daemon off;
master_process off;
error_log error.log warn;
pid bench.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    server {{
        listen 127.0.0.1:{port};
        root html;
        location = /hello {{ content_by_lua_block {{ ngx.say("hello") }} }}
        location = /plain {{ return 200 "hello\n"; }}
        location = /capture {{
            content_by_lua_block {{
                local response = ngx.location.capture("/plain")
                ngx.print(response.body)
            }}
        }}
        location = /mix {{
            content_by_lua_block {{
                local headers = ngx.req.get_headers()
                local found = ngx.re.match(ngx.var.uri, "^/(m)(i)x", "jo")
                ngx.header["X-One"] = ngx.var.request_method
                ngx.header["X-Two"] = found[1]
                ngx.header["X-Three"] = headers["host"]
                ngx.say("hello")
            }}
        }}
    }}
}}
"#
    );
    fs::write(prefix.join("nginx.conf"), text)?;
    Ok(format!("{}/", prefix.display()))
}

fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Whether the server gives a complete first answer.
fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let request = b"GET /plain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = Vec::new();
    stream.write_all(request).is_ok() && stream.read_to_end(&mut answer).is_ok() && answer.starts_with(b"HTTP/1.1 200")
}

/// User and system time of a process so far.
fn cpu_time(pid: u32) -> Result<Duration, Failure> {
    const TICK: Duration = Duration::from_millis(10);
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command's name stands in parentheses and may hold anything; the fields behind it are numbers.
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u32 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    Ok(TICK * ticks)
}

fn memory_mib(pid: u32) -> Result<f64, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kilobytes.map(|kilobytes| kilobytes / 1024.0).ok_or_else(|| Failure::Tool("no VmRSS in /proc".to_owned()))
}
