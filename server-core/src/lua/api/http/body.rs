//! `ngx.req`: the request's body.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{expect_arguments, real_request, real_request_or, request_or};
use crate::http::body::{self, BodyFile, RequestBody};
use crate::http::{Code, Outcome, Request};
use crate::log::Level;
use crate::lua::Phase;
use crate::lua::session::session_debug;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, Error, Reply, State, c_function};
use crate::lua::thread::Resume;

/// Into `ngx.req`.
pub(super) fn inject(state: State) {
    sys::set_function(state, c"read_body", read_body);
    sys::set_function(state, c"discard_body", discard_body);
    sys::set_function(state, c"get_body_data", get_body_data);
    sys::set_function(state, c"get_body_file", get_body_file);
    sys::set_function(state, c"set_body_data", set_body_data);
    sys::set_function(state, c"set_body_file", set_body_file);
    sys::set_function(state, c"init_body", init_body);
    sys::set_function(state, c"append_body", append_body);
    sys::set_function(state, c"finish_body", finish_body);
}

/// A body that a script writes piece by piece.
#[derive(Default)]
struct Builder {
    /// How much is kept in memory.
    limit: Cell<usize>,
    /// What is in memory.
    data: RefCell<Vec<u8>>,
    /// What did not fit.
    file: RefCell<Option<BodyFile>>,
    /// The length so far.
    length: Cell<u64>,
    /// Whether `init_body` was called.
    ready: Cell<bool>,
}

/// The body's file which goes with the body.
#[derive(Default)]
struct Owned(RefCell<Option<PathBuf>>);

c_function! {
    fn read_body(state) {
        expect_arguments(state, 0, 0, "0 arguments")?;
        let (r, ctx) = request_or("request object not found")?;
        r.request_body_in_single_buf.set(true);
        r.request_body_in_persistent_file.set(true);
        r.request_body_in_clean_file.set(true);
        ctx.phase.get().require(Phase::OUTPUT)?;
        session_debug!(&*r, "lua start to read buffered request body");
        match body::read(&r) {
            Outcome::Done(code) if code.is_special_response() => {
                sys::check_yieldable(state)?;
                ctx.abort(code.0);
                session_debug!(
                    &*r,
                    "http read client request body returned error code {}, exitting now",
                    code.0
                );
                Ok(Reply::Yield(0))
            }
            Outcome::Done(_) => {
                session_debug!(&*r, "lua has read buffered request body in a single run");
                Ok(Reply::Return(0))
            }
            Outcome::Wait(reading) => {
                sys::check_yieldable(state)?;
                session_debug!(&*r, "lua read buffered request body requires I/O interruptions");
                let lua = ctx.handle();
                ctx.suspend(async move {
                    let code = reading.await;
                    session_debug!(&*r, "lua req body post read, c:1");
                    if (code == Code::ERROR || code.is_special_response())
                        && let Some(ctx) = lua.upgrade()
                    {
                        ctx.abort(code.0);
                    }
                    let resume: Resume = Box::new(|_| 0);
                    resume
                })?;
                Ok(Reply::Yield(0))
            }
        }
    }
}

c_function! {
    fn discard_body(state) {
        expect_arguments(state, 0, 0, "0 arguments")?;
        let (r, _) = real_request_or("request object not found")?;
        body::discard(&r);
        Ok(Reply::Return(0))
    }
}

c_function! {
    fn get_body_data(state) {
        let count = expect_arguments(state, 0, 1, "0 or 1 arguments")?;
        let max = if count == 1 { sys::check_number(state, 1)? as usize } else { 0 };
        let (r, _) = real_request_or("request object not found")?;
        let bytes = body_of(&r).and_then(|body| body.in_memory()).filter(|bytes| !bytes.is_empty());
        match bytes {
            Some(bytes) => {
                let length = if max > 0 { bytes.len().min(max) } else { bytes.len() };
                sys::push(state, bytes.get(..length).unwrap_or_default());
            }
            // SAFETY: a slot is free.
            None => unsafe { lua_pushnil(state) },
        }
        Ok(Reply::Return(1))
    }
}

c_function! {
    fn get_body_file(state) {
        expect_arguments(state, 0, 0, "0 arguments")?;
        let (r, _) = real_request_or("request object not found")?;
        let path = body_of(&r).and_then(|body| body.file.borrow().as_ref().map(|file| file.path.clone()));
        match path {
            Some(path) => sys::push(state, path.as_os_str().as_bytes()),
            // SAFETY: a slot is free.
            None => unsafe { lua_pushnil(state) },
        }
        Ok(Reply::Return(1))
    }
}

c_function! {
    fn set_body_data(state) {
        expect_arguments(state, 1, 1, "1 arguments")?;
        let data = sys::check_bytes(state, 1)?.to_vec();
        let (r, _) = real_request_or("request object not found")?;
        check_body_was_read(&r)?;
        let length = data.len() as u64;
        remove_owned(&r);
        r.body.replace(Some(Rc::new(RequestBody::of(data))));
        set_content_length(&r, length);
        Ok(Reply::Return(0))
    }
}

