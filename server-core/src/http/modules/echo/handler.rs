//! The content handler: runs the commands one after another, waiting where a command has to.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::directives::{Action, Command, Waiting};
use super::subrequests;
use crate::http::code::Code;
use crate::http::output::{self, Buf, Chain, chain};
use crate::http::phases::{Handler, LocalBoxFuture, Outcome};
use crate::http::request::Request;
use crate::http::{body, redirect};
use crate::log::Level;

/// The handler of all locations with `echo` directives.
pub(super) struct EchoHandler;

/// What the module keeps in a request.
#[derive(Default)]
pub(super) struct State {
    /// The next command.
    next: Cell<usize>,
    header_sent: Cell<bool>,
    /// When the timer of `$echo_timer_elapsed` was reset, in milliseconds since 1970.
    pub(super) timer_begin: Cell<Option<i64>>,
    foreach: RefCell<Option<Foreach>>,
    /// The filter has nothing (more) to do.
    pub(super) skip_filter: Cell<bool>,
    pub(super) before_body_sent: Cell<bool>,
    /// The value of `$echo_incr`.
    pub(super) counter: Cell<u64>,
}

/// A running `echo_foreach_split`.
struct Foreach {
    /// The command behind it.
    body: usize,
    choices: Vec<Bytes>,
    current: usize,
}

impl State {
    /// The value of `$echo_it`.
    pub(super) fn current_choice(&self) -> Option<Bytes> {
        let foreach = self.foreach.borrow();
        let foreach = foreach.as_ref()?;
        foreach.choices.get(foreach.current).cloned()
    }
}

