//! One immutable runtime built from one configuration.
//!
//! [`CycleConf`] is filled while the configuration is read; [`Cycle`] is what processes run on. A reload builds
//! the next cycle beside this one: listening sockets are carried over by address and shared zones by name
//! (through [`CycleConf::previous`]); when anything fails, the old cycle stays.

use std::cell::Cell;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rsty_diag::{Diagnostic, Source};

use crate::http::conf::MainConf;
use crate::log::{ErrorLog, ErrorLogConf, Level, OpenFiles};
use crate::process::keep::Kept;

/// Under which name the server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// As nginx: `Server: nginx/1.31.2`, nginx's error pages and messages. Specs compare them.
    #[default]
    Nginx,
    /// As rsty.
    Rsty,
}

impl Identity {
    /// The product name of the `Server` header and the error pages.
    pub const fn product(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Rsty => "rsty",
        }
    }

    /// Product and version.
    pub const fn product_and_version(self) -> &'static str {
        match self {
            Self::Nginx => "nginx/1.31.2",
            Self::Rsty => concat!("rsty/", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// The version of nginx whose behaviour this is.
pub const NGINX_VERSION: &str = "1.31.2";
/// [`NGINX_VERSION`] as a number.
pub const NGINX_VERSION_NUMBER: u32 = 1_031_002;

/// A local address to accept on, with the options of its `listen` directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSpec {
    /// The address.
    pub address: ListenAddress,
    /// `backlog=`; 511 by default.
    pub backlog: i32,
    /// One socket for each worker.
    pub reuseport: bool,
    /// `rcvbuf=`
    pub receive_buffer: Option<usize>,
    /// `sndbuf=`
    pub send_buffer: Option<usize>,
    /// `ipv6only=`; on by default.
    pub ipv6_only: bool,
    /// `deferred`
    pub deferred: bool,
    /// `fastopen=`
    pub fastopen: Option<i32>,
    /// `so_keepalive=`
    pub keepalive: Option<TcpKeepalive>,
    /// `multipath`: connections may use several paths at once (RFC 8684).
    pub multipath: bool,
    /// Datagrams instead of a stream (`listen … udp` in `stream`).
    pub datagram: bool,
    /// Who serves it. Two that want one address are refused by the system.
    pub subsystem: Subsystem,
}

/// `so_keepalive=`: on with optional times, or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Whether the kernel probes idle connections.
    pub on: bool,
    /// Idle time before the first probe.
    pub idle: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
    /// Number of probes.
    pub count: Option<u32>,
}

impl ListenSpec {
    /// An address with the default options.
    pub fn new(address: ListenAddress) -> Self {
        Self {
            address,
            backlog: 511,
            reuseport: false,
            receive_buffer: None,
            send_buffer: None,
            ipv6_only: true,
            deferred: false,
            fastopen: None,
            keepalive: None,
            multipath: false,
            datagram: false,
            subsystem: Subsystem::Http,
        }
    }
}

/// Where to accept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// A TCP or UDP port.
    Inet(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl std::fmt::Display for ListenAddress {
    /// As nginx writes it: `127.0.0.1:80`, `[::1]:80`, `unix:/path`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A name and value for the environment, or a name to keep from the starting environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentVariable {
    /// The name.
    pub name: Box<[u8]>,
    /// The value; `None` keeps the inherited one.
    pub value: Option<Box<[u8]>>,
}

/// An account that workers run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// User number.
    pub user: u32,
    /// Group number.
    pub group: u32,
}

/// `thread_pool` with its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadPool {
    /// The name.
    pub name: Box<[u8]>,
    /// Number of threads.
    pub threads: usize,
    /// Longest queue.
    pub max_queue: usize,
}

/// Settings of the file's top level and of `events { }`, filled while the configuration is read.
#[derive(Default)]
pub struct CycleConf {
    /// Under which name the server speaks.
    pub identity: Identity,
    /// The folder that relative paths start from (`-p`), with a slash at its end.
    pub prefix: PathBuf,
    /// The folder of the main configuration file, with a slash at its end: where `include` starts from.
    pub conf_prefix: PathBuf,
    /// The main configuration file.
    pub conf_file: PathBuf,
    /// Whether this is a development server (`rsty serve --watch`).
    pub watch: bool,
    /// Whether the configuration is only being tested (`-t`).
    pub testing: bool,
    /// The cycle that runs while this one is built by a reload; none afterwards.
    pub previous: Cell<Option<&'static Cycle>>,
    /// Files to open for appending: error logs and access logs.
    pub files: OpenFiles,
    /// `error_log` at the top level.
    pub error_log: ErrorLogConf,
    /// Whether some log goes to the standard error, which then must not be redirected.
    pub logs_to_stderr: bool,
    /// Addresses to listen on, in the order of the file; modules remember indexes into it.
    pub listen: Vec<ListenSpec>,
    /// What was worth saying while reading, with its level.
    pub notices: Vec<(Level, Diagnostic)>,
    /// The files that were read, in order (`-T` prints them).
    pub sources: Vec<Source>,

