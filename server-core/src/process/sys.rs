//! System calls that need `unsafe`, each wrapped so that callers need none.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

/// Broken-down local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalTime {
    pub(crate) year: i32,
    /// From 1.
    pub(crate) month: u8,
    pub(crate) day: u8,
    pub(crate) hour: u8,
    pub(crate) minute: u8,
    pub(crate) second: u8,
    /// From Sunday, 0.
    pub(crate) weekday: u8,
    /// East of UTC.
    pub(crate) offset_minutes: i32,
}

/// The local time of a number of seconds since 1970.
pub(crate) fn local_time(seconds: i64) -> LocalTime {
    // SAFETY: all-zero bytes are a valid `tm`: integers and a null pointer that nobody reads.
    let mut time: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right types; the function writes only into `time`.
    unsafe { libc::localtime_r(&raw const seconds, &raw mut time) };
    LocalTime {
        year: time.tm_year + 1900,
        month: (time.tm_mon + 1) as u8,
        day: time.tm_mday as u8,
        hour: time.tm_hour as u8,
        minute: time.tm_min as u8,
        second: time.tm_sec as u8,
        weekday: time.tm_wday as u8,
        offset_minutes: (time.tm_gmtoff / 60) as i32,
    }
}

/// Puts what `fresh` refers to behind the number of `current`.
pub(crate) fn replace_descriptor(fresh: &OwnedFd, current: &OwnedFd) -> io::Result<()> {
    // SAFETY: both descriptors are open and owned; afterwards `current` still owns its number.
    let code = unsafe { libc::dup3(fresh.as_raw_fd(), current.as_raw_fd(), libc::O_CLOEXEC) };
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The standard error.
pub(crate) fn stderr_descriptor() -> BorrowedFd<'static> {
    // SAFETY: the process never closes descriptor 2; it only redirects it.
    unsafe { BorrowedFd::borrow_raw(2) }
}

static PID: AtomicU32 = AtomicU32::new(0);

/// This process's id without asking the system each time; every log line shows it.
pub(crate) fn pid() -> u32 {
    match PID.load(Ordering::Relaxed) {
        0 => {
            let pid = std::process::id();
            PID.store(pid, Ordering::Relaxed);
            pid
        }
        pid => pid,
    }
}

/// The two returns of a fork.
pub(crate) enum Fork {
    /// In the new process.
    Child,
    /// In the old process, with the new one's id.
    Parent(i32),
}

/// Splits the process in two.
///
/// The process must have one thread only: a lock that another thread holds would stay locked in the child.
pub(crate) fn fork() -> nix::Result<Fork> {
    // SAFETY: the callers run before any thread or runtime is started, as `process`'s documentation demands, so
    // the child may do what the parent could.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Child => {
            PID.store(std::process::id(), Ordering::Relaxed);
            Ok(Fork::Child)
        }
        nix::unistd::ForkResult::Parent { child } => Ok(Fork::Parent(child.as_raw())),
    }
}

/// Makes one of the standard descriptors refer to what `target` refers to.
pub(crate) fn redirect_standard(target: BorrowedFd<'_>, standard: i32) -> io::Result<()> {
    debug_assert!((0..=2).contains(&standard), "a standard descriptor");
    // SAFETY: `target` is open; the standard descriptors are owned by nobody in particular.
    let code = unsafe { libc::dup2(target.as_raw_fd(), standard) };
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Replaces the whole environment.
pub(crate) fn replace_environment(variables: &[(std::ffi::OsString, std::ffi::OsString)]) {
    // SAFETY: called once at a worker's start, while the process has one thread.
    unsafe {
        libc::clearenv();
        for (name, value) in variables {
            std::env::set_var(name, value);
        }
    }
}

/// What a system call does that a signal interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupted {
    /// Goes on.
    Restarts,
    /// Fails with EINTR.
    Fails,
}

/// Installs `handler` for a signal.
pub(crate) fn handle_signal(
    signal: i32,
    handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void),
    interrupted: Interrupted,
) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    if interrupted == Interrupted::Restarts {
        action.sa_flags |= libc::SA_RESTART;
    }
    // SAFETY: the mask is a live value of the right type.
    unsafe { libc::sigemptyset(&raw mut action.sa_mask) };
    // SAFETY: `action` is complete; the handler's signature fits SA_SIGINFO.
    let code = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives a signal its default effect, or none.
