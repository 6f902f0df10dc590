//! `ngx.timer`: callbacks that run later, each with a request of its own that no client made.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::thread::LocalKey;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::apps;
use super::session::ctx_of;
use crate::clock;
use crate::cycle::{Cycle, Subsystem};
use crate::http::Request;
use crate::http::conf::{LocConf, MainConf, SrvConf};
use crate::http::connection::{Connection, FakeClient};
use crate::log::Level;
use crate::log_at;
use crate::lua::apps::Space;
use crate::lua::ffi::worker;
use crate::lua::next_turn::next_turn;
use crate::lua::sched::{self, Ran};
use crate::lua::session::session_debug;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, State};
use crate::lua::{Phase, Vm};

const SUBSYSTEMS: [Subsystem; 2] = [Subsystem::Http, Subsystem::Stream];

/// A count for each subsystem: their timers have nothing to do with each other.
type Counts = [Cell<usize>; 2];

thread_local! {
    static PENDING: Counts = const { [Cell::new(0), Cell::new(0)] };
    static RUNNING: Counts = const { [Cell::new(0), Cell::new(0)] };
    static EXITING: Cell<bool> = const { Cell::new(false) };
    static OVERDUE: RefCell<Vec<(Instant, Timer)>> = const { RefCell::new(Vec::new()) };
    static EXIT: Rc<Notify> = Rc::new(Notify::new());
}

/// The timers of a subsystem that wait.
pub(crate) fn pending(subsystem: Subsystem) -> usize {
    PENDING.with(|counts| counts[subsystem as usize].get())
}

/// The timers of a subsystem whose callbacks run.
pub(crate) fn running(subsystem: Subsystem) -> usize {
    RUNNING.with(|counts| counts[subsystem as usize].get())
}

/// Whether any timer waits.
pub(crate) fn any_pending() -> bool {
    SUBSYSTEMS.into_iter().any(|subsystem| pending(subsystem) > 0)
}

fn one_more(counts: &'static LocalKey<Counts>, subsystem: Subsystem) {
    counts.with(|counts| counts[subsystem as usize].update(|count| count + 1));
}

fn one_less(counts: &'static LocalKey<Counts>, subsystem: Subsystem) {
    counts.with(|counts| counts[subsystem as usize].update(|count| count.saturating_sub(1)));
}

/// Whether the worker is on its way out.
pub fn is_exiting() -> bool {
    EXITING.get()
}

/// Makes all pending timers run now, prematurely; new ones with a delay are refused. To be called when the worker
/// begins to exit.
pub fn begin_exit() {
    EXITING.set(true);
    for subsystem in SUBSYSTEMS {
        let (mark, count) = (subsystem.mark(), pending(subsystem));
        if count > 0 {
            worker::debug(format_args!("{mark}lua abort pending timers"));
            worker::debug(format_args!("{mark}lua found {count} pending timers to be aborted prematurely"));
        }
    }
    EXIT.with(|exit| exit.notify_waiters());
}

