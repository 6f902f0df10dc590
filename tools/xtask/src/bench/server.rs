//! The servers that are measured: their configuration, their processes, their load.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Sample;
use crate::Failure;

/// How long a server may take to its first response.
const START_LIMIT: Duration = Duration::from_secs(10);

/// The ports of what stands behind the servers.
#[derive(Clone, Copy)]
pub(super) struct Neighbours {
    pub(super) redis: Option<u16>,
    pub(super) backend: Option<u16>,
}

/// A server that can be started.
pub(super) struct Server {
    pub(super) name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    port: u16,
}

impl Server {
    pub(super) fn rsty(folder: &Path, neighbours: Neighbours) -> Result<Self, Failure> {
        let status = Command::new("cargo").args(["build", "--release", "--quiet", "--package", "rsty"]).status()?;
        if !status.success() {
            return Err(Failure::Tool("rsty does not build".to_owned()));
        }
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
        let program = fs::canonicalize(target.join("release/rsty"))?;
        let port = free_port()?;
        let prefix = configuration(&folder.join("rsty"), "", port, neighbours)?;
        let arguments = vec!["serve".into(), "-p".into(), prefix, "-c".into(), "nginx.conf".into()];
        Ok(Self { name: "rsty", program, arguments, port })
    }

    /// `None` where it is not installed with its Lua module.
    pub(super) fn nginx(folder: &Path, neighbours: Neighbours) -> Result<Option<Self>, Failure> {
        let modules = Path::new("/usr/lib/nginx/modules");
        let program = PathBuf::from("/usr/sbin/nginx");
        let needed = ["ndk_http_module.so", "ngx_http_lua_module.so"];
        if !program.exists() || !needed.iter().all(|name| modules.join(name).exists()) {
            return Ok(None);
        }
        let load = needed.map(|name| format!("load_module {};\n", modules.join(name).display())).concat();
        let port = free_port()?;
        let prefix = configuration(&folder.join("nginx"), &load, port, neighbours)?;
        let arguments = vec!["-p".into(), prefix, "-c".into(), "nginx.conf".into(), "-e".into(), "error.log".into()];
        Ok(Some(Self { name: "nginx", program, arguments, port }))
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
pub(super) struct Running {
    pub(super) name: &'static str,
    pub(super) port: u16,
    pub(super) started_in: Duration,
    child: Child,
}

impl Running {
    /// Asks for a path as fast as one load process can, for so long.
    pub(super) fn load(&self, path: &str, seconds: u32) -> Result<Sample, Failure> {
        let before = self.cpu_time()?;
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let output = Command::new("taskset")
            .args(["-c", "1", "wrk", "-t1", "-c64", &format!("-d{seconds}s"), &url])
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

/// Writes the folder with its configuration; the answer is the prefix.
fn configuration(prefix: &Path, load_modules: &str, port: u16, neighbours: Neighbours) -> Result<String, Failure> {
    fs::create_dir_all(prefix.join("html"))?;
    fs::create_dir_all(prefix.join("logs"))?;
    fs::write(prefix.join("html/static.bin"), vec![b'x'; 10_000])?;
    // The discard port stands for what is not there; its cases are left out.
    let (redis, backend) = (neighbours.redis.unwrap_or(9), neighbours.backend.unwrap_or(9));
    let text = format!(
        r#"{load_modules}daemon off;
master_process off;
error_log error.log warn;
pid bench.pid;
events {{ worker_connections 11000; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    lua_shared_dict bench 10m;
    upstream backend {{
        server 127.0.0.1:{backend};
        keepalive 64;
    }}
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
        location = /dict {{
            content_by_lua_block {{
                local dict = ngx.shared.bench
                for i = 1, 100 do
                    dict:set("key", i)
                    dict:get("key")
                    dict:incr("count", 1, 0)
                end
                ngx.say("done")
            }}
        }}
        location = /redis {{
            content_by_lua_block {{
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", {redis}))
                assert(sock:send("*1\r\n$4\r\nPING\r\n"))
                local line = assert(sock:receive())
                assert(sock:setkeepalive(10000, 100))
                ngx.say(line)
            }}
        }}
        location /proxy/ {{
            proxy_pass http://backend/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
        location = /sleep {{
            content_by_lua_block {{
                local function doze() ngx.sleep(600) end
                for _ = 1, tonumber(ngx.var.arg_threads) do
                    ngx.thread.spawn(doze)
                end
                ngx.say("asleep")
                ngx.flush(true)
            }}
        }}
    }}
}}
"#
    );
    fs::write(prefix.join("nginx.conf"), text)?;
    Ok(format!("{}/", prefix.display()))
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