c_function! {
    fn set_body_file(state) {
        let count = expect_arguments(state, 1, 2, "1 or 2 arguments")?;
        let name = sys::check_bytes(state, 1)?.to_vec();
        let (r, _) = real_request()?;
        check_body_was_read(&r)?;
        if count == 2 && sys::kind(state, 2) != LUA_TBOOLEAN {
            return Err(sys::type_error(state, 2, "boolean"));
        }
        let removes = count == 2 && sys::truth(state, 2);
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let path = Path::new(std::ffi::OsStr::from_bytes(name)).to_path_buf();
        let shown = path.display().to_string();
        let failed = |call: &str, error: &std::io::Error| {
            let errno = error.raw_os_error().unwrap_or(0);
            r.log_errno(Level::Crit, errno, format_args!("{call}() \"{shown}\" failed"));
            Error::from(format!("{call}() \"{shown}\" failed"))
        };
        std::fs::metadata(&path).map_err(|error| failed("stat", &error))?;
        let file = File::open(&path).map_err(|error| failed("open", &error))?;
        let length = file.metadata().map_err(|_| Error::from(format!("fstat() \"{shown}\" failed")))?.len();
        let body = RequestBody::of(Vec::new());
        if length > 0 {
            body.file.replace(Some(BodyFile { file: Rc::new(file), path: path.clone(), len: length }));
        }
        body.received.set(length);
        remove_owned(&r);
        r.body.replace(Some(Rc::new(body)));
        if removes {
            r.ctx_or_default::<Owned>().0.replace(Some(path));
            let weak = Rc::downgrade(&r);
            r.at_end(move || {
                if let Some(r) = weak.upgrade() {
                    remove_owned(&r);
                }
            });
        }
        set_content_length(&r, length);
        Ok(Reply::Return(0))
    }
}

c_function! {
    fn init_body(state) {
        let count = expect_arguments(state, 0, 1, "0 or 1 argument")?;
        let (r, _) = real_request()?;
        check_body_was_read(&r)?;
        let limit = if count == 1 {
            let limit = sys::check_integer(state, 1)?;
            usize::try_from(limit).map_err(|_| Error::from(format!("bad size argument: {limit}")))?
        } else {
            *r.loc().core.client_body_buffer_size
        };
        let builder = r.ctx_or_default::<Builder>();
        builder.limit.set(limit);
        builder.data.borrow_mut().clear();
        builder.file.replace(None);
        builder.length.set(0);
        builder.ready.set(true);
        remove_owned(&r);
        r.body.replace(Some(Rc::new(RequestBody::of(Vec::new()))));
        r.headers_in.content_length.set(0);
        Ok(Reply::Return(0))
    }
}

c_function! {
    fn append_body(state) {
        expect_arguments(state, 1, 1, "1 arguments")?;
        let data = sys::check_bytes(state, 1)?;
        let (r, _) = real_request()?;
        let builder = ready_builder(&r)?;
        builder.length.set(builder.length.get() + data.len() as u64);
        r.headers_in.content_length.set(builder.length.get() as i64);
        let spill = {
            let mut kept = builder.data.borrow_mut();
            kept.extend_from_slice(data);
            kept.len() > builder.limit.get()
        };
        if spill {
            spill_to_file(&r, &builder)?;
        }
        Ok(Reply::Return(0))
    }
}

c_function! {
    fn finish_body(state) {
        expect_arguments(state, 0, 0, "0 argument")?;
        let (r, _) = real_request()?;
        let builder = ready_builder(&r)?;
        builder.ready.set(false);
        if builder.file.borrow().is_some() {
            spill_to_file(&r, &builder)?;
        }
        let body = RequestBody::of(builder.data.take());
        body.received.set(builder.length.get());
        body.file.replace(builder.file.take());
        r.body.replace(Some(Rc::new(body)));
        set_content_length(&r, builder.length.get());
        Ok(Reply::Return(0))
    }
}

fn body_of(r: &Request) -> Option<Rc<RequestBody>> {
    r.request_body().map(|body| Rc::clone(&body))
}

fn check_body_was_read(r: &Request) -> Result<(), Error> {
    if r.discard_body.get() {
        return Err("request body already discarded asynchronously".into());
    }
    if r.request_body().is_none() {
        return Err("request body not read yet".into());
    }
    Ok(())
}

fn ready_builder(r: &Request) -> Result<Rc<Builder>, Error> {
    r.ctx::<Builder>().filter(|builder| builder.ready.get()).ok_or_else(|| "request_body not initialized".into())
}

/// Moves what is in memory to the end of the temporary file.
fn spill_to_file(r: &Rc<Request>, builder: &Builder) -> Result<(), Error> {
    let data = builder.data.take();
    let mut slot = builder.file.borrow_mut();
    let file = match slot.as_mut() {
        Some(file) => file,
        None => {
            let file = body::create_temp_file(r).map_err(|_| Error::from("fail to write file"))?;
            let path = file.path.display();
            r.log(Level::Warn, format_args!("a client request body is buffered to a temporary file {path}"));
            slot.insert(file)
        }
    };
    (&*file.file).write_all(&data).map_err(|_| Error::from("fail to write file"))?;
    file.len += data.len() as u64;
    Ok(())
}

/// Removes the file of a body that is replaced or over, if the script gave it away.
fn remove_owned(r: &Request) {
    let Some(path) = r.ctx::<Owned>().and_then(|owned| owned.0.take()) else { return };
    if let Err(error) = std::fs::remove_file(&path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        let errno = error.raw_os_error().unwrap_or(0);
        r.log_errno(Level::Crit, errno, format_args!("unlink() \"{}\" failed", path.display()));
    }
}

fn set_content_length(r: &Request, length: u64) {
    r.headers_in.content_length.set(length as i64);
    r.headers_in.list.borrow_mut().set("Content-Length", length.to_string());
}
