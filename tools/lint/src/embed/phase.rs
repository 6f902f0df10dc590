//! The phases in which Lua code runs.

/// Which server the code runs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subsystem {
    /// Both, as far as is known: a file of its own.
    Any,
    /// HTTP.
    #[default]
    Http,
    /// TCP and UDP.
    Stream,
}

/// When code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the variants are named as the directives are")]
pub enum Phase {
    Init,
    InitWorker,
    ExitWorker,
    Set,
    ServerRewrite,
    Rewrite,
    Access,
    Precontent,
    Content,
    HeaderFilter,
    BodyFilter,
    Log,
    Balancer,
    Preread,
    SslClientHello,
    SslCertificate,
    SslSessionFetch,
    SslSessionStore,
    ProxySslCertificate,
    ProxySslVerify,
    Timer,
}

impl Phase {
    /// The phase of a directive, named without `_by_lua` and what follows it.
    pub fn of_directive(stem: &str) -> Option<Self> {
        ALL.iter().find(|(_, name, _)| *name == stem).map(|(phase, ..)| *phase)
    }

    /// All phases.
    pub fn every() -> impl Iterator<Item = Self> {
        ALL.iter().map(|(phase, ..)| *phase)
    }

    /// The directive's name without `_by_lua`.
    pub fn stem(self) -> &'static str {
        ALL.iter().find(|(phase, ..)| *phase == self).map_or("", |(_, name, _)| *name)
    }

    /// How the server names the phase in «API disabled in the context of …».
    pub fn context(self) -> &'static str {
        ALL.iter().find(|(phase, ..)| *phase == self).map_or("", |(.., context)| *context)
    }

    /// Whether a subsystem has the phase.
    pub fn is_of(self, subsystem: Subsystem) -> bool {
        let filters = [Self::Set, Self::ServerRewrite, Self::Rewrite, Self::Access, Self::Precontent]
            .into_iter()
            .chain([Self::HeaderFilter, Self::BodyFilter, Self::SslSessionFetch, Self::SslSessionStore])
            .any(|phase| phase == self);
        match subsystem {
            Subsystem::Any => true,
            Subsystem::Http => self != Self::Preread,
            Subsystem::Stream => !filters,
        }
    }

    /// Whether code of this phase works for a request that is waiting.
    pub fn serves_requests(self) -> bool {
        !matches!(self, Self::Init | Self::InitWorker | Self::ExitWorker)
    }
}

const ALL: [(Phase, &str, &str); 21] = [
    (Phase::Init, "init", "init_by_lua*"),
    (Phase::InitWorker, "init_worker", "init_worker_by_lua*"),
    (Phase::ExitWorker, "exit_worker", "exit_worker_by_lua*"),
    (Phase::Set, "set", "set_by_lua*"),
    (Phase::ServerRewrite, "server_rewrite", "server_rewrite_by_lua*"),
    (Phase::Rewrite, "rewrite", "rewrite_by_lua*"),
    (Phase::Access, "access", "access_by_lua*"),
    (Phase::Precontent, "precontent", "precontent_by_lua*"),
    (Phase::Content, "content", "content_by_lua*"),
    (Phase::HeaderFilter, "header_filter", "header_filter_by_lua*"),
    (Phase::BodyFilter, "body_filter", "body_filter_by_lua*"),
    (Phase::Log, "log", "log_by_lua*"),
    (Phase::Balancer, "balancer", "balancer_by_lua*"),
    (Phase::Preread, "preread", "preread_by_lua*"),
    (Phase::SslClientHello, "ssl_client_hello", "ssl_client_hello_by_lua*"),
    (Phase::SslCertificate, "ssl_certificate", "ssl_certificate_by_lua*"),
    (Phase::SslSessionFetch, "ssl_session_fetch", "ssl_session_fetch_by_lua*"),
    (Phase::SslSessionStore, "ssl_session_store", "ssl_session_store_by_lua*"),
    (Phase::ProxySslCertificate, "proxy_ssl_certificate", "proxy_ssl_certificate_by_lua*"),
    (Phase::ProxySslVerify, "proxy_ssl_verify", "proxy_ssl_verify_by_lua*"),
    (Phase::Timer, "timer", "ngx.timer"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_have_their_phase_and_back() {
        assert_eq!(Phase::of_directive("ssl_certificate"), Some(Phase::SslCertificate));
        assert_eq!(Phase::of_directive("my"), None);
        for (phase, stem, _) in ALL {
            assert_eq!((Phase::of_directive(stem), phase.stem()), (Some(phase), stem));
        }
    }
}
