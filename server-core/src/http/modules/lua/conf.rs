//! The settings of the Lua module.

use std::cell::OnceCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use openssl::ssl::SslContext;
use rsty_diag::Diagnostic;

use super::apps::{AppsConf, Choice};
use super::script::{FileScript, Script};
use crate::conf::value::KeyValues;
use crate::http::conf::Merge;
use crate::lua::Vm;
use crate::lua::api::http::worker_thread::WorkerThreads;
use crate::lua::code::Inline;
use crate::shared_dict::Zones;
use crate::tls::context::{self, Settings};

/// Settings of `http { }`.
#[derive(Default)]
pub struct MainConf {
    /// `lua_package_path`
    pub package_path: Option<Box<[u8]>>,
    /// `lua_package_cpath`
    pub package_cpath: Option<Box<[u8]>>,
    /// `lua_shared_dict`: names and sizes.
    pub shared_dicts: Vec<(Box<[u8]>, usize)>,
    /// The zones of `shared_dicts`, once mapped.
    pub zones: OnceCell<Zones>,
    /// `lua_thread_cache_max_entries`; 1024 by default.
    pub thread_cache: Option<usize>,
    /// `lua_max_memory`: bytes that the scripts of a worker may hold; no limit by default.
    pub max_memory: Option<usize>,
    /// `lua_watchdog`: how long Lua code may run without giving way before the log tells where it is; 0 is never.
    pub watchdog: Option<Duration>,
    /// `lua_max_pending_timers`; 1024 by default.
    pub max_pending_timers: Option<usize>,
    /// `lua_max_running_timers`; 256 by default.
    pub max_running_timers: Option<usize>,
    /// `lua_regex_cache_max_entries`; 1024 by default.
    pub regex_cache_max_entries: Option<usize>,
    /// `lua_regex_match_limit`; 0, the library's own, by default.
    pub regex_match_limit: Option<usize>,
    /// `lua_capture_error_log`
    pub capture_error_log: Option<usize>,
    /// `lua_sa_restart`; on by default.
    pub sa_restart: Option<bool>,
    /// `lua_malloc_trim`; every 1000 requests by default.
    pub malloc_trim: Option<usize>,
    /// `lua_worker_thread_vm_pool_size`; 10 by default.
    pub worker_thread_vm_pool_size: Option<usize>,
    /// `rewrite_by_lua_no_postpone`
    pub rewrite_no_postpone: Option<bool>,
    /// `access_by_lua_no_postpone`
    pub access_no_postpone: Option<bool>,
    /// `precontent_by_lua_no_postpone`
    pub precontent_no_postpone: Option<bool>,
    /// `init_by_lua*`
    pub init: Option<StartScript>,
    /// `init_worker_by_lua*`
    pub init_worker: Option<StartScript>,
    /// `exit_worker_by_lua*`
    pub exit_worker: Option<StartScript>,
    /// `lua_app` and what belongs to it.
    pub(crate) apps: AppsConf,
    /// Some directive of this module was used: a VM is needed.
    pub used: bool,
    /// Which filters the configuration needs.
    pub needed: Needed,
    /// The VM, once started.
    pub vm: OnceCell<Rc<Vm>>,
    /// The thread pools with their interpreters.
    pub(crate) worker_threads: WorkerThreads,
}

/// Which filters the directives of a configuration ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needed {
    /// Of heads: `header_filter_by_lua*`, and for `body_filter_by_lua*` too.
    pub header_filter: bool,
    /// Of bodies: `body_filter_by_lua*`.
    pub body_filter: bool,
    /// For `ngx.location.capture`.
    pub capture: bool,
}

/// Code that runs without a request.
#[derive(Debug)]
pub enum StartScript {
    /// A file.
    File(Box<[u8]>),
    /// Code of the configuration.
    Inline(Inline),
}

/// Settings of a server.
#[derive(Default)]
pub struct SrvConf {
    /// `server_rewrite_by_lua*`
    pub server_rewrite: Option<Rc<Script>>,
    /// `ssl_client_hello_by_lua*`
    pub ssl_client_hello: Option<Rc<Script>>,
    /// `ssl_certificate_by_lua*`
    pub ssl_certificate: Option<Rc<Script>>,
    /// `ssl_session_store_by_lua*`
    pub ssl_session_store: Option<Rc<Script>>,
    /// `ssl_session_fetch_by_lua*`
    pub ssl_session_fetch: Option<Rc<Script>>,
}

