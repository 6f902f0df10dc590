//! The exported functions of `ngx.pipe`.

use std::ffi::{c_char, c_int};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::Interest;

use super::pattern::Pattern;
use super::process::{End, Ended, Failure, Process, expire};
use super::spawn::{self, Program, StartError};
use crate::http::request::Request;
use crate::lua::ffi::{AGAIN, BAD_CONTEXT, DECLINED, ERROR, NO_REQ_CTX, OK, export, store, worker, write_error};
use crate::lua::phase::Phase;
use crate::lua::sys::raw::{lua_pushboolean, lua_pushinteger, lua_pushnil};
use crate::lua::sys::{self, State};
use crate::lua::thread::Resume;
use crate::lua::{Ctx, current};

/// `ngx_http_lua_ffi_pipe_proc_t`: what the script's process object holds.
#[repr(C)]
pub struct Proc {
    pid: c_int,
    write_timeout: usize,
    stdout_read_timeout: usize,
    stderr_read_timeout: usize,
    wait_timeout: usize,
    pipe: *const Process,
}

/// An error with the code that says what sort it is.
type Refusal = (c_int, String);

fn refuse<T>(text: &str) -> Result<T, Refusal> {
    Err((ERROR, text.to_owned()))
}

/// Answers with a code, or writes the error.
///
/// # Safety
/// As for [`write_error`].
unsafe fn answer<T: From<i8>>(outcome: Result<T, Refusal>, err: *mut u8, err_len: *mut usize) -> T {
    outcome.unwrap_or_else(|(code, text)| {
        // SAFETY: the caller's promise.
        unsafe { write_error(err, err_len, text.as_bytes()) };
        T::from(i8::try_from(code).unwrap_or(-1))
    })
}

