//! `ngx.location.capture` and `ngx.location.capture_multi`: subrequests whose responses come back as tables.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::Bytes;

use super::args::{add_multi, push_query};
use super::request_or;
use super::uri::{self, Refusals};
use crate::http::body::RequestBody;
use crate::http::modules::lua::{output_bufs, response, session};
use crate::http::subrequest::{self, Options};
use crate::http::variables::Slots;
use crate::http::{Code, HeaderId, Method, Request};
use crate::log::Level;
use crate::lua::ffi::control::keep_ctx;
use crate::lua::session::session_debug;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Answer, Error, Reply, State, c_function};
use crate::lua::thread::{Resume, Thread};
use crate::lua::{Ctx, Phase};

/// Fills `ngx.location`, the table on the top.
pub(super) fn inject(state: State) {
    sys::set_function(state, c"capture", capture);
    sys::set_function(state, c"capture_multi", capture_multi);
}

/// Names and values.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Which variables a subrequest sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Variables {
    /// Fresh ones.
    #[default]
    Fresh,
    /// A copy of the parent's.
    Copied,
    /// The parent's.
    Shared,
}

/// One subrequest as the script asked for it.
struct Query {
    uri: Vec<u8>,
    args: Vec<u8>,
    method: u32,
    body: Option<Vec<u8>>,
    vars: Pairs,
    headers: Pairs,
    variables: Variables,
    always_forward_body: bool,
    /// Where `opts.ctx` is kept, or `LUA_NOREF`.
    ctx_ref: i32,
}

/// What came of the subrequests of one call.
struct Captures {
    pending: Cell<usize>,
    results: RefCell<Vec<Option<Capture>>>,
    waker: Cell<Option<Waker>>,
}

/// The response of one subrequest.
struct Capture {
    status: i32,
    truncated: bool,
    request: Rc<Request>,
}

c_function! {
    fn capture(state) {
        let count = sys::top(state);
        if count != 1 && count != 2 {
            return Err("expecting one or two arguments".into());
        }
        // SAFETY: fresh tables; `{ { uri, options } }` takes the place of the arguments.
        unsafe {
            lua_createtable(state, count, 0);
            lua_insert(state, 1);
            if count == 2 {
                lua_rawseti_(state, 1, 2);
            }
            lua_rawseti_(state, 1, 1);
            lua_createtable(state, 1, 0);
            lua_insert(state, 1);
            lua_rawseti_(state, 1, 1);
        }
        start_all(state)
    }
}

c_function! {
    fn capture_multi(state) {
        start_all(state)
    }
}

fn start_all(state: State) -> Answer {
    let count = sys::top(state);
    if count != 1 {
        return Err(format!("only one argument is expected, but got {count}").into());
    }
    if sys::kind(state, 1) != LUA_TTABLE {
        return Err(sys::type_error(state, 1, "table"));
    }
    // SAFETY: the argument is a table.
    let number = unsafe { lua_objlen(state, 1) };
    if number == 0 {
        return Err("at least one subrequest should be specified".into());
    }
    let (r, ctx) = request_or("no request object found")?;
    ctx.phase.get().require(Phase::REWRITE.or(Phase::ACCESS).or(Phase::CONTENT))?;
    let thread = ctx.current_thread().ok_or("no co ctx found")?;
    sys::check_yieldable(state)?;
    if crate::lua::Session::logs(&*r, crate::lua::session::level::DEBUG) {
        session_debug!(&*r, "lua location capture, uri:\"{}\" c:1", String::from_utf8_lossy(&r.uri.get()));
    }
    let mut queries = Vec::with_capacity(number);
    for index in 0..number {
        queries.push(read_query(state, &r, index)?);
    }
    let captures = Rc::new(Captures {
        pending: Cell::new(number),
        results: RefCell::new((0..number).map(|_| None).collect()),
        waker: Cell::new(None),
    });
    thread.pending_subrequests.set(number as u32);
    ctx.pending_subrequests.set(ctx.pending_subrequests.get() + 1);
    for (index, query) in queries.into_iter().enumerate() {
        if let Err(error) = start(&r, ctx, &captures, index, query) {
            thread.pending_subrequests.set(0);
            ctx.pending_subrequests.set(ctx.pending_subrequests.get().saturating_sub(1));
            return Err(error);
        }
    }
    wait(&r, ctx, thread, captures)?;
    Ok(Reply::Yield(0))
}

