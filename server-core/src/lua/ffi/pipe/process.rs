//! A child process of a script: the pipes to it, what is done with them at the moment, and how it ended.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use super::pattern::Pattern;
use super::spawn::{self, Started};
use crate::log::Level;
use crate::lua::ffi::worker;

/// Why an operation did not do what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Our end was closed meanwhile.
    Aborted,
    /// The other end, or the process, is gone.
    Closed,
    /// A system call failed.
    System(Errno),
    /// It took too long.
    Timeout,
}

impl Failure {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::Closed => "closed",
            Self::System(errno) => errno.desc(),
            Self::Timeout => "timeout",
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(Errno::from_raw(error.raw_os_error().unwrap_or(0)))
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Exit(i32),
    Signal(i32),
}

/// How a process ended, once that is known.
#[derive(Debug, Default)]
pub(super) struct Exit {
    pub(super) ended: Cell<Option<Ended>>,
    pub(super) known: Notify,
}

/// A process that runs.
struct Child {
    pid: Pid,
    exit: Rc<Exit>,
    /// Tells whether the program was executed.
    report: OwnedFd,
    /// `execvp() failed while executing PROGRAM`
    complaint: String,
}

thread_local! {
    static CHILDREN: RefCell<Vec<Child>> = const { RefCell::new(Vec::new()) };
}

/// Learns which processes ended. To be called when SIGCHLD came.
pub fn reap() {
    CHILDREN.with_borrow_mut(|children| {
        children.retain(|child| {
            let pid = child.pid;
            let ended = match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, code)) => Ended::Exit(code),
                Ok(WaitStatus::Signaled(_, signal, _)) => Ended::Signal(signal as i32),
                // Somebody else waited for it.
                Err(Errno::ECHILD) => Ended::Exit(0),
                _ => return true,
            };
            worker::debug(format_args!("lua pipe SIGCHLD fd read pid:{pid} status:{ended:?}"));
            if let Some(errno) = spawn::failure(&child.report) {
                let (complaint, code, text) = (&child.complaint, errno as i32, errno.desc());
                worker::log(Level::Error, format_args!("lua pipe child {complaint} ({code}: {text})"));
            }
            child.exit.ended.set(Some(ended));
            child.exit.known.notify_one();
            false
        });
    });
}

/// Our end of a pipe. It joins the event loop when it is first used.
#[derive(Debug, Default)]
pub(super) struct End {
    idle: RefCell<Option<OwnedFd>>,
    stream: RefCell<Option<Rc<AsyncFd<OwnedFd>>>>,
    /// A light thread uses it.
    pub(super) busy: Cell<bool>,
    closing: Notify,
    /// Why the last operation failed.
    pub(super) failure: Cell<Option<Failure>>,
    /// What the last read took, until the script fetches it.
    pub(super) taken: RefCell<Vec<u8>>,
    buffer: RefCell<BytesMut>,
    exhausted: Cell<bool>,
    unsent: RefCell<(Vec<u8>, usize)>,
}

impl End {
    fn new(descriptor: Option<OwnedFd>) -> Self {
        Self { idle: RefCell::new(descriptor), ..Self::default() }
    }

    /// The pipe in the event loop; `None` when it is closed.
    pub(super) fn stream(&self, interest: Interest) -> Option<Rc<AsyncFd<OwnedFd>>> {
        if let Some(descriptor) = self.idle.take() {
            // SAFETY: the descriptor is owned, open, and not registered elsewhere.
            let stream = unsafe { AsyncFd::register_with_interest(descriptor, interest) }.ok()?;
            self.stream.replace(Some(Rc::new(stream)));
        }
        self.stream.borrow().clone()
    }

    /// Closes it. An operation under way fails with `reason`.
    fn close(&self, reason: Failure) {
        if self.busy.get() {
            self.failure.set(Some(reason));
            self.closing.notify_one();
            return;
        }
        self.discard();
    }

