//! The scheduler without HTTP: a VM, a session that collects its log, and chunks.

use std::cell::RefCell;
use std::ffi::c_void;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;

use super::phase::Phase;
use super::sched::{self, Ran};
use super::session::{Notice, Session, level};
use super::sys::raw::*;
use super::sys::{self};
use super::vm::{Options, Vm};
use super::{Ctx, api};

/// Collects messages of error level and above.
#[derive(Default)]
struct Recorder {
    lines: RefCell<Vec<String>>,
}

impl Session for Recorder {
    fn pointer(&self) -> *mut c_void {
        // The exported variable belongs to the process, and tests run in threads: it stays as it is.
        std::ptr::null_mut()
    }

    fn logs(&self, level: u8) -> bool {
        level <= level::NOTICE
    }

    fn log(&self, _level: u8, message: fmt::Arguments<'_>) {
        self.lines.borrow_mut().push(message.to_string());
    }

    fn log_bytes(&self, _level: u8, message: &[u8]) {
        self.lines.borrow_mut().push(String::from_utf8_lossy(message).into_owned());
    }

    fn notice(&self) -> Option<Notice> {
        None
    }

    fn socket_conf(&self) -> super::socket::SocketConf {
        super::socket::SocketConf::default()
    }

    fn uri(&self) -> String {
        String::new()
    }
}

fn vm() -> Rc<Vm> {
    let vm = Vm::new(&Options { thread_cache: 4, ..Options::default() }).expect("a state");
    // The `ffi` variable of `thread.exdata` is only resolved when it is used.
    api::inject(&vm, crate::cycle::Subsystem::Http, |_| {}).expect("the API loads");
    vm
}

/// Runs a chunk as an entry thread to its end and returns how it ended and what it printed.
fn run(code: &str) -> (Ran, Vec<String>) {
    let vm = vm();
    run_on(&vm, code)
}

fn run_on(vm: &Rc<Vm>, code: &str) -> (Ran, Vec<String>) {
    let ctx = Ctx::new(vm.clone());
    ctx.phase.set(Phase::CONTENT);
    let session = Recorder::default();
    // SAFETY: compiles onto the VM's main state.
    let status = unsafe { luaL_loadbuffer(vm.state(), code.as_ptr().cast(), code.len(), c"=chunk".as_ptr()) };
    assert_eq!(status, 0, "{:?}", sys::bytes(vm.state(), -1).map(String::from_utf8_lossy));
    let mut ran = sched::start(&ctx, &session);
    if ran == Ran::Again {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        ran = runtime.block_on(poll_fn(|cx| sched::poll(&ctx, &session, cx)));
    }
    sched::finalize(&ctx, &session);
    assert_eq!(sys::top(vm.state()), 0, "the main stack is balanced");
    let lines = session.lines.take();
    (ran, lines.into_iter().map(|line| line.replace("[lua] chunk:", "")).collect())
}

fn printed(code: &str) -> String {
    let (ran, lines) = run(code);
    assert_eq!(ran, Ran::Done, "{lines:?}");
    lines.iter().map(|line| line.split_once(": ").map_or(line.as_str(), |(_, text)| text)).collect::<Vec<_>>().join("|")
}

#[test]
fn chunk_without_yield_ends_at_once() {
    assert_eq!(printed("print('hello ', 1, ' ', 1.5, ' ', nil, true)"), "hello 1 1.5 niltrue");
}

#[test]
fn coroutines_exchange_values() {
    let code = "
        local co = coroutine.create(function (a, b)
            print(a, b)
            local c = coroutine.yield(a + b)
            print(c)
            return 'end', nil, 3
        end)
        print(tostring(select(2, coroutine.resume(co, 1, 2))), coroutine.status(co))
        local ok, x, y, z = coroutine.resume(co, 'again')
        print(ok, x, y, z, coroutine.status(co))
        print(coroutine.resume(co))";
    let dead = "falsecannot resume dead coroutine";
    assert_eq!(printed(code), format!("12|3suspended|again|trueendnil3dead|{dead}"));
}

#[test]
fn running_child_survives_collection_while_nobody_else_holds_it() {
    let code = "
        local f = coroutine.wrap(function ()
            coroutine.resume(coroutine.create(function ()
                collectgarbage() collectgarbage()
                ngx.sleep(0.001)
                collectgarbage()
                print('alive')
            end))
        end)
        f() print('end')";
    assert_eq!(printed(code), "alive|end");
}

#[test]
fn errors_of_coroutines_go_to_resume() {
    let code = "print(coroutine.resume(coroutine.create(function () error('oh', 0) end)))";
    assert_eq!(printed(code), "falseoh");
}

#[test]
fn error_of_a_wrapped_coroutine_ends_the_entry_thread_with_both_tracebacks() {
    let (ran, lines) = run("local f = coroutine.wrap(function () error('oh') end)\nf()");
    assert_eq!(ran, Ran::Failed);
    let text = lines.join("\n");
    assert!(text.starts_with("lua entry thread aborted: runtime error: chunk:1: oh\nstack traceback:\ncoroutine 0:"));
    assert!(text.contains("\ncoroutine 1:\n"), "{text}");
}

