//! The inner functions of `Test::Nginx::Socket`, which specs about the harness itself call by their full names:
//! building requests, taking responses apart, filtering and checking bodies.
//!
//! They are the runner's own functions, in Perl's clothes: this is the one place where loading leads back to running.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::load::Package;
use crate::model::{Block, Code, HashMap, Object, Value};
use crate::perl::{Interpreter, NativeModule, Outcome, Want};
use crate::run::check::{Assertion, BailOut, Detail, Recorder, ResponseCheck, Verdict};
use crate::run::expand::Expander;
use crate::run::perl_side::PerlSide;
use crate::run::wire::{self, Packet, Response};

use super::{UTIL, first, one, test_more};

/// What responses are blessed into.
const RESPONSE: &str = "HTTP::Response";

pub(super) const MODULES: &[NativeModule] = &[NativeModule {
    name: RESPONSE,
    parents: &[],
    functions: &[
        ("code", |it, arguments, _| field(it, &arguments, b"code"), None),
        ("content", |it, arguments, _| field(it, &arguments, b"content"), None),
        ("header", header, None),
    ],
    exports: &[],
    setup: None,
}];

/// The requests of a block: a list for each connection, of packets `{value => …, delay_before => …}`.
pub(super) fn get_req_from_block(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let block = block(interpreter, &arguments)?;
    let evaluated = match block.value("request_eval") {
        Some(text) => {
            let value = interpreter.eval_apart(&text.to_bytes(), Package::Socket.name(), Want::Scalar)?;
            value.ok().and_then(|mut values| values.pop())
        }
        None => None,
    };
    let variables = variables(interpreter);
    let (_, port) = ports(interpreter);
    let server_name = interpreter.global(&format!("{UTIL}::ServerName")).to_bytes();
    match wire::requests(&block, evaluated, &server_name, &mut Expander::new(&variables, port)) {
        Ok(requests) => one(Value::array(
            requests.into_iter().map(|packets| Value::array(packets.into_iter().map(packet).collect())).collect(),
        )),
        Err(error) => bail_out(interpreter, format!("{} - {error}", block.display_name())),
    }
}

fn packet(packet: Packet) -> Value {
    let mut hash = HashMap::default();
    hash.insert(b"value", Value::str(packet.bytes));
    if let Some(delay) = packet.delay {
        hash.insert(b"delay_before", Value::Num(delay).numeric());
    }
    Value::Hash(Rc::new(RefCell::new(hash)))
}

/// `($response, $raw_headers, $left) = parse_response($name, $raw, $is_head)`; malformed chunks fail and give nothing.
pub(super) fn parse_response(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let raw = arguments.get(1).map(Value::to_bytes).unwrap_or_default();
    let parsed = wire::parse(&raw, arguments.get(2).is_some_and(Value::is_true));
    if let Some(failure) = &parsed.failure {
        let name = Value::str(format!("{} - {failure}", first(&arguments).to_text()));
        test_more::record(interpreter, false, Some(&name), Vec::new())?;
        return Ok(Vec::new());
    }
    let response = parsed.response.map_or(Value::Undef, |response| object(&response));
    let left = parsed.left.map_or(Value::Undef, Value::str);
    Ok(vec![response, Value::str(parsed.raw_headers), left])
}

/// `transform_response_body($block, $response, $request)` changes the response's body by the block's filters.
pub(super) fn transform_response_body(
    interpreter: &mut Interpreter,
    arguments: Vec<Value>,
    _: Want,
) -> Outcome<Vec<Value>> {
    let block = block(interpreter, &arguments)?;
    let Some(fields) = fields(&arguments, 1) else { return Ok(Vec::new()) };
    let content = fields.borrow().get(b"content").map(Value::to_bytes).unwrap_or_default();
    let response = Response { content: content.to_vec(), ..Response::default() };
    let ports = ports(interpreter);
    let perl = Within(RefCell::new(interpreter));
    let check =
        ResponseCheck { block: &block, perl: &perl, request: number(&arguments, 2), repeat: 0, many: false, ports };
    match check.filtered_body(&response) {
        Ok(body) => {
            fields.borrow_mut().insert(b"content", Value::str(body));
            Ok(Vec::new())
        }
        Err(BailOut(text)) => bail_out(interpreter, text),
    }
}

/// `check_response_body($block, $response, $dry_run, $request, $repetition, $needs_lists)`.
pub(super) fn check_response_body(
    interpreter: &mut Interpreter,
    arguments: Vec<Value>,
    _: Want,
) -> Outcome<Vec<Value>> {
    let block = block(interpreter, &arguments)?;
    let body = fields(&arguments, 1).and_then(|fields| Some(fields.borrow().get(b"content")?.to_bytes()));
    let mut recorder = Recorder::new(block.display_name());
    if let Some(reason) = arguments.get(2).filter(|reason| reason.is_true()) {
        recorder.skip_everything(reason.to_text());
    }
    let (ports, variables) = (ports(interpreter), variables(interpreter));
    let result = {
        let perl = Within(RefCell::new(interpreter));
        let (request, repeat) = (number(&arguments, 3), number(&arguments, 4));
        let many = arguments.get(5).is_some_and(Value::is_true);
        let check = ResponseCheck { block: &block, perl: &perl, request, repeat, many, ports };
        check.body(body.as_ref().map(|body| body.as_slice()), &mut Expander::new(&variables, ports.0), &mut recorder)
    };
    let (assertions, _, _) = recorder.finish();
    for assertion in assertions {
        record(interpreter, assertion)?;
    }
    match result {
        Ok(()) => Ok(Vec::new()),
        Err(BailOut(text)) => bail_out(interpreter, text),
    }
}

