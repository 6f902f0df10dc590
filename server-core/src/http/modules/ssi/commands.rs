//! What each command does.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;

use super::super::autoindex::page::escape_html;
use super::super::calendar::Moment;
use super::parse::Command;
use super::state::{Failed, Shared, evaluate, variable};
use crate::http::code::Code;
use crate::http::h1::uri;
use crate::http::output::{self, Buf};
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::http::subrequest::{self, Options, PostHandler};
use crate::http::variables::VariableDef;
use crate::log::Level;
use crate::process::local_time;

/// The state of a page.
pub(super) struct Page {
    /// Whether text and commands count, or are in a branch that was not chosen.
    pub(super) output: Cell<bool>,
    /// A branch of the current condition has been chosen.
    chosen: Cell<bool>,
    condition: Cell<Condition>,
    /// The block whose text is being collected.
    pub(super) block: RefCell<Option<Block>>,
    /// The subrequest that has to end before the page goes on.
    pub(super) wait: RefCell<Option<Rc<Request>>>,
    time_format: RefCell<String>,
    pub(super) error_message: RefCell<Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Condition {
    None,
    If,
    Else,
}

/// A block that has begun.
pub(super) struct Block {
    name: Vec<u8>,
    pub(super) text: Vec<u8>,
}

const TIME_FORMAT: &str = "%A, %d-%b-%Y %H:%M:%S %Z";

impl Default for Page {
    fn default() -> Self {
        Self {
            output: Cell::new(true),
            chosen: Cell::new(false),
            condition: Cell::new(Condition::None),
            block: RefCell::default(),
            wait: RefCell::default(),
            time_format: RefCell::new(TIME_FORMAT.to_owned()),
            error_message: RefCell::new(Bytes::from_static(b"[an error occurred while processing the directive]")),
        }
    }
}

/// What a command leaves to do.
pub(super) enum Done {
    /// Nothing.
    Nothing,
    /// This goes out.
    Text(Bytes),
    /// What was put out so far goes its way, then a subrequest starts.
    Include(Include),
}

/// A subrequest of a page.
pub(super) struct Include {
    uri: Bytes,
    args: Option<Bytes>,
    wait: bool,
    set: Option<Vec<u8>>,
    stub: Option<Bytes>,
}

/// The parameters that a command knows; those with `true` it must have.
fn parameters(command: &[u8]) -> Option<&'static [(&'static str, bool)]> {
    Some(match command {
        b"include" => &[("virtual", false), ("file", false), ("wait", false), ("set", false), ("stub", false)],
        b"echo" => &[("var", true), ("default", false), ("encoding", false)],
        b"config" => &[("errmsg", false), ("timefmt", false)],
        b"set" => &[("var", true), ("value", true)],
        b"if" | b"elif" => &[("expr", true)],
        b"block" => &[("name", true)],
        b"else" | b"endif" | b"endblock" => &[],
        _ => return None,
    })
}

fn fail<T>(r: &Request, pieces: &[&[u8]]) -> Result<T, Failed> {
    r.log_bytes(Level::Error, pieces);
    Err(Failed)
}

/// Carries out a command.
pub(super) fn run(r: &Rc<Request>, page: &Page, command: &Command) -> Result<Done, Failed> {
    let name = &command.name[..];
    let Some(known) = parameters(name) else {
        return if page.output.get() { fail(r, &[b"invalid SSI command: \"", name, b"\""]) } else { Ok(Done::Nothing) };
    };
    let least = match name {
        b"elif" | b"else" => Some(Condition::If),
        b"endif" => Some(Condition::Else),
        _ => None,
    };
    if !page.output.get() && least.is_none() {
        return Ok(Done::Nothing);
    }
    if let Some(least) = least
        && (page.condition.get() == Condition::None || page.condition.get() > least)
    {
        return fail(r, &[b"invalid context of SSI command: \"", name, b"\""]);
    }
    check_parameters(r, command, known)?;
    match name {
        b"include" => return include(r, command),
        b"echo" => return echo(r, command),
        b"config" => {
            if let Some(format) = command.param("timefmt") {
                *page.time_format.borrow_mut() = String::from_utf8_lossy(format).into_owned();
            }
            if let Some(message) = command.param("errmsg") {
                *page.error_message.borrow_mut() = Bytes::copy_from_slice(message);
            }
        }
        b"set" => {
            let value = evaluate(r, command.param("value").unwrap_or_default())?;
            Shared::of(r).set(command.param("var").unwrap_or_default(), value);
        }
        b"if" if page.condition.get() != Condition::None => {
            return fail(r, &[b"the \"if\" command inside the \"if\" command"]);
        }
        b"if" | b"elif" => {
            let holds = !page.chosen.get() && holds(r, command.param("expr").unwrap_or_default())?;
            page.output.set(holds);
            page.chosen.set(page.chosen.get() || holds);
            page.condition.set(Condition::If);
        }
        b"else" => {
            page.output.set(!page.chosen.get());
            page.condition.set(Condition::Else);
        }
        b"endif" => {
            page.output.set(true);
            page.chosen.set(false);
            page.condition.set(Condition::None);
        }
        b"block" => {
            let name = command.param("name").unwrap_or_default().to_vec();
            *page.block.borrow_mut() = Some(Block { name, text: Vec::new() });
        }
        b"endblock" => end_block(r, page),
        _ => {}
    }
    Ok(Done::Nothing)
}

