//! The `nginx.conf` of a block.
//!
//! Specs assert line numbers of this file (`nginx.conf:43`), so each line stands where the original puts it:
//! a change that moves a line is a breaking change. Empty pieces still take their line.

use std::path::Path;

/// What goes into the file, with every variable already expanded.
#[derive(Debug)]
pub struct Config<'a> {
    /// `worker_processes`.
    pub workers: &'a [u8],
    /// `worker_connections`.
    pub worker_connections: &'a [u8],
    /// Whether `master_process` is on.
    pub master_process: bool,
    /// File of the `error_log` directive.
    pub error_log: &'a [u8],
    /// Level of the `error_log` directive.
    pub log_level: &'a [u8],
    /// Whether requests are logged.
    pub access_log: bool,
    /// `env` directives that the spec file asked for.
    pub environment: &'a [Vec<u8>],
    /// The server root.
    pub root: &'a Path,
    /// Paths of modules for `load_module`.
    pub load_modules: &'a [String],
    /// The block's `main_config`.
    pub main_config: &'a [u8],
    /// The block's `http_config`.
    pub http_config: &'a [u8],
    /// The block's `post_main_config`.
    pub post_main_config: &'a [u8],
    /// The port in `listen`.
    pub port: u16,
    /// HTTP/2 on that port: how this server's version wants it said.
    pub http2: Http2,
    /// Whether `listen` has `reuseport`.
    pub reuse_port: bool,
    /// `server_name`.
    pub server_name: &'a [u8],
    /// Text before the block's `config`.
    pub preamble: &'a [u8],
    /// The block's `config`.
    pub config: &'a [u8],
    /// Whether the default `location /` is written.
    pub root_location: bool,
    /// The `use` directive of `events`.
    pub event_type: Option<&'a str>,
    /// The version that the second server tells, in the mode that reloads.
    pub reload_version: Option<&'a str>,
    /// `postpone_output`; written only in the mode that reloads.
    pub postpone_output: Option<&'a str>,
    /// The `user` directive.
    pub user: Option<&'a str>,
    /// Modules the server was built without, among `fastcgi`, `scgi`, `uwsgi`.
    pub without: &'a [&'static str],
}

/// How HTTP/2 is switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2 {
    /// Not at all.
    Off,
    /// By a directive of its own, since nginx 1.19.9 in the original's eyes.
    Directive,
    /// By a parameter of `listen`.
    ListenParameter,
}

