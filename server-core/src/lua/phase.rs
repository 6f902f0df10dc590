//! The phases in which Lua runs, as the bits that `ngx_http_lua_ffi_get_phase` reports.

use super::sys::Error;

/// One phase, or a set of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phase(pub u32);

impl Phase {
    /// `set_by_lua*`
    pub const SET: Self = Self(0x1);
    /// `rewrite_by_lua*`
    pub const REWRITE: Self = Self(0x2);
    /// `access_by_lua*`
    pub const ACCESS: Self = Self(0x4);
    /// `content_by_lua*`
    pub const CONTENT: Self = Self(0x8);
    /// `log_by_lua*`
    pub const LOG: Self = Self(0x10);
    /// `header_filter_by_lua*`
    pub const HEADER_FILTER: Self = Self(0x20);
    /// `body_filter_by_lua*`
    pub const BODY_FILTER: Self = Self(0x40);
    /// `ngx.timer` callbacks
    pub const TIMER: Self = Self(0x80);
    /// `init_worker_by_lua*`
    pub const INIT_WORKER: Self = Self(0x100);
    /// `balancer_by_lua*`
    pub const BALANCER: Self = Self(0x200);
    /// `ssl_certificate_by_lua*`
    pub const SSL_CERT: Self = Self(0x400);
    /// `ssl_session_store_by_lua*`
    pub const SSL_SESSION_STORE: Self = Self(0x800);
    /// `ssl_session_fetch_by_lua*`
    pub const SSL_SESSION_FETCH: Self = Self(0x1000);
    /// `exit_worker_by_lua*`
    pub const EXIT_WORKER: Self = Self(0x2000);
    /// `ssl_client_hello_by_lua*`
    pub const SSL_CLIENT_HELLO: Self = Self(0x4000);
    /// `server_rewrite_by_lua*`
    pub const SERVER_REWRITE: Self = Self(0x8000);
    /// `proxy_ssl_verify_by_lua*`
    pub const PROXY_SSL_VERIFY: Self = Self(0x1_0000);
    /// `precontent_by_lua*`
    pub const PRECONTENT: Self = Self(0x2_0000);
    /// `proxy_ssl_certificate_by_lua*`
    pub const PROXY_SSL_CERT: Self = Self(0x4_0000);
    /// `preread_by_lua*` in `stream { }`
    pub const PREREAD: Self = Self(0x8_0000);

    /// The phases that may produce a response.
    pub const OUTPUT: Self =
        Self(Self::SERVER_REWRITE.0 | Self::REWRITE.0 | Self::ACCESS.0 | Self::PRECONTENT.0 | Self::CONTENT.0)
            .or(Self::PREREAD);
    /// The phases that run as light threads.
    pub const YIELDABLE: Self = Self(
        Self::OUTPUT.0
            | Self::TIMER.0
            | Self::SSL_CLIENT_HELLO.0
            | Self::SSL_CERT.0
            | Self::SSL_SESSION_FETCH.0
            | Self::PROXY_SSL_CERT.0
            | Self::PROXY_SSL_VERIFY.0,
    );

    /// The union of two sets.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the phase is one of the set.
    pub const fn is_in(self, set: Self) -> bool {
        self.0 & set.0 != 0
    }

    /// The name in `API disabled in the context of NAME`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SET => "set_by_lua*",
            Self::REWRITE => "rewrite_by_lua*",
            Self::SERVER_REWRITE => "server_rewrite_by_lua*",
            Self::ACCESS => "access_by_lua*",
            Self::PRECONTENT => "precontent_by_lua*",
            Self::PREREAD => "preread_by_lua*",
            Self::CONTENT => "content_by_lua*",
            Self::LOG => "log_by_lua*",
            Self::HEADER_FILTER => "header_filter_by_lua*",
            Self::BODY_FILTER => "body_filter_by_lua*",
            Self::TIMER => "ngx.timer",
            Self::INIT_WORKER => "init_worker_by_lua*",
            Self::EXIT_WORKER => "exit_worker_by_lua*",
            Self::BALANCER => "balancer_by_lua*",
            Self::SSL_CLIENT_HELLO => "ssl_client_hello_by_lua*",
            Self::SSL_CERT => "ssl_certificate_by_lua*",
            Self::SSL_SESSION_STORE => "ssl_session_store_by_lua*",
            Self::SSL_SESSION_FETCH => "ssl_session_fetch_by_lua*",
            Self::PROXY_SSL_CERT => "proxy_ssl_certificate_by_lua*",
            Self::PROXY_SSL_VERIFY => "proxy_ssl_verify_by_lua*",
            _ => "(unknown)",
        }
    }

    /// The name that `ngx.get_phase` returns in `stream { }`.
    pub const fn short_name(self) -> Option<&'static str> {
        Some(match self {
            Self::PREREAD => "preread",
            Self::CONTENT => "content",
            Self::LOG => "log",
            Self::TIMER => "timer",
            Self::INIT_WORKER => "init_worker",
            Self::EXIT_WORKER => "exit_worker",
            Self::BALANCER => "balancer",
            Self::SSL_CLIENT_HELLO => "ssl_client_hello",
            Self::SSL_CERT => "ssl_cert",
            Self::PROXY_SSL_CERT => "proxy_ssl_cert",
            Self::PROXY_SSL_VERIFY => "proxy_ssl_verify",
            _ => return None,
        })
    }

    /// `Ok` when the phase is one of `allowed`, else the error scripts know.
    pub fn require(self, allowed: Self) -> Result<(), Error> {
        if self.is_in(allowed) {
            return Ok(());
        }
        Err(Error::from(format!("API disabled in the context of {}", self.name())))
    }
}