/// Settings of a location.
#[derive(Clone, Default)]
pub struct LocConf {
    /// `rewrite_by_lua*`
    pub rewrite: Option<Rc<Script>>,
    /// `access_by_lua*`
    pub access: Option<Rc<Script>>,
    /// `precontent_by_lua*`
    pub precontent: Option<Rc<Script>>,
    /// `content_by_lua*`
    pub content: Option<Rc<Script>>,
    /// `log_by_lua*`
    pub log: Option<Rc<Script>>,
    /// `header_filter_by_lua*`
    pub header_filter: Option<Rc<Script>>,
    /// `body_filter_by_lua*`
    pub body_filter: Option<Rc<Script>>,
    /// `proxy_ssl_certificate_by_lua*`
    pub proxy_ssl_certificate: Option<Rc<Script>>,
    /// `proxy_ssl_verify_by_lua*`
    pub proxy_ssl_verify: Option<Rc<Script>>,
    /// `lua_app`; none by default.
    pub(crate) app: Option<Choice>,
    /// `lua_code_cache`; on by default.
    pub code_cache: Option<bool>,
    /// `lua_need_request_body`; off by default.
    pub need_request_body: Option<bool>,
    /// `lua_transform_underscores_in_response_headers`; on by default.
    pub transform_underscores: Option<bool>,
    /// `lua_http10_buffering`; on by default.
    pub http10_buffering: Option<bool>,
    /// `lua_check_client_abort`; off by default.
    pub check_client_abort: Option<bool>,
    /// `lua_use_default_type`; on by default.
    pub use_default_type: Option<bool>,
    /// `lua_malloc_trim` is there: the log phase counts requests.
    pub trims_memory: bool,
    /// Of cosockets.
    pub socket: SocketConf,
    /// Of cosockets that speak TLS.
    pub ssl: SslConf,
}

/// `lua_socket_*`
#[derive(Clone, Default)]
pub struct SocketConf {
    /// `lua_socket_log_errors`; on by default.
    pub log_errors: Option<bool>,
    /// `lua_socket_keepalive_timeout`; 60 s by default.
    pub keepalive_timeout: Option<Duration>,
    /// `lua_socket_connect_timeout`; 60 s by default.
    pub connect_timeout: Option<Duration>,
    /// `lua_socket_send_timeout`; 60 s by default.
    pub send_timeout: Option<Duration>,
    /// `lua_socket_read_timeout`; 60 s by default.
    pub read_timeout: Option<Duration>,
    /// `lua_socket_send_lowat`; 0 by default.
    pub send_lowat: Option<usize>,
    /// `lua_socket_buffer_size`; one page by default.
    pub buffer_size: Option<usize>,
    /// `lua_socket_pool_size`; 30 by default.
    pub pool_size: Option<usize>,
}

/// `lua_ssl_*`
#[derive(Clone, Default)]
pub struct SslConf {
    /// `lua_ssl_protocols`
    pub protocols: Option<u32>,
    /// `lua_ssl_ciphers`; `DEFAULT` by default.
    pub ciphers: Option<Box<[u8]>>,
    /// `lua_ssl_verify_depth`; 1 by default.
    pub verify_depth: Option<usize>,
    /// `lua_ssl_certificate`
    pub certificates: Option<Vec<Box<[u8]>>>,
    /// `lua_ssl_certificate_key`
    pub certificate_keys: Option<Vec<Box<[u8]>>>,
    /// `lua_ssl_trusted_certificate`
    pub trusted_certificate: Option<Box<[u8]>>,
    /// `lua_ssl_crl`
    pub crl: Option<Box<[u8]>>,
    /// `lua_ssl_key_log`
    pub key_log: Option<Box<[u8]>>,
    /// `lua_ssl_conf_command`
    pub conf_commands: Option<KeyValues>,
    /// `lua_upstream_skip_openssl_default_verify`; off by default.
    pub skip_default_verify: Option<bool>,
    /// What they make, once a socket needs it.
    context: OnceCell<SslContext>,
}