impl Config<'_> {
    /// The text of the file.
    pub fn render(&self) -> Vec<u8> {
        let mut out = Lines(Vec::with_capacity(4096));
        self.main(&mut out);
        self.http(&mut out);
        self.tail(&mut out);
        out.0
    }

    fn main(&self, out: &mut Lines) {
        out.line(&[b"worker_processes  ", self.workers, b";"]);
        out.line(&[b"daemon on;"]);
        out.line(&[b"master_process ", if self.master_process { b"on" } else { b"off" }, b";"]);
        out.line(&[b"error_log ", self.error_log, b" ", self.log_level, b";"]);
        out.line(&[b"pid       ", &self.path("logs/nginx.pid"), b";"]);
        for name in [
            "MOCKEAGAIN_VERBOSE",
            "MOCKEAGAIN",
            "MOCKEAGAIN_WRITE_TIMEOUT_PATTERN",
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "DYLD_INSERT_LIBRARIES",
            "DYLD_FORCE_FLAT_NAMESPACE",
        ] {
            out.line(&[b"env ", name.as_bytes(), b";"]);
        }
        for name in self.environment {
            let quote: &[u8] = if name.iter().any(u8::is_ascii_whitespace) { b"'" } else { b"" };
            out.line(&[b"env ", quote, name, quote, b";"]);
        }
        out.line(&[b"#env LUA_PATH;"]);
        out.line(&[b"#env LUA_CPATH;"]);
        out.line(&[]);
        let mut modules = String::new();
        for path in self.load_modules {
            modules.push_str(&format!("load_module {path}; "));
        }
        out.line(&[modules.as_bytes(), self.main_config]);
        out.line(&[]);
    }

    fn http(&self, out: &mut Lines) {
        out.line(&[b"http {"]);
        let mut temp = Vec::new();
        for name in ["client_body", "proxy", "fastcgi", "scgi", "uwsgi"] {
            let directive = format!("{name}_temp_path");
            temp.push(b' ');
            let replaced = matches!(name, "client_body" | "proxy") && contains_word(self.http_config, &directive);
            if !replaced && !self.without.contains(&name) {
                temp.extend_from_slice(directive.as_bytes());
                temp.push(b' ');
                temp.extend_from_slice(&self.path(&format!("{name}_temp")));
                temp.push(b';');
            }
        }
        let access_log = if self.access_log { self.path("logs/access.log") } else { b"off".to_vec() };
        out.line(&[b"    access_log ", &access_log, b";", &temp]);
        out.line(&[b"    #access_log off;"]);
        out.line(&[]);
        out.line(&[b"    default_type text/plain;"]);
        out.line(&[b"    keepalive_timeout  68000ms;"]);
        out.line(&[]);
        out.line(&[self.http_config]);
        self.server(out);
        if let Some(version) = self.reload_version {
            out.line(&[b"    server {"]);
            self.listen(out, b" ");
            out.line(&[b"        server_name     'Test-Nginx';"]);
            out.line(&[]);
            out.line(&[b"        location = /ver {"]);
            out.line(&[b"            return 200 '", version.as_bytes(), b"';"]);
            out.line(&[b"        }"]);
            out.line(&[b"    }"]);
            out.line(&[]);
            match self.postpone_output {
                Some(size) if !contains_word(self.http_config, "postpone_output") => {
                    out.line(&[b"\n    postpone_output ", size.as_bytes(), b";\n"]);
                }
                _ => out.line(&[]),
            }
        }
        out.line(&[b"}"]);
    }

    fn server(&self, out: &mut Lines) {
        out.line(&[b"    server {"]);
        self.listen(out, b"");
        out.line(&[b"        #placeholder"]);
        let server_name = self.server_name.iter().flat_map(|byte| {
            let escape: &[u8] = if matches!(byte, b'\\' | b'\'') { b"\\" } else { b"" };
            escape.iter().chain(std::iter::once(byte)).copied()
        });
        out.line(&[b"        server_name     '", &server_name.collect::<Vec<u8>>(), b"';"]);
        out.line(&[b"        "]);
        out.line(&[b"        client_max_body_size 30M;"]);
        out.line(&[b"        #client_body_buffer_size 4k;"]);
        out.line(&[]);
        out.line(&[b"        # Begin preamble config..."]);
        out.line(&[self.preamble]);
        out.line(&[b"        # End preamble config..."]);
        out.line(&[]);
        out.line(&[b"        # Begin test case config..."]);
        out.line(&[self.config]);
        out.line(&[b"        # End test case config."]);
        out.line(&[]);
        if self.root_location {
            out.line(&[b"        location / {"]);
            out.line(&[b"            root ", &self.path("html"), b";"]);
            out.line(&[b"            index index.html index.htm;"]);
            out.line(&[b"        }"]);
        }
        out.line(&[b"    }"]);
    }

    fn listen(&self, out: &mut Lines, gap: &[u8]) {
        let port = self.port.to_string();
        let http2: &[u8] = if self.http2 == Http2::ListenParameter { b" http2" } else { b"" };
        let reuse: &[u8] = if self.reuse_port { b" reuseport" } else { b"" };
        let directive: &[u8] = if self.http2 == Http2::Directive { b"http2 on;" } else { b"" };
        out.line(&[b"        listen          ", port.as_bytes(), http2, reuse, b";", gap, directive]);
    }

    fn tail(&self, out: &mut Lines) {
        out.line(&[]);
        out.line(&[self.post_main_config]);
        out.line(&[]);
        out.line(&[b"#timer_resolution 100ms;"]);
        out.line(&[]);
        out.line(&[b"events {"]);
        out.line(&[b"    accept_mutex off;"]);
        out.line(&[]);
        out.line(&[b"    worker_connections  ", self.worker_connections, b";"]);
        if let Some(method) = self.event_type {
            out.line(&[b"    use ", method.as_bytes(), b";"]);
        }
        out.line(&[b"}"]);
        out.line(&[b"env ASAN_OPTIONS;"]);
        out.line(&[b"env MOCKNOEAGAIN_VERBOSE;"]);
        out.line(&[b"env MOCKNOEAGAIN;"]);
        if let Some(user) = self.user {
            out.line(&[b"user ", user.as_bytes(), b";"]);
        }
    }

    fn path(&self, inside: &str) -> Vec<u8> {
        use std::os::unix::ffi::OsStrExt as _;
        self.root.join(inside).as_os_str().as_bytes().to_vec()
    }
}

