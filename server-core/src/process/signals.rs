//! Signals as messages: the handler writes number and sender to a pipe, loops read them there.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow};

use super::sys::{self, Interrupted};

/// The signals that the server reacts to.
const HANDLED: [i32; 10] = [
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGWINCH,
    libc::SIGTERM,
    libc::SIGQUIT,
    libc::SIGUSR2,
    libc::SIGINT,
    libc::SIGCHLD,
    libc::SIGALRM,
    libc::SIGIO,
];

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) number: i32,
    /// The process that sent it; 0 when the kernel did.
    pub(super) sender: i32,
}

impl Received {
    /// Bytes of one message in the pipe; the system writes and reads so few at once.
    pub(super) const SIZE: usize = 8;

    /// The message as it comes out of the pipe.
    pub(super) fn decode(message: [u8; Self::SIZE]) -> Self {
        let [a, b, c, d, e, f, g, h] = message;
        Self { number: i32::from_ne_bytes([a, b, c, d]), sender: i32::from_ne_bytes([e, f, g, h]) }
    }

    /// The message as it goes into the pipe. Allocates nothing: signal handlers must not.
    fn encode(self) -> [u8; Self::SIZE] {
        let ([a, b, c, d], [e, f, g, h]) = (self.number.to_ne_bytes(), self.sender.to_ne_bytes());
        [a, b, c, d, e, f, g, h]
    }

    /// What the log says about it; `action` is nginx's phrase with its comma, or empty.
    pub(super) fn describe(self, action: &str) -> String {
        let name = name(self.number);
        match self.sender {
            0 => format!("signal {} ({name}) received{action}", self.number),
            sender => format!("signal {} ({name}) received from {sender}{action}", self.number),
        }
    }
}

/// The name of a signal, `SIG` included.
pub(super) fn name(number: i32) -> &'static str {
    nix::sys::signal::Signal::try_from(number).map_or("SIGNAL", nix::sys::signal::Signal::as_str)
}

/// The write end, for the handler.
static PIPE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_signal(number: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let pipe = PIPE.load(Ordering::Relaxed);
    if pipe >= 0 {
        let received = Received { number, sender: sys::signal_sender(info) };
        sys::write_in_handler(pipe, &received.encode());
    }
}

/// Lets system calls that a signal interrupts fail from now on, in this process (`lua_sa_restart off`).
pub(crate) fn fail_interrupted_calls() -> io::Result<()> {
    HANDLED.into_iter().try_for_each(|signal| sys::handle_signal(signal, on_signal, Interrupted::Fails))
}

/// Behaves as if SIGQUIT had come.
pub(super) fn raise_quit() {
    let pipe = PIPE.load(Ordering::Relaxed);
    if pipe >= 0 {
        sys::write_in_handler(pipe, &Received { number: libc::SIGQUIT, sender: 0 }.encode());
    }
}

/// Signals wait while this lives.
pub(super) struct Held {
    before: Option<SigSet>,
}

/// Makes all signals wait.
pub(super) fn hold() -> Held {
    Held { before: SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).ok() }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Fails only for a mask that the system did not give us.
            let _ = before.thread_set_mask();
        }
    }
}

/// The signals of this process.
pub(super) struct Signals {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Signals {
    /// Installs the handlers and a new pipe. A forked process calls it again, so that it does not read its
    /// parent's signals.
    pub(super) fn install() -> io::Result<Self> {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        PIPE.store(writer.as_raw_fd(), Ordering::Relaxed);
        for signal in HANDLED {
            sys::handle_signal(signal, on_signal, Interrupted::Restarts)?;
        }
        sys::ignore_signal(libc::SIGPIPE, true);
        sys::ignore_signal(libc::SIGSYS, true);
        Ok(Self { reader, writer })
    }

    /// The descriptor that becomes readable when a signal arrived.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// The next signal, if one is waiting.
    pub(super) fn next(&self) -> Option<Received> {
        let mut message = [0; Received::SIZE];
        loop {
            return match nix::unistd::read(&self.reader, &mut message) {
                Ok(Received::SIZE) => Some(Received::decode(message)),
                Err(nix::errno::Errno::EINTR) => continue,
                _ => None,
            };
        }
    }

    /// The two ends of the pipe: the first delivers [`Received`] messages, the second must stay open.
    pub(super) fn into_pipe(self) -> (OwnedFd, OwnedFd) {
        (self.reader, self.writer)
    }
}
