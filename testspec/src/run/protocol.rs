//! Which version of HTTP a block's requests are sent in.

use std::collections::BTreeMap;

use crate::model::{Block, Regex, Value};

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Up to HTTP/1.1: bytes over a connection.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// Two sections don't go together.
    #[error("cannot use --- http2 with --- {0}")]
    Conflict(&'static str),
    /// HTTP/3 is not implemented.
    #[error("HTTP/3 requests ({0}) are not supported; HTTP/2 and HTTP/1 are")]
    Http3(&'static str),
}

/// The protocol that a block wants, by its sections or by `TEST_NGINX_USE_HTTP2`.
pub fn protocol(block: &Block, variables: &BTreeMap<String, Vec<u8>>) -> Result<Protocol, ProtocolError> {
    let is_set = |name: &str| variables.get(name).is_some_and(|value| Value::str(value.clone()).is_true());
    if !block.has("no_http3") {
        if block.has("http3") {
            return Err(ProtocolError::Http3("--- http3"));
        }
        if is_set("TEST_NGINX_USE_HTTP3") && fits_http2(block) {
            return Err(ProtocolError::Http3("TEST_NGINX_USE_HTTP3"));
        }
    }
    if block.has("no_http2") {
        return Ok(Protocol::Http1);
    }
    if block.has("http2") {
        if let Some(other) = ["raw_request", "pipelined_requests"].into_iter().find(|name| block.is_true(name)) {
            return Err(ProtocolError::Conflict(other));
        }
        return Ok(Protocol::Http2);
    }
    Ok(if is_set("TEST_NGINX_USE_HTTP2") && fits_http2(block) { Protocol::Http2 } else { Protocol::Http1 })
}

/// Whether a block that doesn't ask for it can run over HTTP/2.
fn fits_http2(block: &Block) -> bool {
    const HTTP1_ONLY: &str = r"proxy_pass .*:\$(?:server_port|TEST_NGINX_SERVER_PORT)|ngx.req.raw_header|lua_check_client_abort|ngx.req.socket|ngx.req.read_body";
    if block.is_true("raw_request") || block.is_true("pipelined_requests") || !block.has("request") {
        return false;
    }
    let is_http10 = block.value("request").is_some_and(|request| {
        request.reference_kind().is_empty() && memchr::memmem::find(&request.to_bytes(), b"HTTP/1.0").is_some()
    });
    let http1_only = Regex::new(HTTP1_ONLY, "");
    let needs_http1 = ["config", "user_files", "http_config"].into_iter().any(|section| {
        block.value(section).is_some_and(|value| http1_only.is_match(&value.to_bytes()).unwrap_or(false))
    });
    !is_http10 && !needs_http1
}

#[cfg(test)]
mod tests {
    use rsty_diag::Span;

    use super::*;

    fn of(sections: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<Protocol, ProtocolError> {
        let block = Block::new(b"b".to_vec(), Vec::new(), Span::at(0), 1, 1);
        for (name, value) in sections {
            block.set_value(name, Value::from(*value));
        }
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        protocol(&block, &variables)
    }

    #[test]
    fn a_block_asks_for_its_protocol() {
        assert_eq!(of(&[("request", "GET /")], &[]), Ok(Protocol::Http1));
        assert_eq!(of(&[("request", "GET /"), ("http2", "")], &[]), Ok(Protocol::Http2));
        assert_eq!(of(&[("http2", ""), ("no_http2", "")], &[]), Ok(Protocol::Http1));
        assert_eq!(of(&[("raw_request", "x"), ("http2", "")], &[]), Err(ProtocolError::Conflict("raw_request")));
        assert!(of(&[("request", "GET /"), ("http3", "")], &[]).is_err());
    }

    #[test]
    fn the_environment_switches_blocks_that_can_be() {
        let on = [("TEST_NGINX_USE_HTTP2", "1")];
        assert_eq!(of(&[("request", "GET /")], &on), Ok(Protocol::Http2));
        assert_eq!(of(&[("request", "GET / HTTP/1.0")], &on), Ok(Protocol::Http1));
        assert_eq!(of(&[("request", "GET /"), ("config", "ngx.req.socket()")], &on), Ok(Protocol::Http1));
        assert_eq!(of(&[("request", "GET /")], &[("TEST_NGINX_USE_HTTP2", "0")]), Ok(Protocol::Http1));
        assert!(of(&[("request", "GET /")], &[("TEST_NGINX_USE_HTTP3", "1")]).is_err());
        assert_eq!(
            of(&[("request", "GET /"), ("no_http3", "")], &[("TEST_NGINX_USE_HTTP3", "1")]),
            Ok(Protocol::Http1)
        );
    }
}