#[test]
fn failing_entry_thread_is_logged_with_its_traceback() {
    let (ran, lines) = run("local function g() error('oh') end\ng()");
    assert_eq!(ran, Ran::Failed);
    let expected = "lua entry thread aborted: runtime error: chunk:1: oh\nstack traceback:\ncoroutine 0:\n\t\
                    [C]: in function 'error'\n\tchunk:1: in function 'g'\n\tchunk:2: in main chunk";
    assert_eq!(lines, [expected]);
}

#[test]
fn error_values_that_are_no_strings_have_no_reason() {
    let (_, lines) = run("error({})");
    assert!(lines.concat().starts_with("lua entry thread aborted: runtime error: unknown reason\n"));
}

#[test]
fn spawned_thread_runs_first_and_the_parent_goes_on_after_its_yield() {
    let code = "
        local t = ngx.thread.spawn(function (x) print('in ', x) ngx.sleep(0.001) print('out') return 'r', 2 end, 'X')
        print('parent')
        print(ngx.thread.wait(t))";
    assert_eq!(printed(code), "in X|parent|out|truer2");
}

#[test]
fn waiting_for_a_finished_thread_returns_its_results_once() {
    let code = "
        local t = ngx.thread.spawn(function () return 7 end)
        print(coroutine.status(t), ngx.thread.wait(t))
        print(ngx.thread.wait(t))";
    assert_eq!(printed(code), "zombietrue7|nilalready waited or killed");
}

#[test]
fn wait_returns_for_the_first_thread_that_ends() {
    let code = "
        local a = ngx.thread.spawn(function () ngx.sleep(0.05) return 'a' end)
        local b = ngx.thread.spawn(function () ngx.sleep(0.001) return 'b' end)
        print(ngx.thread.wait(a, b))
        ngx.thread.kill(a)";
    assert_eq!(printed(code), "trueb");
}

#[test]
fn thread_left_over_from_a_wait_does_not_wake_its_parent() {
    let code = "
        local a = ngx.thread.spawn(function () ngx.sleep(0.003) return 'a' end)
        local b = ngx.thread.spawn(function () ngx.sleep(0.001) return 'b' end)
        print(ngx.thread.wait(a, b))
        print(ngx.sleep(0.02))
        print(ngx.thread.wait(a))";
    assert_eq!(printed(code), "trueb||truea");
}

#[test]
fn failing_light_thread_gives_false_and_is_logged() {
    let (ran, lines) = run("local t = ngx.thread.spawn(function () error('oh', 0) end) print(ngx.thread.wait(t))");
    assert_eq!(ran, Ran::Done);
    assert!(lines[0].starts_with("lua user thread aborted: runtime error: oh\nstack traceback:\ncoroutine 0:"));
    assert!(lines[1].ends_with("falseoh"));
}

#[test]
fn killed_thread_does_not_go_on() {
    let code = "
        local t = ngx.thread.spawn(function () ngx.sleep(0.001) print('never') end)
        print(ngx.thread.kill(t), coroutine.status(t))
        print(ngx.thread.kill(t))
        ngx.sleep(0.01)";
    assert_eq!(printed(code), "1dead|nilalready waited or killed");
}

#[test]
fn killed_thread_takes_its_coroutines_along() {
    let code = "
        local t = ngx.thread.spawn(function ()
            coroutine.wrap(function () ngx.sleep(0.001) print('never') end)()
        end)
        ngx.thread.kill(t) collectgarbage() ngx.sleep(0.01)";
    assert_eq!(printed(code), "");
}

#[test]
fn request_lasts_as_long_as_its_light_threads() {
    let code = "ngx.thread.spawn(function () ngx.sleep(0.002) print('late') end) print('entry')";
    assert_eq!(printed(code), "entry|late");
}

#[test]
fn yield_in_an_entry_thread_gives_others_their_turn() {
    let code = "
        ngx.thread.spawn(function () for i = 1, 2 do print('a', i) coroutine.yield() end end)
        for i = 1, 2 do print('b', i) coroutine.yield() end";
    assert_eq!(printed(code), "a1|b1|a2|b2");
}

#[test]
fn only_lua_functions_can_be_spawned() {
    let (_, lines) = run("ngx.thread.spawn(print)");
    assert!(lines.concat().contains("bad argument #1 to 'spawn' (Lua function expected)"), "{lines:?}");
}

#[test]
fn sleep_across_a_c_call_fails_without_an_operation_left() {
    let code = "print(pcall(string.gsub, 'a', 'a', function () ngx.sleep(0.001) end)) ngx.sleep(0.01) print('x')";
    assert_eq!(printed(code), "falseattempt to yield across C-call boundary|x");
}

#[test]
fn yield_through_pcall_works() {
    assert_eq!(printed("print(pcall(function () ngx.sleep(0.001) error('oh', 0) end))"), "falseoh");
}

#[test]
fn finished_entry_threads_are_used_again() {
    let vm = vm();
    for _ in 0..3 {
        assert_eq!(run_on(&vm, "local x = 1 return x").0, Ran::Done);
    }
    assert_eq!(run_on(&vm, "error('x')").0, Ran::Failed);
    assert_eq!(run_on(&vm, "print(coroutine.running())").0, Ran::Failed);
    assert_eq!(run_on(&vm, "print(1)").0, Ran::Done);
}

#[test]
fn tables_in_messages_need_a_tostring() {
    let (_, lines) = run("print({})");
    assert!(lines.concat().contains("expected table to have __tostring metamethod"));
    assert_eq!(printed("print(setmetatable({}, {__tostring = function () return 'T' end}))"), "T");
}
