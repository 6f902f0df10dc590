//! `disable_symlinks`: opening files without following links, or without following other people's.
//!
//! The parts of a path are opened one below the other, so that nobody can put a link where a folder was a moment ago.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open as open_path, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use rsty_diag::Diagnostic;

use super::file_status::{number, path};
use super::limit_zones::invalid_parameter;
use crate::conf::value::duplicate;
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{Merge, Scope};
use crate::http::request::Request;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    links: Option<Links>,
    from: Option<ComplexValue>,
}

/// Which links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Links {
    All,
    None,
    /// Those whose owner is that of what they lead to.
    OfOwner,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        if self.links.is_none() {
            self.links = outer.links;
            self.from.clone_from(&outer.from);
        }
        Ok(())
    }
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[Rule {
    name: "disable_symlinks",
    contexts: Contexts::HTTP_SERVER_LOCATION,
    args: Arity::Words(1, 2),
    apply: disable_symlinks,
}];

fn disable_symlinks(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    if scope.loc.disable_symlinks.links.is_some() {
        return Err(duplicate(directive));
    }
    for word in &directive.args {
        let links = match &*word.text {
            b"off" => Links::All,
            b"on" => Links::None,
            b"if_not_owner" => Links::OfOwner,
            text if text.starts_with(b"from=") => {
                let value = ComplexValue::compile(&mut scope.main.core.variables, &text[5..]);
                let value = value.map_err(|error| directive.error_at(word, "invalid_variable", error.to_string()))?;
                scope.loc.disable_symlinks.from = Some(value);
                continue;
            }
            _ => return Err(invalid_parameter(directive, word)),
        };
        scope.loc.disable_symlinks.links = Some(links);
    }
    let conf = &mut scope.loc.disable_symlinks;
    match (conf.links, &conf.from) {
        (None, _) => Err(directive
            .error("missing_value", "\"disable_symlinks\" must have \"off\", \"on\" or \"if_not_owner\" parameter")),
        (Some(Links::All), Some(_)) => {
            conf.from = None;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Opens a file for reading as the location allows. A pipe does not block.
pub(super) fn open(r: &Request, name: &[u8]) -> io::Result<File> {
    let name = c_text(name);
    match policy(r, name) {
        None => OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path(name)),
        Some((links, start)) => Ok(walk(name, start, links, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?.into()),
    }
}

/// A path as the system sees it: its end is the first NUL. Only a script can have put one there, knowingly; addresses
/// with one are refused before.
fn c_text(name: &[u8]) -> &[u8] {
    name.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// What a path leads to, as far as the location allows; an error is a number of the operating system.
pub(super) fn status(r: &Request, name: &[u8]) -> Result<Metadata, i32> {
    let name = c_text(name);
    match policy(r, name) {
        None => super::file_status::status(name),
        Some((links, start)) => {
            let found = walk(name, start, links, OFlag::O_PATH).map_err(|errno| errno as i32)?;
            File::from(found).metadata().map_err(|error| number(&error))
        }
    }
}

/// Which links may be followed in a path, and behind how many bytes; none when all may.
fn policy(r: &Request, name: &[u8]) -> Option<(Links, usize)> {
    let conf = &r.loc().disable_symlinks;
    let links = conf.links.filter(|links| *links != Links::All)?;
    let Some(from) = &conf.from else { return Some((links, 0)) };
    let from = from.eval(r);
    let from = from.strip_suffix(b"/").unwrap_or(&from);
    match name.strip_prefix(from) {
        Some(b"") => None,
        Some([b'/', ..]) => Some((links, from.len())),
        _ => Some((links, 0)),
    }
}

fn is_same(a: &FileStat, b: &FileStat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

/// Opens a path part by part; the bytes up to `start` as they are.
fn walk(name: &[u8], start: usize, links: Links, last: OFlag) -> nix::Result<OwnedFd> {
    let begin = match name.get(..start) {
        Some(begin) if !begin.is_empty() => path(begin),
        _ => path(b"/"),
    };
    let through = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let mut folder = open_path(begin, through | OFlag::O_DIRECTORY, Mode::empty())?;
    let mut parts = name.get(start..).unwrap_or_default().split(|&byte| byte == b'/').filter(|part| !part.is_empty());
    let Some(mut part) = parts.next() else { return Ok(folder) };
    loop {
        let next = parts.next();
        let found = openat(&folder, path(part), through | OFlag::O_NOFOLLOW, Mode::empty())?;
        let seen = fstat(&found)?;
        let is_link = SFlag::from_bits_truncate(seen.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFLNK;
        let (reached, seen) = if is_link {
            if links == Links::None {
                // On the way, a link is no folder.
                return Err(if next.is_some() { Errno::ENOTDIR } else { Errno::ELOOP });
            }
            let target = openat(&folder, path(part), through, Mode::empty())?;
            let behind = fstat(&target)?;
            if behind.st_uid != seen.st_uid {
                return Err(Errno::ELOOP);
            }
            (target, behind)
        } else {
            (found, seen)
        };
        let Some(next) = next else {
            if last == OFlag::O_PATH {
                return Ok(reached);
            }
            let follow = if is_link { OFlag::empty() } else { OFlag::O_NOFOLLOW };
            let opened = openat(&folder, path(part), last | follow | OFlag::O_CLOEXEC, Mode::empty())?;
            // What was opened must be what was looked at.
            return if is_same(&fstat(&opened)?, &seen) { Ok(opened) } else { Err(Errno::ELOOP) };
        };
        folder = reached;
        part = next;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_refused_wherever_they_stand_behind_the_start() {
        let folder = tempfile::tempdir().unwrap();
        // The temporary folder itself may lie behind a link.
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        std::fs::write(root.join("real/file"), "text").unwrap();
        symlink("real", root.join("folder")).unwrap();
        symlink("file", root.join("real/link")).unwrap();
        let read = |name: &str, start: usize, links| {
            let full = root.join(name);
            let bytes = full.as_os_str().as_bytes();
            let mut text = String::new();
            walk(bytes, start, links, OFlag::O_RDONLY)
                .map(|file| File::from(file).read_to_string(&mut text).map(|_| text).unwrap_or_default())
        };
        assert_eq!(read("real/file", 0, Links::None).as_deref(), Ok("text"));
        assert_eq!(read("real/link", 0, Links::None), Err(Errno::ELOOP));
        assert_eq!(read("folder/file", 0, Links::None), Err(Errno::ENOTDIR));
        let behind = root.join("folder").as_os_str().len();
        assert_eq!(read("folder/file", behind, Links::None).as_deref(), Ok("text"));
        assert_eq!(read("folder/link", 0, Links::OfOwner).as_deref(), Ok("text"));
        assert_eq!(read("real/none", 0, Links::None), Err(Errno::ENOENT));
    }

    #[test]
    fn a_file_that_becomes_a_link_while_it_is_opened_never_leads_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::write(root.join("secret"), "secret").unwrap();
        std::fs::create_dir(root.join("shown")).unwrap();
        let name = root.join("shown/file");
        std::fs::write(&name, "public").unwrap();
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let swapper = std::thread::spawn({
            let (root, name, stop) = (root.clone(), name.clone(), std::sync::Arc::clone(&stop));
            move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    symlink("../secret", root.join("shown/link")).unwrap();
                    std::fs::rename(root.join("shown/link"), &name).unwrap();
                    std::fs::write(root.join("shown/fresh"), "public").unwrap();
                    std::fs::rename(root.join("shown/fresh"), &name).unwrap();
                }
            }
        });
        let (mut read, mut refused) = (0, 0);
        let since = std::time::Instant::now();
        while (read < 50 || refused < 50) && since.elapsed().as_secs() < 20 {
            match walk(name.as_os_str().as_bytes(), 0, Links::None, OFlag::O_RDONLY) {
                Ok(file) => {
                    let mut text = String::new();
                    File::from(file).read_to_string(&mut text).unwrap();
                    assert_eq!(text, "public");
                    read += 1;
                }
                Err(error) => {
                    assert_eq!(error, Errno::ELOOP);
                    refused += 1;
                }
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        swapper.join().unwrap();
        assert!(read > 0 && refused > 0, "{read} read, {refused} refused");
    }
}
