//! System calls that a signal has cut short.

use std::io;

/// Repeats a call until no signal has cut it short.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_signals_make_a_call_come_again() {
        let mut calls = 0;
        let read = uninterrupted(|| {
            calls += 1;
            if calls < 3 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(calls) }
        });
        assert_eq!(read.ok(), Some(3));
        let blocked = uninterrupted(|| Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        assert_eq!(blocked.err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
    }
}
