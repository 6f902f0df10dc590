//! Where access log lines go: files, buffered or not, paths with variables, syslog.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write as _};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::http::complex_value::ComplexValue;
use crate::http::path;
use crate::http::request::Request;
use crate::log::{Level, LogFile, Syslog};

/// One destination.
pub(crate) enum Target {
    /// A file that was opened at the start.
    File(Arc<LogFile>),
    /// A file that gets many lines at once.
    Buffered(Rc<Buffered>),
    /// A file whose path depends on the request.
    Path(ComplexValue),
    /// A syslog server.
    Syslog(Arc<Syslog>),
}

/// A file with a buffer in front of it, one per worker.
pub(crate) struct Buffered {
    file: Arc<LogFile>,
    limit: usize,
    flush: Option<Duration>,
    gzip: Option<u32>,
    pending: RefCell<Vec<u8>>,
}

thread_local! {
    static BUFFERED: RefCell<Vec<Weak<Buffered>>> = const { RefCell::new(Vec::new()) };
}

/// Writes what buffers hold: the worker exits, or the files are reopened.
pub(crate) fn flush_all() {
    let known = BUFFERED.with_borrow(Clone::clone);
    for buffered in known.iter().filter_map(Weak::upgrade) {
        buffered.write_out();
    }
}

impl Buffered {
    /// A buffer of `limit` bytes; without a `flush` time, lines may wait for long.
    pub(crate) fn new(file: Arc<LogFile>, limit: usize, flush: Option<Duration>, gzip: Option<u32>) -> Rc<Self> {
        let buffered = Rc::new(Self { file, limit, flush, gzip, pending: RefCell::new(Vec::new()) });
        BUFFERED.with_borrow_mut(|known| known.push(Rc::downgrade(&buffered)));
        buffered
    }

    fn append(self: &Rc<Self>, line: &[u8]) {
        let held = self.pending.borrow().len();
        if held > 0 && held + line.len() > self.limit {
            self.write_out();
        }
        if line.len() > self.limit {
            self.write(line);
            return;
        }
        let was_empty = {
            let mut pending = self.pending.borrow_mut();
            let was_empty = pending.is_empty();
            pending.extend_from_slice(line);
            was_empty
        };
        if was_empty && let Some(flush) = self.flush {
            let this = Rc::clone(self);
            tokio::task::spawn_local(async move {
                tokio::time::sleep(flush).await;
                this.write_out();
            });
        }
    }

    fn write_out(&self) {
        let mut pending = self.pending.borrow_mut();
        if !pending.is_empty() {
            self.write(&pending);
            pending.clear();
        }
    }

    fn write(&self, bytes: &[u8]) {
        // A log that can't be written has nowhere to complain but the error log, which tells once a file.
        let _ = match self.gzip {
            None => self.file.append(bytes),
            Some(level) => compress(bytes, level).and_then(|packed| self.file.append(&packed)),
        };
    }
}

fn compress(bytes: &[u8], level: u32) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::new(level));
    encoder.write_all(bytes)?;
    encoder.finish()
}

impl Target {
    /// Writes a line with its line feed.
    pub(crate) fn write(&self, r: &Request, line: &[u8]) {
        match self {
            Self::File(file) => {
                if let Err(error) = file.append(line) {
                    let name = file.path().map(|path| path.display().to_string()).unwrap_or_default();
                    let errno = error.raw_os_error().unwrap_or(0);
                    r.log_errno(Level::Alert, errno, format_args!("write() to \"{name}\" failed"));
                }
            }
            Self::Buffered(buffered) => buffered.append(line),
            Self::Path(value) => write_to_path(r, &value.eval(r), line),
            Self::Syslog(syslog) => syslog.send_line(line),
        }
    }
}

fn write_to_path(r: &Request, name: &Bytes, line: &[u8]) {
    let full = path::absolute_path(r, name);
    let written = File::options().append(true).create(true).open(&full).and_then(|mut file| file.write_all(line));
    if let Err(error) = written {
        let errno = error.raw_os_error().unwrap_or(0);
        r.log_errno(Level::Crit, errno, format_args!("open() \"{}\" failed", full.display()));
    }
}
