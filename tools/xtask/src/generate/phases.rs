//! Which functions of the API each phase refuses.
//!
//! A server runs with a script in every phase. For each phase and each function, that function is selected over one
//! socket, and then what leads to the phase is done over another one; the script calls the function and notes
//! whether the server said that it can't be used there. What was not called in every phase is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::SUBSYSTEMS;
use crate::Failure;

/// Long enough for a machine that is busy with other work.
const DEADLINE: Duration = Duration::from_mins(1);

const SCRIPT: &str = include_str!("probe.lua");
const CERTIFICATE: &str = include_str!("probe.pem");

/// How often the way to a phase is tried.
const ATTEMPTS_MAX: usize = 3;

/// What leads to phases: the phases, and the socket with what is sent there.
type Way = (&'static [&'static str], &'static str, &'static str);

const HTTP: [Way; 4] = [
    (
        &["set", "server_rewrite", "rewrite", "access", "precontent", "content", "timer"],
        "try.sock",
        "GET / HTTP/1.0\r\n\r\n",
    ),
    (&["header_filter", "body_filter", "log"], "try.sock", "GET /filtered HTTP/1.0\r\n\r\n"),
    (&["balancer"], "try.sock", "GET /balanced HTTP/1.0\r\n\r\n"),
    (
        &[
            "ssl_client_hello",
            "ssl_certificate",
            "ssl_session_store",
            "ssl_session_fetch",
            "proxy_ssl_certificate",
            "proxy_ssl_verify",
        ],
        "try.sock",
        "GET /tls HTTP/1.0\r\n\r\n",
    ),
];

const STREAM: [Way; 3] = [
    (&["preread", "content", "log", "timer"], "try.sock", ""),
    (&["balancer"], "balanced.sock", ""),
    (&["ssl_client_hello", "ssl_certificate", "proxy_ssl_certificate", "proxy_ssl_verify"], "secure.sock", ""),
];

/// The table: subsystem, function, the phases that refuse it.
pub(super) fn ask(server: &Path) -> Result<String, Failure> {
    let mut rows = String::new();
    for subsystem in SUBSYSTEMS {
        let ways: &[Way] = if subsystem == "http" { &HTTP } else { &STREAM };
        for (name, phases) in probe(server, subsystem, ways)? {
            rows.push_str(&format!("{subsystem}\t{name}\t{}\n", Vec::from_iter(phases).join(" ")));
        }
    }
    Ok(rows)
}

type Refused = BTreeMap<String, BTreeSet<String>>;