impl SslConf {
    /// The context for handshakes of cosockets.
    pub fn context(&self) -> Result<SslContext, String> {
        if let Some(context) = self.context.get() {
            return Ok(context.clone());
        }
        let path = |path: &[u8]| PathBuf::from(OsStr::from_bytes(path));
        let certificates = self.certificates.iter().flatten().zip(self.certificate_keys.iter().flatten());
        let settings = Settings {
            protocols: self.protocols.unwrap_or(0x7c),
            ciphers: Some(self.ciphers.as_ref().map_or("DEFAULT".into(), |text| String::from_utf8_lossy(text).into())),
            certificates: certificates.map(|(certificate, key)| (path(certificate), path(key))).collect(),
            passwords: Vec::new(),
            trusted: self.trusted_certificate.iter().map(|file| path(file)).collect(),
            crl: self.crl.as_deref().map(path),
            verify_depth: self.verify_depth.map_or(1, |depth| depth as u32),
            commands: self.conf_commands.clone().unwrap_or_default(),
        };
        let mut builder = settings.builder()?;
        settings.run_commands(&mut builder)?;
        if let Some(file) = &self.key_log {
            context::log_keys(&mut builder, &path(file))?;
        }
        Ok(self.context.get_or_init(|| builder.build()).clone())
    }

    /// Makes the context early when it depends on what may be wrong, so that errors show when the server starts.
    pub(crate) fn check(&self) -> Result<(), String> {
        let has_files = self.trusted_certificate.is_some() || self.crl.is_some() || self.certificates.is_some();
        if !has_files && self.ciphers.is_none() && self.conf_commands.is_none() {
            return Ok(());
        }
        let keys = self.certificate_keys.as_ref().map_or(0, Vec::len);
        if let Some(certificate) = self.certificates.iter().flatten().nth(keys) {
            let name = String::from_utf8_lossy(certificate);
            return Err(format!("no \"lua_ssl_certificate_key\" is defined for certificate \"{name}\""));
        }
        self.context().map(|_| ())
    }
}

/// Takes over from `$outer` what `$inner` leaves unset.
macro_rules! inherit {
    ($inner:expr, $outer:expr; $($field:ident),+ $(,)?) => {
        $(if $inner.$field.is_none() { $inner.$field.clone_from(&$outer.$field); })+
    };
}

impl Merge for SrvConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        inherit!(self, outer; server_rewrite, ssl_client_hello, ssl_certificate, ssl_session_store, ssl_session_fetch);
        Ok(())
    }
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        inherit!(self, outer;
            rewrite, access, precontent, content, log, header_filter, body_filter, proxy_ssl_certificate,
            proxy_ssl_verify, app, code_cache, need_request_body, transform_underscores, http10_buffering,
            check_client_abort, use_default_type);
        self.trims_memory |= outer.trims_memory;
        inherit!(self.socket, outer.socket;
            log_errors, keepalive_timeout, connect_timeout, send_timeout, read_timeout, send_lowat, buffer_size,
            pool_size);
        inherit!(self.ssl, outer.ssl;
            protocols, ciphers, verify_depth, certificates, certificate_keys, trusted_certificate, crl, key_log,
            conf_commands, skip_default_verify);
        Ok(())
    }
}

impl SocketConf {
    /// How long a peer may take to accept what is sent.
    pub(crate) fn send_timeout(&self) -> Duration {
        self.send_timeout.unwrap_or(Duration::from_mins(1))
    }
}

impl LocConf {
    /// Whether a script sees the heads or bodies of responses.
    pub(crate) fn filters_response(&self) -> bool {
        self.header_filter.is_some() || self.body_filter.is_some()
    }
}

impl StartScript {
    /// A file script's path, or `None`.
    pub fn file(&self) -> Option<&[u8]> {
        match self {
            Self::File(path) => Some(path),
            Self::Inline(_) => None,
        }
    }
}

impl From<FileScript> for Script {
    fn from(file: FileScript) -> Self {
        Self::File(file)
    }
}