export! {
    /// Starts a program: 0, or -1 with an error.
    ngx_http_lua_ffi_pipe_spawn(
        r: *const Request, object: *mut Proc, file: *const c_char, arguments: *const *const c_char, merge_stderr: c_int,
        buffer_size: usize, environment: *const *const c_char, err: *mut u8, err_len: *mut usize,
    ) -> c_int {
        let merge_stderr = merge_stderr != 0;
        // SAFETY: the contract of the grandparent module; the strings are those of Lua code that waits.
        unsafe {
            let program = Program { file, arguments, environment, merge_stderr };
            let outcome = spawn::start(&program).map_err(|StartError(call, errno)| {
                (ERROR, format!("{call} failed: {}", errno.desc()))
            });
            let outcome = outcome.map(|started| {
                let call = if environment.is_null() { "execvp" } else { "execvpe" };
                let complaint = format!("{call}() failed while executing {}", spawn::name_of(file));
                let process = Process::new(started, complaint, merge_stderr, buffer_size);
                if let Some(r) = r.as_ref() {
                    let process = Rc::downgrade(&process);
                    r.at_end(move || process.upgrade().iter().for_each(|process| process.give_up()));
                }
                worker::debug(format_args!(
                    "lua pipe spawn process:{:016X} pid:{} merge_stderr:{} buffer_size:{buffer_size}",
                    object.addr(), process.pid, c_int::from(merge_stderr)
                ));
                (*object).pid = process.pid;
                (*object).pipe = Rc::into_raw(process);
                OK
            });
            answer(outcome, err, err_len)
        }
    }

    /// Reads: 0 with data, -1 with an error, -5 with both, -2 when the caller has to yield.
    ngx_http_lua_ffi_pipe_proc_read(
        _r: *const Request, object: *mut Proc, from_stderr: c_int, reader: c_int, length: usize, buf: *mut *mut u8,
        buf_size: *mut usize, err: *mut u8, err_len: *mut usize,
    ) -> c_int {
        // SAFETY: the contract of the grandparent module.
        unsafe {
            let source = if from_stderr == 0 { Source::Stdout } else { Source::Stderr };
            let Some(process) = process_of(&*object) else { return answer(refuse("closed"), err, err_len) };
            match read(&process, &*object, source, reader, length) {
                Ok(true) => hand_out(source.end(&process), buf, buf_size, err, err_len),
                Ok(false) => AGAIN,
                Err(refusal) => answer(Err(refusal), err, err_len),
            }
        }
    }

    /// The result of a read after the caller yielded, or once more with a buffer that is large enough.
    ngx_http_lua_ffi_pipe_get_read_result(
        _r: *const Request, object: *mut Proc, from_stderr: c_int, buf: *mut *mut u8, buf_size: *mut usize, err: *mut u8,
        err_len: *mut usize,
    ) -> c_int {
        // SAFETY: the contract of the grandparent module.
        unsafe {
            let Some(process) = process_of(&*object) else { return answer(refuse("closed"), err, err_len) };
            let end = if from_stderr == 0 { &process.stdout } else { &process.stderr };
            hand_out(end, buf, buf_size, err, err_len)
        }
    }

    /// Writes: the number of bytes, -1 with an error, -2 when the caller has to yield.
    ngx_http_lua_ffi_pipe_proc_write(
        _r: *const Request, object: *mut Proc, data: *const u8, len: usize, err: *mut u8, err_len: *mut usize,
    ) -> isize {
        // SAFETY: the contract of the grandparent module.
        unsafe { answer(write(&*object, crate::lua::ffi::bytes(data, len)), err, err_len) }
    }

    /// The result of a write after the caller yielded.
    ngx_http_lua_ffi_pipe_get_write_result(
        _r: *const Request, object: *mut Proc, err: *mut u8, err_len: *mut usize,
    ) -> isize {
        // SAFETY: the contract of the grandparent module.
        unsafe {
            let outcome = match process_of(&*object) {
                None => refuse("closed"),
                Some(process) => match process.stdin.failure.get() {
                    Some(failure) => refuse(failure.text()),
                    None => Ok(process.stdin.written().cast_signed()),
                },
            };
            answer(outcome, err, err_len)
        }
    }

    /// Closes our end of the standard input.
    ngx_http_lua_ffi_pipe_proc_shutdown_stdin(object: *mut Proc, err: *mut u8, err_len: *mut usize) -> c_int {
        // SAFETY: the contract of the grandparent module.
        unsafe { answer(shut_down(&*object, |process| Some(&process.stdin)), err, err_len) }
    }

    /// Closes our end of the standard output.
    ngx_http_lua_ffi_pipe_proc_shutdown_stdout(object: *mut Proc, err: *mut u8, err_len: *mut usize) -> c_int {
        // SAFETY: the contract of the grandparent module.
        unsafe { answer(shut_down(&*object, |process| Some(&process.stdout)), err, err_len) }
    }

    /// Closes our end of the standard error output.
    ngx_http_lua_ffi_pipe_proc_shutdown_stderr(object: *mut Proc, err: *mut u8, err_len: *mut usize) -> c_int {
        // SAFETY: the contract of the grandparent module.
        unsafe { answer(shut_down(&*object, stderr_of), err, err_len) }
    }

    /// Waits for the end: 0 or -5 with the way it ended, -1 with an error, -2 when the caller has to yield.
    ngx_http_lua_ffi_pipe_proc_wait(
        _r: *const Request, object: *mut Proc, reason: *mut *const c_char, status: *mut c_int, err: *mut u8,
        err_len: *mut usize,
    ) -> c_int {
        // SAFETY: the contract of the grandparent module.
        unsafe {
            let outcome = wait(&*object).map(|ended| {
                let Some(ended) = ended else { return AGAIN };
                let (name, number) = describe(ended);
                store(reason, name.as_ptr());
                store(status, number);
                if number == 0 { OK } else { DECLINED }
            });
            answer(outcome, err, err_len)
        }
    }

    /// Sends a signal.
    ngx_http_lua_ffi_pipe_proc_kill(object: *mut Proc, signal: c_int, err: *mut u8, err_len: *mut usize) -> c_int {
        // SAFETY: the contract of the grandparent module.
        unsafe {
            let outcome = match process_of(&*object) {
                Some(process) if !process.closed.get() => process.signal(signal).map(|()| OK).or_else(|errno| match errno {
                    nix::errno::Errno::EINVAL => refuse("invalid signal"),
                    nix::errno::Errno::ESRCH => refuse("exited"),
                    errno => refuse(errno.desc()),
                }),
                _ => refuse("exited"),
            };
            answer(outcome, err, err_len)
        }
    }

    /// Gives up a process: one that nobody waited for is killed.
    ngx_http_lua_ffi_pipe_proc_destroy(object: *mut Proc) {
        // SAFETY: Lua gives back what it got from `spawn`, once; the pointer is cleared.
        unsafe {
            let Some(object) = object.as_mut().filter(|object| !object.pipe.is_null()) else { return };
            let process = Rc::from_raw(std::mem::replace(&mut object.pipe, std::ptr::null()));
            process.give_up();
        }
    }
}

