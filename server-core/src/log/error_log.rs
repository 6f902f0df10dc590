//! Writing lines: `YYYY/MM/DD HH:MM:SS [level] PID#TID: *CONN MESSAGE (ERRNO: TEXT)SUFFIX`.

use std::cell::{Cell, RefCell};
use std::fmt::{Arguments, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use super::clock::error_log_time;
use super::file::LogFile;
use super::level::Level;
use super::syslog::Syslog;

/// The longest line with its line feed; longer ones are cut.
const LINE_MAX: usize = 4096;

/// What a request, a session or a timer adds to its lines.
pub trait LogContext {
    /// The connection's number, shown as `*N`; 0 shows nothing.
    fn connection(&self) -> u64;

    /// Appends what follows the message: ` while ACTION`, `, client: …`, `, server: …` and so on. Not asked
    /// for debug lines.
    fn describe(&self, out: &mut Vec<u8>);
}

/// Where lines go, and up to which level.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) level: Level,
    pub(super) sink: Sink,
}

#[derive(Clone, Debug)]
pub(super) enum Sink {
    File(Arc<LogFile>),
    Syslog(Arc<Syslog>),
}

/// The targets of one level of the configuration. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ErrorLog {
    level: Level,
    targets: Arc<[Target]>,
}

/// One line before it is written.
pub struct Entry<'a> {
    /// Its level.
    pub level: Level,
    /// The text; control characters are written as they are.
    pub message: &'a [u8],
    /// The error number of a failed system call.
    pub errno: Option<i32>,
    /// Who wrote it.
    pub context: Option<&'a dyn LogContext>,
}

/// A function that sees every line (`lua_capture_error_log`): level, and the line without its line feed.
pub type Capture = fn(Level, &[u8]);

thread_local! {
    static CAPTURE: Cell<Option<Capture>> = const { Cell::new(None) };
    static PROCESS_LOG: RefCell<Option<ErrorLog>> = const { RefCell::new(None) };
}

/// Whether lines up to `warn` are also shown on the standard error as `nginx: [level] message`, which nginx does
/// until the server runs in the background.
static CONSOLE: AtomicBool = AtomicBool::new(false);

/// The chattiest level of any log of this process.
static CHATTIEST: AtomicU8 = AtomicU8::new(0);

/// Whether some log of this process writes lines of this level. A question that costs nothing, to be asked before
/// looking for the log that a line belongs to.
#[inline]
pub fn is_written_anywhere(level: u8) -> bool {
    level <= CHATTIEST.load(Ordering::Relaxed)
}

/// Switches the copies on the standard error on or off.
pub fn set_console(on: bool) {
    CONSOLE.store(on, Ordering::Relaxed);
}

/// Sets or clears the log of this process: the top level's.
pub fn set_process_log(log: Option<ErrorLog>) {
    PROCESS_LOG.set(log);
}

/// Calls `write` with the log of this process, where there is one already.
pub(crate) fn with_process_log(write: impl FnOnce(&ErrorLog)) {
    let log = PROCESS_LOG.with_borrow(Option::clone);
    if let Some(log) = log {
        write(&log);
    }
}

/// Sets or clears the function that sees this thread's lines.
pub fn set_capture(capture: Option<Capture>) {
    CAPTURE.set(capture);
}

impl ErrorLog {
    /// A log with one file.
    pub fn to_file(file: Arc<LogFile>, level: Level) -> Self {
        Self::new(vec![Target { level, sink: Sink::File(file) }])
    }

    /// A log on the standard error.
    pub fn to_stderr(level: Level) -> Self {
        Self::to_file(LogFile::stderr(), level)
    }

    pub(super) fn new(targets: Vec<Target>) -> Self {
        let level = targets.iter().map(|target| target.level).max().unwrap_or(Level::Stderr);
        CHATTIEST.fetch_max(level as u8, Ordering::Relaxed);
        Self { level, targets: targets.into() }
    }

