//! The settings themselves, with their inheritance and defaults.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::error_pages::ErrorPage;
use super::listen::Listen;
use super::server_names::{PortServers, ServerName};
use crate::conf::value::Buffers;
use crate::cycle::Subsystem;
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{self, Merge};
use crate::http::location::{Child, Kind, LocRef, Locations};
use crate::http::output::Filters;
use crate::http::path::Alias;
use crate::http::phases::{Handler, HandlerLists};
use crate::http::setting::Setting;
use crate::http::variables::Variables;
use crate::log::{ErrorLog, ErrorLogConf};
use crate::upstream::resolver::ResolverConf;

/// Settings of `http { }`.
#[derive(Default)]
pub struct MainConf {
    /// Whose settings these are.
    pub subsystem: Subsystem,
    /// All variables.
    pub variables: Variables,
    /// The servers while the configuration is read.
    pub(crate) building: Vec<(conf::SrvConf, conf::LocConf)>,
    /// The servers, in the order of the file.
    pub servers: Vec<&'static conf::SrvConf>,
    /// For each address, who serves what.
    pub ports: Vec<PortServers>,
    /// The settings of the `http` level, for work that belongs to no server.
    pub fallback: Option<&'static conf::SrvConf>,
    /// Whether there was an `http { }`.
    pub present: bool,
}

macro_rules! settings {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty = $default:expr;)* } and { $($rest:tt)* }) => {
        $(#[$doc])*
        #[derive(Default)]
        pub struct $name {
            $(#[doc = concat!("`", stringify!($field), "`")] pub $field: Setting<$type>,)*
            $($rest)*
        }

        impl $name {
            fn merge_settings(&mut self, outer: &Self) {
                $(self.$field.merge(&outer.$field, || $default);)*
            }
        }
    };
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

settings! {
    /// Settings of a server.
    SrvConf {
        client_header_timeout: Duration = seconds(60);
        client_header_buffer_size: usize = 1024;
        large_client_header_buffers: Buffers = Buffers { count: 4, size: 8192 };
        max_headers: usize = 1000;
        ignore_invalid_headers: bool = true;
        merge_slashes: bool = true;
        underscores_in_headers: bool = false;
        connection_pool_size: usize = 512;
        request_pool_size: usize = 4096;
    } and {
        /// The location settings at server level, set when the configuration is complete.
        pub loc: OnceCell<&'static conf::LocConf>,
        /// `server_name`
        pub names: Vec<ServerName>,
        /// `listen`
        pub listens: Vec<Listen>,
        /// The first name, for redirects and messages.
        pub server_name: Bytes,
    }
}

impl Merge for SrvConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        self.merge_settings(outer);
        Ok(())
    }
}

/// `satisfy`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Satisfy {
    /// All access handlers must allow.
    All,
    /// One is enough.
    Any,
}

/// `server_tokens`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerTokens {
    /// Name and version, and how it was built.
    Build,
    /// Only the name.
    Off,
    /// Name and version.
    On,
}

/// `if_modified_since`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfModifiedSince {
    /// Not before the file's time.
    Before,
    /// Exactly the file's time.
    Exact,
    /// Never.
    Off,
}

/// `client_body_in_file_only`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyInFile {
    /// Always, removed after the request.
    Clean,
    /// Only when it is large.
    Off,
    /// Always, and the file stays.
    On,
}

/// `lingering_close`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LingeringClose {
    /// After every response that ends a connection.
    Always,
    /// Never.
    Off,
    /// When the client may still be sending.
    On,
}

/// `keepalive_disable`, a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepaliveDisable(pub u32);

impl KeepaliveDisable {
    /// For nobody.
    pub const NONE: u32 = 2;
    /// For MSIE 6 and its POSTs.
    pub const MSIE6: u32 = 4;
    /// For Safari.
    pub const SAFARI: u32 = 8;
}