/// Keeps the block that has ended.
pub(super) fn end_block(r: &Rc<Request>, page: &Page) {
    if let Some(block) = page.block.borrow_mut().take() {
        Shared::of(r).add_block(&block.name, block.text);
    }
}

fn check_parameters(r: &Request, command: &Command, known: &[(&str, bool)]) -> Result<(), Failed> {
    let name = &command.name[..];
    for (index, (key, _)) in command.params.iter().enumerate() {
        if !known.iter().any(|(known, _)| known.as_bytes() == key) {
            return fail(r, &[b"invalid parameter name: \"", key, b"\" in \"", name, b"\" SSI command"]);
        }
        if command.params[..index].iter().any(|(earlier, _)| earlier == key) {
            return fail(r, &[b"duplicate \"", key, b"\" parameter in \"", name, b"\" SSI command"]);
        }
    }
    match known.iter().find(|(key, mandatory)| *mandatory && command.param(key).is_none()) {
        None => Ok(()),
        Some((key, _)) => {
            let key = key.as_bytes();
            fail(r, &[b"mandatory \"", key, b"\" parameter is absent in \"", name, b"\" SSI command"])
        }
    }
}

fn echo(r: &Rc<Request>, command: &Command) -> Result<Done, Failed> {
    let name = command.param("var").unwrap_or_default();
    let value = variable(r, name).or_else(|| command.param("default").map(Bytes::copy_from_slice));
    let value = value.unwrap_or_else(|| Bytes::from_static(b"(none)"));
    let text = match command.param("encoding") {
        None | Some(b"entity") => escape_html(&value).into(),
        Some(b"none") => value,
        Some(b"url") => uri::escape(&value).into(),
        Some(other) => return fail(r, &[b"unknown encoding \"", other, b"\" in the \"echo\" command"]),
    };
    Ok(Done::Text(text))
}

fn include(r: &Rc<Request>, command: &Command) -> Result<Done, Failed> {
    let (path, file) = (command.param("virtual"), command.param("file"));
    let (set, stub) = (command.param("set"), command.param("stub"));
    let Some(target) = path.or(file) else { return fail(r, &[b"no parameter in \"include\" SSI command"]) };
    if let (Some(path), Some(file)) = (path, file) {
        return fail(r, &[b"inclusion may be either virtual=\"", path, b"\" or file=\"", file, b"\""]);
    }
    if set.is_some() && stub.is_some() {
        return fail(r, &[b"\"set\" and \"stub\" cannot be used together in \"include\" SSI command"]);
    }
    let wait = match (command.param("wait"), file) {
        (Some(_), Some(file)) => return fail(r, &[b"\"wait\" cannot be used with file=\"", file, b"\""]),
        (None, file) => file.is_some(),
        (Some(word), None) if word.eq_ignore_ascii_case(b"no") => false,
        (Some(word), None) if word.eq_ignore_ascii_case(b"yes") => true,
        (Some(word), None) => return fail(r, &[b"invalid value \"", word, b"\" in the \"wait\" parameter"]),
    };
    let mut target = evaluate(r, target)?;
    if target.first().is_none_or(|&byte| byte != b'/') {
        let uri = r.uri.get();
        let folder = memchr::memrchr(b'/', &uri).map_or(0, |at| at + 1);
        target = [&uri[..folder], &target].concat();
    }
    debug!(r, "ssi include: \"{}\"", target.escape_ascii());
    let Some((path, args)) = uri::parse_unsafe(&target) else {
        return fail(r, &[b"unsafe URI \"", &target, b"\" was detected"]);
    };
    let stub = match stub {
        None => None,
        Some(name) => match Shared::of(r).block(name) {
            Some(block) => Some(block),
            None => return fail(r, &[b"\"stub\"=\"", name, b"\" for \"include\" not found"]),
        },
    };
    let args = args.map(Bytes::copy_from_slice);
    Ok(Done::Include(Include { uri: path.into(), args, wait, set: set.map(<[u8]>::to_vec), stub }))
}

