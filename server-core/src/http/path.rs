//! From the path of a request to a path of the file system: `root` and `alias`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::request::Request;

/// A path of the file system, and where the part that came from the request begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The whole path.
    pub path: Vec<u8>,
    /// The length of `root`'s or `alias`'s part.
    pub root: usize,
}

impl Mapped {
    /// As the standard library wants it.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }
}

/// How `alias` takes part in a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alias {
    /// `root`: the whole path of the request follows.
    #[default]
    None,
    /// `alias` in a prefix location: what is behind the location's name follows.
    Prefix(usize),
    /// `alias` in a regular expression's location: it is the whole path.
    Whole,
}

/// How `alias` takes part here.
pub fn alias(r: &Request) -> Alias {
    r.loc().core.alias
}

/// The path of `root` or `alias` alone, absolute.
pub fn root(r: &Request) -> Vec<u8> {
    absolute(r, r.loc().core.root.eval(r).to_vec())
}

/// The file that the request's path names (`ngx_http_map_uri_to_path`).
pub fn map_uri(r: &Request) -> Mapped {
    let mut path = root(r);
    let root = path.len();
    let uri = r.uri.get();
    let behind = match alias(r) {
        Alias::None => 0,
        Alias::Prefix(length) => length.min(uri.len()),
        Alias::Whole if r.add_uri_to_alias.get() => 0,
        Alias::Whole => uri.len(),
    };
    path.extend_from_slice(&uri[behind..]);
    Mapped { path, root }
}

/// A path made absolute from the prefix of the server.
pub fn absolute(r: &Request, path: Vec<u8>) -> Vec<u8> {
    if path.starts_with(b"/") {
        return path;
    }
    let mut full = r.loc().core.prefix.as_os_str().as_bytes().to_vec();
    if !full.ends_with(b"/") {
        full.push(b'/');
    }
    full.extend_from_slice(&path);
    full
}

/// The same as a [`PathBuf`].
pub fn absolute_path(r: &Request, path: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&absolute(r, path.to_vec())))
}
