//! The server as processes: start, signals, reload, workers that die.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

type Checked = Result<(), Failed>;

/// The trials of this file.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("server::starts_in_the_background_and_quits", starts_and_quits),
        Trial::test("server::a_killed_worker_gets_a_successor", respawns),
        Trial::test("server::hup_replaces_the_workers", reloads),
        Trial::test("server::hup_with_a_wrong_configuration_keeps_the_old_one", keeps_old),
        Trial::test("server::usr1_reopens_the_error_log", reopens),
        Trial::test("server::workers_leave_when_the_master_is_killed", orphans_leave),
        Trial::test("server::usr2_starts_the_binary_anew", changes_binary),
        Trial::test("server::a_single_process_has_no_workers", single_process),
        Trial::test("server::a_single_process_that_leaves_removes_its_unix_sockets", removes_sockets),
        Trial::test("server::a_wrong_configuration_is_reported_as_nginx_does", reports),
        Trial::test("server::the_test_option_says_so", tests_configuration),
        Trial::test("server::a_worker_that_leaves_promises_no_further_requests", leaving_worker_closes),
        Trial::test("server::a_connection_limit_makes_new_ones_wait", limits_connections),
        Trial::test("server::worker_connections_close_idle_ones_for_new_ones", reuses_connections),
        Trial::test("server::hup_leaves_no_descriptor_behind", reload_leaves_nothing),
        Trial::test("server::a_cache_survives_a_restart", cache_stays),
        Trial::test("server::a_worker_in_an_endless_loop_leaves_the_others_serving", loops_alone),
        Trial::test("server::a_folder_does_not_show_what_is_private", folder_keeps_secrets),
    ]
}

/// A server root, and the server in it; killed at the end whatever happens.
pub(super) struct Server {
    folder: TempDir,
}

impl Server {
    pub(super) fn new(conf: &str) -> Result<Self, Failed> {
        let folder = TempDir::new()?;
        fs::create_dir(folder.path().join("logs"))?;
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rsty"), folder.path().join("nginx"))?;
        let server = Self { folder };
        server.configure(conf)?;
        Ok(server)
    }

    pub(super) fn configure(&self, conf: &str) -> Checked {
        Ok(fs::write(self.path("nginx.conf"), format!("error_log logs/error.log debug;\n{conf}"))?)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn nginx(&self, options: &[&str]) -> Result<Output, Failed> {
        let mut command = Command::new(self.path("nginx"));
        command.arg("-p").arg(self.folder.path()).args(["-c", "nginx.conf"]).args(options);
        Ok(command.output()?)
    }

    pub(super) fn start(&self) -> Result<Pid, Failed> {
        let output = self.nginx(&[])?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        eventually("the pid file", || self.pid())
    }

    fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.path("logs/nginx.pid")).ok()?;
        text.trim().parse().ok().map(Pid::from_raw)
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.path("logs/error.log")).unwrap_or_default()
    }

    pub(super) fn wait_for_log(&self, text: &str) -> Checked {
        eventually(text, || self.log().contains(text).then_some(()))
            .map_err(|error| format!("{}\nthe log:\n{}", error.message().unwrap_or_default(), self.log()).into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let children = workers(pid);
            let _ = kill(pid, Signal::SIGKILL);
            for child in children {
                let _ = kill(child, Signal::SIGKILL);
            }
        }
    }
}

