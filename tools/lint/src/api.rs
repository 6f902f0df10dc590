//! The phases in which functions of the API work.
//!
//! These are the conditions of the server's own functions: most name the phases in which they may be called; those that
//! need a request fail where there is none.

use crate::embed::Phase::{
    self, Access, Balancer, Content, ExitWorker, HeaderFilter, Init, InitWorker, Precontent, Preread,
    ProxySslCertificate, ProxySslVerify, Rewrite, ServerRewrite, SslCertificate, SslClientHello, SslSessionFetch,
    SslSessionStore, Timer,
};
use crate::standard;

/// Phases that may wait.
const YIELDABLE: &[Phase] = &[
    ServerRewrite,
    Rewrite,
    Access,
    Precontent,
    Content,
    Preread,
    Timer,
    ProxySslCertificate,
    ProxySslVerify,
    SslClientHello,
    SslCertificate,
    SslSessionFetch,
];

/// Phases that may write the response.
const RESPONDING: &[Phase] = &[ServerRewrite, Rewrite, Access, Precontent, Content, Preread];

const EXITING: &[Phase] = &[
    ServerRewrite,
    Rewrite,
    Access,
    Precontent,
    Content,
    Preread,
    Timer,
    HeaderFilter,
    Balancer,
    ProxySslCertificate,
    ProxySslVerify,
    SslClientHello,
    SslCertificate,
    SslSessionStore,
    SslSessionFetch,
];

/// Phases without a request of a client. Those of a TLS handshake have a part of one, so nothing is said about them.
const REQUESTLESS: &[Phase] = &[Init, InitWorker, ExitWorker, Timer];

/// Functions that do not work everywhere, with the phases in which they do; modules' functions start with `@`.
const ALLOWED: &[(&str, &[Phase])] = &[
    ("@ngx.balancer.get_last_failure", &[Balancer]),
    ("@ngx.balancer.set_current_peer", &[Balancer]),
    ("@ngx.balancer.set_more_tries", &[Balancer]),
    ("@ngx.balancer.set_timeouts", &[Balancer]),
    ("@ngx.process.enable_privileged_agent", &[Init]),
    ("ngx.eof", RESPONDING),
    ("ngx.exec", RESPONDING),
    ("ngx.exit", EXITING),
    ("ngx.flush", RESPONDING),
    ("ngx.location.capture", &[Rewrite, Access, Content]),
    ("ngx.location.capture_multi", &[Rewrite, Access, Content]),
    ("ngx.print", RESPONDING),
    ("ngx.redirect", RESPONDING),
    ("ngx.req.read_body", RESPONDING),
    ("ngx.req.socket", RESPONDING),
    ("ngx.run_worker_thread", YIELDABLE),
    ("ngx.say", RESPONDING),
    ("ngx.send_headers", RESPONDING),
    ("ngx.sleep", YIELDABLE),
    ("ngx.socket.connect", YIELDABLE),
    ("ngx.socket.stream", YIELDABLE),
    ("ngx.socket.tcp", YIELDABLE),
    ("ngx.socket.udp", YIELDABLE),
    ("ngx.thread.kill", YIELDABLE),
    ("ngx.thread.spawn", YIELDABLE),
    ("ngx.thread.wait", YIELDABLE),
];

/// Functions that work for a client's request only.
const NEED_REQUEST: &[&str] = &[
    "@ngx.req.add_header",
    "@ngx.resp.add_header",
    "ngx.on_abort",
    "ngx.req.append_body",
    "ngx.req.clear_header",
    "ngx.req.discard_body",
    "ngx.req.finish_body",
    "ngx.req.get_body_data",
    "ngx.req.get_body_file",
    "ngx.req.get_headers",
    "ngx.req.get_method",
    "ngx.req.get_post_args",
    "ngx.req.get_uri_args",
    "ngx.req.http_version",
    "ngx.req.init_body",
    "ngx.req.is_internal",
    "ngx.req.raw_header",
    "ngx.req.set_body_data",
    "ngx.req.set_body_file",
    "ngx.req.set_header",
    "ngx.req.set_method",
    "ngx.req.set_uri",
    "ngx.req.set_uri_args",
    "ngx.req.start_time",
    "ngx.resp.get_headers",
];

fn allowed(name: &str) -> Option<&'static [Phase]> {
    let found = ALLOWED.binary_search_by_key(&name, |(function, _)| function).ok()?;
    ALLOWED.get(found).map(|(_, phases)| *phases)
}

fn needs_request(name: &str) -> bool {
    NEED_REQUEST.binary_search(&name).is_ok()
}

/// Whether a function or field of that name exists: `ngx.req.get_headers`, `string.format`.
pub fn exists(name: &str) -> bool {
    let library = name.rsplit_once('.').and_then(|(outer, field)| standard::has_field(outer, field));
    library == Some(true)
}

/// The phases in which a function works.
pub fn phases(name: &str) -> Vec<Phase> {
    Phase::every().filter(|phase| !is_disabled(name, *phase)).collect()
}

/// The functions of `ngx` that do not work everywhere for the response or for waiting.
pub fn limited() -> impl Iterator<Item = &'static str> {
    ALLOWED.iter().map(|(name, _)| *name).filter(|name| !name.starts_with('@'))
}

/// Whether a call fails in a phase.
pub(crate) fn is_disabled(name: &str, phase: Phase) -> bool {
    match name {
        "ngx.timer.at" | "ngx.timer.every" => phase == ExitWorker,
        "@ngx.pipe.spawn" => phase == Init,
        _ if needs_request(name) => is_requestless(phase),
        _ => allowed(name).is_some_and(|phases| !phases.contains(&phase)),
    }
}

/// Whether the name means something that [`is_disabled`] may refuse.
pub(crate) fn is_limited(name: &str) -> bool {
    needs_request(name)
        || allowed(name).is_some()
        || matches!(name, "ngx.timer.at" | "ngx.timer.every" | "@ngx.pipe.spawn")
}

/// Whether no client's request is there: `ngx.var`, `ngx.header`, `ngx.status` can't be used.
pub(crate) fn is_requestless(phase: Phase) -> bool {
    REQUESTLESS.contains(&phase)
}

/// Whether the phase may wait.
pub(crate) fn is_yieldable(phase: Phase) -> bool {
    YIELDABLE.contains(&phase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embed::Phase::Log;

    #[test]
    fn the_lists_are_sorted() {
        assert!(ALLOWED.is_sorted_by_key(|(name, _)| *name));
        assert!(NEED_REQUEST.is_sorted());
        assert!(limited().all(exists));
        assert!(phases("ngx.say").contains(&Content) && !exists("ngx.nothing"));
    }

    #[test]
    fn limits_are_those_of_the_server() {
        assert!(is_disabled("ngx.say", Log) && !is_disabled("ngx.say", Content));
        assert!(is_disabled("ngx.req.get_headers", Timer) && !is_disabled("ngx.req.get_headers", Log));
        assert!(is_disabled("ngx.timer.at", ExitWorker) && !is_disabled("ngx.log", Init));
        assert!(is_limited("ngx.exit") && !is_limited("ngx.log"));
    }
}
