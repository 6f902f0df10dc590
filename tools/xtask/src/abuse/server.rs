//! A server under test: how it is started, what it uses, and what has to hold when a check is over.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::client;
use super::ensure;
use crate::{Failure, Outcome};

/// How long a server may take to its first answer, and to its end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long descriptors and memory may take to come back.
const CALM: Duration = Duration::from_secs(5);
/// Growth in memory that is no finding, whatever the start was.
const SLACK_KIB: u64 = 8 * 1024;

/// What all checks share: the program and the folder for their files.
pub(super) struct Bench {
    program: PathBuf,
    folder: tempfile::TempDir,
    /// How long the check that may be of any length takes.
    pub(super) minutes: f64,
}

impl Bench {
    pub(super) fn new(program: PathBuf, minutes: f64) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("rsty-abuse-").tempdir()?;
        // Workers run as another user where the check is run by root.
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(Self { program: fs::canonicalize(program)?, folder, minutes })
    }

    /// Leaves the files of all checks in place and says where.
    pub(super) fn keep(self) -> Result<PathBuf, Failure> {
        Ok(self.folder.keep())
    }

    /// A configuration to start a server from; `name` is the folder's.
    pub(super) fn conf(&self, name: &str) -> Conf<'_> {
        Conf {
            bench: self,
            name: name.to_owned(),
            workers: 1,
            connections: 1024,
            main: String::new(),
            http: String::new(),
            server: String::new(),
        }
    }
}

/// The parts of a configuration that checks choose.
pub(super) struct Conf<'a> {
    bench: &'a Bench,
    name: String,
    workers: usize,
    connections: usize,
    main: String,
    http: String,
    server: String,
}

impl Conf<'_> {
    pub(super) fn workers(mut self, count: usize) -> Self {
        self.workers = count;
        self
    }

    pub(super) fn connections(mut self, count: usize) -> Self {
        self.connections = count;
        self
    }

    pub(super) fn main(mut self, text: &str) -> Self {
        text.clone_into(&mut self.main);
        self
    }

    pub(super) fn http(mut self, text: &str) -> Self {
        text.clone_into(&mut self.http);
        self
    }

    pub(super) fn server(mut self, text: &str) -> Self {
        text.clone_into(&mut self.server);
        self
    }

    /// The folder that the server will have.
    pub(super) fn prefix(&self) -> PathBuf {
        self.bench.folder.path().join(&self.name)
    }

    /// Starts a server with a master and workers, and waits for its first answer.
    pub(super) fn start(self) -> Result<Server, Failure> {
        self.start_with(&[])
    }

    /// As [`Self::start`], with these variables in the server's environment.
    pub(super) fn start_with(self, variables: &[(&str, &str)]) -> Result<Server, Failure> {
        let prefix = self.prefix();
        let port = free_port()?;
        fs::create_dir_all(prefix.join("html"))?;
        fs::create_dir_all(prefix.join("logs"))?;
        let Self { workers, connections, main, http, server, .. } = &self;
        let text = format!(
            "daemon off;\nmaster_process on;\nworker_processes {workers};\nerror_log error.log info;\npid abuse.pid;\n\
             {main}\nevents {{ worker_connections {connections}; }}\nhttp {{\naccess_log off;\n{http}\nserver {{\n\
             listen 127.0.0.1:{port} backlog=2048;\nroot html;\nlocation = /probe {{ return 200 \"here\\n\"; }}\n\
             {server}\n}}\n}}\n"
        );
        fs::write(prefix.join("nginx.conf"), text)?;
        let child = Command::new(&self.bench.program)
            .args(["serve", "-p"])
            .arg(&prefix)
            .args(["-c", "nginx.conf", "-e", "error.log"])
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(prefix.join("stderr.log"))?)
            .spawn()?;
        let mut server = Server { child, port, prefix, before: Figures::default() };
        let begin = Instant::now();
        while !client::answers(port) {
            if let Some(status) = server.child.try_wait()? {
                let said = fs::read_to_string(server.prefix.join("stderr.log")).unwrap_or_default();
                return Err(Failure::Tool(format!("the server ended at its start ({status}): {}", said.trim())));
            }
            if begin.elapsed() > PATIENCE {
                return Err(Failure::Tool("the server does not answer".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        while server.workers().len() < *workers && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        server.before = server.figures();
        Ok(server)
    }
}

/// What a server's workers use.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) workers: BTreeSet<u32>,
    pub(super) descriptors: usize,
    pub(super) memory_kib: u64,
}

/// What a check did to the workers on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Workers {
    /// They are the same as at the start.
    Same,
    /// They were killed and came back.
    Replaced,
}