settings! {
    /// Settings of a location.
    LocConf {
        default_type: Bytes = Bytes::from_static(b"text/plain");
        client_max_body_size: u64 = 1 << 20;
        client_body_buffer_size: usize = 16 * 1024;
        client_body_timeout: Duration = seconds(60);
        client_body_temp_path: PathBuf = PathBuf::from("client_body_temp");
        client_body_in_file_only: BodyInFile = BodyInFile::Off;
        client_body_in_single_buffer: bool = false;
        sendfile: bool = false;
        sendfile_max_chunk: usize = 256 << 10;
        subrequest_output_buffer_size: usize = 4096;
        read_ahead: usize = 0;
        directio_alignment: u64 = 512;
        tcp_nopush: bool = false;
        tcp_nodelay: bool = true;
        send_timeout: Duration = seconds(60);
        send_lowat: usize = 0;
        postpone_output: usize = 1460;
        limit_rate: Option<Rc<ComplexValue>> = None;
        limit_rate_after: Option<Rc<ComplexValue>> = None;
        keepalive_time: Duration = seconds(3600);
        keepalive_timeout: Duration = seconds(75);
        keepalive_header: u64 = 0;
        keepalive_min_timeout: Duration = seconds(0);
        keepalive_requests: u64 = 1000;
        keepalive_disable: u32 = KeepaliveDisable::MSIE6;
        satisfy: Satisfy = Satisfy::All;
        auth_delay: Duration = seconds(0);
        early_hints: Rc<Vec<ComplexValue>> = Rc::default();
        lingering_close: LingeringClose = LingeringClose::On;
        lingering_time: Duration = seconds(30);
        lingering_timeout: Duration = seconds(5);
        reset_timedout_connection: bool = false;
        absolute_redirect: bool = true;
        server_name_in_redirect: bool = false;
        port_in_redirect: bool = true;
        msie_padding: bool = true;
        msie_refresh: bool = false;
        log_not_found: bool = true;
        log_subrequest: bool = false;
        post_action: Option<Bytes> = None;
        recursive_error_pages: bool = false;
        server_tokens: ServerTokens = ServerTokens::On;
        if_modified_since: IfModifiedSince = IfModifiedSince::Exact;
        max_ranges: usize = usize::MAX;
        chunked_transfer_encoding: bool = true;
        etag: bool = true;
        resolver_timeout: Duration = seconds(30);
        resolver: Option<Rc<ResolverConf>> = None;
        root: Rc<ComplexValue> = Rc::new(ComplexValue::literal("html"));
        is_alias: bool = false;
        types: Rc<HashMap<Box<[u8]>, Bytes>> = super::media_types::defaults();
        error_pages: Rc<[ErrorPage]> = Rc::from([]);
        aio: bool = false;
        aio_write: bool = false;
    } and {
        /// Name of the location as written in the configuration (a prefix, a pattern, `@name`).
        pub name: Bytes,
        /// What kind of location it is.
        pub kind: Kind,
        /// `internal`
        pub internal: bool,
        /// Redirect `/name` to `/name/` when there is no better location; set by modules like `proxy`.
        pub auto_redirect: bool,
        /// Whether `root` holds what `alias` says, and which part of the path that replaces.
        pub alias: Alias,
        /// The content handler, set by the directive of its module (`proxy_pass`, `content_by_lua`, …).
        pub handler: Option<&'static dyn Handler>,
        /// The phase handlers that apply here.
        pub handlers: HandlerLists,
        /// The filters that apply here.
        pub filters: Filters,
        /// The locations inside, while the configuration is read.
        pub(crate) children: Vec<Child>,
        /// The locations inside.
        pub locations: Locations,
        /// Methods to which `limit_except`'s settings apply.
        pub limit_except: u32,
        /// Those settings.
        pub limit_except_loc: LocRef,
        /// `error_log` of this level.
        pub error_log: ErrorLogConf,
        /// Where this location logs; `None` is the log of the top level.
        pub log: Option<ErrorLog>,
        /// Memory for identity: the prefix of relative paths.
        pub prefix: PathBuf,
    }
}

impl LocConf {
    /// Whether all access handlers must allow.
    pub fn satisfy_all(&self) -> bool {
        *self.satisfy == Satisfy::All
    }

    /// Adds the settings of an `if` block; `reference` is filled when the configuration is complete.
    pub fn add_if(&mut self, mut inner: conf::LocConf, reference: LocRef) {
        inner.core.name = self.name.clone();
        inner.core.kind = Kind::Unnamed;
        inner.core.internal = self.internal;
        self.children.push(Child { conf: inner, reference });
    }
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        if self.root.value().is_none() {
            self.alias = outer.alias;
        }
        self.merge_settings(outer);
        self.log = self.error_log.build().or_else(|| outer.log.clone());
        Ok(())
    }
}
