//! Starts a program with pipes in place of its standard streams.

use std::ffi::{CStr, c_char, c_int};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::pipe2;

/// What to start.
pub(super) struct Program {
    /// The program's name or path.
    pub(super) file: *const c_char,
    /// Its arguments, the last one null.
    pub(super) arguments: *const *const c_char,
    /// Its environment, the last one null; null for our own.
    pub(super) environment: *const *const c_char,
    /// Its errors go where its output goes.
    pub(super) merge_stderr: bool,
}

/// A program that runs, with our ends of the pipes, which do not block.
pub(super) struct Started {
    pub(super) pid: i32,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: Option<OwnedFd>,
    /// Tells why the program could not be executed, see [`failure`].
    pub(super) report: OwnedFd,
}

/// Which call failed when a program could not be started.
pub(super) struct StartError(pub(super) &'static str, pub(super) Errno);

unsafe extern "C" {
    static mut environ: *const *const c_char;
}

/// Starts a program.
///
/// # Safety
/// The program's pointers name terminated strings and arrays of them.
pub(super) unsafe fn start(program: &Program) -> Result<Started, StartError> {
    let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(|errno| StartError("pipe", errno));
    let (child_in, stdin) = pipe()?;
    let (stdout, child_out) = pipe()?;
    let errors = if program.merge_stderr { None } else { Some(pipe()?) };
    let (report, child_report) = pipe()?;
    for end in [Some(&stdin), Some(&stdout), errors.as_ref().map(|(ours, _)| ours)].into_iter().flatten() {
        fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|errno| StartError("nonblocking", errno))?;
    }
    let child_err = errors.as_ref().map_or_else(|| child_out.as_raw_fd(), |(_, theirs)| theirs.as_raw_fd());
    let streams = [child_in.as_raw_fd(), child_out.as_raw_fd(), child_err];
    // Our handlers must not run in the child, whose signals they would report as ours.
    let held = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    // SAFETY: the child calls only what may be called after a fork, and ends in `execute`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: this is the child; the caller's promise for the strings.
        unsafe { execute(program, streams, child_report.as_raw_fd()) }
    }
    let errno = Errno::last();
    if let Ok(before) = held {
        // Fails only for a mask that the system did not give us.
        let _ = before.thread_set_mask();
    }
    if pid < 0 {
        return Err(StartError("fork", errno));
    }
    drop((child_in, child_out, child_report));
    let stderr = errors.map(|(ours, _)| ours);
    Ok(Started { pid, stdin, stdout, stderr, report })
}

/// Why the program of a process that has ended was not executed; `None` when it was.
pub(super) fn failure(report: &OwnedFd) -> Option<Errno> {
    let mut code = [0; size_of::<c_int>()];
    let length = nix::unistd::read(report, &mut code).ok()?;
    (length == code.len()).then(|| Errno::from_raw(c_int::from_ne_bytes(code)))
}

/// The child's part: takes its streams, forgets our signal settings, becomes the program or ends.
///
/// # Safety
/// Called in a child right after the fork, with descriptors that are open.
unsafe fn execute(program: &Program, streams: [RawFd; 3], report: RawFd) -> ! {
    // SAFETY: system calls on open descriptors and zeroed structures; the strings are the caller's promise.
    unsafe {
        for (target, stream) in streams.into_iter().enumerate() {
            if libc::dup2(stream, target as c_int) < 0 {
                libc::_exit(1);
            }
        }
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        for signal in 1..32 {
            // Fails for SIGKILL and SIGSTOP, which have no handlers.
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        if !program.environment.is_null() {
            environ = program.environment;
        }
        libc::execvp(program.file, program.arguments);
        let code = (*libc::__errno_location()).to_ne_bytes();
        libc::write(report, code.as_ptr().cast(), code.len());
        libc::_exit(1)
    }
}

/// The text of a program's name.
///
/// # Safety
/// `file` is a terminated string.
pub(super) unsafe fn name_of(file: *const c_char) -> String {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(file) }.to_string_lossy().into_owned()
}