pub(crate) fn ignore_signal(signal: i32, ignored: bool) {
    let disposition = if ignored { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: both dispositions are constants of the system, no handler is involved.
    unsafe { libc::signal(signal, disposition) };
}

/// The sender of a signal, inside its handler; 0 where there is none.
pub(crate) fn signal_sender(info: *mut libc::siginfo_t) -> i32 {
    if info.is_null() {
        return 0;
    }
    // SAFETY: the kernel passes a valid `siginfo_t` to a handler with SA_SIGINFO.
    unsafe { (*info).si_pid() }
}

/// Writes to a descriptor from inside a signal handler, keeping `errno`.
pub(crate) fn write_in_handler(descriptor: i32, bytes: &[u8]) {
    // SAFETY: `errno` is the thread's own; `write` is async-signal-safe, the pointer and length are of a live slice.
    // A full pipe drops the signal: dozens of them are pending then.
    unsafe {
        let errno = libc::__errno_location();
        let saved = *errno;
        libc::write(descriptor, bytes.as_ptr().cast(), bytes.len());
        *errno = saved;
    }
}

/// Numbers in memory that this process shares with all processes forked from it later.
pub(crate) struct SharedNumbers<T: Number = AtomicI32> {
    slots: &'static [T],
}

/// A number that several processes may change.
///
/// # Safety
/// All bytes zero are a value, changes are atomic, and the alignment is at most a page.
pub(crate) unsafe trait Number: 'static {}

// SAFETY: an atomic integer.
unsafe impl Number for AtomicI32 {}
// SAFETY: an atomic integer.
unsafe impl Number for AtomicU64 {}

impl<T: Number> SharedNumbers<T> {
    /// `count` zeros.
    pub(crate) fn new(count: usize) -> io::Result<Self> {
        let length = count * size_of::<T>();
        // SAFETY: an anonymous shared mapping of its own, at an address of the kernel's choice.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping is page-aligned, `length` bytes long, zeroed, and never unmapped.
        let slots = unsafe { std::slice::from_raw_parts(memory.cast::<T>(), count) };
        Ok(Self { slots })
    }

    pub(crate) fn slots(&self) -> &'static [T] {
        self.slots
    }
}

/// Sets a TCP option that takes a number.
pub(crate) fn set_tcp_option(socket: &impl AsRawFd, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the pointer and size are those of a live integer.
    let code = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets the scheduling priority of this process; an error number on failure.
pub(crate) fn set_priority(priority: i32) -> Result<(), i32> {
    // SAFETY: only integers are passed.
    let code = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, priority) };
    check(code)
}

/// A limit of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// Open files.
    Files,
    /// Size of a core file.
    Core,
}

impl Limit {
    const fn resource(self) -> libc::__rlimit_resource_t {
        match self {
            Self::Files => libc::RLIMIT_NOFILE,
            Self::Core => libc::RLIMIT_CORE,
        }
    }
}

/// Sets both the soft and the hard value of a limit; an error number on failure.
pub(crate) fn set_limit(limit: Limit, value: u64) -> Result<(), i32> {
    let both = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the pointer is to a live, complete structure.
    let code = unsafe { libc::setrlimit(limit.resource(), &raw const both) };
    check(code)
}

/// The soft and hard value of a limit.
pub(crate) fn limit(limit: Limit) -> (u64, u64) {
    let mut both = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live structure of the right type.
    unsafe { libc::getrlimit(limit.resource(), &raw mut both) };
    (both.rlim_cur, both.rlim_max)
}

/// Binds the process to the processors whose bit is on. A system that refuses leaves it where it was.
pub(crate) fn set_processors(mask: &[bool]) {
    let mut set = nix::sched::CpuSet::new();
    for (cpu, _) in mask.iter().enumerate().filter(|(_, on)| **on) {
        if set.set(cpu).is_err() {
            return;
        }
    }
    let _ = nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set);
}

fn check(code: i32) -> Result<(), i32> {
    if code == 0 { Ok(()) } else { Err(nix::errno::Errno::last_raw()) }
}

/// Waits until one of two descriptors is readable, a signal was handled, or the time is over.
pub(crate) fn wait_readable(one: BorrowedFd<'_>, other: Option<BorrowedFd<'_>>, timeout: Option<std::time::Duration>) {
    // One more millisecond, so that what is due then is due.
    let milliseconds = timeout.map_or(-1, |timeout| i32::try_from(timeout.as_millis() + 1).unwrap_or(i32::MAX));
    // A negative number is passed over.
    let mut entries = [one.as_raw_fd(), other.map_or(-1, |other| other.as_raw_fd())].map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    // SAFETY: the pointer is to two live entries. All three outcomes mean «look again» to the callers.
    unsafe { libc::poll(entries.as_mut_ptr(), 2, milliseconds) };
}

/// Gives an open file to a user; its group stays.
pub(crate) fn change_owner(descriptor: BorrowedFd<'_>, user: u32) -> io::Result<()> {
    // SAFETY: the descriptor is open; `-1` leaves the group alone.
    let code = unsafe { libc::fchown(descriptor.as_raw_fd(), user, libc::gid_t::MAX) };
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes over a descriptor that the parent process left open for this one. `None` when it is not open, or a
/// standard one.
pub(crate) fn adopt_descriptor(number: i32) -> Option<OwnedFd> {
    // SAFETY: only integers are passed.
    let open = number > 2 && unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } >= 0;
    // SAFETY: the descriptor is open, and its number came from the parent's list: nothing here owns it yet.
    open.then(|| unsafe { std::os::fd::FromRawFd::from_raw_fd(number) })
}

/// Gives free memory back to the system; whether there was any.
pub(crate) fn trim_memory() -> bool {
    super::allocator::clear_stock();
    // SAFETY: has no preconditions.
    unsafe { libc::malloc_trim(1) != 0 }
}