    fn discard(&self) {
        self.idle.take();
        self.stream.take();
    }

    /// Reads until the pattern is satisfied or nothing more is there; false in the latter case.
    pub(super) fn try_read(&self, stream: &AsyncFd<OwnedFd>, pattern: Pattern, chunk: usize) -> bool {
        let mut buffer = self.buffer.borrow_mut();
        loop {
            match pattern.take(&mut buffer, self.exhausted.get()) {
                Some(Ok(taken)) => {
                    self.taken.replace(taken);
                    return true;
                }
                Some(Err(rest)) => {
                    self.taken.replace(rest);
                    self.failure.set(Some(Failure::Closed));
                    return true;
                }
                None => {}
            }
            let length = buffer.len();
            buffer.resize(length + chunk.clamp(1, CHUNK_MAX), 0);
            let read = nix::unistd::read(stream.get_ref(), buffer.get_mut(length..).unwrap_or_default());
            buffer.truncate(length + read.unwrap_or(0));
            match read {
                Ok(0) => self.exhausted.set(true),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return false,
                Err(errno) => {
                    self.failure.set(Some(Failure::System(errno)));
                    self.taken.replace(pattern.take_rest(&mut buffer));
                    return true;
                }
            }
        }
    }

    /// Goes on reading when there is more to read, until it is done or fails.
    pub(super) async fn read(&self, stream: &AsyncFd<OwnedFd>, pattern: Pattern, chunk: usize, timeout: Duration) {
        let failure = loop {
            let mut ready = match self.ready(stream, Interest::READABLE, timeout).await {
                Ok(ready) => ready,
                Err(Failure::Closed) => {
                    // What the dead process left behind is still worth having.
                    if self.try_read(stream, pattern, chunk) {
                        self.failure.set(Some(Failure::Closed));
                        return;
                    }
                    break Failure::Closed;
                }
                Err(failure) => break failure,
            };
            if self.try_read(stream, pattern, chunk) {
                return;
            }
            ready.clear_ready();
        };
        self.failure.set(Some(failure));
        self.taken.replace(pattern.take_rest(&mut self.buffer.borrow_mut()));
    }

    /// Puts data up for sending.
    pub(super) fn offer(&self, data: &[u8]) {
        self.unsent.replace((data.to_vec(), 0));
    }

    /// Sends what the pipe takes; false when some is left.
    pub(super) fn try_write(&self, stream: &AsyncFd<OwnedFd>) -> bool {
        let mut unsent = self.unsent.borrow_mut();
        let (data, sent) = &mut *unsent;
        while let Some(rest) = data.get(*sent..).filter(|rest| !rest.is_empty()) {
            match nix::unistd::write(stream.get_ref(), rest) {
                Ok(length) => *sent += length,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return false,
                Err(errno) => {
                    let (address, code, text) = (std::ptr::from_ref(self).addr(), errno as i32, errno.desc());
                    worker::debug(format_args!("lua pipe write data error pipe:{address:016X} ({code}: {text})"));
                    let closed = errno == Errno::EPIPE;
                    self.failure.set(Some(if closed { Failure::Closed } else { Failure::System(errno) }));
                    return true;
                }
            }
        }
        true
    }

    /// Goes on sending when the pipe takes more, until all is sent or that fails.
    pub(super) async fn write(&self, stream: &AsyncFd<OwnedFd>, timeout: Duration) {
        loop {
            let mut ready = match self.ready(stream, Interest::WRITABLE, timeout).await {
                Ok(ready) => ready,
                Err(failure) => {
                    self.failure.set(Some(failure));
                    return;
                }
            };
            if self.try_write(stream) {
                return;
            }
            ready.clear_ready();
        }
    }

    /// The number of bytes of the last write.
    pub(super) fn written(&self) -> usize {
        self.unsent.borrow().0.len()
    }

