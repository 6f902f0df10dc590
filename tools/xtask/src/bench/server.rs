//! The servers that are measured: their processes, their load.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::configuration::{Neighbours, Ports, configuration};
use super::{Load, Sample};
use crate::Failure;

/// How long a server may take to its first response.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A server that can be started.
pub(super) struct Server {
    pub(super) name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    ports: Ports,
}

impl Server {
    pub(super) fn rsty(folder: &Path, neighbours: &Neighbours) -> Result<Self, Failure> {
        let status = Command::new("cargo").args(["build", "--release", "--quiet", "--package", "rsty"]).status()?;
        if !status.success() {
            return Err(Failure::Tool("rsty does not build".to_owned()));
        }
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
        let program = fs::canonicalize(target.join("release/rsty"))?;
        let ports = Ports::free()?;
        let prefix = configuration(&folder.join("rsty"), "", ports, neighbours)?;
        let arguments = vec!["serve".into(), "-p".into(), prefix, "-c".into(), "nginx.conf".into()];
        Ok(Self { name: "rsty", program, arguments, ports })
    }

    /// `None` where it is not installed with its Lua module.
    pub(super) fn nginx(folder: &Path, neighbours: &Neighbours) -> Result<Option<Self>, Failure> {
        let modules = Path::new("/usr/lib/nginx/modules");
        let program = PathBuf::from("/usr/sbin/nginx");
        let needed = ["ndk_http_module.so", "ngx_http_lua_module.so"];
        if !program.exists() || !needed.iter().all(|name| modules.join(name).exists()) {
            return Ok(None);
        }
        let load = needed.map(|name| format!("load_module {};\n", modules.join(name).display())).concat();
        let ports = Ports::free()?;
        let prefix = configuration(&folder.join("nginx"), &load, ports, neighbours)?;
        let arguments = vec!["-p".into(), prefix, "-c".into(), "nginx.conf".into(), "-e".into(), "error.log".into()];
        Ok(Some(Self { name: "nginx", program, arguments, ports }))
    }

    pub(super) fn start(&self) -> Result<Running, Failure> {
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
            if answers(self.ports.plain) {
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
        Ok(Running { name: self.name, ports: self.ports, child, started_in: begin.elapsed() })
    }
}

/// A server process; stopped when dropped.
pub(super) struct Running {
    pub(super) name: &'static str,
    pub(super) ports: Ports,
    pub(super) started_in: Duration,
    child: Child,
}

impl Running {
    /// Asks for a path as fast as one load process can, for so long.
    pub(super) fn load(&self, load: &Load, seconds: u32) -> Result<Sample, Failure> {
        let before = self.cpu_time()?;
        let path = load.path;
        let (scheme, port) = if load.tls { ("https", self.ports.tls) } else { ("http", self.ports.plain) };
        let url = format!("{scheme}://127.0.0.1:{port}{path}");
        let output = Command::new("taskset")
            .args(["-c", "1", "wrk", "-t1", "-c64", &format!("-d{seconds}s")])
            .args(load.header.iter().flat_map(|line| ["-H", line]))
            .arg(&url)
            .output()
            .map_err(|error| Failure::Tool(format!("cannot run wrk through taskset: {error}; is wrk installed?")))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let after = self.cpu_time()?;
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
            memory_mib: self.memory_mib()?,
        })
    }

    /// User and system time of all its threads so far.
    fn cpu_time(&self) -> Result<Duration, Failure> {
        let mut nanoseconds = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            nanoseconds += text.split_whitespace().next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Its resident memory.
    pub(super) fn memory_mib(&self) -> Result<f64, Failure> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kilobytes.map(|kilobytes| kilobytes / 1024.0).ok_or_else(|| Failure::Tool("no VmRSS in /proc".to_owned()))
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

pub(super) fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Whether the server gives a complete first answer.
fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let request = b"GET /plain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = Vec::new();
    stream.write_all(request).is_ok() && stream.read_to_end(&mut answer).is_ok() && answer.starts_with(b"HTTP/1.1 200")
}
