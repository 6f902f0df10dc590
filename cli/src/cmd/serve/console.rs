//! The terminal of `rsty serve --watch`: keys, and what became of the configuration.

use std::io::{IsTerminal, Stdin};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use rsty_diag::Diagnostic;
use rsty_diag::render::{self, Style};
use rsty_server_core::cycle::Cycle;
use rsty_server_core::process::{Console, Wish};

use super::quick;
use crate::ui;

/// What the keys do.
pub(super) const HELP: &str = "Keys: r reload, u addresses, o open in the browser, c clear, q quit\n";

/// Takes the terminal over, if there is one.
pub(super) fn open(conf_file: PathBuf) -> Box<dyn Console> {
    let input = std::io::stdin();
    let before = take_keyboard(&input);
    Box::new(Terminal { owner: std::process::id(), input, before, conf_file, urls: Vec::new() })
}

struct Terminal {
    /// The process that has to give the terminal back: a worker is a copy of it.
    owner: u32,
    input: Stdin,
    /// The terminal's settings before; `None` when the standard input is none.
    before: Option<Termios>,
    conf_file: PathBuf,
    urls: Vec<String>,
}

/// Makes single keys readable without an echo. Signals by keys stay.
fn take_keyboard(input: &Stdin) -> Option<Termios> {
    if !input.is_terminal() {
        return None;
    }
    let before = tcgetattr(input).ok()?;
    let mut settings = before.clone();
    settings.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
    settings.control_chars[SpecialCharacterIndices::VMIN as usize] = 0;
    settings.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
    tcsetattr(input, SetArg::TCSANOW, &settings).ok()?;
    Some(before)
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = self.before.as_ref().filter(|_| self.owner == std::process::id()) {
            // A terminal that is gone needs no settings.
            let _ = tcsetattr(&self.input, SetArg::TCSANOW, before);
        }
    }
}

impl Console for Terminal {
    fn input(&self) -> Option<BorrowedFd<'_>> {
        self.before.is_some().then(|| self.input.as_fd())
    }

    fn wishes(&mut self) -> Vec<Wish> {
        if self.before.is_none() {
            return Vec::new();
        }
        let mut keys = [0; 16];
        let count = nix::unistd::read(&self.input, &mut keys).unwrap_or(0);
        let keys = keys.get(..count).unwrap_or_default().to_vec();
        keys.into_iter().filter_map(|key| self.press(key)).collect()
    }

    fn started(&mut self, cycle: &Cycle) {
        self.urls = urls(cycle);
    }

    fn reloaded(&mut self, cycle: &Cycle) {
        self.urls = urls(cycle);
        ui::talk(&format!("reloaded {}\n", self.conf_file.display()));
    }

    fn refused(&mut self, diagnostic: Option<&Diagnostic>) {
        match diagnostic {
            Some(diagnostic) => ui::talk(&format!("{}\n", render::full(diagnostic, Style::Coloured))),
            None => ui::talk("init_by_lua failed, see above\n"),
        }
        ui::warning("the old configuration goes on");
    }
}

impl Terminal {
    fn press(&mut self, key: u8) -> Option<Wish> {
        match key {
            b'r' => return Some(Wish::Reload),
            b'q' => return Some(Wish::Quit),
            b'u' => self.urls.iter().for_each(|url| ui::talk(&format!("{url}\n"))),
            b'o' => self.open_browser(),
            b'c' => ui::talk("\x1b[2J\x1b[H"),
            b'h' | b'?' => ui::talk(HELP),
            _ => {}
        }
        None
    }

    fn open_browser(&self) {
        let Some(url) = self.urls.first() else { return };
        let program = std::env::var_os("BROWSER").unwrap_or_else(|| "xdg-open".into());
        let quiet =
            Command::new(&program).arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        if let Err(error) = quiet {
            ui::warning(&format!("failed to start {}: {error}", program.to_string_lossy()));
        }
    }
}

/// The addresses as a browser takes them.
fn urls(cycle: &Cycle) -> Vec<String> {
    cycle.conf.listen.iter().map(|spec| quick::url(&spec.address)).collect()
}