/// How the commands go on after one of them.
enum Flow {
    /// With the next one.
    Next,
    /// Not at all: the handler answers this.
    End(Code),
    /// With the next one, when this is ready; unless it ends with anything but OK.
    Wait(LocalBoxFuture<'static, Code>),
}

impl Flow {
    /// Ends on errors and statuses that need a special response.
    fn of(code: Code) -> Self {
        if code == Code::ERROR || code.is_special_response() { Self::End(code) } else { Self::Next }
    }
}

impl Handler for EchoHandler {
    fn handle(&self, r: &Rc<Request>) -> Outcome {
        let state = r.ctx_or_default::<State>();
        match advance(r, &state) {
            Flow::Wait(first) => Outcome::wait(drive(Rc::clone(r), state, first)),
            Flow::End(code) => answer(r, code).into(),
            Flow::Next => Code::OK.into(),
        }
    }
}

/// An error after the head was sent can only close the connection.
fn answer(r: &Request, code: Code) -> Code {
    if code.is_special_response() && r.header_sent.get() { Code::ERROR } else { code }
}

async fn drive(r: Rc<Request>, state: Rc<State>, first: LocalBoxFuture<'static, Code>) -> Code {
    let mut wait = first;
    loop {
        let code = wait.await;
        if code != Code::OK {
            return answer(&r, code);
        }
        match advance(&r, &state) {
            Flow::Wait(next) => wait = next,
            Flow::End(code) => return answer(&r, code),
            Flow::Next => return Code::OK,
        }
    }
}

/// Runs commands until one has to wait or ends the request.
fn advance(r: &Rc<Request>, state: &Rc<State>) -> Flow {
    let commands = Rc::clone(&r.loc().echo.commands);
    while let Some(command) = commands.get(state.next.get()) {
        state.next.set(state.next.get() + 1);
        match execute(r, state, &commands, command) {
            Flow::Next => {}
            flow => return flow,
        }
    }
    Flow::End(finish(r, state))
}

fn finish(r: &Rc<Request>, state: &State) -> Code {
    let code = send_header(r, state);
    if code != Code::OK || r.header_only.get() {
        return code;
    }
    let code = output::write_last(r);
    if code == Code::ERROR || code.is_special_response() {
        return code;
    }
    if r.body.borrow().is_none() {
        body::discard(r);
    }
    Code::OK
}

fn execute(r: &Rc<Request>, state: &Rc<State>, commands: &[Command], command: &Command) -> Flow {
    let arg = |index: usize| command.args.get(index).map(|value| value.eval(r)).unwrap_or_default();
    match command.action {
        Action::Begin => Flow::of(send(r, state, chain(Buf { sync: true, ..Buf::default() }))),
        Action::Echo => Flow::of(send(r, state, echo_line(r, command))),
        Action::Flush => Flow::of(if r.header_sent.get() { output::flush(r) } else { Code::OK }),
        Action::RequestBody => Flow::of(send(r, state, request_body_chain(r))),
        Action::Duplicate => duplicate(r, state, &arg(0), &arg(1)),
        Action::ResetTimer => {
            state.timer_begin.set(Some(crate::clock::update().epoch_msec()));
            Flow::Next
        }
        Action::Sleep => match delay(r, &arg(0)) {
            Err(code) => Flow::End(code),
            Ok(delay) => Flow::Wait(Box::pin(sleep(Rc::clone(r), delay))),
        },
        Action::BlockingSleep => match delay(r, &arg(0)) {
            Err(code) => Flow::End(code),
            Ok(delay) => {
                std::thread::sleep(delay);
                Flow::Next
            }
        },
        Action::ReadRequestBody => read_body(r),
        Action::Location(_) | Action::Subrequest(_)
            if r.is_main() && r.body.borrow().is_none() && !r.discard_body.get() =>
        {
            // A subrequest may need the body: read it first, then come back.
            state.next.set(state.next.get() - 1);
            read_body(r)
        }
        Action::Location(waiting) => {
            let args = command.args.get(1).map(|value| value.eval(r));
            let target = subrequests::Target::get(waiting, arg(0), args);
            subrequest(r, state, Some(target), waiting)
        }
        Action::Subrequest(waiting) => {
            let args: Vec<Bytes> = command.args.iter().map(|value| value.eval(r)).collect();
            subrequest(r, state, subrequests::Target::parse(r, waiting, &args), waiting)
        }
        Action::ForeachSplit => foreach_split(r, state, commands, command),
        Action::End => end(r, state),
        Action::Exec => Flow::End(exec(r, &arg(0), command.args.get(1).map(|value| value.eval(r)))),
        Action::AbortParent => Flow::End(Code::INTERNAL_SERVER_ERROR),
    }
}

fn read_body(r: &Rc<Request>) -> Flow {
    match body::read(r) {
        Outcome::Done(Code::OK) => Flow::Next,
        Outcome::Done(code) => Flow::End(code),
        Outcome::Wait(reading) => Flow::Wait(reading),
    }
}

async fn sleep(r: Rc<Request>, delay: Duration) -> Code {
    tokio::time::sleep(delay).await;
    r.log_bytes(Level::Debug, &[b"echo sleep event handler: \"", &r.uri.get(), b"?", &r.args.get(), b"\""]);
    Code::OK
}

/// A number of seconds with up to three decimal places.
fn delay(r: &Request, text: &[u8]) -> Result<Duration, Code> {
    parse_milliseconds(text).map(Duration::from_millis).ok_or_else(|| {
        r.log_bytes(Level::Error, &[b"invalid sleep duration \"", text, b"\""]);
        Code::BAD_REQUEST
    })
}

fn parse_milliseconds(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok().filter(|text| !text.is_empty())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.len() > 3 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: u64 = format!("{fraction:0<3}").parse().ok()?;
    whole.checked_mul(1000)?.checked_add(fraction).filter(|&value| value < i32::MAX as u64)
}

/// Sends the head unless that happened already.
fn send_header(r: &Rc<Request>, state: &State) -> Code {
    if r.header_sent.get() || state.header_sent.get() {
        return Code::OK;
    }
    r.headers_out.status.set(r.loc().echo.status.unwrap_or(200));
    r.set_content_type();
    r.headers_out.clear_content_length();
    r.headers_out.clear_accept_ranges();
    state.header_sent.set(true);
    output::send_header(r)
}

fn send(r: &Rc<Request>, state: &State, chain: Chain) -> Code {
    if chain.is_empty() {
        return Code::OK;
    }
    let code = send_header(r, state);
    if code != Code::OK || r.header_only.get() {
        return code;
    }
    output::write(r, chain)
}

/// The arguments with spaces between them and a line feed behind them, unless `-n` was given.
pub(super) fn echo_line(r: &Request, command: &Command) -> Chain {
    let newline = command.options.first().is_none_or(|option| &**option != b"n");
    if let ([only], true) = (&*command.args, newline)
        && let Some(text) = only.constant()
    {
        let mut chain = Chain::new();
        if !text.is_empty() {
            chain.push(Buf::bytes(text.clone()));
        }
        chain.push(Buf::bytes(Bytes::from_static(b"\n")));
        return chain;
    }
    let mut line = BytesMut::new();
    for (index, arg) in command.args.iter().enumerate() {
        if index > 0 {
            line.extend_from_slice(b" ");
        }
        line.extend_from_slice(&arg.eval(r));
    }
    if newline {
        line.extend_from_slice(b"\n");
    }
    if line.is_empty() { Chain::new() } else { chain(Buf::bytes(line)) }
}

fn request_body_chain(r: &Request) -> Chain {
    let Some(body) = r.body.borrow().clone() else { return Chain::new() };
    let mut chain = Chain::new();
    if let Some(file) = body.file.borrow().as_ref()
        && file.len > 0
    {
        chain.push(Buf::file(Rc::clone(&file.file), 0, file.len));
    }
    chain.extend(body.bufs.borrow().iter().filter(|part| !part.is_empty()).cloned().map(Buf::bytes));
    chain
}

fn duplicate(r: &Rc<Request>, state: &State, count: &[u8], text: &Bytes) -> Flow {
    let Some(count) = parse_count(count) else {
        r.log_bytes(Level::Error, &[b"invalid size specified: \"", count, b"\""]);
        return Flow::End(Code::INTERNAL_SERVER_ERROR);
    };
    if count == 0 || text.is_empty() {
        let code = send_header(r, state);
        return if code == Code::OK { Flow::Next } else { Flow::End(code) };
    }
    let mut out = Vec::new();
    let size = count.checked_mul(text.len());
    if size.is_none_or(|size| out.try_reserve_exact(size).is_err()) {
        return Flow::End(Code::INTERNAL_SERVER_ERROR);
    }
    for _ in 0..count {
        out.extend_from_slice(text);
    }
    Flow::of(send(r, state, chain(Buf::bytes(out))))
}

/// A decimal number in which underscores are ignored.
fn parse_count(text: &[u8]) -> Option<usize> {
    if text.is_empty() {
        return None;
    }
    text.iter().filter(|&&byte| byte != b'_').try_fold(0usize, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| usize::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

fn subrequest(r: &Rc<Request>, state: &State, target: Option<subrequests::Target>, waiting: Waiting) -> Flow {
    let Some(target) = target else { return Flow::End(Code::ERROR) };
    let code = send_header(r, state);
    if code != Code::OK {
        return Flow::End(code);
    }
    if r.header_only.get() {
        return if waiting == Waiting::Sync { Flow::End(Code::OK) } else { Flow::Next };
    }
    match (target.start(r), waiting) {
        (Err(code), _) => Flow::End(code),
        (Ok(_), Waiting::Async) => Flow::Next,
        (Ok(subrequest), Waiting::Sync) => Flow::Wait(Box::pin(async move {
            // How the subrequest ended is its own business.
            subrequest.completion.wait().await;
            Code::OK
        })),
    }
}

fn foreach_split(r: &Request, state: &State, commands: &[Command], command: &Command) -> Flow {
    if state.foreach.borrow().is_some() {
        r.log(Level::Error, format_args!("Nested echo_foreach not supported yet."));
        return Flow::End(Code::INTERNAL_SERVER_ERROR);
    }
    let [delimiter, text, ..] = &*command.args else {
        let message = "echo_foreach should take at least two arguments. (if your delimiter starts with \"-\", \
                       preceding it with a \"--\".)";
        r.log(Level::Error, format_args!("{message}"));
        return Flow::End(Code::INTERNAL_SERVER_ERROR);
    };
    let choices = split(&text.eval(r), &delimiter.eval(r));
    let body = state.next.get();
    if choices.is_empty() {
        let behind = commands.get(body..).unwrap_or_default();
        let end = behind.iter().position(|command| command.action == Action::End).unwrap_or(behind.len());
        state.next.set(body + end);
    }
    state.foreach.replace(Some(Foreach { body, choices, current: 0 }));
    Flow::Next
}

/// The non-empty pieces between delimiters.
fn split(text: &Bytes, delimiter: &[u8]) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let mut start = 0;
    if !delimiter.is_empty() {
        for at in memchr::memmem::find_iter(text, delimiter) {
            if at > start {
                pieces.push(text.slice(start..at));
            }
            start = at + delimiter.len();
        }
    }
    if start < text.len() {
        pieces.push(text.slice(start..));
    }
    pieces
}

fn end(r: &Request, state: &State) -> Flow {
    let mut slot = state.foreach.borrow_mut();
    let Some(foreach) = slot.as_mut() else {
        let message = "Found a echo_end that has no corresponding echo_foreach before it.";
        r.log(Level::Error, format_args!("{message}"));
        return Flow::End(Code::ERROR);
    };
    foreach.current += 1;
    if foreach.current < foreach.choices.len() {
        state.next.set(foreach.body);
    } else {
        *slot = None;
    }
    Flow::Next
}

fn exec(r: &Rc<Request>, uri: &Bytes, args: Option<Bytes>) -> Code {
    if uri.is_empty() {
        return Code::BAD_REQUEST;
    }
    let Some((uri, args)) = subrequests::split_uri(r, "echo_exec", uri, args) else { return Code::ERROR };
    if uri.starts_with(b"@") {
        if let Some(args) = args.filter(|args| !args.is_empty()) {
            let middle = b" ignored when exec'ing named location ";
            r.log_bytes(Level::Warn, &[b"querystring ", &args, middle, &uri]);
        }
        r.clear_ctx();
        return redirect::named(r, &uri);
    }
    redirect::internal(r, uri, args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_up_to_three_places() {
        assert_eq!(parse_milliseconds(b"1"), Some(1000));
        assert_eq!(parse_milliseconds(b"0.05"), Some(50));
        assert_eq!(parse_milliseconds(b".5"), Some(500));
        for bad in ["", "1.2345", "-1", "a", "1.2.3"] {
            assert_eq!(parse_milliseconds(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn counts_may_have_underscores() {
        assert_eq!(parse_count(b"1_000"), Some(1000));
        assert_eq!(parse_count(b""), None);
        assert_eq!(parse_count(b"1x"), None);
    }

    #[test]
    fn empty_pieces_are_left_out() {
        let split = |text: &'static str, delimiter: &str| -> Vec<String> {
            let pieces = split(&Bytes::from_static(text.as_bytes()), delimiter.as_bytes());
            pieces.iter().map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
        };
        assert_eq!(split("&a&&b&", "&"), ["a", "b"]);
        assert_eq!(split("a--b-c", "--"), ["a", "b-c"]);
        assert_eq!(split("abc", ""), ["abc"]);
        assert!(split("", ",").is_empty());
    }
}
