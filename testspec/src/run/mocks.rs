//! The mock servers of a block, from its sections.

use std::time::Duration;

use crate::model::Value;
use crate::run::block::Run;
use crate::run::check::{BailOut, Detail, Recorder};
use crate::run::expand::Expander;
use crate::run::mock::{Mock, Reply, Target, TcpScript, UdpScript};
use crate::run::repeat::seconds;

/// The running mock servers. Dropping them ends them.
#[derive(Debug)]
pub(crate) struct Mocks {
    tcp: Option<Mock>,
    udp: Option<Mock>,
}

impl Mocks {
    /// Starts those that the block asks for.
    pub(crate) fn start(run: &Run<'_>, expander: &mut Expander<'_>) -> Result<Self, BailOut> {
        Ok(Self { tcp: tcp(run, expander)?, udp: udp(run, expander)? })
    }

    /// Compares what they received with what the block says.
    pub(crate) fn check(&self, run: &Run<'_>, recorder: &mut Recorder) {
        if let Some(tcp) = &self.tcp {
            let query = tcp.query();
            check_query(run, "tcp_query", &query, recorder);
            if let Some(length) = run.block.value("tcp_query_len") {
                recorder.section("tcp_query_len");
                let got = query.len().to_string();
                recorder.is(Some(got.as_bytes()), Some(&length.to_bytes()), "TCP query length ok");
            }
        }
        if let Some(udp) = &self.udp {
            check_query(run, "udp_query", &udp.query(), recorder);
        }
    }
}

fn check_query(run: &Run<'_>, section: &'static str, query: &[u8], recorder: &mut Recorder) {
    let Some(expected) = run.block.value(section) else { return };
    recorder.section(section);
    let what = format!("{section} ok");
    match &expected {
        Value::Regex(regex) => match regex.is_match(query) {
            Ok(matched) => recorder.like(query, matched, &regex.to_text(), &what),
            Err(error) => recorder.fail(&what, Detail::Note(error.to_string())),
        },
        text => recorder.is(Some(query), Some(&text.to_bytes()), &what),
    }
}

fn target(run: &Run<'_>, section: &str, expander: &mut Expander<'_>) -> Result<Option<Target>, BailOut> {
    let Some(value) = run.block.value(section) else { return Ok(None) };
    let text = expander.expand(&value.to_bytes()).map_err(|error| run.bail(&error.to_string()))?;
    // A random port named here for the first time is the mock server's.
    expander.release_ports();
    let shown = String::from_utf8_lossy(&text).into_owned();
    Target::parse(text.trim_ascii()).map(Some).ok_or_else(|| run.bail(&format!("bad {section} target: {shown}")))
}

fn reply(run: &Run<'_>, section: &str) -> Result<Reply, BailOut> {
    match run.block.value(section) {
        None => Ok(Reply::Nothing),
        Some(Value::Array(items)) => {
            Ok(Reply::Pieces(items.borrow().iter().map(|item| item.to_bytes().to_vec()).collect()))
        }
        Some(Value::Code(_)) => {
            let made = run.spec.reply_maker(run.block, section);
            made.map(Reply::Made).ok_or_else(|| run.bail(&format!("bad --- {section} value")))
        }
        Some(text) => Ok(Reply::Pieces(vec![text.to_bytes().to_vec()])),
    }
}

fn delay(run: &Run<'_>, section: &str) -> Duration {
    let value = run.block.value(section).map_or(0.0, |value| seconds(&value.to_bytes()));
    Duration::try_from_secs_f64(value).unwrap_or_default()
}

fn tcp(run: &Run<'_>, expander: &mut Expander<'_>) -> Result<Option<Mock>, BailOut> {
    let Some(target) = target(run, "tcp_listen", expander)? else { return Ok(None) };
    let block = run.block;
    if !block.has("tcp_reply") && !block.has("tcp_shutdown") {
        return Err(run.bail("no --- tcp_reply specified but --- tcp_listen is specified"));
    }
    let query_length = match (block.value("tcp_query_len"), block.value("tcp_query")) {
        (Some(length), _) => usize::try_from(length.to_int()).unwrap_or(0),
        (None, Some(query)) => query.to_bytes().len(),
        (None, None) => 0,
    };
    let query_idle = block.value("tcp_query_auto_timeout").map(|value| {
        let idle = if value.to_bytes().is_empty() { 0.1 } else { value.to_number() };
        Duration::try_from_secs_f64(idle).unwrap_or(Duration::from_millis(100))
    });
    let shutdown = block
        .value("tcp_shutdown")
        .map(|how| (u8::try_from(how.to_int()).unwrap_or(2), delay(run, "tcp_shutdown_delay")));
    let script = TcpScript {
        target,
        reply: reply(run, "tcp_reply")?,
        query_length,
        query_idle,
        reply_delay: delay(run, "tcp_reply_delay"),
        shutdown,
        keep_open: block.has("tcp_no_close"),
    };
    let started = Mock::tcp(script);
    started.map(Some).map_err(|error| run.bail(&format!("failed to create the tcp listening socket: {error}")))
}

fn udp(run: &Run<'_>, expander: &mut Expander<'_>) -> Result<Option<Mock>, BailOut> {
    let Some(target) = target(run, "udp_listen", expander)? else { return Ok(None) };
    if !run.block.has("udp_reply") {
        return Err(run.bail("no --- udp_reply specified but --- udp_listen is specified"));
    }
    let script = UdpScript { target, reply: reply(run, "udp_reply")?, reply_delay: delay(run, "udp_reply_delay") };
    let started = Mock::udp(script);
    started.map(Some).map_err(|error| run.bail(&format!("failed to create the udp listening socket: {error}")))
}