/// Reads the table of one subrequest: `{ uri, options? }`.
fn read_query(state: State, r: &Request, index: usize) -> Result<Query, Error> {
    // SAFETY: raw accesses; the top is restored below, or the error ends the call.
    unsafe {
        lua_rawgeti_(state, 1, index as i32 + 1);
        match lua_type(state, -1) {
            LUA_TNIL => return Err("only array-like tables are allowed".into()),
            LUA_TTABLE => {}
            _ => {
                let kind = sys::type_name(state, -1);
                return Err(format!("the query argument {index} is not a table, but a {kind}").into());
            }
        }
        let parts = lua_objlen(state, -1);
        if parts != 1 && parts != 2 {
            return Err(format!("query argument {index} expecting one or two arguments").into());
        }
        let mut query = Query {
            uri: Vec::new(),
            args: Vec::new(),
            method: Method::GET.0,
            body: None,
            vars: Vec::new(),
            headers: Vec::new(),
            variables: Variables::Fresh,
            always_forward_body: false,
            ctx_ref: LUA_NOREF,
        };
        if parts == 2 {
            lua_rawgeti_(state, -1, 2);
            if lua_type(state, -1) != LUA_TTABLE {
                let kind = sys::type_name(state, -1);
                return Err(
                    format!("expecting table as the 2nd argument for subrequest {index}, but got {kind}").into()
                );
            }
            read_options(state, &mut query)?;
            lua_settop(state, -2);
        }
        lua_rawgeti_(state, -1, 1);
        let target = sys::bytes(state, -1).ok_or_else(|| sys::type_error(state, 3, "string"))?;
        let Some((path, args)) = uri::parse(r, target, Refusals::Silent) else {
            let shown = String::from_utf8_lossy(target).into_owned();
            return Err(format!("unsafe uri in argument #1: {shown}").into());
        };
        query.uri = path;
        query.args = match (args.is_empty(), query.args.is_empty()) {
            (true, _) => query.args,
            (false, true) => args,
            (false, false) => [&args[..], b"&", &query.args].concat(),
        };
        lua_settop(state, 1);
        Ok(query)
    }
}

/// Reads the options table on the top.
fn read_options(state: State, query: &mut Query) -> Result<(), Error> {
    let table = sys::top(state);
    let field = |name: &std::ffi::CStr| {
        sys::push(state, name.to_bytes());
        // SAFETY: a raw access to the options table.
        unsafe { lua_rawget_(state, table) };
        sys::kind(state, -1)
    };
    match field(c"args") {
        LUA_TTABLE => push_query(state, -1, &mut query.args)?,
        LUA_TNIL => {}
        LUA_TNUMBER | LUA_TSTRING => query.args = sys::bytes(state, -1).unwrap_or_default().to_vec(),
        _ => return Err("Bad args option value".into()),
    }
    match field(c"vars") {
        LUA_TTABLE => query.vars = read_pairs(state)?,
        LUA_TNIL => {}
        _ => return Err("Bad vars option value".into()),
    }
    match field(c"headers") {
        LUA_TTABLE => query.headers = read_pairs(state)?,
        LUA_TNIL => {}
        _ => return Err("Bad headers option value".into()),
    }
    match field(c"share_all_vars") {
        LUA_TBOOLEAN if sys::truth(state, -1) => query.variables = Variables::Shared,
        LUA_TBOOLEAN | LUA_TNIL => {}
        _ => return Err("Bad share_all_vars option value".into()),
    }
    match field(c"copy_all_vars") {
        LUA_TBOOLEAN if sys::truth(state, -1) && query.variables != Variables::Shared => {
            query.variables = Variables::Copied;
        }
        LUA_TBOOLEAN | LUA_TNIL => {}
        _ => return Err("Bad copy_all_vars option value".into()),
    }
    field(c"always_forward_body");
    query.always_forward_body = sys::truth(state, -1);
    match field(c"method") {
        LUA_TNIL => {}
        // SAFETY: the value is a number.
        LUA_TNUMBER => query.method = unsafe { lua_tonumber(state, -1) } as u32,
        _ => return Err("Bad http request method".into()),
    }
    match field(c"body") {
        LUA_TNIL => {}
        LUA_TNUMBER | LUA_TSTRING => query.body = Some(sys::bytes(state, -1).unwrap_or_default().to_vec()),
        _ => return Err("Bad http request body".into()),
    }
    match field(c"ctx") {
        LUA_TNIL => {}
        LUA_TTABLE => query.ctx_ref = anchor_ctx(state),
        _ => {
            let kind = sys::type_name(state, -1);
            return Err(format!("Bad ctx option value type {kind}, expected a Lua table").into());
        }
    }
    // SAFETY: lowers the top.
    unsafe { lua_settop(state, table) };
    Ok(())
}