/// Polls until there is a value.
pub(super) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T, Failed> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(format!("did not happen in time: {what}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The live children of a process.
pub(super) fn workers(master: Pid) -> Vec<Pid> {
    let path = format!("/proc/{master}/task/{master}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}

/// Whether a process exists and is not only waiting to be reaped.
pub(super) fn alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z"))
}

pub(super) fn two_workers(master: Pid) -> Result<Vec<Pid>, Failed> {
    eventually("two workers", || Some(workers(master)).filter(|workers| workers.len() == 2))
}

const TWO: &str = "worker_processes 2;\nevents { }\n";

fn starts_and_quits() -> Checked {
    let server = Server::new(TWO)?;
    let master = server.start()?;
    two_workers(master)?;
    let title = eventually("the title", || fs::read(format!("/proc/{master}/cmdline")).ok())?;
    assert!(title.starts_with(b"nginx: master process"), "{}", String::from_utf8_lossy(&title));
    server.wait_for_log("start worker processes")?;
    assert!(server.nginx(&["-s", "quit"])?.status.success());
    eventually("the end", || (!alive(master)).then_some(()))?;
    assert!(server.pid().is_none(), "the pid file is gone");
    server.wait_for_log("gracefully shutting down")?;
    assert!(!server.log().contains("[alert]"), "{}", server.log());
    Ok(())
}

fn respawns() -> Checked {
    let server = Server::new(TWO)?;
    let master = server.start()?;
    let before = two_workers(master)?;
    kill(before[0], Signal::SIGKILL)?;
    eventually("a successor", || {
        let now = workers(master);
        (now.len() == 2 && !now.contains(&before[0])).then_some(())
    })?;
    server.wait_for_log(&format!("worker process {} exited on signal 9", before[0]))
}

fn reloads() -> Checked {
    let server = Server::new(TWO)?;
    let master = server.start()?;
    let before = two_workers(master)?;
    server.configure("worker_processes 3;\nevents { }\n")?;
    kill(master, Signal::SIGHUP)?;
    eventually("three new workers", || {
        let now = workers(master);
        (now.len() == 3 && !now.iter().any(|pid| before.contains(pid))).then_some(())
    })?;
    server.wait_for_log("reconfiguring")
}

fn keeps_old() -> Checked {
    let server = Server::new(TWO)?;
    let master = server.start()?;
    let before = two_workers(master)?;
    server.configure("worker_procesess 3;\nevents { }\n")?;
    kill(master, Signal::SIGHUP)?;
    server.wait_for_log("[emerg]")?;
    server.wait_for_log("unknown directive \"worker_procesess\" in ")?;
    assert_eq!(two_workers(master)?, before);
    Ok(())
}

fn reopens() -> Checked {
    let server = Server::new(TWO)?;
    let master = server.start()?;
    two_workers(master)?;
    fs::rename(server.path("logs/error.log"), server.path("logs/old.log"))?;
    kill(master, Signal::SIGUSR1)?;
    eventually("a new file", || server.path("logs/error.log").exists().then_some(()))?;
    kill(master, Signal::SIGQUIT)?;
    server.wait_for_log("signal 3 (SIGQUIT) received")
}

fn orphans_leave() -> Checked {
    let server = Server::new(TWO)?;
    let master = server.start()?;
    let children = two_workers(master)?;
    kill(master, Signal::SIGKILL)?;
    eventually("the workers' end", || children.iter().all(|pid| !alive(*pid)).then_some(()))
}

fn changes_binary() -> Checked {
    let server = Server::new(TWO)?;
    let old = server.start()?;
    two_workers(old)?;
    kill(old, Signal::SIGUSR2)?;
    let new = eventually("the new pid", || server.pid().filter(|pid| *pid != old))?;
    two_workers(new)?;
    assert!(server.path("logs/nginx.pid.oldbin").exists());
    kill(old, Signal::SIGQUIT)?;
    eventually("the old one's end", || (!alive(old)).then_some(()))?;
    assert_eq!(server.pid(), Some(new));
    two_workers(new)?;
    server.wait_for_log("using inherited sockets from")
}

fn single_process() -> Checked {
    let server = Server::new("master_process off;\nevents { }\n")?;
    let pid = server.start()?;
    assert!(workers(pid).is_empty());
    kill(pid, Signal::SIGQUIT)?;
    eventually("the end", || (!alive(pid)).then_some(()))?;
    assert!(server.pid().is_none());
    Ok(())
}

/// A graceful end may take long, and whoever waits may kill the process before it is over.
fn removes_sockets() -> Checked {
    let folder = tempfile::tempdir()?;
    let way = folder.path().join("way.sock");
    let server = Server::new(&format!(
        "master_process off;\nevents {{ }}\nhttp {{ server {{ listen unix:{};
         location / {{ content_by_lua_block {{ ngx.log(ngx.WARN, 'arrived') ngx.sleep(60) }} }} }} }}\n",
        way.display()
    ))?;
    let pid = server.start()?;
    let mut guest = UnixStream::connect(&way)?;
    guest.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    server.wait_for_log("arrived")?;
    kill(pid, Signal::SIGQUIT)?;
    eventually("the socket's file is gone", || (!way.exists()).then_some(()))?;
    assert!(alive(pid));
    Ok(())
}

fn loops_alone() -> Checked {
    let folder = tempfile::tempdir()?;
    let way = folder.path().join("way.sock");
    let server = Server::new(&format!(
        "worker_processes 2;\nevents {{ }}\nhttp {{ lua_watchdog 100ms; server {{ listen unix:{};
         location = /loop {{ content_by_lua_block {{ ngx.log(ngx.WARN, 'round and round') while true do end }} }}
         location = /fine {{ return 200 'served'; }} }} }}\n",
        way.display()
    ))?;
    server.start()?;
    let mut stuck = UnixStream::connect(&way)?;
    stuck.write_all(b"GET /loop HTTP/1.0\r\n\r\n")?;
    server.wait_for_log("round and round")?;
    for _ in 0..10 {
        let mut other = UnixStream::connect(&way)?;
        other.set_read_timeout(Some(Duration::from_secs(10)))?;
        other.write_all(b"GET /fine HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        other.read_to_string(&mut answer)?;
        assert!(answer.ends_with("served"), "{answer}");
    }
    server.wait_for_log("Lua code has not given way for")
}

