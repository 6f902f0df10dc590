//! A script of the configuration: code between braces, or a file whose path may contain variables.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::apps;
use crate::http::{ComplexValue, Request};
use crate::lua::code::{self, Cache, Inline, LoadError, Place};
use crate::lua::{Session, Vm};

/// Code for a phase of a request.
#[derive(Debug)]
pub enum Script {
    /// A file.
    File(FileScript),
    /// Code of the configuration.
    Inline(Inline),
}

/// A file whose path is known when the request is.
#[derive(Debug)]
pub struct FileScript {
    /// The path as written.
    pub path: ComplexValue,
    /// Where relative paths start.
    pub prefix: PathBuf,
    /// The file's place in the code cache, when its path is a constant.
    pub cached: Option<code::File>,
}

impl FileScript {
    /// A file by its path.
    pub fn new(path: ComplexValue, prefix: PathBuf) -> Self {
        let cached = path.constant().map(|path| code::File::new(path));
        Self { path, prefix, cached }
    }
}

impl Script {
    /// Pushes the compiled function onto the VM's main state; failures are logged.
    pub fn push(&self, vm: &Rc<Vm>, r: &Rc<Request>, cache: Cache) -> Result<(), LoadError> {
        let session: &dyn Session = &**r;
        let space = apps::enter(vm, r);
        let place = Place { vm, space: space.as_deref(), cache };
        match self {
            Self::Inline(inline) => inline.push(place, session),
            Self::File(file) => {
                let path = file.path.eval(r);
                let full = full_path(&file.prefix, &path);
                let full = full.as_os_str().as_bytes();
                match &file.cached {
                    Some(cached) => cached.push(place, full, session),
                    None => code::File::new(full).push(place, full, session),
                }
            }
        }
    }
}

/// A path, from the server's prefix when it is relative.
pub fn full_path(prefix: &Path, path: &[u8]) -> PathBuf {
    prefix.join(Path::new(std::ffi::OsStr::from_bytes(path)))
}
