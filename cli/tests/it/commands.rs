//! `rsty run` and `rsty init`, and the development server, as a person uses them.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;

type Checked = Result<(), Failed>;

/// The trials of this file.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("run::code_has_its_words_and_the_whole_api", code_has_words),
        Trial::test("run::the_exit_status_is_the_script_s", exit_status),
        Trial::test("run::a_file_reads_the_standard_input", file_reads_input),
        Trial::test("run::options_of_resty_are_understood", resty_options),
        Trial::test("init::an_application_works_and_is_clean", app_works),
        Trial::test("init::a_library_works_and_is_clean", lib_works),
        Trial::test("watch::changed_lua_answers_within_200_ms", changed_lua),
        Trial::test("watch::a_bad_edit_keeps_the_old_code", bad_edit),
        Trial::test("watch::a_changed_configuration_is_taken_up", changed_conf),
        Trial::test("watch::a_failed_script_is_shown_to_the_browser_only_here", error_page),
        Trial::test("watch::foreign_names_are_refused", foreign_names),
    ]
}

fn rsty(folder: &Path, words: &[&str], input: &str) -> Result<Output, Failed> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rsty"));
    command.args(words).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().ok_or("no standard input")?.write_all(input.as_bytes())?;
    Ok(child.wait_with_output()?)
}

/// Runs `rsty run` and compares the exit code and the standard output.
fn ran(words: &[&str], input: &str, code: i32, answer: &str) -> Checked {
    let folder = TempDir::new()?;
    fs::write(folder.path().join("echo.lua"), "#!/usr/bin/env rsty\nprint(io.read('*a'), ' ', ...)")?;
    fs::write(folder.path().join("helper.lua"), "return { twice = function (x) return 2 * x end }")?;
    let words: Vec<&str> = ["run"].into_iter().chain(words.iter().copied()).collect();
    let output = rsty(folder.path(), &words, input)?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() != Some(code) || out != answer {
        return Err(format!("{words:?}: {}\n{out}\n{err}", output.status).into());
    }
    let left = fs::read_dir(folder.path())?.count();
    if left != 2 { Err(format!("{words:?} left {left} files").into()) } else { Ok(()) }
}

fn code_has_words() -> Checked {
    ran(&["-e", "ngx.say(#arg, arg[1], select(2, ...))", "one", "--two"], "", 0, "2one--two\n")?;
    ran(
        &[
            "-e",
            "ngx.sleep(0.01) local t = ngx.thread.spawn(function () return 5 end) print(select(2, ngx.thread.wait(t)))",
        ],
        "",
        0,
        "5\n",
    )?;
    ran(&["-e", "a = 1", "-e", "print(a, {1, {ngx.null}})"], "", 0, "11null\n")
}

fn exit_status() -> Checked {
    ran(&["-e", "print('before') os.exit(7)"], "", 7, "before\n")?;
    ran(&["-e", "ngx.exit(3)"], "", 3, "")?;
    ran(&["-e", "error('broken')"], "", 1, "")?;
    ran(&["-e", "not lua"], "", 1, "")?;
    ran(&["missing.lua"], "", 1, "")?;
    ran(&[], "", 2, "")?;
    ran(&["--no-such-option"], "", 2, "")
}

fn file_reads_input() -> Checked {
    ran(&["echo.lua", "x", "y"], "text", 0, "text xy\n")?;
    ran(&["-", "z"], "print('from stdin ', ...)", 0, "from stdin z\n")
}

fn resty_options() -> Checked {
    ran(&["-I", ".", "-e", "print(require('helper').twice(21))"], "", 0, "42\n")?;
    ran(&["--shdict", "d 100k", "-e", "print((ngx.shared.d:incr('n', 2, 5)))"], "", 0, "7\n")?;
    ran(&["-l", "cjson", "-e", "print(package.loaded.cjson ~= nil)"], "", 0, "true\n")?;
    ran(&["-j", "off", "-e", "print((jit.status()))"], "", 0, "false\n")?;
    ran(&["--user-runner", "env RSTY_SEEN=yes", "-e", "print(os.getenv('RSTY_SEEN'))"], "", 0, "yes\n")
}

/// Writes a project, runs its specs and looks it over.
fn project(kind: &str) -> Checked {
    let folder = TempDir::new()?;
    let steps: [&[&str]; 4] = [&["init", kind, "greeter"], &["test", "t/"], &["lint"], &["reindex", "--check", "t/"]];
    for step in steps {
        let place = if step[0] == "init" { folder.path().to_owned() } else { folder.path().join("greeter") };
        let output = rsty(&place, step, "")?;
        if !output.status.success() {
            let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            return Err(format!("{step:?}: {}\n{out}\n{err}", output.status).into());
        }
    }
    Ok(())
}

fn app_works() -> Checked {
    project("app")
}

fn lib_works() -> Checked {
    project("lib")
}