/// Where a read comes from.
#[derive(Clone, Copy)]
enum Source {
    Stdout,
    Stderr,
}

impl Source {
    fn end(self, process: &Process) -> &End {
        match self {
            Self::Stdout => &process.stdout,
            Self::Stderr => &process.stderr,
        }
    }
}

/// The process of an object, with a reference of its own; `None` when it was given up.
fn process_of(object: &Proc) -> Option<Rc<Process>> {
    if object.pipe.is_null() {
        return None;
    }
    // SAFETY: the object owns one reference from `Rc::into_raw` until `destroy` clears the pointer.
    unsafe {
        Rc::increment_strong_count(object.pipe);
        Some(Rc::from_raw(object.pipe))
    }
}

fn stderr_of(process: &Process) -> Option<&End> {
    (!process.merge_stderr).then_some(&process.stderr)
}

/// The context of the running code, when it may yield.
fn yielding_ctx<'a>() -> Result<&'a Ctx, Refusal> {
    let ctx = current::ctx().ok_or((NO_REQ_CTX, String::new()))?;
    let phase = ctx.phase.get();
    if !phase.is_in(Phase::YIELDABLE) {
        return Err((BAD_CONTEXT, format!("API disabled in the context of {}", phase.name())));
    }
    Ok(ctx)
}

/// Notes in the log what a light thread does with a process.
fn note(object: &Proc, what: &str) {
    let address = std::ptr::from_ref(object).addr();
    worker::debug(format_args!("lua pipe {what} process:{address:016X} pid:{}", object.pid));
}

fn note_timer(object: &Proc, verb: &str, milliseconds: usize) {
    if milliseconds > 0 {
        note(object, &format!("add timer for {verb}: {milliseconds}(ms)"));
    }
}

/// An operation of a light thread; says so when it is given up before its end.
struct Underway {
    process: Rc<Process>,
    name: &'static str,
    leave: fn(&Process),
    finished: bool,
}

impl Underway {
    fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        (self.leave)(&self.process);
        if !self.finished {
            worker::debug(format_args!("lua pipe proc {} cleanup", self.name));
        }
    }
}

fn milliseconds(number: usize) -> Duration {
    Duration::from_millis(number as u64)
}

/// Reads what is there. False when that was not enough and the caller has to yield.
fn read(process: &Rc<Process>, object: &Proc, source: Source, reader: c_int, length: usize) -> Result<bool, Refusal> {
    let ctx = yielding_ctx()?;
    note(object, "read");
    if process.closed.get() {
        return refuse("closed");
    }
    if process.merge_stderr && matches!(source, Source::Stderr) {
        return refuse("merged to stdout");
    }
    let end = source.end(process);
    let Some(stream) = end.stream(Interest::READABLE) else { return refuse("closed") };
    if end.busy.get() {
        return refuse("pipe busy reading");
    }
    let Some(pattern) = Pattern::of(reader, length) else { return refuse("unexpected reader type") };
    end.failure.set(None);
    let chunk = process.buffer_size;
    if end.try_read(&stream, pattern, chunk) {
        return Ok(true);
    }
    let (timeout, name, leave): (_, _, fn(&Process)) = match source {
        Source::Stdout => (object.stdout_read_timeout, "read stdout", |process| process.stdout.release()),
        Source::Stderr => (object.stderr_read_timeout, "read stderr", |process| process.stderr.release()),
    };
    end.busy.set(true);
    let underway = Underway { process: Rc::clone(process), name, leave, finished: false };
    note_timer(object, "reading", timeout);
    note(object, "read yielding");
    suspend(ctx, async move {
        source.end(&underway.process).read(&stream, pattern, chunk, milliseconds(timeout)).await;
        drop(stream);
        underway.finish();
    })?;
    Ok(false)
}

/// Writes what the pipe takes.
fn write(object: &Proc, data: &[u8]) -> Result<isize, Refusal> {
    let ctx = yielding_ctx()?;
    note(object, "write");
    let Some(process) = process_of(object).filter(|process| !process.closed.get()) else { return refuse("closed") };
    let Some(stream) = process.stdin.stream(Interest::WRITABLE) else { return refuse("closed") };
    if process.stdin.busy.get() {
        return refuse("pipe busy writing");
    }
    process.stdin.failure.set(None);
    process.stdin.offer(data);
    if process.stdin.try_write(&stream) {
        return match process.stdin.failure.get() {
            Some(failure) => refuse(failure.text()),
            None => Ok(data.len().cast_signed()),
        };
    }
    process.stdin.busy.set(true);
    let leave = |process: &Process| process.stdin.release();
    let underway = Underway { process, name: "write", leave, finished: false };
    let timeout = object.write_timeout;
    note_timer(object, "writing", timeout);
    note(object, "write yielding");
    suspend(ctx, async move {
        underway.process.stdin.write(&stream, milliseconds(timeout)).await;
        drop(stream);
        underway.finish();
    })?;
    Ok(AGAIN as isize)
}

