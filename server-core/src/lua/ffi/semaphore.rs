//! Semaphores between light threads: `ngx.semaphore`.
//!
//! Waiters are served in the order in which they came, in the turn of the event loop after the resources did.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::{c_char, c_int};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::semaphore_pool::{self, Block};
use super::{AGAIN, DECLINED, ERROR, OK, export, store, worker, write_error};
use crate::http::request::Request;
use crate::lua::current;
use crate::lua::phase::Phase;
use crate::lua::sys::raw::{lua_pushboolean, lua_pushnil};
use crate::lua::sys::{self, State};
use crate::lua::thread::Resume;

/// A semaphore; Lua owns one reference.
pub struct Semaphore {
    block: Rc<Block>,
    resources: Cell<c_int>,
    waiters: RefCell<VecDeque<(u64, oneshot::Sender<()>)>>,
    tickets: Cell<u64>,
    /// Whether those who wait will be served in this turn of the event loop.
    posted: Cell<bool>,
}

impl Semaphore {
    /// One that is not in use yet.
    pub(super) fn in_block(block: Rc<Block>) -> Self {
        let (waiters, tickets) = (RefCell::default(), Cell::new(0));
        Self { block, resources: Cell::new(0), waiters, tickets, posted: Cell::new(false) }
    }

    /// The block it belongs to.
    pub(super) fn block(&self) -> &Rc<Block> {
        &self.block
    }

    /// Makes it as good as new, with some resources.
    pub(super) fn reset(&self, resources: c_int) {
        self.resources.set(resources);
        self.waiters.borrow_mut().clear();
        self.posted.set(false);
    }

    /// Serves those who wait, once the code that is running has given way.
    fn serve_soon(self: Rc<Self>) {
        if self.waiters.borrow().is_empty() || self.posted.replace(true) {
            return;
        }
        tokio::task::spawn_local(async move {
            self.posted.set(false);
            self.serve();
        });
    }

    /// Gives resources to those who wait.
    fn serve(&self) {
        let mut waiters = self.waiters.borrow_mut();
        while self.resources.get() > 0
            && let Some((_, waiter)) = waiters.pop_front()
        {
            if waiter.send(()).is_ok() {
                self.resources.set(self.resources.get() - 1);
            }
        }
    }
}

/// The place of a thread in the queue; given up when the thread is.
struct Place {
    semaphore: Rc<Semaphore>,
    ticket: u64,
    /// Whether the wait came to its end.
    over: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.over {
            worker::debug(format_args!("http lua semaphore cleanup"));
        }
        self.semaphore.waiters.borrow_mut().retain(|(ticket, _)| *ticket != self.ticket);
    }
}

export! {
    /// Makes a semaphore with some resources.
    ngx_http_lua_ffi_sema_new, ngx_stream_lua_ffi_sema_new(semaphore: *mut *const Semaphore, resources: c_int, _err: *mut *mut c_char) -> c_int {
        let made = Rc::into_raw(semaphore_pool::take(resources));
        worker::debug(format_args!("http lua semaphore new: {made:p}, resources: {resources}"));
        // SAFETY: the contract of the parent module.
        unsafe { store(semaphore, made) };
        OK
    }

    /// Adds resources.
    ngx_http_lua_ffi_sema_post, ngx_stream_lua_ffi_sema_post(semaphore: *const Semaphore, count: c_int) -> c_int {
        // SAFETY: Lua passes semaphores that it got from `sema_new` and did not give back; the reference is a new one.
        let semaphore = unsafe {
            Rc::increment_strong_count(semaphore);
            Rc::from_raw(semaphore)
        };
        let (pointer, resources) = (Rc::as_ptr(&semaphore), semaphore.resources.get());
        worker::debug(format_args!("http lua semaphore post: {pointer:p}, n: {count}, resources: {resources}"));
        semaphore.resources.set(semaphore.resources.get().saturating_add(count));
        semaphore.serve_soon();
        OK
    }

    /// Resources that are left; negative when threads wait.
    ngx_http_lua_ffi_sema_count, ngx_stream_lua_ffi_sema_count(semaphore: *const Semaphore) -> c_int {
        // SAFETY: as above.
        let semaphore = unsafe { &*semaphore };
        semaphore.resources.get() - semaphore.waiters.borrow().len() as c_int
    }

    /// Takes a resource: 0, or -5 when there is none and no time to wait, or -2 when the caller has to yield.
    ngx_http_lua_ffi_sema_wait, ngx_stream_lua_ffi_sema_wait(
        _r: *const Request, semaphore: *const Semaphore, milliseconds: c_int, err: *mut u8, err_len: *mut usize,
    ) -> c_int {
        // SAFETY: as above; the reference that is added is the waiting operation's.
        let semaphore = unsafe {
            Rc::increment_strong_count(semaphore);
            Rc::from_raw(semaphore)
        };
        match wait(semaphore, milliseconds) {
            Ok(code) => code,
            Err(text) => {
                // SAFETY: the contract of the parent module.
                unsafe { write_error(err, err_len, text.as_bytes()) };
                ERROR
            }
        }
    }

    /// Gives back Lua's reference.
    ngx_http_lua_ffi_sema_gc, ngx_stream_lua_ffi_sema_gc(semaphore: *const Semaphore) {
        if semaphore.is_null() {
            return;
        }
        // SAFETY: Lua gives back what it got from `sema_new`, once.
        let semaphore = unsafe { Rc::from_raw(semaphore) };
        worker::debug(format_args!("in lua gc, semaphore {:p}", Rc::as_ptr(&semaphore)));
        semaphore_pool::give_back(semaphore);
    }
}

fn wait(semaphore: Rc<Semaphore>, milliseconds: c_int) -> Result<c_int, String> {
    let ctx = current::ctx().ok_or("no request ctx found")?;
    worker::debug(format_args!(
        "http lua semaphore wait: {:p}, timeout: {milliseconds}, resources: {}, event posted: {}",
        Rc::as_ptr(&semaphore),
        semaphore.resources.get(),
        i32::from(semaphore.posted.get())
    ));
    let phase = ctx.phase.get();
    if !phase.is_in(Phase::YIELDABLE) {
        return Err(format!("API disabled in the context of {}", phase.name()));
    }
    if semaphore.waiters.borrow().is_empty() && semaphore.resources.get() > 0 {
        semaphore.resources.set(semaphore.resources.get() - 1);
        return Ok(OK);
    }
    let Some(time) = u64::try_from(milliseconds).ok().filter(|&time| time > 0) else { return Ok(DECLINED) };
    let (sender, receiver) = oneshot::channel();
    let ticket = semaphore.tickets.get() + 1;
    semaphore.tickets.set(ticket);
    semaphore.waiters.borrow_mut().push_back((ticket, sender));
    let mut place = Place { semaphore, ticket, over: false };
    let operation = async move {
        let served = tokio::time::timeout(Duration::from_millis(time), receiver).await;
        place.over = true;
        drop(place);
        let served = matches!(served, Ok(Ok(())));
        Box::new(move |state: State| push_result(state, served)) as Resume
    };
    ctx.suspend(operation).map_err(|_| "no co ctx found")?;
    worker::debug(format_args!("http lua semaphore wait yielding"));
    Ok(AGAIN)
}

/// `true, nil` or `false, "timeout"`.
fn push_result(state: State, served: bool) -> c_int {
    // SAFETY: the coroutine is about to be resumed and has room for two values.
    unsafe {
        if served {
            lua_pushboolean(state, 1);
            lua_pushnil(state);
        } else {
            lua_pushboolean(state, 0);
            sys::push(state, b"timeout");
        }
    }
    2
}
