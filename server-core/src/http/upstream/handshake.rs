//! TLS over a connection to a server: its handshake, the scripts in it, and the check of the server's name.

use std::ffi::c_ulong;
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;

use bytes::Bytes;
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::SslRef;
use openssl::x509::{X509, X509VerifyResult};

use super::conf::Failure;
use super::head::NoHead;
use super::protocol::Dialing;
use super::proxied::Proxied;
use crate::http::code::Code;
use crate::http::modules::lua::tls as scripts;
use crate::http::request_log::debug;
use crate::log::Level;
use crate::lua::Phase;
use crate::tls::Tls;
use crate::tls::server::{description, failure_text};
use crate::tls::stream::Direction;
use crate::tls::sys::{self, Step};
use crate::tls::sys_upstream;
use crate::tls::upstream::{ClientSide, Question};
use crate::upstream::address::PeerAddress;
use crate::upstream::connection::Connection;

impl<P: Dialing + ?Sized + 'static> Proxied<'_, P> {
    /// The name that the server's certificate must be for, without port.
    pub(super) fn tls_name(&self) -> Bytes {
        let name = match &*self.conf.tls.name {
            Some(name) => name.eval(self.r),
            None if !self.lua_host.is_empty() => self.lua_host.clone(),
            None => self.destination.host.clone(),
        };
        without_port(&name)
    }

    /// Takes a connection through its handshake.
    pub(super) async fn shake_hands(&self, connection: &Rc<Connection>, address: &PeerAddress) -> Result<(), NoHead> {
        let r = self.r;
        let conf = &self.conf.tls;
        let Some(context) = conf.context() else {
            r.log(Level::Error, format_args!("no TLS is configured for a server that is asked through it"));
            return Err(NoHead::Ended(Code::INTERNAL_SERVER_ERROR));
        };
        let name = self.tls_name();
        let key = (std::ptr::from_ref(conf).addr(), address.clone());
        let sessions = &self.selection.group().sessions;
        let session = if *conf.session_reuse { sessions.find(&key) } else { None };
        let side = ClientSide {
            skips_default_verify: r.loc().lua.ssl.skip_default_verify == Some(true),
            sessions: conf.session_reuse.then(|| (Rc::clone(sessions), key)),
            ..ClientSide::default()
        };
        let prepared = connection.secure(context, side, |ssl| {
            self.present_name(ssl, &name)?;
            self.present_certificate(ssl)?;
            if let Some(protocols) = self.protocol.alpn() {
                ssl.set_alpn_protos(protocols)?;
            }
            if let Some(session) = &session {
                debug!(r, "set session");
                sys_upstream::offer_session(ssl, session);
            }
            Ok(())
        });
        if let Err(stack) = prepared {
            r.log(Level::Error, format_args!("SSL connection could not be prepared{}", sys::describe(&stack)));
            return Err(NoHead::Ended(Code::INTERNAL_SERVER_ERROR));
        }
        let Some((tls, side)) = connection.tls() else { return Err(NoHead::Ended(Code::INTERNAL_SERVER_ERROR)) };
        r.conn().action.set(Some("SSL handshaking to upstream"));
        self.timer_added(connection, self.timeouts.connect);
        match tokio::time::timeout(self.timeouts.connect, self.steps(connection, tls, side)).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => return Err(NoHead::Failed(failure)),
            // A session goes on to the next server without a word.
            Err(_) if r.conn().is_stream() => return Err(NoHead::Failed(Failure::ERROR)),
            Err(_) => return Err(NoHead::Failed(Failure::TIMEOUT)),
        }
        debug!(r, "{}", description(tls.ssl()));
        if tls.ssl().session_reused() {
            debug!(r, "SSL reused session");
        }
        if *conf.verify {
            self.check_certificate(tls.ssl(), &name)?;
        }
        Ok(())
    }

    fn present_name(&self, ssl: &mut SslRef, name: &Bytes) -> Result<(), ErrorStack> {
        let conf = &self.conf.tls;
        if !*conf.server_name || name.is_empty() || name.first() == Some(&b'[') {
            return Ok(());
        }
        let Ok(text) = std::str::from_utf8(name) else { return Ok(()) };
        // Addresses are not names.
        if text.parse::<IpAddr>().is_ok() {
            return Ok(());
        }
        debug!(self.r, "upstream SSL server name: \"{text}\"");
        ssl.set_hostname(text)
    }

    /// A certificate whose file, or content, variables name.
    fn present_certificate(&self, ssl: &mut SslRef) -> Result<(), ErrorStack> {
        let Some((certificate, key)) = self.conf.tls.variable_certificate() else { return Ok(()) };
        let (certificate, key) = (certificate.eval(self.r), key.eval(self.r));
        if certificate.is_empty() {
            return Ok(());
        }
        debug!(self.r, "http upstream ssl cert: \"{}\"", String::from_utf8_lossy(&certificate));
        debug!(self.r, "http upstream ssl key: \"{}\"", String::from_utf8_lossy(&key));
        let chain = X509::stack_from_pem(&self.content(&certificate))?;
        for (at, certificate) in chain.into_iter().enumerate() {
            if at == 0 { ssl.set_certificate(&certificate)? } else { ssl.add_chain_cert(certificate)? }
        }
        let pem = self.content(&key);
        let mut result = PKey::private_key_from_pem_callback(&pem, |_| Ok(0));
        for password in self.conf.tls.passwords().unwrap_or_default() {
            if result.is_ok() {
                break;
            }
            result = PKey::private_key_from_pem_passphrase(&pem, &password);
        }
        ssl.set_private_key(&*result?)
    }

    /// What `data:` holds, or a file.
    fn content(&self, value: &Bytes) -> Vec<u8> {
        if let Some(data) = value.strip_prefix(b"data:") {
            return data.to_vec();
        }
        let path = self.conf.tls.path(value);
        std::fs::read(&path).unwrap_or_else(|error| {
            let errno = error.raw_os_error().unwrap_or(0);
            self.r.log_errno(Level::Error, errno, format_args!("open() \"{}\" failed", path.display()));
            Vec::new()
        })
    }

    async fn steps(&self, connection: &Rc<Connection>, tls: &Tls, side: &ClientSide) -> Result<(), Failure> {
        let r = self.r;
        loop {
            let step = tls.handshake();
            if side.verified_by_default.take() {
                debug!(r, "proxy_ssl_verify_by_lua: openssl default verify");
            }
            let (result, error) = step.numbers();
            debug!(r, "SSL_do_handshake: {result}");
            if let Some(error) = error {
                debug!(r, "SSL_get_error: {error}");
            }
            let direction = match step {
                Step::Done(_) => return Ok(()),
                Step::WantRead => Direction::Read,
                Step::WantWrite => Direction::Write,
                Step::WantCertificate => {
                    let ok = match &r.loc().lua.proxy_ssl_certificate {
                        Some(script) => scripts::run_proxied(r, script, Phase::PROXY_SSL_CERT).await,
                        None => true,
                    };
                    side.certificate.set(Question::Answered(ok));
                    continue;
                }
                Step::WantVerify => {
                    let ok = match &r.loc().lua.proxy_ssl_verify {
                        Some(script) => scripts::run_proxied(r, script, Phase::PROXY_SSL_VERIFY).await,
                        None => true,
                    };
                    side.peer.take();
                    side.verify.set(Question::Answered(ok));
                    continue;
                }
                Step::Closed | Step::WantHello => {
                    r.log(Level::Error, format_args!("peer closed connection in SSL handshake"));
                    return Err(Failure::ERROR);
                }
                Step::Failed(failure) => {
                    let usual = if failure.errno != 0 || is_usual(&failure.stack) { Level::Error } else { Level::Crit };
                    let (level, text) = failure_text(&failure, usual);
                    r.log(level, format_args!("{text}"));
                    return Err(Failure::ERROR);
                }
            };
            connection.clear_ready(direction);
            if poll_fn(|cx| connection.poll_ready(direction, cx)).await.is_err() {
                return Err(Failure::ERROR);
            }
        }
    }

    fn check_certificate(&self, ssl: &SslRef, name: &Bytes) -> Result<(), NoHead> {
        let result = ssl.verify_result();
        if result != X509VerifyResult::OK {
            let (number, text) = (result.as_raw(), result.error_string());
            self.r.log(Level::Error, format_args!("upstream SSL certificate verify error: ({number}:{text})"));
            return Err(NoHead::Failed(Failure::ERROR));
        }
        let fits = ssl.peer_certificate().is_some_and(|certificate| sys_upstream::is_for_host(&certificate, name));
        if !fits {
            self.r.log_bytes(Level::Error, &[b"upstream SSL certificate does not match \"", name, b"\""]);
            return Err(NoHead::Failed(Failure::ERROR));
        }
        Ok(())
    }
}