/// A running server; stopped when dropped.
pub(super) struct Server {
    child: Child,
    pub(super) port: u16,
    pub(super) prefix: PathBuf,
    before: Figures,
}

impl Server {
    /// Takes what the workers use now for the normal state, after a check has warmed the server up.
    pub(super) fn settle(&mut self) {
        self.before = self.figures();
    }

    pub(super) fn before(&self) -> &Figures {
        &self.before
    }

    /// The master's process id.
    pub(super) fn master(&self) -> u32 {
        self.child.id()
    }

    /// The processes whose parent is the master.
    pub(super) fn workers(&self) -> BTreeSet<u32> {
        let task = format!("/proc/{0}/task/{0}/children", self.child.id());
        let listed = fs::read_to_string(task).unwrap_or_default();
        listed.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(|pid| !is_zombie(*pid)).collect()
    }

    pub(super) fn figures(&self) -> Figures {
        let workers = self.workers();
        let descriptors = workers.iter().map(|pid| descriptors(*pid)).sum();
        let memory_kib = workers.iter().map(|pid| memory_kib(*pid)).sum();
        Figures { workers, descriptors, memory_kib }
    }

    /// CPU time that the workers have used so far.
    pub(super) fn cpu_time(&self) -> Duration {
        self.workers().iter().map(|pid| cpu_time(*pid)).sum()
    }

    /// What it wrote to its log and to its terminal.
    pub(super) fn said(&self) -> String {
        self.log() + &fs::read_to_string(self.prefix.join("stderr.log")).unwrap_or_default()
    }

    pub(super) fn log(&self) -> String {
        let bytes = fs::read(self.prefix.join("error.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Checks what holds after every check, and stops the server.
    pub(super) fn finish(mut self, workers: Workers, excused: &[&str]) -> Outcome {
        let begin = Instant::now();
        let limit = self.before.memory_kib + (self.before.memory_kib / 10).max(SLACK_KIB);
        let mut now = self.figures();
        while begin.elapsed() < CALM && (now.descriptors > self.before.descriptors + 1 || now.memory_kib > limit) {
            std::thread::sleep(Duration::from_millis(100));
            now = self.figures();
        }
        ensure(client::answers(self.port), || "a plain request is not answered at the end".to_owned())?;
        if workers == Workers::Same {
            ensure(now.workers == self.before.workers, || {
                format!("workers {:?} became {:?}", self.before.workers, now.workers)
            })?;
        }
        ensure(now.descriptors <= self.before.descriptors + self.before.descriptors / 10, || {
            format!("{} descriptors became {}", self.before.descriptors, now.descriptors)
        })?;
        ensure(now.memory_kib <= limit, || {
            format!("{} KiB of memory became {} KiB", self.before.memory_kib, now.memory_kib)
        })?;
        let log = self.said();
        let alarming = |line: &&str| {
            ["panicked at", "[alert]", "[emerg]"].iter().any(|word| line.contains(word))
                && !excused.iter().any(|text| line.contains(text))
        };
        if let Some(line) = log.lines().find(alarming) {
            return Err(Failure::Findings(format!("the log says: {line}")));
        }
        self.stop()
    }

    /// Sends a signal to the master.
    pub(super) fn signal(&self, name: &str) -> Outcome {
        signal(self.child.id(), name)
    }

    fn stop(&mut self) -> Outcome {
        self.signal("TERM")?;
        let begin = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure(begin.elapsed() < PATIENCE, || "the server does not stop".to_owned())?;
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None))
            && let Err(Failure::Findings(text) | Failure::Tool(text)) = self.stop()
        {
            eprintln!("abuse: process {}: {text}", self.child.id());
        }
    }
}

/// Sends a signal to one process.
pub(super) fn signal(pid: u32, name: &str) -> Outcome {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(Failure::Tool(format!("cannot send {name} to process {pid}"))) }
}

pub(super) fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn stat_fields(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The command's name stands in parentheses and may hold anything; the fields behind it are plain.
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    fields.split_whitespace().map(str::to_owned).collect()
}

fn is_zombie(pid: u32) -> bool {
    stat_fields(pid).first().is_none_or(|state| state == "Z")
}

pub(super) fn descriptors(pid: u32) -> usize {
    fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")).map_or(0, Iterator::count)
}

pub(super) fn memory_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    // Pages shared with others, as zones are, do not count: they are touched once and stay.
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn cpu_time(pid: u32) -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let ticks: u32 = stat_fields(pid).iter().skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    TICK * ticks
}