fn record(interpreter: &mut Interpreter, assertion: Assertion) -> Outcome<()> {
    let diagnostics = match (assertion.verdict, assertion.detail) {
        (Verdict::Skipped | Verdict::Todo, _) => b"skip".to_vec(),
        (_, Some(Detail::Differs { expected, got })) => {
            test_more::expectation(&got.map_or(Value::Undef, Value::str), &Value::str(expected))
        }
        (_, Some(Detail::NoMatch { pattern, got } | Detail::Unwanted { pattern, got })) => {
            [b"                  '".as_slice(), &got, b"'\n    pattern: '", &pattern, b"'\n"].concat()
        }
        (_, Some(Detail::Note(note))) => note.into_bytes(),
        (_, None) => Vec::new(),
    };
    let passed = assertion.verdict != Verdict::Failed;
    test_more::record(interpreter, passed, Some(&Value::str(assertion.name)), diagnostics).map(|_| ())
}

fn bail_out(interpreter: &mut Interpreter, text: String) -> Outcome<Vec<Value>> {
    interpreter.call_named("Test::More::BAIL_OUT", vec![Value::str(text)], Want::Void)
}

/// A response as Perl sees it.
fn object(response: &Response) -> Value {
    let mut hash = HashMap::default();
    hash.insert(b"code", response.code.clone().map_or(Value::Undef, Value::str));
    hash.insert(b"content", Value::str(response.content.clone()));
    let headers = response.headers.iter();
    let headers = headers.map(|(name, value)| Value::array(vec![Value::str(name.clone()), Value::str(value.clone())]));
    hash.insert(b"headers", Value::array(headers.collect()));
    let target = Value::Hash(Rc::new(RefCell::new(hash)));
    Value::Object(Rc::new(Object { class: RESPONSE.to_owned(), target }))
}

/// `$response->NAME`, or `$response->NAME($value)`.
fn field(interpreter: &mut Interpreter, arguments: &[Value], name: &[u8]) -> Outcome<Vec<Value>> {
    let Some(fields) = fields(arguments, 0) else { return Err(interpreter.die("this is a method of a response")) };
    let old = fields.borrow().get(name).cloned().unwrap_or_default();
    if let Some(value) = arguments.get(1) {
        fields.borrow_mut().insert(name, value.clone());
    }
    one(old)
}

/// `$response->header($name)`.
fn header(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let Some(fields) = fields(&arguments, 0) else { return Err(interpreter.die("this is a method of a response")) };
    let mut response = Response::default();
    if let Some(Value::Array(headers)) = fields.borrow().get(b"headers") {
        for header in headers.borrow().iter() {
            let Value::Array(pair) = header else { continue };
            let pair = pair.borrow();
            let bytes = |at: usize| pair.get(at).map(|value| value.to_bytes().to_vec()).unwrap_or_default();
            response.headers.push((bytes(0), bytes(1)));
        }
    }
    let name = arguments.get(1).map(Value::to_text).unwrap_or_default();
    one(response.header(&name).map_or(Value::Undef, Value::str))
}

/// The fields of the response at this place.
fn fields(arguments: &[Value], at: usize) -> Option<Rc<RefCell<HashMap>>> {
    match arguments.get(at)? {
        Value::Object(object) => match &object.target {
            Value::Hash(hash) => Some(Rc::clone(hash)),
            _ => None,
        },
        _ => None,
    }
}

fn block(interpreter: &Interpreter, arguments: &[Value]) -> Outcome<Block> {
    match arguments.first() {
        Some(Value::Block(block)) => Ok(block.clone()),
        _ => Err(interpreter.die("the first argument is no block")),
    }
}

fn number(arguments: &[Value], at: usize) -> usize {
    arguments.get(at).and_then(|value| usize::try_from(value.to_int()).ok()).unwrap_or(0)
}

fn variables(interpreter: &mut Interpreter) -> BTreeMap<String, Vec<u8>> {
    let environment = interpreter.hash(&"main::ENV".into());
    let environment = environment.borrow();
    let defined = environment.iter().filter(|(_, value)| value.is_defined());
    defined.map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.to_bytes().to_vec())).collect()
}

/// `$ServerPort` and `$ServerPortForClient`.
fn ports(interpreter: &Interpreter) -> (u16, u16) {
    let port = |name: &str| u16::try_from(interpreter.global(&format!("{UTIL}::{name}")).to_int()).unwrap_or(0);
    (port("ServerPort"), port("ServerPortForClient"))
}

/// The Perl that called, for what it calls back.
struct Within<'a>(RefCell<&'a mut Interpreter>);

impl PerlSide for Within<'_> {
    fn call(&self, code: &Code, arguments: Vec<Value>) -> Result<Vec<Value>, String> {
        let result = self.0.borrow_mut().call(code, arguments, Want::List);
        result.map_err(|stop| Interpreter::error(stop).to_string())
    }

    fn eval(&self, package: Package, text: &[u8]) -> Result<Value, String> {
        let result = self.0.borrow_mut().eval_apart(text, package.name(), Want::Scalar);
        match result.map_err(|stop| Interpreter::error(stop).to_string())? {
            Ok(mut values) => Ok(values.pop().unwrap_or_default()),
            Err(message) => Err(String::from_utf8_lossy(&message).into_owned()),
        }
    }

    /// The original calls them elsewhere.
    fn response_body_checks(&self) -> Vec<Code> {
        Vec::new()
    }

    fn take_assertions(&self) -> Vec<Assertion> {
        Vec::new()
    }
}
