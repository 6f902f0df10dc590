//! What waits to be sent: small pieces gathered in one buffer, large ones by reference, files by range.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use bytes::Bytes;

use super::output::Data;

/// Pieces up to this size are copied.
const COPY_MAX: usize = 2048;
/// Bytes of a file that are read at once.
const FILE_STEP: usize = 64 * 1024;
/// Pieces that are written at once.
const PIECES_MAX: usize = 32;

thread_local! {
    /// What is being sent of a file.
    static FILE_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug)]
enum Piece {
    /// This many bytes of the shared buffer.
    Copied(usize),
    Shared(Bytes),
    File {
        file: Rc<File>,
        start: u64,
        end: u64,
    },
}

/// Output that waits for the socket.
#[derive(Debug, Default)]
pub(crate) struct OutputQueue {
    /// Copied pieces, behind each other; those before `copied_start` are sent.
    copied: Vec<u8>,
    copied_start: usize,
    pieces: VecDeque<Piece>,
    len: u64,
}

/// What one attempt to send achieved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Bytes sent.
    pub(crate) bytes: u64,
    /// The socket takes no more now.
    pub(crate) blocked: bool,
}

impl OutputQueue {
    pub(crate) fn push(&mut self, data: Data) {
        match data {
            Data::None => {}
            Data::Bytes(bytes) if bytes.len() <= COPY_MAX => self.push_slice(&bytes),
            Data::Bytes(bytes) => {
                self.len += bytes.len() as u64;
                self.pieces.push_back(Piece::Shared(bytes));
            }
            Data::File { file, start, end } if start < end => {
                self.len += end - start;
                self.pieces.push_back(Piece::File { file, start, end });
            }
            Data::File { .. } => {}
        }
    }

    pub(crate) fn push_slice(&mut self, bytes: &[u8]) {
        self.push_with(|copied| copied.extend_from_slice(bytes));
    }

    /// Lets `write` append to the shared buffer; says how much it was.
    pub(crate) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let before = self.copied.len();
        write(&mut self.copied);
        let added = self.copied.len() - before;
        if added > 0 {
            self.len += added as u64;
            match self.pieces.back_mut() {
                Some(Piece::Copied(length)) => *length += added,
                _ => self.pieces.push_back(Piece::Copied(added)),
            }
        }
        added
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Forgets everything; says how much it was.
    pub(crate) fn discard(&mut self) -> u64 {
        self.pieces.clear();
        self.forget_copied();
        std::mem::take(&mut self.len)
    }