/// A development server in a folder of its own.
struct Watching {
    folder: TempDir,
    port: u16,
    child: Child,
}

impl Watching {
    fn start() -> Result<Self, Failed> {
        let folder = TempDir::new()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let output = rsty(folder.path(), &["init", "app", "."], "")?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        let conf = folder.path().join("conf/nginx.conf");
        fs::write(&conf, fs::read_to_string(&conf)?.replace("8080", &port.to_string()))?;
        let log = fs::File::create(folder.path().join("terminal.log"))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_rsty"));
        command.args(["serve", "--watch"]).current_dir(folder.path()).stdin(Stdio::null()).stderr(log);
        let watching = Self { child: command.spawn()?, folder, port };
        watching.until(Duration::from_secs(20), |answer| answer.contains("Hello"))?;
        Ok(watching)
    }

    fn edit(&self, file: &str, from: &str, to: &str) -> Checked {
        let path = self.folder.path().join(file);
        Ok(fs::write(&path, fs::read_to_string(&path)?.replace(from, to))?)
    }

    fn terminal(&self) -> String {
        fs::read_to_string(self.folder.path().join("terminal.log")).unwrap_or_default()
    }

    fn get(&self, headers: &str) -> Result<String, Failed> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(format!("GET / HTTP/1.1\r\nConnection: close\r\n{headers}\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// How long it takes until an answer is as it should be.
    fn until(&self, limit: Duration, is_right: impl Fn(&str) -> bool) -> Result<Duration, Failed> {
        let start = Instant::now();
        loop {
            let answer = self.get("Host: localhost\r\n").unwrap_or_default();
            if is_right(&answer) {
                return Ok(start.elapsed());
            }
            if start.elapsed() > limit {
                return Err(format!("not in time: {answer}\n{}", self.terminal()).into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}

fn changed_lua() -> Checked {
    let server = Watching::start()?;
    server.edit("lua/app.lua", "Hello", "Salut")?;
    let took = server.until(Duration::from_secs(5), |answer| answer.contains("Salut"))?;
    let answer = server.get("")?;
    // What all workers share is still there.
    let kept = !answer.contains("\"visits\":1}");
    match took < Duration::from_millis(200) && kept {
        true => Ok(()),
        false => Err(format!("after {took:?}: {answer}").into()),
    }
}

fn bad_edit() -> Checked {
    let server = Watching::start()?;
    server.edit("lua/app.lua", "return _M", "return _M end")?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while !server.terminal().contains("the old code goes on") {
        if Instant::now() > deadline {
            return Err(server.terminal().into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    server.until(Duration::from_secs(1), |answer| answer.contains("Hello"))?;
    server.edit("lua/app.lua", "return _M end", "return _M")?;
    server.edit("lua/app.lua", "Hello", "Mended")?;
    server.until(Duration::from_secs(5), |answer| answer.contains("Mended"))?;
    Ok(())
}

fn changed_conf() -> Checked {
    let server = Watching::start()?;
    server.edit("conf/nginx.conf", "application/json", "text/x-other")?;
    server.until(Duration::from_secs(5), |answer| answer.contains("text/x-other"))?;
    server.edit("conf/nginx.conf", "default_type", "defautl_type")?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while !server.terminal().contains("did you mean `default_type`?") {
        if Instant::now() > deadline {
            return Err(server.terminal().into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    server.until(Duration::from_secs(1), |answer| answer.contains("text/x-other"))?;
    Ok(())
}

fn error_page() -> Checked {
    let server = Watching::start()?;
    server.edit("lua/app.lua", "ngx.say(", "error('<b>boom</b>') ngx.say(")?;
    server.until(Duration::from_secs(5), |answer| answer.starts_with("HTTP/1.1 500"))?;
    let page = server.get("Host: localhost\r\nAccept: text/html\r\n")?;
    for piece in ["&lt;b&gt;boom&lt;/b&gt;", "app.lua:", "Recent log", "Cache-Control: no-store"] {
        if !page.contains(piece) {
            return Err(format!("{piece} is not in\n{page}").into());
        }
    }
    let plain = server.get("Host: localhost\r\n")?;
    if page.contains("<b>boom") || plain.contains("boom") { Err(format!("{page}\n{plain}").into()) } else { Ok(()) }
}

fn foreign_names() -> Checked {
    let server = Watching::start()?;
    for (headers, status) in [
        ("Host: attacker.example\r\n", "403"),
        ("Host: localhost\r\nOrigin: http://attacker.example\r\n", "403"),
        ("Host: 127.0.0.1:1\r\nOrigin: http://localhost:5000\r\n", "200"),
        ("Host: app.localhost\r\n", "200"),
    ] {
        let answer = server.get(headers)?;
        if !answer.starts_with(&format!("HTTP/1.1 {status}")) {
            return Err(format!("{headers}{answer}").into());
        }
    }
    Ok(())
}