/// Waits until no timer waits or runs any more.
pub async fn drained() {
    while SUBSYSTEMS.into_iter().any(|subsystem| pending(subsystem) + running(subsystem) > 0) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What a timer runs, and with which settings.
pub(crate) struct Timer {
    /// The VM of the callback.
    pub(crate) vm: Rc<Vm>,
    /// A coroutine with the callback and its arguments on the stack.
    pub(crate) co: State,
    /// Its anchor.
    pub(crate) reference: c_int,
    /// The app of whoever created it.
    pub(crate) app: Option<Rc<Space>>,
    /// How long it waits.
    pub(crate) delay: Duration,
    /// Whether it comes again.
    pub(crate) every: bool,
    /// The cycle of whoever created it.
    pub(crate) cycle: &'static Cycle,
    /// The settings of the subsystem of whoever created it.
    pub(crate) main_conf: &'static MainConf,
    /// The server's settings.
    pub(crate) srv: &'static SrvConf,
    /// The location's settings.
    pub(crate) loc: &'static LocConf,
    /// `, client: …, server: …` for the log.
    pub(crate) place: Vec<u8>,
}

/// Puts a timer to work.
pub(crate) fn schedule(timer: Timer) {
    // The worker's own VM is not counted.
    if is_private(&timer) {
        timer.vm.retain();
    }
    one_more(&PENDING, timer.main_conf.core.subsystem);
    if let Some(space) = &timer.app {
        space.timers.set(space.timers.get() + 1);
    }
    let until = clock::moment() + timer.delay;
    if timer.delay.is_zero() || EXITING.get() || is_retired(&timer) {
        let premature = !timer.delay.is_zero();
        return run_after(timer, async move |_| {
            next_turn().await;
            premature
        });
    }
    if until <= Instant::now() {
        return OVERDUE.with_borrow_mut(|overdue| {
            overdue.push((until, timer));
            if overdue.len() == 1 {
                tokio::task::spawn_local(async { run_overdue() });
            }
        });
    }
    let mut sleep = Box::pin(tokio::time::sleep_until(until));
    // The place in the line of those who wait for the same moment is given now, not when the task runs first.
    let _pending = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    run_after(timer, async move |timer| {
        let exit = EXIT.with(Rc::clone);
        tokio::select! {
            () = sleep => false,
            () = exit.notified() => true,
            () = end_of_app(timer.app.as_ref()) => true,
        }
    });
}

/// Runs the timers that were due before they were made, since the turn took long: in the order of their moments.
fn run_overdue() {
    let mut overdue = OVERDUE.take();
    overdue.sort_by_key(|(until, _)| *until);
    for (_, timer) in overdue {
        run_after(timer, async |timer| EXITING.get() || is_retired(timer));
    }
}

/// Runs a timer when `wait` is over, which says whether that is too early.
fn run_after(timer: Timer, wait: impl AsyncFnOnce(&Timer) -> bool + 'static) {
    let (is_private, subsystem) = (is_private(&timer), timer.main_conf.core.subsystem);
    tokio::task::spawn_local(async move {
        let premature = wait(&timer).await;
        one_less(&PENDING, subsystem);
        if timer.every && !EXITING.get() && !is_retired(&timer) {
            schedule(next(&timer));
        }
        let (vm, app) = (Rc::clone(&timer.vm), timer.app.clone());
        fire(timer, premature).await;
        if let Some(space) = app {
            space.timers.set(space.timers.get().saturating_sub(1));
        }
        if is_private {
            vm.release();
        }
    });
}

/// Whether a timer runs in an interpreter other than the worker's own.
fn is_private(timer: &Timer) -> bool {
    timer.main_conf.lua.vm.get().is_none_or(|vm| !Rc::ptr_eq(vm, &timer.vm))
}

/// Whether the app of whoever created a timer was deployed anew since.
fn is_retired(timer: &Timer) -> bool {
    timer.app.as_ref().is_some_and(|space| space.is_retired())
}

/// Waits until an app is deployed anew; for ever outside of apps.
async fn end_of_app(app: Option<&Rc<Space>>) {
    match app {
        Some(space) => space.end().notified().await,
        None => std::future::pending().await,
    }
}

/// The same timer once more, with a coroutine of its own.
fn next(timer: &Timer) -> Timer {
    let (co, reference) = timer.vm.cached_thread();
    let count = sys::top(timer.co);
    // SAFETY: the callback and its arguments are on the stack of a coroutine that never ran; both are of one VM.
    unsafe {
        if lua_checkstack(timer.co, count + 1) != 0 {
            for index in 1..=count {
                lua_pushvalue(timer.co, index);
            }
            lua_xmove(timer.co, co, count);
        }
    }
    let app = timer.app.clone();
    Timer { vm: Rc::clone(&timer.vm), co, reference, app, place: timer.place.clone(), ..*timer }
}

async fn fire(timer: Timer, premature: bool) {
    let r = fake_request_with(timer.cycle, timer.main_conf, (timer.srv, timer.loc), Phase::TIMER, timer.place.clone());
    session_debug!(&*r, "lua ngx.timer expired");
    let limit = timer.main_conf.lua.max_running_timers.unwrap_or(256);
    let subsystem = timer.main_conf.core.subsystem;
    if running(subsystem) >= limit {
        let place = definition(timer.co);
        let mark = if r.conn().is_stream() { "stream lua: " } else { "" };
        let message = format!("{mark}{limit} lua_max_running_timers are not enough");
        log_at!(timer.cycle.log, Level::Alert, "lua failed to run timer with function defined at {place}: {message}");
        timer.vm.release_thread(&*r, timer.co, timer.reference, false);
        return;
    }
    one_more(&RUNNING, subsystem);
    r.lua.replace(Some(crate::lua::Ctx::new(Rc::clone(&timer.vm))));
    apps::set(&r, timer.app.clone());
    if let Some(ctx) = ctx_of(&r) {
        ctx.phase.set(Phase::TIMER);
        ctx.entered_content.set(true);
        let count = sys::top(timer.co);
        // SAFETY: the coroutine never ran; the flag goes between the function and its arguments.
        unsafe {
            lua_pushboolean(timer.co, c_int::from(premature));
            lua_insert(timer.co, 2);
        }
        let mut ran = sched::start_thread(&ctx, &*r, timer.co, timer.reference, count);
        if ran == Ran::Again {
            ran = poll_fn(|cx| sched::poll(&ctx, &*r, cx)).await;
        }
        finish(&r, ran);
    }
    one_less(&RUNNING, subsystem);
}

/// Ends a request that no client made.
fn finish(r: &Rc<Request>, ran: Ran) {
    let module = if r.conn().is_stream() { "stream" } else { "http" };
    session_debug!(&**r, "{module} lua finalize fake request: {ran:?}, a:1, c:1");
    session_debug!(&**r, "{module} lua close fake request");
    r.run_cleanups();
    session_debug!(&**r, "{module} lua close fake {module} connection {:p}", Rc::as_ptr(r.conn()));
}

/// `SOURCE:LINE` of the function at the bottom of the stack.
fn definition(co: State) -> String {
    let mut record = std::mem::MaybeUninit::<lua_Debug>::zeroed();
    // SAFETY: the function is pushed for `lua_getinfo`, which pops it and fills the record.
    unsafe {
        lua_pushvalue(co, 1);
        lua_getinfo(co, c">S".as_ptr(), record.as_mut_ptr());
        let record = record.assume_init_ref();
        format!("{}:{}", String::from_utf8_lossy(sys::c_text(record.source)), record.linedefined)
    }
}

/// A request for `init_worker_by_lua*` and its like, with the settings of the `http` or `stream` level.
pub(crate) fn fake_request(
    cycle: &'static Cycle,
    main_conf: &'static MainConf,
    phase: Phase,
    place: Vec<u8>,
) -> Option<Rc<Request>> {
    let srv = main_conf.core.fallback?;
    let loc = srv.core.loc.get().copied()?;
    Some(fake_request_with(cycle, main_conf, (srv, loc), phase, place))
}

fn fake_request_with(
    cycle: &'static Cycle,
    main_conf: &'static MainConf,
    (srv, loc): (&'static SrvConf, &'static LocConf),
    phase: Phase,
    place: Vec<u8>,
) -> Rc<Request> {
    // Lines of an exiting worker are lines of the worker.
    let context = if phase == Phase::EXIT_WORKER {
        Vec::new()
    } else {
        [b", context: ", phase.name().as_bytes(), &place].concat()
    };
    let mut conn = Connection::fake(cycle, main_conf, 0);
    conn.fake = Some(Box::new(FakeClient { context, place }));
    fake_request_on(conn, srv, loc)
}

/// A request over a connection that is none.
pub(crate) fn fake_request_on(conn: Connection, srv: &'static SrvConf, loc: &'static LocConf) -> Rc<Request> {
    Request::new(Rc::new(conn), srv, loc)
}
