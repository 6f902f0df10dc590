//! The runner as a process: what it leaves behind when it ends in whatever way, runs side by side, and the watch.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// One test for each way.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("runner::nothing_is_left_when_the_run_is_killed", killed),
        Trial::test("runner::nothing_is_left_when_its_child_is_killed", child_killed),
        Trial::test("runner::nothing_is_left_when_two_of_its_processes_are_killed_at_once", two_killed),
        Trial::test("runner::nothing_is_left_when_all_of_its_name_are_killed_at_once", all_of_a_name_killed),
        Trial::test("runner::nothing_is_left_after_two_interrupts", interrupted),
        Trial::test("runner::nothing_is_left_when_a_server_kills_itself", server_crash),
        Trial::test("runner::two_runs_with_the_classic_ports_wait_for_each_other", side_by_side),
        Trial::test("runner::two_servers_are_compared", against),
        Trial::test("runner::a_service_that_no_text_names_is_found", unnamed_service),
        Trial::test("runner::watch_runs_what_opened_a_changed_file", watch),
    ]
}

const SLOW: &str = "=== TEST 1: hangs\n--- config\n    location = /t { content_by_lua_block { ngx.sleep(60) } }\n\
    --- request\nGET /t\n--- timeout: 60\n--- response_body_like: x\n";

