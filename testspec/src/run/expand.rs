//! `$TEST_NGINX_*` in spec texts.
//!
//! A variable is replaced by its value in the environment. `$TEST_NGINX_RAND_PORT_<n>` is a free TCP port that
//! stays the same within a block. An undefined variable is an error: the original stops the run there.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};

/// Why a text can't be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpandError {
    /// The code that a spec wants to change its `http_config` failed.
    #[error("failed to filter the http configuration: {0}")]
    Filter(String),
    /// No free port was found for a random one.
    #[error("find an available listening port for {0}")]
    NoFreePort(String),
    /// The variable is not in the environment.
    #[error("expand ${0}: no such environment variable")]
    Undefined(String),
}

/// The environment of one block with the random ports it has asked for.
#[derive(Debug)]
pub struct Expander<'a> {
    variables: &'a BTreeMap<String, Vec<u8>>,
    ports: BTreeMap<String, u16>,
    server_port: u16,
    reserved: Vec<TcpListener>,
}

impl<'a> Expander<'a> {
    /// An expander over `variables` that never hands out `server_port`.
    pub fn new(variables: &'a BTreeMap<String, Vec<u8>>, server_port: u16) -> Self {
        Self { variables, ports: BTreeMap::new(), server_port, reserved: Vec::new() }
    }

    /// Frees the random ports, so that the server can listen on them. They stay the block's.
    pub fn release_ports(&mut self) {
        self.reserved.clear();
    }

    /// The text with all its variables replaced.
    pub fn expand(&mut self, text: &[u8]) -> Result<Vec<u8>, ExpandError> {
        const PREFIX: &[u8] = b"$TEST_NGINX_";
        let mut out = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = memchr::memmem::find(rest, PREFIX) {
            let (before, from) = rest.split_at(at);
            let tail = &from[PREFIX.len()..];
            let length = tail.iter().take_while(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_')).count();
            out.extend_from_slice(before);
            if length == 0 {
                out.extend_from_slice(PREFIX);
            } else {
                let name = String::from_utf8_lossy(&from[1..PREFIX.len() + length]).into_owned();
                self.replace(name, &mut out)?;
            }
            rest = &tail[length..];
        }
        out.extend_from_slice(rest);
        Ok(out)
    }

    fn replace(&mut self, name: String, out: &mut Vec<u8>) -> Result<(), ExpandError> {
        let is_random = name
            .strip_prefix("TEST_NGINX_RAND_PORT_")
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
        if is_random {
            let port = self.random_port(name)?;
            out.extend_from_slice(port.to_string().as_bytes());
            return Ok(());
        }
        match self.variables.get(&name) {
            Some(value) => {
                out.extend_from_slice(value);
                Ok(())
            }
            None => Err(ExpandError::Undefined(name)),
        }
    }

    fn random_port(&mut self, name: String) -> Result<u16, ExpandError> {
        if let Some(port) = self.ports.get(&name) {
            return Ok(*port);
        }
        for _ in 0..100 {
            // The kernel picks; the listener keeps the port ours until the server starts.
            let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) else { continue };
            let Ok(address) = listener.local_addr() else { continue };
            let port = address.port();
            if port.abs_diff(self.server_port) <= 3 {
                continue;
            }
            self.reserved.push(listener);
            self.ports.insert(name, port);
            return Ok(port);
        }
        Err(ExpandError::NoFreePort(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([("TEST_NGINX_A".to_owned(), b"1".to_vec()), ("TEST_NGINX_A_B".to_owned(), b"2".to_vec())])
    }

    #[test]
    fn the_longest_name_is_taken() {
        let variables = variables();
        let mut expander = Expander::new(&variables, 1984);
        assert_eq!(expander.expand(b"x$TEST_NGINX_A;$TEST_NGINX_A_B$TEST_NGINX_").unwrap(), b"x1;2$TEST_NGINX_");
        assert_eq!(expander.expand(b"$TEST_NGINX_Az").unwrap(), b"1z");
    }

    #[test]
    fn an_undefined_variable_is_an_error() {
        let variables = variables();
        let error = Expander::new(&variables, 1984).expand(b"$TEST_NGINX_NONE").unwrap_err();
        assert_eq!(error, ExpandError::Undefined("TEST_NGINX_NONE".to_owned()));
    }

    #[test]
    fn a_random_port_stays_within_the_block() {
        let variables = variables();
        let mut expander = Expander::new(&variables, 1984);
        let first = expander.expand(b"$TEST_NGINX_RAND_PORT_1 $TEST_NGINX_RAND_PORT_2").unwrap();
        assert_eq!(first, expander.expand(b"$TEST_NGINX_RAND_PORT_1 $TEST_NGINX_RAND_PORT_2").unwrap());
        let ports: Vec<_> = first.split(|byte| *byte == b' ').collect();
        assert_ne!(ports[0], ports[1]);
    }
}