fn reports() -> Checked {
    let server = Server::new("events { }\nhtttp { }\n")?;
    let output = server.nginx(&[])?;
    let file = server.path("nginx.conf");
    let expected = format!("nginx: [emerg] unknown directive \"htttp\" in {}:3\n", file.display());
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    assert_eq!(output.status.code(), Some(1));
    assert!(server.log().contains("[emerg]"), "{}", server.log());
    let person = Command::new(env!("CARGO_BIN_EXE_rsty")).args(["serve", "-t", "-c"]).arg(&file).output()?;
    let text = String::from_utf8_lossy(&person.stderr);
    assert!(text.contains("did you mean `http`?") || text.contains("unknown directive"), "{text}");
    assert_eq!(person.status.code(), Some(2));
    Ok(())
}

fn tests_configuration() -> Checked {
    let server = Server::new("events { }\n")?;
    let output = server.nginx(&["-t"])?;
    let text = String::from_utf8_lossy(&output.stderr);
    let file = server.path("nginx.conf");
    assert_eq!(
        text,
        format!(
            "nginx: the configuration file {0} syntax is ok\nnginx: configuration file {0} test is successful\n",
            Path::new(&file).display()
        )
    );
    fs::write(server.path("shared.conf"), "# said once\n")?;
    server.configure("include shared.conf;\nevents { include shared.conf; }\n")?;
    let dump = server.nginx(&["-qT"])?;
    let text = String::from_utf8_lossy(&dump.stdout);
    assert!(text.starts_with("# configuration file "), "{text}");
    assert_eq!(text.matches("# said once").count(), 1, "a file that is included twice is shown once:\n{text}");
    Ok(())
}

fn leaving_worker_closes() -> Checked {
    let port = free_port()?;
    let server = Server::new(&format!(
        "events {{ }}\nhttp {{ access_log off; server {{ listen 127.0.0.1:{port};
         location / {{ content_by_lua_block {{
             ngx.log(ngx.WARN, 'arrived')
             while not ngx.worker.exiting() do ngx.sleep(0.01) end
             ngx.say('the last one')
         }} }} }} }}\n"
    ))?;
    let master = server.start()?;
    let mut client = TcpStream::connect(("127.0.0.1", port))?;
    client.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")?;
    server.wait_for_log("arrived")?;
    kill(master, Signal::SIGQUIT)?;
    client.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    assert!(answer.contains("\r\nConnection: close\r\n") && answer.contains("the last one"), "{answer}");
    Ok(())
}

