//! Single keys from the terminal.
//!
//! While a [`Keys`] lives, the terminal gives each key at once, Ctrl-C among them, and doesn't show it; afterwards it
//! is as before.

use std::io::{IsTerminal as _, Read as _, Stdin};
use std::os::fd::AsFd as _;
use std::sync::mpsc::Sender;

use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};

/// The terminal in the mode for single keys.
pub(super) struct Keys {
    stdin: Stdin,
    before: Termios,
}

impl Keys {
    /// Changes the terminal's mode. `None` where stdin is no terminal.
    pub(super) fn open() -> Option<Self> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = tcgetattr(stdin.as_fd()).ok()?;
        let mut single = before.clone();
        single.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG);
        single.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
        single.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &single).ok()?;
        Some(Self { stdin, before })
    }

    /// Sends each key to `keys` from a thread of its own, which ends with the process.
    pub(super) fn send_to<T: Send + 'static>(&self, keys: Sender<T>, wrap: fn(u8) -> T) {
        // The lock on the input is not for other threads, so the thread takes it.
        let keep = self.stdin.as_fd().try_clone_to_owned();
        std::thread::spawn(move || {
            let Ok(stdin) = keep else { return };
            let mut stdin = std::fs::File::from(stdin);
            let mut key = [0];
            while stdin.read_exact(&mut key).is_ok() {
                let [byte] = key;
                if keys.send(wrap(byte)).is_err() {
                    return;
                }
            }
        });
    }

    /// Waits for a key; `None` at the end of the input.
    pub(super) fn next(&self) -> Option<u8> {
        let mut key = [0];
        self.stdin.lock().read_exact(&mut key).ok()?;
        key.first().copied()
    }
}

/// Ctrl-C, Ctrl-D, Escape.
pub(super) const ENDS: [u8; 3] = [3, 4, 27];

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = tcsetattr(self.stdin.as_fd(), SetArg::TCSANOW, &self.before);
    }
}