/// Whether a failed handshake is one of those that peers cause every day.
fn is_usual(stack: &ErrorStack) -> bool {
    /// Reasons of OpenSSL, all alerts included.
    const USUAL: &[c_ulong] = &[
        101, 103, 108, 110, 111, 112, 115, 118, 122, 129, 133, 145, 146, 149, 150, 151, 152, 154, 155, 156, 159, 160,
        183, 186, 187, 193, 198, 205, 213, 226, 227, 234, 235, 244, 245, 246, 252, 258, 267, 271, 281, 291, 292, 293,
        298, 300, 306, 335, 336, 337, 338, 339, 345, 373, 376, 377, 396, 409, 443,
    ];
    let last = stack.errors().last().map_or(0, |error| error.code() & 0x007f_ffff);
    USUAL.contains(&last) || (1000..=1255).contains(&last)
}

/// A host without its port; brackets of IPv6 addresses stay.
fn without_port(name: &Bytes) -> Bytes {
    let start = if name.first() == Some(&b'[') { memchr::memchr(b']', name).unwrap_or(0) } else { 0 };
    match memchr::memrchr(b':', name) {
        Some(colon) if colon > start => name.slice(..colon),
        _ => name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ports_are_taken_off_names() {
        for (written, name) in [("a.example:8443", "a.example"), ("a.example", "a.example"), ("[::1]:443", "[::1]")] {
            assert_eq!(&without_port(&Bytes::from_static(written.as_bytes()))[..], name.as_bytes());
        }
        assert_eq!(&without_port(&Bytes::from_static(b"[::1]"))[..], b"[::1]");
    }
}