    /// Writes until nothing is left, the limit is reached or the writer would block.
    pub(crate) fn send(
        &mut self,
        limit: u64,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<Sent> {
        let mut sent = Sent { bytes: 0, blocked: false };
        while self.len > 0 && sent.bytes < limit {
            let step = self.write_some(limit - sent.bytes, &mut write);
            match step {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    sent.bytes += written as u64;
                    self.advance(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    sent.blocked = true;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    fn write_some(
        &mut self,
        limit: u64,
        write: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut left = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut copied = self.copied_start;
        let mut of_file = Vec::new();
        let mut slices = smallvec::SmallVec::<[IoSlice<'_>; 4]>::new();
        for piece in self.pieces.iter().take(PIECES_MAX) {
            let bytes = match piece {
                Piece::Copied(length) => {
                    copied += length;
                    &self.copied[copied - length..copied]
                }
                Piece::Shared(bytes) => &bytes[..],
                Piece::File { file, start, end } => {
                    // There is one buffer for files; what the socket does not take of it is read again.
                    of_file = FILE_BUFFER.take();
                    of_file.resize(FILE_STEP, 0);
                    let length = usize::try_from(end - start).unwrap_or(left).min(left).min(FILE_STEP);
                    let read = file.read_at(&mut of_file[..length], *start)?;
                    if read == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    slices.push(IoSlice::new(&of_file[..read]));
                    break;
                }
            };
            let bytes = &bytes[..bytes.len().min(left)];
            left -= bytes.len();
            slices.push(IoSlice::new(bytes));
            if left == 0 {
                break;
            }
        }
        let written = write(&slices);
        drop(slices);
        if !of_file.is_empty() {
            FILE_BUFFER.set(of_file);
        }
        written
    }

    fn advance(&mut self, written: usize) {
        self.len = self.len.saturating_sub(written as u64);
        let mut left = written;
        while left > 0 {
            let Some(piece) = self.pieces.front_mut() else { break };
            let taken = match piece {
                Piece::Copied(length) => {
                    let taken = left.min(*length);
                    *length -= taken;
                    self.copied_start += taken;
                    if *length > 0 {
                        break;
                    }
                    taken
                }
                Piece::Shared(bytes) => {
                    let taken = left.min(bytes.len());
                    bytes::Buf::advance(bytes, taken);
                    if !bytes.is_empty() {
                        break;
                    }
                    taken
                }
                Piece::File { start, end, .. } => {
                    let taken = left.min(usize::try_from(*end - *start).unwrap_or(left));
                    *start += taken as u64;
                    if start < end {
                        break;
                    }
                    taken
                }
            };
            left -= taken;
            self.pieces.pop_front();
        }
        if self.pieces.is_empty() {
            self.forget_copied();
        }
    }

    fn forget_copied(&mut self) {
        self.copied.clear();
        self.copied_start = 0;
        if self.copied.capacity() > FILE_STEP {
            self.copied.shrink_to(COPY_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(slices: &[IoSlice<'_>]) -> Vec<u8> {
        slices.iter().flat_map(|slice| slice.iter().copied()).collect()
    }

    fn drain(queue: &mut OutputQueue, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        let sent = queue.send(u64::MAX, |slices| {
            let joined = joined(slices);
            let taken = joined.len().min(step);
            all.extend_from_slice(&joined[..taken]);
            Ok(taken)
        });
        assert_eq!(sent.unwrap().bytes, all.len() as u64);
        all
    }

    #[test]
    fn order_survives_partial_writes() {
        for step in [1, 3, 1000, usize::MAX] {
            let mut queue = OutputQueue::default();
            queue.push_slice(b"head ");
            queue.push(Data::Bytes(Bytes::from(vec![b'x'; COPY_MAX + 1])));
            queue.push_slice(b" tail");
            let expected = [b"head ".as_slice(), &vec![b'x'; COPY_MAX + 1], b" tail"].concat();
            assert_eq!(drain(&mut queue, step), expected);
            assert!(queue.is_empty());
        }
    }

    #[test]
    fn a_head_and_a_file_leave_together() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"0123456789").unwrap();
        let mut queue = OutputQueue::default();
        queue.push_slice(b"head ");
        queue.push(Data::File { file: Rc::new(file), start: 2, end: 9 });
        queue.push_slice(b" tail");
        let mut writes = Vec::new();
        let sent = queue.send(u64::MAX, |slices| {
            // The socket takes three bytes less than it is offered, once.
            let all = joined(slices);
            let taken = if writes.is_empty() { all.len() - 3 } else { all.len() };
            writes.push(String::from_utf8_lossy(&all[..taken]).into_owned());
            Ok(taken)
        });
        assert_eq!(sent.unwrap().bytes, 17);
        assert_eq!(writes, ["head 2345", "678", " tail"]);
    }

    #[test]
    fn a_limit_stops_in_the_middle() {
        let mut queue = OutputQueue::default();
        queue.push_slice(b"abcdef");
        let mut all = Vec::new();
        let sent = queue.send(4, |slices| {
            all.extend_from_slice(&joined(slices));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        });
        assert_eq!((sent.unwrap().bytes, queue.len(), all.as_slice()), (4, 2, b"abcd".as_slice()));
    }
}