fn probe(server: &Path, subsystem: &str, ways: &[Way]) -> Result<Refused, Failure> {
    let folder = tempfile::tempdir()?;
    let prefix = folder.path();
    let configuration = if subsystem == "http" { include_str!("http.conf") } else { include_str!("stream.conf") };
    fs::create_dir(prefix.join("logs"))?;
    fs::write(prefix.join("nginx.conf"), configuration.replace("PREFIX", &prefix.to_string_lossy()))?;
    fs::write(prefix.join("probe.lua"), SCRIPT)?;
    fs::write(prefix.join("probe.pem"), CERTIFICATE)?;
    // Workers may run as another user.
    fs::write(prefix.join("rows"), "")?;
    fs::set_permissions(prefix, Permissions::from_mode(0o755))?;
    fs::set_permissions(prefix.join("rows"), Permissions::from_mode(0o666))?;
    let child = Command::new(server)
        .arg("-p")
        .arg(prefix)
        .args(["-c", "nginx.conf"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut running = Running { child };
    let outcome = visit(prefix, subsystem, ways);
    if outcome.is_ok() {
        Command::new(server).arg("-p").arg(prefix).args(["-c", "nginx.conf", "-s", "quit"]).status()?;
        running.ended()?;
    }
    let log = || {
        let text = fs::read_to_string(prefix.join("logs/error.log")).unwrap_or_default();
        let last = text.lines().rev().take(10).collect::<Vec<_>>();
        last.into_iter().rev().collect::<Vec<_>>().join("\n")
    };
    outcome.map_err(|failure| match failure {
        Failure::Tool(text) => Failure::Tool(format!("{text}\n{}", log())),
        other @ Failure::Findings(_) => other,
    })?;
    gathered(&fs::read_to_string(prefix.join("rows"))?, ways)
        .map_err(|text| Failure::Tool(format!("{text}\n{}", log())))
}

/// A server that ends when nobody needs it any more.
struct Running {
    child: Child,
}

impl Running {
    fn ended(&mut self) -> Result<(), Failure> {
        let since = Instant::now();
        while since.elapsed() < DEADLINE {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(Failure::Tool("the server does not end".to_owned()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Lets every function be called in every phase.
fn visit(prefix: &Path, subsystem: &str, ways: &[Way]) -> Result<(), Failure> {
    let select = |phase: &str, at: usize| {
        let text = match subsystem {
            "http" => format!("GET /?{phase}%20{at} HTTP/1.0\r\n\r\n"),
            _ => format!("{phase} {at}\n"),
        };
        let answer = talk(&prefix.join("select.sock"), &text)?;
        let mut words = answer.rsplit('\n').next().unwrap_or_default().split(' ').map(str::parse::<usize>);
        match (words.next(), words.next()) {
            (Some(Ok(count)), Some(Ok(pending))) => Ok((count, pending)),
            _ => Err(Failure::Tool(format!("the script answered {answer:?}"))),
        }
    };
    let (count, _) = select("none", 0)?;
    for (phases, socket, text) in ways {
        for phase in *phases {
            for at in 1..=count {
                // A function may leave behind a connection or a session that does not lead to the phase once more.
                for _ in 0..ATTEMPTS_MAX {
                    select(phase, at)?;
                    talk(&prefix.join(socket), text)?;
                    if select("none", 0)?.1 == 0 {
                        break;
                    }
                }
            }
        }
    }
    Ok(())
}

/// Sends a text and reads until the server closes. A connection that breaks then is an answer, too.
fn talk(socket: &Path, text: &str) -> Result<String, Failure> {
    let since = Instant::now();
    let mut stream = loop {
        match UnixStream::connect(socket) {
            Ok(stream) => break stream,
            Err(_) if since.elapsed() < DEADLINE => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => return Err(Failure::Tool(format!("{}: {error}", socket.display()))),
        }
    };
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut answer = Vec::new();
    if stream.write_all(text.as_bytes()).is_ok()
        && let Err(error) = stream.read_to_end(&mut answer)
        && error.kind() == std::io::ErrorKind::WouldBlock
    {
        return Err(Failure::Tool(format!("no answer to {text:?}")));
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The rows of the script as a table; an error where a function was not called in some phase.
fn gathered(rows: &str, ways: &[Way]) -> Result<Refused, String> {
    let mut refused = Refused::new();
    let mut called: BTreeSet<(&str, &str)> = BTreeSet::new();
    for row in rows.lines() {
        let mut words = row.splitn(3, ' ');
        let (Some(what), Some(phase), Some(name)) = (words.next(), words.next(), words.next()) else { continue };
        if what == "refused" {
            refused.entry(name.to_owned()).or_default().insert(phase.to_owned());
        } else {
            called.insert((phase, name));
        }
    }
    let names: BTreeSet<&str> = called.iter().map(|(_, name)| *name).collect();
    let phases = ways.iter().flat_map(|(phases, ..)| phases.iter()).chain(&["init", "init_worker", "exit_worker"]);
    for phase in phases {
        let missing: Vec<&str> = names.iter().filter(|name| !called.contains(&(*phase, *name))).copied().collect();
        if !missing.is_empty() {
            return Err(format!("not called in {phase}: {}", missing.join(", ")));
        }
    }
    Ok(refused)
}
