//! What the prologue of a file decided about the whole run.

/// Which base module the file is written for; it decides how requests are sent and which sections exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flavour {
    /// `Test::Nginx::Socket::Lua::Dgram`: `dgram_*` sections, turned into ordinary ones by a preprocessor.
    Dgram,
    /// `Test::Nginx::LWP`: requests through a normal HTTP client.
    Lwp,
    /// `Test::Nginx::Socket::Lua`: as `Socket`, with `TEST_NGINX_INIT_BY_LUA`.
    #[default]
    Lua,
    /// `Test::Base` alone: the file's own Perl runs each block, without a server.
    Plain,
    /// `Test::Nginx::Socket`.
    Socket,
    /// `Test::Nginx::Socket::Lua::Stream`: `stream_*` sections, turned into ordinary ones by a preprocessor.
    Stream,
}

/// The values of the run-wide functions (`repeat_each`, `workers`, …) when asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The base module.
    pub flavour: Flavour,
    /// How often each block runs.
    pub repeat_each: u32,
    /// `worker_processes`, as written.
    pub workers: Vec<u8>,
    /// `worker_connections`, as written.
    pub worker_connections: Vec<u8>,
    /// `master_process`: `None` unless the file or `TEST_NGINX_MASTER_PROCESS` decided (then the default is off).
    pub master_process: Option<bool>,
    /// The level of the `error_log` directive.
    pub log_level: Vec<u8>,
    /// Whether the blocks may run in another order than the file's.
    pub shuffle: bool,
    /// Whether the default `location /` is written.
    pub root_location: bool,
    /// `server_name` and the `Host` header.
    pub server_name: Vec<u8>,
    /// The address that the client connects to.
    pub server_addr: Vec<u8>,
    /// The port in `listen`.
    pub server_port: u16,
    /// The port that the client connects to.
    pub server_port_for_client: u16,
    /// Where the prologue left the working directory; the server starts in it.
    pub working_directory: std::path::PathBuf,
    /// The absolute server root.
    pub server_root: Vec<u8>,
    /// The client's idle timeout in seconds.
    pub timeout: f64,
    /// Text put before each block's `config`.
    pub config_preamble: Vec<u8>,
    /// Arguments of `env` directives, in order.
    pub env_to_nginx: Vec<Vec<u8>>,
    /// Whether each error log check reads the log from its start.
    pub check_accum_error_log: bool,
    /// Whether the server is reloaded between blocks instead of restarted.
    pub use_hup: bool,
    /// Whether the runner starts and stops the server.
    pub nginx_manager: bool,
    /// Failed string comparisons are shown whole.
    pub no_long_string: bool,
    /// Failed string comparisons are shown without a difference.
    pub no_diff: bool,
}

/// How many assertions the file promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The file promises nothing: `no_plan`, or a file without a plan.
    NoPlan,
    /// The file must not run, for this reason.
    SkipAll(Vec<u8>),
    /// Exactly this many assertions.
    Tests(i64),
}
