//! What stands behind the servers that are measured: Redis, and a web server with files.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::configuration::Certificate;
use super::server::free_port;
use crate::Failure;

/// How long a helper may take to accept connections.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A process on the second core; stopped when dropped.
struct Helper(Child);

impl Helper {
    fn start(command: &[&str], port: u16) -> Result<Self, Failure> {
        let child = Command::new("taskset")
            .args(["-c", "1"])
            .args(command)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let helper = Self(child);
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begin.elapsed() > START_LIMIT {
                return Err(Failure::Tool(format!("{} does not answer", command.join(" "))));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(helper)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let ended = self.0.kill().and_then(|()| self.0.wait());
        if let Err(error) = ended {
            eprintln!("bench: process {} could not be stopped: {error}", self.0.id());
        }
    }
}

/// A Redis of our own.
pub(super) struct Redis {
    pub(super) port: u16,
    _process: Helper,
}

impl Redis {
    /// `None` where it is not installed.
    pub(super) fn start(folder: &Path) -> Result<Option<Self>, Failure> {
        let program = "/usr/bin/redis-server";
        if !Path::new(program).exists() {
            return Ok(None);
        }
        let port = free_port()?;
        let (number, folder) = (port.to_string(), folder.display().to_string());
        let command = [program, "--port", &number, "--bind", "127.0.0.1", "--save", "", "--dir", &folder];
        Ok(Some(Self { port, _process: Helper::start(&command, port)? }))
    }
}

/// An nginx with a small and a large file.
pub(super) struct Backend {
    pub(super) port: u16,
    _process: Helper,
}

impl Backend {
    /// `None` where nginx is not installed.
    pub(super) fn start(folder: &Path) -> Result<Option<Self>, Failure> {
        let program = "/usr/sbin/nginx";
        if !Path::new(program).exists() {
            return Ok(None);
        }
        let port = free_port()?;
        let prefix = folder.join("backend");
        fs::create_dir_all(prefix.join("html"))?;
        fs::write(prefix.join("html/1k.bin"), vec![b'k'; 1024])?;
        fs::write(prefix.join("html/1m.bin"), vec![b'm'; 1 << 20])?;
        let text = format!(
            "daemon off;\nmaster_process off;\nerror_log error.log warn;\npid backend.pid;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n    access_log off;\n    sendfile on;\n    keepalive_requests 100000000;\n    \
             server {{ listen 127.0.0.1:{port}; root html; }}\n}}\n"
        );
        fs::write(prefix.join("nginx.conf"), text)?;
        let prefix = format!("{}/", prefix.display());
        let command = [program, "-p", &prefix, "-c", "nginx.conf", "-e", "error.log"];
        Ok(Some(Self { port, _process: Helper::start(&command, port)? }))
    }
}

/// A certificate for the TLS cases; `None` where nobody can make one.
pub(super) fn certificate(folder: &Path) -> Result<Option<Certificate>, Failure> {
    let certificate = Certificate { chain: folder.join("server.crt"), key: folder.join("server.key") };
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout"])
        .arg(&certificate.key)
        .arg("-out")
        .arg(&certificate.chain)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match made {
        Ok(status) if status.success() => Ok(Some(certificate)),
        Ok(status) => Err(Failure::Tool(format!("openssl made no certificate: {status}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Where the system keeps a cjson for Lua 5.1.
pub(super) fn cjson() -> Option<PathBuf> {
    let folders = ["/usr/lib/x86_64-linux-gnu/lua/5.1", "/usr/lib/aarch64-linux-gnu/lua/5.1", "/usr/lib/lua/5.1"];
    folders.into_iter().map(PathBuf::from).find(|folder| folder.join("cjson.so").exists())
}