    /// The targets of `self` that are files, with one level for all.
    pub(super) fn files(&self, level: Level) -> impl Iterator<Item = Target> + '_ {
        let files = self.targets.iter().filter(|target| matches!(target.sink, Sink::File(_)));
        files.cloned().map(move |target| Target { level, ..target })
    }

    /// The same targets with one level for all (`ngx.errlog.set_filter_level` and `-t` need it).
    #[must_use]
    pub fn with_level(&self, level: Level) -> Self {
        Self::new(self.targets.iter().cloned().map(|target| Target { level, ..target }).collect())
    }

    /// Whether lines of this level go anywhere.
    #[inline]
    pub fn enabled(&self, level: Level) -> bool {
        level <= self.level
    }

    /// The chattiest level that any target writes.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The descriptor of the first open file among the targets.
    pub(crate) fn first_file(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.targets.iter().find_map(|target| match &target.sink {
            Sink::File(file) => file.descriptor(),
            Sink::Syslog(_) => None,
        })
    }

    /// Writes a line without context.
    #[cold]
    pub fn write(&self, level: Level, message: Arguments<'_>) {
        self.write_for(None, level, None, message);
    }

    /// Writes a line about a failed system call.
    #[cold]
    pub fn write_errno(&self, level: Level, errno: i32, message: Arguments<'_>) {
        self.write_for(None, level, Some(errno), message);
    }

    /// Writes a line with everything that is known about it.
    #[cold]
    pub fn write_for(
        &self,
        context: Option<&dyn LogContext>,
        level: Level,
        errno: Option<i32>,
        message: Arguments<'_>,
    ) {
        if !self.enabled(level) {
            return;
        }
        match message.as_str() {
            Some(text) => self.write_entry(&Entry { level, message: text.as_bytes(), errno, context }),
            None => {
                let mut text = String::with_capacity(128);
                // Formatting into a string fails only when a `Display` lies about itself.
                let _ = text.write_fmt(message);
                self.write_entry(&Entry { level, message: text.as_bytes(), errno, context });
            }
        }
    }

    /// Writes a line whose message is bytes.
    #[cold]
    pub fn write_entry(&self, entry: &Entry<'_>) {
        if !self.enabled(entry.level) {
            return;
        }
        let mut line = Vec::with_capacity((entry.message.len() + 160).min(LINE_MAX + 64));
        line.extend_from_slice(&error_log_time());
        line.extend_from_slice(b" [");
        line.extend_from_slice(entry.level.word().as_bytes());
        line.extend_from_slice(b"] ");
        let mut number = itoa::Buffer::new();
        let process = crate::process::pid();
        line.extend_from_slice(number.format(process).as_bytes());
        line.push(b'#');
        line.extend_from_slice(number.format(process).as_bytes());
        line.extend_from_slice(b": ");
        if let Some(connection) = entry.context.map(LogContext::connection).filter(|number| *number != 0) {
            line.push(b'*');
            line.extend_from_slice(number.format(connection).as_bytes());
            line.push(b' ');
        }
        let message = line.len();
        line.extend_from_slice(entry.message.get(..LINE_MAX).unwrap_or(entry.message));
        if let Some(errno) = entry.errno {
            push_errno(&mut line, errno);
        }
        if let (Some(context), true) = (entry.context, entry.level != Level::Debug) {
            context.describe(&mut line);
        }
        line.truncate(LINE_MAX - 1);
        if let Some(capture) = CAPTURE.get() {
            // Taken out while it runs: what it writes itself is not captured.
            CAPTURE.set(None);
            capture(entry.level, &line);
            CAPTURE.set(Some(capture));
        }
        if crate::dev::is_on() {
            crate::dev::remember(entry.level, &line);
        }
        line.push(b'\n');
        self.deliver(entry.level, &line, message);
    }

    fn deliver(&self, level: Level, line: &[u8], message: usize) {
        let mut shown = false;
        for target in self.targets.iter().filter(|target| level <= target.level) {
            match &target.sink {
                Sink::File(file) => {
                    // A log that can't be written has nowhere to complain.
                    let _ = file.append(line);
                    shown |= file.path().is_none();
                }
                Sink::Syslog(syslog) => syslog.send(level, line),
            }
        }
        if level <= Level::Warn && !shown && crate::dev::is_on() {
            let _ = nix::unistd::write(crate::process::stderr_descriptor(), line);
        } else if level <= Level::Warn && !shown && CONSOLE.load(Ordering::Relaxed) {
            let mut text = format!("nginx: [{}] ", level.word()).into_bytes();
            text.extend_from_slice(line.get(message..).unwrap_or_default());
            let _ = nix::unistd::write(crate::process::stderr_descriptor(), &text);
        }
    }
}

