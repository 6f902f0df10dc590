//! What the configuration says about processes: limits, processors, sockets, reloads that can't be done at once; and the
//! keys of the development server.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::server_process::{Server, alive, eventually, free_port, two_workers, workers};

type Checked = Result<(), Failed>;

/// The trials of this file.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("workers::have_the_limits_of_the_configuration", limits),
        Trial::test("workers::have_processors_priority_and_folder", place),
        Trial::test("workers::have_a_socket_each_with_reuseport", reuseport),
        Trial::test("workers::have_a_privileged_agent_beside_them", privileged_agent),
        Trial::test("workers::leave_when_worker_shutdown_timeout_is_over", shutdown_timeout),
        Trial::test("reload::waits_for_an_address_and_obeys_meanwhile", busy_address),
        Trial::test("reload::leaves_no_memory_behind", reload_memory),
        Trial::test("watch::keys_reload_tell_and_quit", keys),
        Trial::test("watch::a_changed_app_is_deployed_by_itself", changed_app),
    ]
}

fn proc_file(pid: Pid, name: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default()
}

/// What stands behind `key` in a file of lines.
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim()
}

/// Waits until a worker has set itself up: what it is asked for is as it should be.
fn becomes(what: &str, expected: &str, look: impl Fn() -> String) -> Checked {
    eventually(what, || (look() == expected).then_some(()))
        .map_err(|_| format!("{what}: {:?} and not {expected:?}", look()).into())
}

fn limits() -> Checked {
    let server =
        Server::new("worker_rlimit_nofile 321;\nworker_rlimit_core 4096;\nevents { worker_connections 64; }\n")?;
    let master = server.start()?;
    let worker = eventually("a worker", || workers(master).first().copied())?;
    let limit = |name: &str| {
        let text = proc_file(worker, "limits");
        value(&text, name).split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    };
    becomes("open files", "321 321", || limit("Max open files"))?;
    becomes("size of a core", "4096 4096", || limit("Max core file size"))
}

fn place() -> Checked {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    let server = Server::new(&format!(
        "worker_priority 5;\nworker_cpu_affinity 01;\nworking_directory {};\nevents {{ }}\n",
        folder.path().display()
    ))?;
    let master = server.start()?;
    let worker = eventually("a worker", || workers(master).first().copied())?;
    let nice = || {
        let stat = proc_file(worker, "stat");
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        fields.split_whitespace().nth(16).unwrap_or_default().to_owned()
    };
    becomes("the priority", "5", nice)?;
    becomes("the processors", "0", || value(&proc_file(worker, "status"), "Cpus_allowed_list:").to_owned())?;
    let expected = fs::canonicalize(folder.path())?;
    eventually("the working directory", || {
        fs::read_link(format!("/proc/{worker}/cwd")).ok().filter(|path| *path == expected)
    })?;
    Ok(())
}

/// The inodes of the sockets that listen on a port.
fn listening(port: u16) -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let wanted = format!(":{port:04X}");
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.len() > 9 && row[1].ends_with(&wanted) && row[3] == "0A")
        .map(|row| row[9].to_owned())
        .collect()
}

/// Those of them that a process has.
fn sockets_of(pid: Pid, among: &BTreeSet<String>) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return BTreeSet::new() };
    let links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let names = links.map(|path| path.to_string_lossy().into_owned());
    names
        .filter_map(|name| Some(name.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .filter(|inode| among.contains(inode))
        .collect()
}

fn reuseport() -> Checked {
    let port = free_port()?;
    let server = Server::new(&format!(
        "worker_processes 2;\nevents {{ }}\nhttp {{ server {{ listen 127.0.0.1:{port} reuseport; return 200 here; }} }}\n"
    ))?;
    let master = server.start()?;
    let both = two_workers(master)?;
    let sockets = listening(port);
    assert_eq!(sockets.len(), 2, "sockets on the port");
    eventually("a socket for each worker", || {
        let (one, two) = (sockets_of(both[0], &sockets), sockets_of(both[1], &sockets));
        (one.len() == 1 && two.len() == 1 && one != two).then_some(())
    })?;
    for _ in 0..20 {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        assert!(answer.ends_with("here"), "{answer}");
    }
    Ok(())
}

fn privileged_agent() -> Checked {
    let server = Server::new(
        "worker_processes 2;\nevents { }\nhttp {
         init_by_lua_block { assert(require('ngx.process').enable_privileged_agent()) }
         init_worker_by_lua_block { ngx.log(ngx.WARN, 'type: ', require('ngx.process').type()) } }\n",
    )?;
    let master = server.start()?;
    let agent = eventually("an agent", || {
        let title = |pid: &Pid| proc_file(*pid, "cmdline").starts_with("nginx: privileged agent process");
        workers(master).into_iter().find(title)
    })?;
    server.wait_for_log("type: privileged agent")?;
    let owner =
        |pid: Pid| value(&proc_file(pid, "status"), "Uid:").split_whitespace().nth(1).unwrap_or_default().to_owned();
    assert_eq!(owner(agent), owner(master), "the agent keeps the master's account");
    kill(agent, Signal::SIGKILL)?;
    eventually("another agent", || {
        let title = |pid: &Pid| *pid != agent && proc_file(*pid, "cmdline").contains("privileged agent");
        workers(master).into_iter().find(title)
    })?;
    Ok(())
}