pub(super) fn free_port() -> Result<u16, Failed> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Sends a request, and waits a moment for its answer.
fn answer(stream: &mut TcpStream, wait: Duration) -> Result<Option<String>, Failed> {
    stream.set_read_timeout(Some(wait))?;
    let mut bytes = [0; 4096];
    match stream.read(&mut bytes) {
        Ok(count) => Ok(Some(String::from_utf8_lossy(&bytes[..count]).into_owned())),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn limits_connections() -> Checked {
    let port = free_port()?;
    let server = Server::new(&format!(
        "events {{ worker_connections 64; connection_limit 2; }}
         http {{ access_log off; server {{ listen 127.0.0.1:{port}; location / {{ return 200 \"here\"; }} }} }}"
    ))?;
    server.start()?;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
        streams.push(stream);
    }
    let last = &mut streams[2];
    if let Some(text) = answer(last, Duration::from_millis(200))? {
        return Err(format!("answered beyond the limit: {text}").into());
    }
    server.wait_for_log("connection_limit of 2 is reached")?;
    drop(streams.remove(0));
    let text = answer(&mut streams[1], Duration::from_secs(5))?.ok_or("no answer below the limit")?;
    server.wait_for_log("below connection_limit of 2 again after")?;
    if text.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(text.into()) }
}

/// One that waits to be accepted gets the slot of a connection that was busy when it came and is idle by now.
fn reuses_connections() -> Checked {
    let port = free_port()?;
    // Requests for /gate are busy as long as this side holds what they open.
    let gate = std::net::TcpListener::bind("127.0.0.1:0")?;
    gate.set_nonblocking(true)?;
    let gate_port = gate.local_addr()?.port();
    let server = Server::new(&format!(
        "events {{ worker_connections 2; }}
         http {{
             access_log off;
             server {{
                 listen 127.0.0.1:{port};
                 location / {{ return 200 here; }}
                 location /gate {{
                     content_by_lua_block {{
                         local sock = ngx.socket.tcp()
                         assert(sock:connect('127.0.0.1', {gate_port}))
                         sock:receive()
                         ngx.say('through')
                     }}
                 }}
             }}
         }}"
    ))?;
    server.start()?;
    let (mut busy, mut held) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET /gate HTTP/1.1\r\nHost: x\r\n\r\n")?;
        busy.push(stream);
        held.push(eventually("a busy connection", || gate.accept().ok())?);
    }
    let mut third = TcpStream::connect(("127.0.0.1", port))?;
    third.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
    drop(held);
    let text = answer(&mut third, Duration::from_secs(10))?.ok_or("no slot for a new connection")?;
    if !text.ends_with("here") {
        return Err(text.into());
    }
    server.wait_for_log("2 worker_connections are not enough, reusing connections")?;
    for stream in &mut busy {
        let text = answer(stream, Duration::from_secs(10))?.ok_or("no answer behind the gate")?;
        if !text.starts_with("HTTP/1.1 200") {
            return Err(text.into());
        }
    }
    Ok(())
}

fn reload_leaves_nothing() -> Checked {
    let port = free_port()?;
    let server = Server::new(&format!(
        "events {{ }} http {{ access_log logs/a.log; lua_shared_dict d 1m; init_by_lua_block {{ require 'cjson' }}
         server {{ listen 127.0.0.1:{port}; }} }}"
    ))?;
    let master = server.start()?;
    let count = || fs::read_dir(format!("/proc/{master}/fd")).map_or(0, Iterator::count);
    let reload = || -> Checked {
        let before = eventually("a worker", || workers(master).first().copied())?;
        kill(master, Signal::SIGHUP)?;
        eventually("the worker's successor", || {
            let now = workers(master);
            (now.len() == 1 && !now.contains(&before)).then_some(())
        })
    };
    reload()?;
    let before = count();
    for _ in 0..5 {
        reload()?;
    }
    let after = count();
    if after <= before { Ok(()) } else { Err(format!("{before} descriptors became {after}").into()) }
}

fn cache_stays() -> Checked {
    let port = free_port()?;
    let server = Server::new(&format!(
        "events {{ }}
         http {{
             access_log off;
             proxy_cache_path kept keys_zone=kept:1m levels=1:2;
             lua_shared_dict asked 100k;
             server {{
                 listen 127.0.0.1:{port};
                 location / {{
                     proxy_cache kept;
                     proxy_cache_valid 200 1h;
                     proxy_pass http://127.0.0.1:{port}/behind/;
                 }}
                 location /behind/ {{
                     content_by_lua_block {{ ngx.say('asked ', ngx.shared.asked:incr('times', 1, 0), ' of ', ngx.var.pid) }}
                 }}
             }}
         }}"
    ))?;
    let get = || -> Result<String, Failed> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /page HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        body.filter(|body| body.starts_with("asked")).ok_or_else(|| format!("no such page: {text}").into())
    };
    let master = server.start()?;
    let before = eventually("an answer", || get().ok())?;
    kill(master, Signal::SIGQUIT)?;
    eventually("the end", || (!alive(master)).then_some(()))?;
    server.start()?;
    let after = eventually("an answer of the successor", || get().ok())?;
    // The number of the process that made the page is in it.
    if before == after { Ok(()) } else { Err(format!("{before:?} became {after:?}").into()) }
}

fn folder_keeps_secrets() -> Checked {
    let folder = TempDir::new()?;
    fs::create_dir_all(folder.path().join("sub/.git"))?;
    let private =
        [".env", "sub/.git/config", "rsty.toml", "RSTY.toml", "nginx.conf", "sub/site.Conf", "tls.key", "tls.pem"];
    for name in private.iter().chain(&["index.html", "sub/notes.txt", "keys.txt"]) {
        fs::write(folder.path().join(name), "content")?;
    }
    let port = free_port()?;
    let program = env!("CARGO_BIN_EXE_rsty");
    let mut child = Command::new(program).arg("serve").arg(folder.path()).args(["-l", &port.to_string()]).spawn()?;
    let status = |path: &str| -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.split(' ').nth(1).map(str::to_owned)
    };
    let checked = || -> Checked {
        eventually("an answer", || status("/"))?;
        let shown = ["/", "/index.html", "/sub/notes.txt", "/keys.txt"].map(|path| (path.to_owned(), "200"));
        let hidden = private.iter().map(|name| (format!("/{name}"), "404"));
        let sly = ["/sub/../.env", "/%2eenv", "/sub//.git/config", "/tls%2ekey"].map(|path| (path.to_owned(), "404"));
        for (path, wanted) in shown.into_iter().chain(hidden).chain(sly) {
            let got = status(&path).unwrap_or_default();
            if got != wanted {
                return Err(format!("{path}: {got}, not {wanted}").into());
            }
        }
        Ok(())
    }();
    child.kill()?;
    child.wait()?;
    checked
}