/// The system library's words for one of its error numbers.
pub fn errno_text(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// ` (NUMBER: text)`, with room kept for it in an overlong line.
fn push_errno(line: &mut Vec<u8>, errno: i32) {
    if line.len() > LINE_MAX - 50 {
        line.truncate(LINE_MAX - 50);
        line.extend_from_slice(b"...");
    }
    let text = errno_text(errno);
    line.extend_from_slice(format!(" ({errno}: {text})").as_bytes());
}

/// Writes a line when its level is on: `log_at!(log, Level::Error, "x {y}")`, and with a context (anything that is
/// [`LogContext`](crate::log::LogContext)) `log_at!(log, Level::Info, for r, "x {y}")`. Arguments are not evaluated
/// otherwise.
#[macro_export]
macro_rules! log_at {
    ($log:expr, $level:expr, for $context:expr, $($text:tt)+) => {{
        let log: &$crate::log::ErrorLog = &$log;
        if log.enabled($level) {
            ::std::hint::cold_path();
            log.write_for(Some($context), $level, None, format_args!($($text)+));
        }
    }};
    ($log:expr, $level:expr, $($text:tt)+) => {{
        let log: &$crate::log::ErrorLog = &$log;
        if log.enabled($level) {
            ::std::hint::cold_path();
            log.write($level, format_args!($($text)+));
        }
    }};
}

/// [`log_at!`](crate::log_at) at the debug level.
#[macro_export]
macro_rules! log_debug {
    ($log:expr, $($text:tt)+) => { $crate::log_at!($log, $crate::log::Level::Debug, $($text)+) };
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Client;

    impl LogContext for Client {
        fn connection(&self) -> u64 {
            7
        }

        fn describe(&self, out: &mut Vec<u8>) {
            out.extend_from_slice(b" while reading, client: 127.0.0.1");
        }
    }

    fn lines(level: Level, write: impl Fn(&ErrorLog)) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = LogFile::at(folder.path().join("e.log"));
        file.open().unwrap();
        write(&ErrorLog::to_file(Arc::clone(&file), level));
        let text = std::fs::read(folder.path().join("e.log")).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }

    fn after_time(line: &str) -> String {
        let pid = std::process::id();
        line[20..].replace(&format!("{pid}#{pid}"), "P#T")
    }

    #[test]
    fn a_line_has_nginx_form() {
        let text = lines(Level::Debug, |log| log.write(Level::Notice, format_args!("start {}", 1)));
        assert_eq!(after_time(&text), "[notice] P#T: start 1\n");
    }

    #[test]
    fn a_log_server_gets_the_whole_line() {
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = receiver.local_addr().unwrap().port();
        let syslog = Syslog::parse(&format!("syslog:server=127.0.0.1:{port},nohostname")).unwrap();
        let sink = Sink::Syslog(Arc::new(syslog));
        ErrorLog::new(vec![Target { level: Level::Error, sink }]).write(Level::Error, format_args!("broken"));
        let mut buffer = [0; 200];
        let length = receiver.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]);
        assert!(text.contains(" nginx: 2") && text.contains(" [error] ") && text.ends_with(": broken"), "{text}");
    }

    #[test]
    fn errno_precedes_the_context() {
        let text = lines(Level::Debug, |log| {
            log.write_for(Some(&Client), Level::Error, Some(2), format_args!("open() \"x\" failed"));
        });
        let expected = "[error] P#T: *7 open() \"x\" failed (2: No such file or directory) \
                        while reading, client: 127.0.0.1\n";
        assert_eq!(after_time(&text), expected);
    }

    #[test]
    fn debug_lines_have_the_connection_but_no_suffix() {
        let text = lines(Level::Debug, |log| log_debug!(log, for &Client, "posted"));
        assert_eq!(after_time(&text), "[debug] P#T: *7 posted\n");
    }

    fn evaluated() -> u32 {
        panic!("filtered lines are not evaluated")
    }

    #[test]
    fn a_level_above_the_log_is_not_formatted() {
        let text = lines(Level::Error, |log| {
            log_at!(log, Level::Warn, "{}", evaluated());
        });
        assert_eq!(text, "");
    }

    #[test]
    fn an_overlong_line_is_cut_at_4096_bytes() {
        let long = "x".repeat(5000);
        let text = lines(Level::Error, |log| log.write(Level::Error, format_args!("{long}")));
        assert_eq!(text.len(), 4096);
        assert!(text.ends_with("x\n"));
        let text = lines(Level::Error, |log| log.write_errno(Level::Error, 2, format_args!("{long}")));
        assert!(text.ends_with("x... (2: No such file or directory)\n"), "{}", &text[4000..]);
    }
}