/// Keeps the table on the top where the Lua layer keeps `ngx.ctx` tables.
fn anchor_ctx(state: State) -> i32 {
    // SAFETY: raw accesses to the registry table that the Lua layer made.
    unsafe {
        sys::push(state, b"ngx_lua_ctx_tables");
        lua_rawget_(state, LUA_REGISTRYINDEX);
        if lua_type(state, -1) != LUA_TTABLE {
            lua_settop(state, -2);
            return LUA_NOREF;
        }
        lua_pushvalue(state, -2);
        let reference = luaL_ref(state, -2);
        lua_settop(state, -2);
        reference
    }
}

/// Reads the table on the top as names and values.
fn read_pairs(state: State) -> Result<Pairs, Error> {
    let table = sys::top(state);
    let mut pairs = Vec::new();
    // SAFETY: keys are checked to be strings before they are read, so traversal stays valid.
    unsafe {
        lua_pushnil(state);
        while lua_next(state, table) != 0 {
            if lua_type(state, -2) != LUA_TSTRING {
                return Err("attempt to use a non-string key in the \"vars\" option table".into());
            }
            let Some(value) = sys::bytes(state, -1) else {
                let kind = sys::type_name(state, -1);
                return Err(format!("attempt to use bad variable value type {kind}").into());
            };
            pairs.push((sys::bytes(state, -2).unwrap_or_default().to_vec(), value.to_vec()));
            lua_settop(state, -2);
        }
    }
    Ok(pairs)
}

/// Makes one subrequest and lets it run.
fn start(r: &Rc<Request>, ctx: &Ctx, captures: &Rc<Captures>, index: usize, mut query: Query) -> Result<(), Error> {
    let options = Options { in_memory: true, waited: true, ..Options::default() };
    if r.subrequests.get() <= 1 {
        r.log_bytes(Level::Error, &[b"lua subrequests cycle while processing \"", &query.uri, b"\""]);
        return Err("failed to issue subrequest: -1".into());
    }
    if r.logs(Level::Debug) {
        let (uri, args) = (String::from_utf8_lossy(&query.uri), String::from_utf8_lossy(&query.args));
        session_debug!(&**r, "lua http subrequest \"{uri}?{args}\"");
    }
    let (uri, args) = (std::mem::take(&mut query.uri), std::mem::take(&mut query.args));
    let child = subrequest::create(r, uri, Some(args.into()), options)
        .map_err(|_| Error::from("failed to issue subrequest: -1"))?;
    adjust(r, &child, &query).map_err(|code| Error::from(format!("failed to adjust the subrequest: {code}")))?;
    // Others get theirs when they run a script, unless that would not be in our VM.
    if query.ctx_ref != LUA_NOREF || r.loc().lua.code_cache == Some(false) {
        let child_ctx = Ctx::new(Rc::clone(&ctx.vm));
        if query.ctx_ref != LUA_NOREF {
            keep_ctx(&child, &child_ctx, query.ctx_ref);
        }
        child.lua.replace(Some(child_ctx));
    }
    let captures = Rc::clone(captures);
    subrequest::start(&child, Some(Box::new(move |child, code| finish(child, code, &captures, index))));
    Ok(())
}