    /// Ends an operation; closes the pipe if that was asked for meanwhile.
    pub(super) fn release(&self) {
        self.busy.set(false);
        if self.failure.get() == Some(Failure::Aborted) {
            self.discard();
        }
    }

    async fn ready<'a>(
        &self,
        stream: &'a AsyncFd<OwnedFd>,
        interest: Interest,
        timeout: Duration,
    ) -> Result<tokio::io::unix::AsyncFdReadyGuard<'a, OwnedFd>, Failure> {
        tokio::select! {
            biased;
            () = self.closing.notified() => Err(self.failure.get().unwrap_or(Failure::Aborted)),
            ready = stream.ready(interest) => Ok(ready?),
            () = expire(timeout) => Err(Failure::Timeout),
        }
    }
}

/// Bytes that one read asks for, at most.
const CHUNK_MAX: usize = 1 << 20;

/// Ends after some time; never when that is zero.
pub(super) async fn expire(timeout: Duration) {
    if timeout.is_zero() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(timeout).await;
}

/// A child process, of which Lua owns one reference.
#[derive(Debug)]
pub struct Process {
    pub(super) pid: i32,
    pub(super) merge_stderr: bool,
    pub(super) buffer_size: usize,
    pub(super) stdin: End,
    pub(super) stdout: End,
    pub(super) stderr: End,
    /// The script waited for its end, or gave it up.
    pub(super) closed: Cell<bool>,
    /// The script, or its request, has ended.
    given_up: Cell<bool>,
    /// A light thread waits for its end.
    pub(super) waited: Cell<bool>,
    pub(super) exit: Rc<Exit>,
}

impl Process {
    /// A process that was started; `complaint` is what the log says if its program was not found.
    pub(super) fn new(started: Started, complaint: String, merge_stderr: bool, buffer_size: usize) -> Rc<Self> {
        let exit = Rc::new(Exit::default());
        let child =
            Child { pid: Pid::from_raw(started.pid), exit: Rc::clone(&exit), report: started.report, complaint };
        CHILDREN.with_borrow_mut(|children| children.push(child));
        Rc::new(Self {
            pid: started.pid,
            merge_stderr,
            buffer_size,
            stdin: End::new(Some(started.stdin)),
            stdout: End::new(Some(started.stdout)),
            stderr: End::new(started.stderr),
            closed: Cell::new(false),
            given_up: Cell::new(false),
            waited: Cell::new(false),
            exit,
        })
    }

    /// Closes the pipes, since nobody will use them any more.
    pub(super) fn finalize(&self) {
        worker::debug(format_args!("lua pipe finalize process:{self:p} pid:{}", self.pid));
        self.stdin.close(Failure::Closed);
        self.stdout.close(Failure::Closed);
        self.stderr.close(Failure::Closed);
        self.closed.set(true);
    }

    /// Ends a process that nobody will ask for again: one that nobody waited for is killed.
    pub(super) fn give_up(&self) {
        if self.given_up.replace(true) {
            return;
        }
        let (address, pid) = (std::ptr::from_ref(self).addr(), self.pid);
        worker::debug(format_args!("lua pipe destroy process:{address:016X} pid:{pid}"));
        if !self.closed.get() {
            worker::debug(format_args!("lua pipe kill process:{address:016X} pid:{pid}"));
            // It may have ended already.
            let _ = self.signal(libc::SIGKILL);
        }
        self.finalize();
    }

    /// Closes one pipe at the script's wish.
    pub(super) fn shut_down(end: &End) {
        end.close(Failure::Aborted);
    }

    /// Sends a signal, unless the process is known to have ended.
    pub(super) fn signal(&self, number: i32) -> Result<(), Errno> {
        if self.exit.ended.get().is_some() {
            return Err(Errno::ESRCH);
        }
        // SAFETY: sends a signal to a child that nobody has waited for yet, so the number is still its own.
        Errno::result(unsafe { libc::kill(self.pid, number) }).map(drop)
    }
}
