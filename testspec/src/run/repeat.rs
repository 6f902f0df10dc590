//! One repetition of a block: mock servers up, requests out, responses and logs checked, mock servers down.

use std::net::{Ipv4Addr, Shutdown, SocketAddr, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use crate::load::Package;
use crate::model::{Flavour, Value};
use crate::run::block::{Gathered, Run};
use crate::run::check::{BailOut, LogCheck, ResponseCheck, check_access_log, check_error_log, check_response};
use crate::run::mocks::Mocks;
use crate::run::progress::Step;
use crate::run::protocol::{Protocol, protocol};
use crate::run::wire::{
    Exchange, Http2Exchange, Http2Outcome, Packet, Parsed, REDIRECTIONS_MAX, curl_command, exchange, exchange_http2,
    lwp_redirection, lwp_request, parse, parse_http09, requests,
};

/// Which repetition.
pub(crate) struct Repeat {
    /// From 0.
    pub(crate) index: usize,
    /// Whether it is the last one.
    pub(crate) last: bool,
}

/// Runs one repetition.
pub(crate) fn run_repeat(run: &Run<'_>, repeat: &Repeat, gathered: &mut Gathered<'_>) -> Result<(), BailOut> {
    if run.mode()?.is_some() {
        // A mock server answers once; under load it is of no use.
        let queries = ["tcp_query", "tcp_query_len", "udp_query"];
        let count = queries.into_iter().filter(|name| run.block.has(name)).count() as u32;
        gathered.recorder.skip(count, "tests skipped because mock servers do not work under load");
        return run.requests(repeat, gathered);
    }
    let mocks = Mocks::start(run, &mut gathered.expander)?;
    run.requests(repeat, gathered)?;
    mocks.check(run, &mut gathered.recorder);
    Ok(())
}

impl Run<'_> {
    fn requests(&self, repeat: &Repeat, gathered: &mut Gathered<'_>) -> Result<(), BailOut> {
        let evaluated = match self.block.value("request_eval") {
            Some(code) => {
                Some(self.spec.eval(Package::Socket, &code.to_bytes()).map_err(|message| self.bail(&message))?)
            }
            None => None,
        };
        let server_name = &self.settings.server_name;
        let is_lwp = self.settings.flavour == Flavour::Lwp;
        let requests = if is_lwp {
            lwp_request(self.block, self.settings.server_port_for_client).map(|request| vec![request])
        } else {
            requests(self.block, evaluated, server_name, &mut gathered.expander)
        };
        let requests = requests.map_err(|error| self.bail(&error.to_string()))?;
        if let Some(first) = requests.first().filter(|_| self.block.has("curl") && repeat.index == 0) {
            let bytes: Vec<u8> = first.iter().flat_map(|packet| packet.bytes.iter().copied()).collect();
            gathered.recorder.note(curl_command(&bytes, self.address()?));
        }
        if let Some(mode) = self.mode()? {
            self.press(mode, &requests, gathered)?;
        }
        let pipelined = match self.block.value("pipelined_requests").filter(Value::is_true) {
            Some(Value::Array(items)) if !self.block.has("raw_request") => Some(items.borrow().len()),
            _ => None,
        };
        let many = pipelined.is_some() || requests.len() > 1;
        let mut index = 0;
        let mut responses_left: usize = requests.len().max(pipelined.unwrap_or(0));
        for request in &requests {
            self.bench.progress.enter(Step::Exchange);
            let (mut raw, head) = self.send(request, gathered)?;
            if is_lwp {
                raw = self.follow(raw, request, head, gathered)?;
            }
            self.bench.progress.enter(Step::Check);
            for _ in 0..pipelined.unwrap_or(1) {
                responses_left = responses_left.saturating_sub(1);
                let parsed = self.parsed(&raw, head, gathered);
                self.check(&parsed, index, repeat, many, gathered)?;
                if pipelined.is_none()
                    && let Some(left) = &parsed.left
                {
                    let text = left.escape_ascii().to_string();
                    let remark = format!("unexpected extra bytes after last chunk in response: \"{text}\"");
                    gathered.recorder.warn(remark);
                }
                raw = parsed.left.unwrap_or_default();
                self.wait();
                let more_follows = responses_left > 0 || !repeat.last;
                if responses_left == 0 && self.block.is_true("stap") && self.has_flag("TEST_NGINX_USE_STAP") {
                    return Err(self.bail("SystemTap mode is not supported; unset TEST_NGINX_USE_STAP"));
                }
                if responses_left == 0 && self.block.is_true("stap") {
                    let reason = "stap_out - tests skipped due to env TEST_NGINX_USE_STAP is not set";
                    gathered.recorder.skip(1, reason);
                }
                self.check_log(repeat.index, more_follows, gathered)?;
                if !self.block.has("ignore_response") {
                    let path = self.bench.root.access_log();
                    check_access_log(self.block, &path, repeat.index, self.pace(false), &mut gathered.recorder);
                }
                index += 1;
            }
        }
        Ok(())
    }

    /// The error log sections, for one response.
    pub(crate) fn check_log(
        &self,
        repeat: usize,
        more_follows: bool,
        gathered: &mut Gathered<'_>,
    ) -> Result<(), BailOut> {
        let ended = gathered.ended;
        let has_died = self.block.has("must_die");
        let is_idle = |until| has_died || self.is_idle(ended, until);
        let check = LogCheck { block: self.block, repeat, pace: self.pace(more_follows), is_idle: &is_idle };
        check_error_log(&check, &mut gathered.log, &mut gathered.expander, &mut gathered.recorder)
    }

    fn parsed(&self, raw: &[u8], head: bool, gathered: &mut Gathered<'_>) -> Parsed {
        if self.block.has("ignore_response") {
            return Parsed::default();
        }
        let mut parsed = if self.block.has("http09") { parse_http09(raw) } else { parse(raw, head) };
        if let Some(failure) = parsed.failure.take() {
            let name = self.block.display_name();
            gathered.recorder.extra_failure(format!("{name} - {failure}"));
        }
        if let Some(warning) = parsed.warning.take() {
            gathered.recorder.warn(warning);
        }
        parsed
    }

    fn check(
        &self,
        parsed: &Parsed,
        index: usize,
        repeat: &Repeat,
        many: bool,
        gathered: &mut Gathered<'_>,
    ) -> Result<(), BailOut> {
        if self.block.has("ignore_response") {
            return Ok(());
        }
        let check = ResponseCheck {
            block: self.block,
            perl: self.spec,
            request: index,
            repeat: repeat.index,
            many,
            ports: (self.settings.server_port, self.settings.server_port_for_client),
        };
        check_response(&check, parsed, &mut gathered.expander, &mut gathered.recorder)
    }

    /// Sends one request and receives what comes; also whether it was a HEAD request.
    fn send(&self, packets: &[Packet], gathered: &mut Gathered<'_>) -> Result<(Vec<u8>, bool), BailOut> {
        let bytes: Vec<u8> = packets.iter().flat_map(|packet| packet.bytes.iter().copied()).collect();
        let head = bytes.trim_ascii_start().starts_with(b"HEAD ");
        gathered.sent.extend_from_slice(&bytes);
        if gathered.recorder.dry_run().is_some() {
            return Ok((b"200 OK HTTP/1.0\r\nContent-Length: 0\r\n\r\n".to_vec(), head));
        }
        if protocol(self.block, self.variables).map_err(|error| self.bail(&error.to_string()))? == Protocol::Http2 {
            return Ok((self.send_http2(&bytes, gathered)?, head));
        }
        let plan = Exchange {
            address: self.address()?,
            packets,
            middle_delay: self.block.value("raw_request_middle_delay").map(|value| value.to_number()),
            idle: self.idle_timeout(),
            deadline: self.deadline,
            shutdown: self.block.value("shutdown").map(|value| match value.to_bytes().trim_ascii() {
                b"0" => Shutdown::Read,
                b"2" => Shutdown::Both,
                _ => Shutdown::Write,
            }),
        };
        let outcome = match exchange(&plan) {
            Ok(outcome) => outcome,
            Err(error) => {
                let name = self.block.display_name();
                gathered.recorder.extra_failure(format!("{name} - {error} (aborted)"));
                return Ok((Vec::new(), head));
            }
        };
        if let Some(warning) = outcome.warning {
            gathered.recorder.warn(warning);
        }
        gathered.received.extend_from_slice(&outcome.received);
        gathered.ended = outcome.ended;
        if outcome.over_deadline {
            let limit = self.bench.block_limit.as_secs();
            return Err(self.bail(&format!("the block took longer than {limit} s")));
        }
        if outcome.timed_out {
            if self.block.has("abort") {
                std::thread::sleep(Duration::from_millis(5));
            } else {
                let name = self.block.display_name();
                gathered.recorder.extra_failure(format!("ERROR: client socket timed out - {name}"));
            }
        }
        Ok((outcome.received, head))
    }

    /// Follows redirections as a complete client does; the last answer counts.
    fn follow(
        &self,
        mut raw: Vec<u8>,
        request: &[Packet],
        head: bool,
        gathered: &mut Gathered<'_>,
    ) -> Result<Vec<u8>, BailOut> {
        let line = request.first().map(|packet| String::from_utf8_lossy(&packet.bytes).into_owned());
        let method = line.as_deref().and_then(|line| line.split(' ').next()).unwrap_or_default().to_owned();
        for _ in 0..REDIRECTIONS_MAX {
            let response = parse(&raw, head).response.unwrap_or_default();
            let location = response.header("Location");
            let status = response.code.as_deref().unwrap_or_default();
            let port = self.settings.server_port_for_client;
            match lwp_redirection(&method, status, location.as_deref(), port) {
                Some(next) => raw = self.send(&next, gathered)?.0,
                None => break,
            }
        }
        Ok(raw)
    }

    /// Sends one request over HTTP/2; the answer is as `curl -i` prints it.
    fn send_http2(&self, request: &[u8], gathered: &mut Gathered<'_>) -> Result<Vec<u8>, BailOut> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let limit = self.idle_timeout().min(left);
        let Http2Outcome { received, complaint } =
            exchange_http2(&Http2Exchange { address: self.address()?, request, limit });
        gathered.received.extend_from_slice(&received);
        gathered.ended = Some(Instant::now());
        let name = self.block.display_name();
        match complaint {
            Some(complaint) if received.is_empty() => {
                let is_expected = match self.block.value("curl_error") {
                    Some(Value::Regex(regex)) => regex.is_match(complaint.as_bytes()).unwrap_or(false),
                    Some(text) => memchr::memmem::find(complaint.as_bytes(), &text.to_bytes()).is_some(),
                    None => false,
                };
                if !is_expected {
                    gathered.recorder.extra_failure(format!("{name} - {complaint}"));
                }
            }
            Some(complaint) => gathered.recorder.warn(complaint),
            None => {}
        }
        Ok(received)
    }

    pub(crate) fn address(&self) -> Result<SocketAddr, BailOut> {
        let port = self.settings.server_port_for_client;
        let host = match self.block.value("server_addr_for_client") {
            Some(value) => value.to_text().trim().to_owned(),
            None => String::from_utf8_lossy(&self.settings.server_addr).into_owned(),
        };
        if host.is_empty() || host == "127.0.0.1" {
            return Ok((Ipv4Addr::LOCALHOST, port).into());
        }
        let found = (host.as_str(), port).to_socket_addrs().ok().and_then(|mut found| found.next());
        found.ok_or_else(|| self.bail(&format!("cannot find the address of {host}")))
    }

    fn idle_timeout(&self) -> Duration {
        let own = self.block.value("timeout").map(|value| seconds(&value.to_bytes()));
        let idle = own.unwrap_or(self.settings.timeout);
        Duration::try_from_secs_f64(idle).unwrap_or(Duration::from_secs(3))
    }

    fn wait(&self) {
        let Some(wait) = self.block.value("wait").filter(Value::is_true) else { return };
        let wait = Duration::try_from_secs_f64(wait.to_number()).unwrap_or_default();
        let left = self.deadline.saturating_duration_since(Instant::now());
        std::thread::sleep(wait.min(left));
    }
}

/// A time with an optional `s` or `ms` behind it, in seconds.
pub(crate) fn seconds(text: &[u8]) -> f64 {
    let number = |text: &[u8]| Value::str(text.to_vec()).to_number();
    match text.strip_suffix(b"ms") {
        Some(milliseconds) => number(milliseconds) / 1000.0,
        None => number(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, expected) in [("2", 2.0), ("1.5s", 1.5), ("250ms", 0.25), ("", 0.0)] {
            assert!((seconds(text.as_bytes()) - expected).abs() < 1e-9, "{text}");
        }
    }
}