/// How the process ended; `None` when it runs and the caller has to yield.
fn wait(object: &Proc) -> Result<Option<Ended>, Refusal> {
    let ctx = yielding_ctx()?;
    note(object, "wait");
    let Some(process) = process_of(object).filter(|process| !process.closed.get()) else { return refuse("exited") };
    if process.waited.get() {
        return refuse("pipe busy waiting");
    }
    if let Some(ended) = process.exit.ended.get() {
        process.finalize();
        return Ok(Some(ended));
    }
    process.waited.set(true);
    let leave = |process: &Process| process.waited.set(false);
    let underway = Underway { process, name: "wait", leave, finished: false };
    let timeout = object.wait_timeout;
    note_timer(object, "waiting", timeout);
    note(object, "wait yielding");
    let operation = async move {
        let process = Rc::clone(&underway.process);
        let ended = async {
            loop {
                if let Some(ended) = process.exit.ended.get() {
                    return ended;
                }
                process.exit.known.notified().await;
            }
        };
        let ended = tokio::select! {
            ended = ended => Some(ended),
            () = expire(milliseconds(timeout)) => None,
        };
        underway.finish();
        if ended.is_some() {
            process.finalize();
        }
        Box::new(move |state: State| push_end(state, ended)) as Resume
    };
    ctx.suspend(operation).map_err(|_| (ERROR, "no co ctx found".to_owned()))?;
    Ok(None)
}

fn shut_down(object: &Proc, end: fn(&Process) -> Option<&End>) -> Result<c_int, Refusal> {
    let Some(process) = process_of(object).filter(|process| !process.closed.get()) else { return refuse("closed") };
    let Some(end) = end(&process) else { return refuse("merged to stdout") };
    Process::shut_down(end);
    Ok(OK)
}

/// Makes the running light thread wait for an operation that leaves its result in the process.
fn suspend(ctx: &Ctx, operation: impl Future<Output = ()> + 'static) -> Result<(), Refusal> {
    let operation = async move {
        operation.await;
        Box::new(|_| 0) as Resume
    };
    ctx.suspend(operation).map_err(|_| (ERROR, "no co ctx found".to_owned()))
}

/// The reason's name and the code or signal.
fn describe(ended: Ended) -> (&'static std::ffi::CStr, c_int) {
    match ended {
        Ended::Exit(code) => (c"exit", code),
        Ended::Signal(number) => (c"signal", number),
    }
}

/// `true|false, REASON, NUMBER`, or `nil, "timeout"`.
fn push_end(state: State, ended: Option<Ended>) -> c_int {
    // SAFETY: the coroutine is about to be resumed and has room for three values.
    unsafe {
        let Some(ended) = ended else {
            lua_pushnil(state);
            sys::push(state, Failure::Timeout.text().as_bytes());
            return 2;
        };
        let (reason, number) = describe(ended);
        lua_pushboolean(state, c_int::from(number == 0));
        sys::push(state, reason.to_bytes());
        lua_pushinteger(state, i64::from(number) as _);
    }
    3
}

/// Hands out what a read took: into the caller's buffer if it is large enough, else only its length.
///
/// # Safety
/// The pointers are valid as the grandparent module's documentation says.
unsafe fn hand_out(end: &End, buf: *mut *mut u8, buf_size: *mut usize, err: *mut u8, err_len: *mut usize) -> c_int {
    let mut taken = end.taken.borrow_mut();
    // SAFETY: the caller's promise: `*buf` has room for `*buf_size` bytes.
    unsafe {
        if *buf_size < taken.len() {
            store(buf, std::ptr::null_mut());
        } else {
            crate::lua::ffi::copy_to(*buf, &taken);
        }
        let fetched = *buf_size >= taken.len();
        store(buf_size, taken.len());
        if fetched {
            taken.clear();
        }
        match end.failure.get() {
            None => OK,
            Some(failure) => {
                write_error(err, err_len, failure.text().as_bytes());
                DECLINED
            }
        }
    }
}