    /// `daemon`
    pub daemon: Option<bool>,
    /// `master_process`
    pub master_process: Option<bool>,
    /// `worker_processes`
    pub worker_processes: Option<usize>,
    /// `worker_connections`
    pub worker_connections: Option<usize>,
    /// `connection_limit`: connections of a worker beyond which it accepts none.
    pub connection_limit: Option<usize>,
    /// `multi_accept`
    pub multi_accept: Option<bool>,
    /// `accept_mutex`
    pub accept_mutex: Option<bool>,
    /// `accept_mutex_delay`
    pub accept_mutex_delay: Option<Duration>,
    /// `debug_points`
    pub debug_points: Option<bool>,
    /// `pid`; absolute after reading.
    pub pid: Option<PathBuf>,
    /// `lock_file`
    pub lock_file: Option<PathBuf>,
    /// `user`
    pub user: Option<Account>,
    /// `env`
    pub env: Vec<EnvironmentVariable>,
    /// `worker_rlimit_nofile`
    pub rlimit_nofile: Option<u64>,
    /// `worker_rlimit_core`
    pub rlimit_core: Option<u64>,
    /// `worker_shutdown_timeout`
    pub shutdown_timeout: Option<Duration>,
    /// `worker_priority`
    pub priority: Option<i32>,
    /// `worker_cpu_affinity`: one bit a CPU for each mask; `auto` is one mask a CPU.
    pub cpu_affinity: Vec<Vec<bool>>,
    /// `working_directory`
    pub working_directory: Option<PathBuf>,
    /// `timer_resolution`
    pub timer_resolution: Option<Duration>,
    /// `pcre_jit`
    pub pcre_jit: Option<bool>,
    /// The zones of shared memory so far: name, the directive that declared each, and its subsystem.
    pub zones: Vec<(Box<[u8]>, &'static str, Subsystem)>,
    /// `thread_pool`
    pub thread_pools: Vec<ThreadPool>,
    /// Whether `events { }` was there.
    pub has_events: bool,
    /// Settings of `stream { }`, once it was read.
    pub(crate) stream: Option<Box<MainConf>>,
}

impl CycleConf {
    /// A path as written, made absolute from the prefix.
    pub fn full_path(&self, path: &[u8]) -> PathBuf {
        self.prefix.join(Path::new(std::ffi::OsStr::from_bytes(path)))
    }

    /// A path as written, made absolute from the configuration's folder (`include`, certificates, `geo`, …).
    pub fn full_conf_path(&self, path: &[u8]) -> PathBuf {
        self.conf_prefix.join(Path::new(std::ffi::OsStr::from_bytes(path)))
    }

    /// Records a message at a place, written when the configuration has been read.
    pub fn notice(&mut self, level: Level, diagnostic: Diagnostic) {
        self.notices.push((level, diagnostic));
    }

    /// Number of workers, 1 where the configuration says nothing.
    pub fn worker_count(&self) -> usize {
        self.worker_processes.unwrap_or(1)
    }
}

/// What a configuration serves. Each has servers, variables, shared dictionaries and a Lua VM of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subsystem {
    /// Requests: `http { }`.
    #[default]
    Http,
    /// Connections as such: `stream { }`.
    Stream,
}

impl Subsystem {
    /// What stands before the Lua core's log messages.
    pub(crate) const fn mark(self) -> &'static str {
        match self {
            Self::Http => "",
            Self::Stream => "stream ",
        }
    }
}

/// What processes run on.
pub struct Cycle {
    /// Settings of the top level.
    pub conf: CycleConf,
    /// Settings of `http { }`.
    pub http: MainConf,
    /// Settings of `stream { }`, if there is one.
    pub stream: Option<Box<MainConf>>,
    /// The log of the top level.
    pub log: ErrorLog,
    /// What settings refer to; dropped last.
    pub(crate) kept: Kept,
}

impl Cycle {
    /// Under which name the server speaks.
    pub fn identity(&self) -> Identity {
        self.conf.identity
    }

    /// The settings of a subsystem that the configuration has.
    pub fn main(&self, subsystem: Subsystem) -> Option<&MainConf> {
        match subsystem {
            Subsystem::Http => Some(&self.http),
            Subsystem::Stream => self.stream.as_deref(),
        }
    }

    /// The settings of all subsystems.
    pub fn mains(&'static self) -> impl Iterator<Item = &'static MainConf> {
        std::iter::once(&self.http).chain(self.stream.as_deref())
    }

    /// The folder that relative paths start from, with a slash at its end.
    pub fn prefix(&self) -> &Path {
        &self.conf.prefix
    }
}
