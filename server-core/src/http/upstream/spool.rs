//! What waits for a client that takes less than the server sends: memory first, then a temporary file.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use bytes::Bytes;

use super::conf::{Conf, TempPath};
use super::relay::chain_of;
use crate::http::code::Code;
use crate::http::output::Chain;
use crate::http::request::Request;
use crate::log::Level;

/// A piece that waits.
enum Piece {
    Memory(Bytes),
    /// A part of the file, from a start to an end.
    File(u64, u64),
}

/// What waits, in order.
pub(super) struct Backlog {
    pieces: VecDeque<Piece>,
    in_memory: u64,
    in_file: u64,
    memory_max: u64,
    file_max: u64,
    path: Option<TempPath>,
    file: Option<Spool>,
}

/// A temporary file. It has no name any more, so nothing is left of it when it is closed.
struct Spool {
    file: File,
    len: u64,
}

/// Bytes of the file that are read at once.
const STEP: u64 = 32 * 1024;

impl Backlog {
    /// Nothing yet; the limits are those of the configuration.
    pub(super) fn new(conf: &Conf) -> Self {
        Self {
            pieces: VecDeque::new(),
            in_memory: 0,
            in_file: 0,
            memory_max: (conf.buffers.count * conf.buffers.size) as u64,
            file_max: *conf.max_temp_file_size as u64,
            path: (*conf.temp_path).clone(),
            file: None,
        }
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> u64 {
        self.in_memory + self.in_file
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes that memory still takes.
    pub(super) fn room(&self) -> usize {
        usize::try_from(self.memory_max.saturating_sub(self.in_memory)).unwrap_or(usize::MAX)
    }

    /// Whether more may be read.
    pub(super) fn has_room(&self) -> bool {
        let spooled = self.file.as_ref().map_or(0, |spool| spool.len);
        self.in_memory < self.memory_max || (self.path.is_some() && spooled < self.file_max)
    }

    /// Appends bytes. A file that can't be written is logged.
    pub(super) fn push(&mut self, r: &Request, bytes: Bytes) -> Result<(), ()> {
        let length = bytes.len() as u64;
        let spools = self.in_file > 0 || self.in_memory + length > self.memory_max;
        if spools && self.file_max > 0 && self.path.is_some() {
            return self.spool(r, &bytes).map_err(|error| {
                let errno = error.raw_os_error().unwrap_or(0);
                r.log_errno(Level::Crit, errno, format_args!("an upstream response could not be written to a file"));
            });
        }
        self.in_memory += length;
        self.pieces.push_back(Piece::Memory(bytes));
        Ok(())
    }

    fn spool(&mut self, r: &Request, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            let path = self.path.as_ref().ok_or(io::ErrorKind::NotFound)?;
            let (file, name) = create(path)?;
            let name = name.display();
            r.log(Level::Warn, format_args!("an upstream response is buffered to a temporary file {name}"));
            self.file = Some(Spool { file, len: 0 });
        }
        let Some(spool) = &mut self.file else { return Ok(()) };
        let start = spool.len;
        spool.file.write_all_at(bytes, start)?;
        spool.len += bytes.len() as u64;
        self.in_file += bytes.len() as u64;
        match self.pieces.back_mut() {
            Some(Piece::File(_, end)) => *end = spool.len,
            _ => self.pieces.push_back(Piece::File(start, spool.len)),
        }
        Ok(())
    }

    /// Takes the next piece. A file that can't be read is logged.
    pub(super) fn pop(&mut self, r: &Request, flush: bool) -> Result<Option<Chain>, Code> {
        match self.pieces.pop_front() {
            None => Ok(None),
            Some(Piece::Memory(bytes)) => {
                self.in_memory -= bytes.len() as u64;
                Ok(Some(chain_of(bytes, flush)))
            }
            Some(Piece::File(start, end)) => {
                let length = (end - start).min(STEP);
                let mut bytes = vec![0; length as usize];
                let Some(spool) = &mut self.file else { return Err(Code::ERROR) };
                if let Err(error) = spool.file.read_exact_at(&mut bytes, start) {
                    let errno = error.raw_os_error().unwrap_or(0);
                    r.log_errno(Level::Crit, errno, format_args!("pread() of a temporary file failed"));
                    return Err(Code::ERROR);
                }
                self.in_file -= length;
                if start + length < end {
                    self.pieces.push_front(Piece::File(start + length, end));
                } else if self.in_file == 0 {
                    // All of it has been passed on: it begins anew.
                    spool.len = 0;
                }
                Ok(Some(chain_of(bytes.into(), flush)))
            }
        }
    }
}

thread_local! {
    static NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// Makes a temporary file that has lost its name already, and tells which one it had.
fn create(path: &TempPath) -> io::Result<(File, PathBuf)> {
    for _ in 0..100 {
        let number = NUMBER.get() + 1;
        NUMBER.set(number);
        let name = temp_name(path, number);
        if let Some(folder) = name.parent() {
            std::fs::create_dir_all(folder)?;
        }
        match File::options().read(true).write(true).create_new(true).open(&name) {
            Ok(file) => {
                std::fs::remove_file(&name)?;
                return Ok((file, name));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// The name of a temporary file: its number, below folders named by the number's last digits.
pub(crate) fn temp_name(path: &TempPath, number: u64) -> PathBuf {
    let digits = format!("{:05}{number:010}", std::process::id() % 100_000);
    let mut folder = path.folder.clone();
    let mut end = digits.len();
    for level in path.levels.iter().take_while(|level| **level > 0) {
        let start = end.saturating_sub(*level);
        folder.push(digits.get(start..end).unwrap_or_default());
        end = start;
    }
    folder.join(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_by_the_last_digits() {
        let path = TempPath { folder: "/tmp".into(), levels: [1, 2, 0] };
        let name = temp_name(&path, 123);
        assert!(name.starts_with("/tmp/3/12"), "{}", name.display());
    }
}