/// Gives a subrequest its method, body, headers and variables. An error is the code that the script sees.
fn adjust(r: &Rc<Request>, child: &Rc<Request>, query: &Query) -> Result<(), i32> {
    let method = Method(query.method);
    let Some(name) = method.name().filter(|_| method.0 <= Method::TRACE.0) else {
        r.log(Level::Error, format_args!("unsupported HTTP method: {}", query.method));
        return Err(-1);
    };
    let mut keeps_length = false;
    if let Some(body) = &query.body {
        child.body.replace(Some(Rc::new(RequestBody::of(body.clone()))));
    } else if !query.always_forward_body
        && !matches!(method, Method::PUT | Method::POST)
        && r.headers_in.content_length.get() > 0
    {
        child.body.replace(None);
    } else {
        keeps_length = !r.headers_in.chunked.get();
    }
    if !keeps_length {
        child.headers_in.list.borrow_mut().remove_known(HeaderId::ContentLength);
        child.headers_in.content_length.set(-1);
        let length = child.request_body().map(|body| body.received.get());
        if let Some(length) = length {
            child.headers_in.content_length.set(length as i64);
            child.headers_in.list.borrow_mut().set("Content-Length", length.to_string());
        }
    }
    for (name, value) in &query.headers {
        child.headers_in.list.borrow_mut().set(name.clone(), value.clone());
    }
    child.method.set(method);
    child.method_name.set(name);
    match query.variables {
        Variables::Shared => {}
        Variables::Copied => child.set_slots(Rc::new(Slots::clone(&r.slots()))),
        Variables::Fresh => subrequest::separate_variables(child),
    }
    for (name, value) in &query.vars {
        let name = name.to_ascii_lowercase();
        let shown = String::from_utf8_lossy(&name);
        let variables = &r.main_conf().core.variables;
        match variables.named(&name) {
            Some(known) if !known.flags.has(crate::http::variables::Flags::CHANGEABLE) => {
                r.log(Level::Error, format_args!("variable \"{shown}\" not changeable"));
                return Err(500);
            }
            Some(known) if known.index.is_some() || known.set.is_some() => {
                let value = Some(Bytes::from(value.clone()));
                match known.index {
                    Some(index) => child.assign_variable(index, value),
                    None => {
                        if let Some(set) = known.set {
                            set(child, value, known.data());
                        }
                    }
                }
            }
            _ => {
                r.log(
                    Level::Error,
                    format_args!(
                        "variable \"{shown}\" cannot be assigned a value (maybe you forgot to define it first?) "
                    ),
                );
                return Err(-1);
            }
        }
    }
    Ok(())
}

/// Takes the response of a subrequest that has ended. The answer keeps the standard error pages away.
fn finish(child: &Rc<Request>, code: Code, captures: &Captures, index: usize) -> Code {
    session_debug!(&**child, "lua run post subrequest handler, rc:{} c:1", code.0);
    let mut status = i32::from(child.headers_out.status.get());
    if status == 0 {
        status = match code {
            Code::OK => 200,
            Code::ERROR => 500,
            code if code.0 >= 100 => code.0,
            _ => 0,
        };
    }
    let truncated = !child.captured_last.get();
    let parent = child.parent().and_then(|parent| parent.lua.borrow().clone());
    if let Some(parent) = parent.filter(|_| child.logs(Level::Debug)) {
        output_bufs::release_captured(child, &parent);
    }
    if let Some(slot) = captures.results.borrow_mut().get_mut(index) {
        *slot = Some(Capture { status, truncated, request: Rc::clone(child) });
    }
    captures.pending.set(captures.pending.get().saturating_sub(1));
    if captures.pending.get() == 0
        && let Some(waker) = captures.waker.take()
    {
        child.conn().wake_waiter(waker);
    }
    let closes = matches!(code, Code::CLOSE | Code::REQUEST_TIME_OUT | Code::CLIENT_CLOSED_REQUEST);
    let answers_itself =
        matches!(code, Code::ERROR | Code::CREATED | Code::NO_CONTENT) || (code.is_special_response() && !closes);
    if !answers_itself {
        return code;
    }
    if code.0 > 0 {
        child.err_status.set(code.0 as u16);
        child.expect_tested.set(true);
        child.headers_out.content_type.clear();
        child.headers_out.content_length.set(0);
        child.headers_out.clear_accept_ranges();
        child.headers_out.clear_last_modified();
        if let Some(ctx) = session::ctx_of(child)
            && response::send_header_if_needed(child, &ctx) == Code::ERROR
        {
            return Code::ERROR;
        }
    }
    Code::OK
}

