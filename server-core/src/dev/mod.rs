//! The development server (`rsty serve --watch`): what is only on there, and never elsewhere.
//!
//! Changed Lua files take effect without a new worker ([`reload`]); a script that fails is shown to the browser with its
//! source ([`page`]); each request and each error is a line on the terminal. The master looks after the configuration
//! with [`files::Watched`]. Requests under a foreign name are refused: a page of another site could otherwise read
//! what is served here by making its name resolve to the loopback address.

pub(crate) mod files;
mod page;
pub(crate) mod reload;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::http::header::HeaderId;
use crate::http::request::Request;
use crate::log::Level;

pub(crate) use page::error_page;

/// Lines of the error log that are kept for the error page.
const RECENT: usize = 40;

static ON: AtomicBool = AtomicBool::new(false);

thread_local! {
    static LINES: RefCell<VecDeque<(Level, String)>> = const { RefCell::new(VecDeque::new()) };
}

/// Whether this is a development server.
#[inline]
pub(crate) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Makes this process and its children a development server.
pub(crate) fn switch_on() {
    ON.store(true, Ordering::Relaxed);
}

/// Writes a line to the terminal.
pub(crate) fn say(text: &str) {
    // A terminal that has gone away is no reason to stop serving.
    let _ = nix::unistd::write(crate::process::stderr_descriptor(), format!("{text}\n").as_bytes());
}

/// Keeps a line of the error log, without its line feed.
pub(crate) fn remember(level: Level, line: &[u8]) {
    if level > Level::Notice {
        return;
    }
    LINES.with_borrow_mut(|lines| {
        if lines.len() == RECENT {
            lines.pop_front();
        }
        lines.push_back((level, String::from_utf8_lossy(line).into_owned()));
    });
}

/// Writes the terminal's line about a request that is through.
pub(crate) fn log_request(r: &Request) {
    let status = match r.err_status.get() {
        0 => r.headers_out.status.get(),
        status => status,
    };
    let line = r.request_line.borrow();
    let words = line.strip_suffix(b" HTTP/1.1").or_else(|| line.strip_suffix(b" HTTP/1.0")).unwrap_or(&line);
    if !words.is_empty() {
        say(&format!("{status} {} {} ms", words.escape_ascii(), r.elapsed_msec()));
    }
}

/// Whether a request comes under a name, or from a page, that isn't of this machine.
pub(crate) fn is_foreign(r: &Request) -> bool {
    let own = &r.srv().core.server_name;
    let is_ours = |name: &[u8]| {
        let host = without_port(name);
        host.is_empty() || host.eq_ignore_ascii_case(own) || is_local(host)
    };
    let host = r.headers_in.value(HeaderId::Host).unwrap_or_default();
    let origin = r
        .headers_in
        .list
        .borrow()
        .iter()
        .find_map(|header| header.name.eq_ignore_ascii_case(b"origin").then(|| header.value.clone()));
    let origin_is_ours = origin.is_none_or(|origin| {
        let name = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        name.is_some_and(is_ours)
    });
    !(is_ours(&host) && origin_is_ours)
}

/// A `Host` without its port.
fn without_port(host: &[u8]) -> &[u8] {
    if host.first() == Some(&b'[') {
        return host.iter().position(|&byte| byte == b']').map_or(host, |end| &host[..=end]);
    }
    host.iter().position(|&byte| byte == b':').map_or(host, |end| &host[..end])
}

/// Whether a name means this machine whatever the name service says.
fn is_local(host: &[u8]) -> bool {
    let text = String::from_utf8_lossy(host).to_ascii_lowercase();
    let text = text.trim_end_matches('.');
    let address = text.trim_start_matches('[').trim_end_matches(']');
    text == "localhost" || text.ends_with(".localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::{is_local, without_port};

    #[test]
    fn only_addresses_and_localhost_are_local() {
        for name in ["localhost", "LOCALHOST.", "app.localhost", "127.0.0.1", "[::1]", "192.168.1.5"] {
            assert!(is_local(name.as_bytes()), "{name}");
        }
        for name in ["example.com", "localhost.example.com", "notlocalhost", "127.0.0.1.nip.io"] {
            assert!(!is_local(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn ports_are_not_part_of_the_name() {
        assert_eq!(without_port(b"a.b:80"), b"a.b");
        assert_eq!(without_port(b"[::1]:80"), b"[::1]");
        assert_eq!(without_port(b"a"), b"a");
    }
}