fn shutdown_timeout() -> Checked {
    let port = free_port()?;
    let server = Server::new(&format!(
        "worker_shutdown_timeout 300ms;\nevents {{ }}\nhttp {{ server {{ listen 127.0.0.1:{port};
         location / {{ content_by_lua_block {{ ngx.log(ngx.WARN, 'waiting') ngx.sleep(3600) }} }} }} }}\n"
    ))?;
    let master = server.start()?;
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    server.wait_for_log("waiting")?;
    kill(master, Signal::SIGQUIT)?;
    server.wait_for_log("gracefully shutting down")?;
    eventually("the end", || (!alive(master)).then_some(()))?;
    let mut rest = Vec::new();
    // Closed or reset: the request did not get its answer.
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty());
    Ok(())
}

fn busy_address() -> Checked {
    let (port, other) = (free_port()?, free_port()?);
    let conf = |ports: &[u16]| {
        let mut text = "events { }\nhttp { server { ".to_owned();
        for port in ports {
            let _ = write!(text, "listen 127.0.0.1:{port}; ");
        }
        text + "return 200 here; } }\n"
    };
    let server = Server::new(&conf(&[port]))?;
    let master = server.start()?;
    let count = |text: &str| server.log().matches(text).count();
    // On a slow machine, the last try may be over before the port is free; then it is done once more.
    for _ in 0..5 {
        let taken = TcpListener::bind(("127.0.0.1", other))?;
        server.configure(&conf(&[port, other]))?;
        let (tries, reopened, given_up) =
            (count("try again to bind()"), count("reopening logs"), count("still could not bind()"));
        kill(master, Signal::SIGHUP)?;
        eventually("a first try", || (count("try again to bind()") > tries).then_some(()))?;
        kill(master, Signal::SIGUSR1)?;
        eventually("obedience", || (count("reopening logs") > reopened).then_some(()))?;
        let in_time = count("still could not bind()") == given_up;
        drop(taken);
        if !in_time {
            continue;
        }
        let answered = eventually("the new address", || {
            if count("still could not bind()") > given_up {
                return Some(false);
            }
            TcpStream::connect(("127.0.0.1", other)).is_ok().then_some(true)
        })?;
        if answered {
            return Ok(());
        }
    }
    Err("the master did nothing while it waited for the address".into())
}

fn resident(pid: Pid) -> u64 {
    value(&proc_file(pid, "status"), "VmRSS:").trim_end_matches(" kB").trim().parse().unwrap_or(0)
}