impl Include {
    /// Starts the subrequest. The page waits for it if the command says so.
    pub(super) fn start(self, r: &Rc<Request>, page: &Page) -> Result<(), Failed> {
        let waits = self.wait || self.set.is_some();
        let options = Options { in_memory: self.set.is_some(), waited: waits, ..Options::default() };
        let sub = subrequest::create(r, self.uri, self.args, options).map_err(|_| Failed)?;
        let handler: Option<PostHandler> = match (self.set, self.stub) {
            (Some(name), _) => {
                // The variable exists from now on.
                Shared::of(r).set(&name, Bytes::new());
                Some(Box::new(move |sub, code| {
                    Shared::of(sub).set(&name, sub.captured.take());
                    code
                }))
            }
            (None, Some(block)) => Some(Box::new(move |sub, code| put_stub(sub, code, block))),
            (None, None) => None,
        };
        subrequest::start(&sub, handler);
        if waits {
            *page.wait.borrow_mut() = Some(sub);
        }
        Ok(())
    }
}

/// Puts a block in the place of a subrequest that said nothing.
fn put_stub(sub: &Rc<Request>, code: Code, block: Bytes) -> Code {
    if code == Code::ERROR || sub.conn().error.get() || sub.has_output.get() {
        return code;
    }
    debug!(sub, "ssi stub output: \"{}?{}\"", sub.uri.borrow().escape_ascii(), sub.args.borrow().escape_ascii());
    if !sub.header_sent.get() {
        if let Some(parent) = sub.parent() {
            sub.headers_out.content_type.set(parent.headers_out.content_type.get());
        }
        if output::send_header(sub) == Code::ERROR {
            return Code::ERROR;
        }
    }
    output::write(sub, output::chain(Buf::bytes(block).ending(sub)))
}

/// Whether the expression of an `if` holds: a text that is not empty, or two that are compared.
fn holds(r: &Rc<Request>, expression: &[u8]) -> Result<bool, Failed> {
    debug!(r, "ssi if expr=\"{}\"", expression.escape_ascii());
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'$' | b'{' | b'}' | b'_' | b'"' | b'\'');
    let length = expression.iter().position(|byte| !is_word(byte)).unwrap_or(expression.len());
    let (left, rest) = expression.split_at(length);
    let rest = rest.trim_ascii_start();
    let left = evaluate(r, &left.to_ascii_lowercase())?;
    if rest.is_empty() {
        return Ok(!left.is_empty());
    }
    let (negative, right) = match (rest.strip_prefix(b"="), rest.strip_prefix(b"!=")) {
        (Some(right), _) => (false, right),
        (_, Some(right)) => (true, right),
        _ => return fail(r, &[b"invalid expression in \"", expression, b"\""]),
    };
    let right = right.trim_ascii_start();
    let equal = match right {
        [b'/', pattern @ .., b'/'] => Shared::of(r).is_match(r, &evaluate(r, pattern)?, &left)?,
        [b'/', _, ..] => return fail(r, &[b"invalid expression in \"", expression, b"\""]),
        [b'\\', plain @ ..] if plain.starts_with(b"/") => evaluate(r, plain)? == left,
        plain => evaluate(r, plain)? == left,
    };
    Ok(equal != negative)
}

/// `$date_local` and `$date_gmt`, in the page's format.
fn date(r: &Request, gmt: usize) -> Option<Bytes> {
    let seconds = crate::clock::now().sec;
    let page = r.ctx::<super::filter::State>();
    let format = page.map_or_else(|| TIME_FORMAT.to_owned(), |state| state.page.time_format.borrow().clone());
    if format == "%s" {
        return Some(seconds.to_string().into());
    }
    if gmt == 1 {
        return Some(Moment::new(seconds, 0).strftime(&format, "GMT").into());
    }
    let minutes = local_time(seconds).offset_minutes;
    let zone = if minutes == 0 { "UTC" } else { "" };
    Some(Moment::new(seconds, i64::from(minutes) * 60).strftime(&format, zone).into())
}

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] =
    &[VariableDef::volatile("date_local", date), VariableDef::volatile("date_gmt", date).data(1)];