/// A project with one spec, and a folder for temporary files that must be empty in the end.
pub(crate) struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    pub(crate) fn new(spec: &str) -> Result<Self, Failed> {
        let folder = tempfile::tempdir()?;
        for name in ["t", "tmp", "lib"] {
            std::fs::create_dir(folder.path().join(name))?;
        }
        std::fs::write(folder.path().join("t/a.t"), spec)?;
        Ok(Self { folder })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rsty"));
        command.args(["--color", "never", "test", "--no-records"]).args(arguments);
        command.current_dir(self.folder.path()).env("TMPDIR", self.path("tmp")).env_remove("CI");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TEST_NGINX_")) {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Starts a run and waits until its server is up.
    fn start(&self) -> Result<Child, Failed> {
        let run = self.command(&["t"]).spawn()?;
        until("the server is up", || self.processes().iter().any(|(_, line)| line.contains("nginx.conf")))?;
        Ok(run)
    }

    /// The processes that speak of this project's temporary folder, with their command lines.
    fn processes(&self) -> Vec<(i32, String)> {
        let marker = self.path("tmp").display().to_string();
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let line = |pid: i32| {
            let read = |name| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            String::from_utf8_lossy(&[read("cmdline"), read("environ")].concat()).replace('\0', " ")
        };
        pids.map(|pid| (pid, line(pid))).filter(|(_, line)| line.contains(&marker)).collect()
    }

    fn is_clean(&self) -> bool {
        let empty = std::fs::read_dir(self.path("tmp")).is_ok_and(|mut entries| entries.next().is_none());
        empty && self.processes().is_empty()
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) -> Result<(), Failed> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        if Instant::now() >= deadline {
            return Err(format!("waited in vain until {what}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn signal(pid: u32, signal: Signal) -> Result<(), Failed> {
    Ok(kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
}

/// The first child: of the run the reaper, of the reaper the process in which the blocks run.
fn child_of(parent: u32) -> Option<u32> {
    let list = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    list.split_whitespace().next()?.parse().ok()
}

fn killed() -> Result<(), Failed> {
    let project = Project::new(SLOW)?;
    let mut run = project.start()?;
    signal(run.id(), Signal::SIGKILL)?;
    run.wait()?;
    until("nothing is left", || project.is_clean())
}

fn child_killed() -> Result<(), Failed> {
    let project = Project::new(SLOW)?;
    let mut run = project.start()?;
    let child = child_of(run.id()).ok_or("the run has no child")?;
    signal(child, Signal::SIGKILL)?;
    assert_eq!(run.wait()?.code(), Some(3));
    until("nothing is left", || project.is_clean())
}

fn two_killed() -> Result<(), Failed> {
    for killed in [[0, 1], [0, 2], [1, 2]] {
        let project = Project::new(SLOW)?;
        let mut run = project.start()?;
        let reaper = child_of(run.id()).ok_or("the run has no reaper")?;
        let inner = child_of(reaper).ok_or("the reaper has no child")?;
        let processes = [run.id(), reaper, inner];
        // Stopped first, so that none of them acts between the two signals.
        for signal_sent in [Signal::SIGSTOP, Signal::SIGKILL] {
            for which in killed {
                signal(processes[which], signal_sent)?;
            }
        }
        run.wait()?;
        until("nothing is left", || project.is_clean())?;
    }
    Ok(())
}

fn all_of_a_name_killed() -> Result<(), Failed> {
    let project = Project::new(SLOW)?;
    let mut run = project.start()?;
    let name = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let own = name(i32::try_from(run.id())?);
    let mut of_that_name: Vec<i32> = project.processes().into_iter().map(|(pid, _)| pid).collect();
    of_that_name.retain(|pid| name(*pid) == own);
    of_that_name.push(i32::try_from(run.id())?);
    for signal_sent in [Signal::SIGSTOP, Signal::SIGKILL] {
        for pid in &of_that_name {
            // One that is gone already is no mistake.
            let _ = kill(Pid::from_raw(*pid), signal_sent);
        }
    }
    run.wait()?;
    until("nothing is left", || project.is_clean())
}

fn interrupted() -> Result<(), Failed> {
    let project = Project::new(SLOW)?;
    let mut run = project.start()?;
    signal(run.id(), Signal::SIGINT)?;
    std::thread::sleep(Duration::from_millis(300));
    signal(run.id(), Signal::SIGINT)?;
    assert_eq!(run.wait()?.code(), Some(3));
    until("nothing is left", || project.is_clean())
}

fn server_crash() -> Result<(), Failed> {
    let spec = "=== TEST 1: crash\n--- config\n    location = /t { content_by_lua_block {\n\
        local ffi = require \"ffi\"\nffi.cdef[[int kill(int pid, int sig);]]\n\
        ffi.C.kill(ngx.worker.pid(), 9)\nngx.say(\"x\") } }\n--- request\nGET /t\n--- response_body\nx\n";
    let project = Project::new(spec)?;
    assert_eq!(project.command(&["t"]).status()?.code(), Some(1));
    until("nothing is left", || project.is_clean())
}

fn side_by_side() -> Result<(), Failed> {
    let spec = "=== TEST 1: a\n--- config\n    location = /t { content_by_lua_block { ngx.sleep(0.3) ngx.say(ngx.var.server_port) } }\n\
        --- request\nGET /t\n--- response_body\n1984\n";
    let projects = [Project::new(spec)?, Project::new(spec)?];
    let mut runs = Vec::new();
    for project in &projects {
        runs.push(project.command(&["-j1", "t"]).spawn()?);
    }
    for mut run in runs {
        assert_eq!(run.wait()?.code(), Some(0));
    }
    Ok(())
}

/// The second server is the same program, told by its environment that it is another one.
fn against() -> Result<(), Failed> {
    use std::os::unix::fs::PermissionsExt as _;
    let block = |number: u32, says: &str| {
        format!(
            "=== TEST {number}: says something\n--- main_config\nenv WHO;\n--- config\n    location = /t {{ \
             content_by_lua_block {{ ngx.say({says}) }} }}\n--- request\nGET /t\n--- response_body_like: .\n\n\n\n"
        )
    };
    let project = Project::new(&(block(1, "'the same'") + &block(2, "os.getenv('WHO') or 'first'")))?;
    let other = project.path("other");
    std::fs::write(&other, format!("#!/bin/sh\nWHO=second exec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_rsty")))?;
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o755))?;
    let output = project.command(&["t", "--against", "./other"]).stdout(Stdio::piped()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let wanted = ["- first", "+ second", "1 of 2 blocks differ, 1 agree (1 passed on both)"];
    if output.status.code() != Some(1) || !wanted.iter().all(|line| text.contains(line)) || text.contains("the same") {
        return Err(format!("{}\n{text}", output.status).into());
    }
    until("nothing is left", || project.is_clean())
}

fn watch() -> Result<(), Failed> {
    // The watch takes what was opened shortly after a block for the block's; the script waits longer than that.
    let block = |number: u32, module: &str| {
        format!(
            "=== TEST {number}: uses {module}\n--- http_config\n    lua_package_path \"lib/?.lua;;\";\n--- config\n    \
             location = /t {{ content_by_lua_block {{ ngx.sleep(0.3) ngx.say(require(\"{module}\")) }} }}\n\
             --- request\nGET /t\n--- response_body\none\n\n\n\n"
        )
    };
    let project = Project::new(&block(1, "first"))?;
    std::fs::write(project.path("t/b.t"), block(2, "second"))?;
    for module in ["first", "second"] {
        std::fs::write(project.path("lib").join(format!("{module}.lua")), "return 'one'\n")?;
    }
    let terminal = nix::pty::openpty(None, None)?;
    let mut keys = File::from(terminal.master);
    let side = |file: &std::os::fd::OwnedFd| file.try_clone().map(Stdio::from);
    let mut command = project.command(&["--watch", "-j1", "-v", "t"]);
    command.stdin(side(&terminal.slave)?).stdout(side(&terminal.slave)?).stderr(side(&terminal.slave)?);
    let mut run = command.spawn()?;
    drop((command, terminal.slave));
    let mut screen = Screen { terminal: keys.try_clone()?, text: String::new() };
    screen.shows("2 passed")?;
    screen.shows("watching")?;
    replace(&project.path("lib/second.lua"), "return 'two'\n")?;
    screen.shows("changed: lib/second.lua")?;
    screen.shows("FAIL t/b.t:1")?;
    screen.shows("1 failed in")?;
    screen.shows("watching")?;
    replace(&project.path("lib/second.lua"), "return 'one'\n")?;
    screen.shows("PASS t/b.t:1")?;
    screen.shows("1 passed in")?;
    screen.shows("watching")?;
    keys.write_all(b"q")?;
    until("the watch ends", || run.try_wait().is_ok_and(|status| status.is_some()))?;
    until("nothing is left", || project.is_clean())
}

/// The port is known to the prologue's code alone, so the blocks begin in networks of their own.
fn unnamed_service() -> Result<(), Failed> {
    let service = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let port = service.local_addr()?.port();
    let block = |number: u32| {
        format!(
            "=== TEST {number}: asks\n--- config eval: $::asks\n--- request\nGET /t\n--- response_body\nhello\n\
             --- no_error_log\n[error]\n\n"
        )
    };
    let prologue = format!(
        "use Test::Nginx::Socket;\nplan tests => 6;\nour $port = {} + 1;\nour $asks = qq{{\nlocation = /t {{ content_by_lua_block {{\n\
         local sock = ngx.socket.tcp()\nassert(sock:connect(\"127.0.0.1\", $port))\nngx.say(sock:receive())\n}} }} }};\n\
         run_tests();\n\n__DATA__\n\n",
        port - 1
    );
    let project = Project::new(&[prologue, block(1), block(2)].concat())?;
    let answer = std::thread::spawn(move || -> std::io::Result<()> {
        use std::io::Write as _;
        for _ in 0..2 {
            service.accept()?.0.write_all(b"hello\n")?;
        }
        Ok(())
    });
    let status = project.command(&["-j2", "t"]).status()?;
    assert_eq!(status.code(), Some(0));
    answer.join().map_err(|_| "the service failed")??;
    Ok(())
}

/// What a terminal shows.
struct Screen {
    terminal: File,
    text: String,
}

impl Screen {
    /// Waits for a text, and forgets everything up to it.
    fn shows(&mut self, wanted: &str) -> Result<(), Failed> {
        use std::os::fd::AsFd as _;
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(at) = self.text.find(wanted) {
                self.text.drain(..at + wanted.len());
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(format!("waited in vain for `{wanted}`; the screen shows:\n{}", self.text).into());
            }
            let mut polled = [nix::poll::PollFd::new(self.terminal.as_fd(), nix::poll::PollFlags::POLLIN)];
            if nix::poll::poll(&mut polled, 200_u16)? > 0 {
                let mut bytes = [0; 4096];
                let count = self.terminal.read(&mut bytes)?;
                self.text.push_str(&String::from_utf8_lossy(bytes.get(..count).unwrap_or_default()));
            }
        }
    }
}

/// As editors write: a new file takes the name of the old one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let beside = path.with_extension("tmp");
    std::fs::write(&beside, text)?;
    std::fs::rename(beside, path)
}