struct Lines(Vec<u8>);

impl Lines {
    fn line(&mut self, pieces: &[&[u8]]) {
        for piece in pieces {
            self.0.extend_from_slice(piece);
        }
        self.0.push(b'\n');
    }
}

/// Whether `word` stands in the text with no word character on either side.
pub(crate) fn contains_word(text: &[u8], word: &str) -> bool {
    let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    memchr::memmem::find_iter(text, word.as_bytes())
        .any(|at| !is_word(at.checked_sub(1).and_then(|at| text.get(at))) && !is_word(text.get(at + word.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Config<'static> {
        Config {
            workers: b"1",
            worker_connections: b"64",
            master_process: false,
            error_log: b"/r/logs/error.log",
            log_level: b"debug",
            access_log: true,
            environment: &[],
            root: Path::new("/r"),
            load_modules: &[],
            main_config: b"",
            http_config: b"",
            post_main_config: b"",
            port: 1984,
            http2: Http2::Off,
            reuse_port: false,
            server_name: b"localhost",
            preamble: b"",
            config: b"    location /t {\n        return 200;\n    }\n",
            root_location: true,
            event_type: None,
            reload_version: None,
            postpone_output: None,
            user: Some("root"),
            without: &[],
        }
    }

    /// The number of the line that holds `text`, from 1.
    fn line_of(conf: &[u8], text: &str) -> usize {
        let conf = String::from_utf8_lossy(conf);
        conf.lines().position(|line| line.contains(text)).map_or(0, |at| at + 1)
    }

    #[test]
    fn each_part_has_its_line() {
        let conf = sample().render();
        for (text, line) in [
            ("pid       /r/logs/nginx.pid;", 5),
            ("env DYLD_FORCE_FLAT_NAMESPACE;", 12),
            ("#env LUA_PATH;", 13),
            ("http {", 18),
            ("keepalive_timeout  68000ms;", 23),
            ("    server {", 26),
            ("listen          1984;", 27),
            ("location /t {", 39),
            ("location / {", 45),
        ] {
            assert_eq!(line_of(&conf, text), line, "{text}");
        }
        assert!(conf.ends_with(b"env MOCKNOEAGAIN;\nuser root;\n"));
    }

    #[test]
    fn http_config_takes_over_temp_paths_it_names() {
        let conf = Config { http_config: b"proxy_temp_path /x;\nclient_body_temp_paths;", ..sample() }.render();
        let text = String::from_utf8_lossy(&conf).into_owned();
        assert!(!text.contains("proxy_temp_path /r"));
        assert!(text.contains("client_body_temp_path /r/client_body_temp;"));
    }

    #[test]
    fn modules_share_the_line_of_main_config() {
        let modules = ["a.so".to_owned(), "b.so".to_owned()];
        let conf = Config { load_modules: &modules, main_config: b"x;", ..sample() }.render();
        assert_eq!(line_of(&conf, "load_module a.so; load_module b.so; x;"), 16);
    }
}