/// Suspends the thread until all subrequests have ended.
fn wait(r: &Rc<Request>, ctx: &Ctx, thread: Rc<Thread>, captures: Rc<Captures>) -> Result<(), Error> {
    let lua = ctx.handle();
    let weak = Rc::downgrade(r);
    ctx.suspend(async move {
        std::future::poll_fn(|cx| {
            if captures.pending.get() == 0 {
                return Poll::Ready(());
            }
            captures.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        thread.pending_subrequests.set(0);
        if let Some(ctx) = lua.upgrade() {
            ctx.pending_subrequests.set(ctx.pending_subrequests.get().saturating_sub(1));
        }
        let resume: Resume = Box::new(move |co| {
            if let Some(r) = weak.upgrade() {
                session_debug!(&*r, "lua handle subrequest responses");
            }
            let results = captures.results.take();
            // SAFETY: the coroutine is suspended; room for all results is asked for.
            if unsafe { lua_checkstack(co, results.len() as i32 + 8) } == 0 {
                return 0;
            }
            let mut count = 0;
            for capture in results.into_iter().flatten() {
                push_capture(co, &capture);
                count += 1;
            }
            count
        });
        resume
    })
}

/// Pushes the table of a response.
fn push_capture(co: State, capture: &Capture) {
    let child = &capture.request;
    // SAFETY: fresh tables; raw accesses.
    unsafe {
        lua_createtable(co, 0, 4);
        sys::set_integer(co, c"status", i64::from(capture.status));
        lua_pushboolean(co, i32::from(capture.truncated));
        lua_setfield(co, -2, c"truncated".as_ptr());
        let body = child.captured.take();
        sys::set_string(co, c"body", &body);
    }
    let out = &child.headers_out;
    // Nothing that fills the table runs scripts.
    let list = out.list.borrow();
    // SAFETY: a fresh table; there is room for it.
    unsafe { lua_createtable(co, 0, list.len() as i32 + 3) };
    let table = sys::top(co);
    for header in list.iter() {
        sys::push(co, &header.name);
        sys::push(co, &header.value);
        add_multi(co, table);
    }
    let set = |name: &std::ffi::CStr, value: &[u8]| sys::set_string(co, name, value);
    if !out.content_type.is_empty() {
        let mut value = out.content_type.get().to_vec();
        let charset = out.charset.get();
        if !charset.is_empty() {
            value.extend_from_slice(b"; charset=");
            value.extend_from_slice(&charset);
        }
        set(c"Content-Type", &value);
    }
    if out.content_length.get() >= 0 {
        // SAFETY: the header table is on the top.
        unsafe {
            lua_pushnumber(co, out.content_length.get() as f64);
            lua_setfield(co, -2, c"Content-Length".as_ptr());
        }
    }
    let modified = out.last_modified.get();
    if modified >= 0 && matches!(out.status.get(), 200 | 204 | 206 | 304) {
        set(c"Last-Modified", &crate::http::date::http_time(modified));
    }
    // SAFETY: the header table is on the top, the response below it.
    unsafe { lua_setfield(co, -2, c"header".as_ptr()) };
}