fn reload_memory() -> Checked {
    let port = free_port()?;
    let conf = |init: &str| {
        let mut text = format!(
            "events {{ }}\nhttp {{ upstream u {{ zone u 64k; server 127.0.0.1:1; }} lua_app a {{ root a; }}
             limit_req_zone $uri zone=z:64k rate=1r/s; init_by_lua_block {{ {init} }}
             server {{ listen 127.0.0.1:{port}; "
        );
        for number in 0..500 {
            let _ = writeln!(text, "location /{number} {{ return 200 {number}; }}");
        }
        text + "} }\n"
    };
    let server = Server::new(&conf(""))?;
    let master = server.start()?;
    let maps = || proc_file(master, "maps").lines().filter(|line| line.contains("/dev/zero")).count();
    let mut measured = Vec::new();
    for round in 0..30 {
        let broken = round % 2 == 0;
        server.configure(&conf(if broken { "error('no')" } else { "" }))?;
        let failures = || server.log().matches("init_by_lua error").count();
        let (failed, before) = (failures(), workers(master));
        kill(master, Signal::SIGHUP)?;
        eventually("the reload", || {
            let now = workers(master);
            let replaced = !now.is_empty() && !now.iter().any(|pid| before.contains(pid));
            (if broken { failures() > failed } else { replaced }).then_some(())
        })?;
        if round % 2 == 1 {
            measured.push((resident(master), maps()));
        }
    }
    let (first, last) = (measured[4], measured[measured.len() - 1]);
    // One cycle of this configuration takes more than a megabyte; ten were tried in vain in between.
    assert!(last.0 < first.0 + 4096, "the master grew: {measured:?}");
    assert!(last.1 <= first.1, "mappings were left: {measured:?}");
    Ok(())
}

fn keys() -> Checked {
    let port = free_port()?;
    let folder = tempfile::tempdir()?;
    let said = folder.path().join("said");
    fs::write(
        folder.path().join("c.conf"),
        format!("events {{ }}\nhttp {{ server {{ listen 127.0.0.1:{port}; return 200 here; }} }}\n"),
    )?;
    let terminal = nix::pty::openpty(None, None)?;
    let log = File::create(&said)?;
    let mut child = Command::new(env!("CARGO_BIN_EXE_rsty"))
        .args(["serve", "--watch", "-c", "c.conf"])
        .current_dir(folder.path())
        .stdin(Stdio::from(terminal.slave))
        .stderr(log)
        .spawn()?;
    let mut keyboard = File::from(terminal.master);
    let text = || fs::read_to_string(&said).unwrap_or_default();
    let result = (|| {
        eventually("the server", || TcpStream::connect(("127.0.0.1", port)).ok())?;
        let url = format!("http://127.0.0.1:{port}");
        let told = text().matches(&url).count();
        keyboard.write_all(b"u")?;
        eventually("the address", || (text().matches(&url).count() > told).then_some(()))?;
        keyboard.write_all(b"r")?;
        eventually("the reload", || text().contains("reloaded ").then_some(()))?;
        keyboard.write_all(b"h")?;
        eventually("the help", || text().contains("q quit").then_some(()))?;
        keyboard.write_all(b"q")?;
        let status = eventually("the end", || child.try_wait().ok().flatten())?;
        assert_eq!(status.code(), Some(0), "{}", text());
        Ok(())
    })();
    // Whatever happened, nothing stays.
    let _ = kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM);
    let _ = child.wait();
    result
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

fn changed_app() -> Checked {
    let port = free_port()?;
    let folder = tempfile::tempdir()?;
    let write = |name: &str, text: &str| -> Checked {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder.path()))?;
        Ok(fs::write(path, text)?)
    };
    write(
        "c.conf",
        &format!(
            "events {{ }}\nhttp {{ lua_app_shared_path \"$prefix/shared/?.lua\"; lua_app a {{ root a; }} lua_app b {{ root b; }}
             server {{ listen 127.0.0.1:{port};
             location = /a {{ lua_app a; content_by_lua_block {{ ngx.print(require('m').say()) }} }}
             location = /b {{ lua_app b; content_by_lua_block {{ ngx.print(require('m').say()) }} }} }} }}\n"
        ),
    )?;
    write("shared/mark.lua", "return '!'")?;
    let module = |text: &str| {
        format!(
            "local mark, count = require 'mark', 0 return {{ say = function () count = count + 1 return {text} end }}"
        )
    };
    write("a/m.lua", &module("'one' .. mark"))?;
    write("b/m.lua", &module("count .. mark"))?;
    let said = folder.path().join("said");
    let mut child = Command::new(env!("CARGO_BIN_EXE_rsty"))
        .args(["serve", "--watch", "-c", "c.conf"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stderr(File::create(&said)?)
        .spawn()?;
    let text = || fs::read_to_string(&said).unwrap_or_default();
    let becomes = |path: &str, expected: &str| {
        eventually(expected, || get(port, path).filter(|body| body == expected))
            .map_err(|error| Failed::from(format!("{}\n{}", error.message().unwrap_or_default(), text())))
    };
    let result = (|| {
        becomes("/a", "one!")?;
        becomes("/b", "1!")?;
        write("a/m.lua", &module("'two' .. mark"))?;
        becomes("/a", "two!")?;
        // The other app goes on as it was.
        becomes("/b", "2!")?;
        write("a/m.lua", "return {")?;
        eventually("a complaint", || text().contains("failed to reload lua_app \"a\"").then_some(()))?;
        becomes("/a", "two!")?;
        write("a/m.lua", &module("'three' .. mark"))?;
        becomes("/a", "three!")?;
        write("shared/mark.lua", "return '?'")?;
        becomes("/a", "three?")?;
        becomes("/b", "1?")?;
        Ok(())
    })();
    let _ = kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM);
    let _ = child.wait();
    result
}
