//! The server root of a lane: the folder that a block's server runs in.
//!
//! It is made anew for each block. In a folder that a user named, only what belongs to a root is removed: the original
//! refuses there too, so that a mistyped path costs nobody their files. In a folder of the run's own, what one block
//! left is no concern of the next.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::load::normal;
use crate::model::Value;

/// Why the folder can't be prepared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// `user_files` is neither text nor a list.
    #[error("wrong value type: {0}, only scalar or ARRAY are accepted")]
    BadUserFiles(String),
    /// A user file would lie outside the folder.
    #[error("the file `>>> {0}` lies outside the server root")]
    Outside(String),
    /// A file operation failed.
    #[error("{action} {path}", path = path.display())]
    Io {
        /// What was tried, such as "write".
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// A file that the spec wants beside its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFile {
    /// Relative to `html/`, or absolute.
    pub name: Vec<u8>,
    /// The content, before variables are expanded.
    pub body: Vec<u8>,
    /// Modification time as `touch -t` takes it, in GMT.
    pub date: Option<Vec<u8>>,
}

/// The folder with its well-known places.
#[derive(Clone, Debug)]
pub struct ServerRoot {
    path: PathBuf,
    is_own: bool,
}

impl ServerRoot {
    /// The root at an absolute path that a user named.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), is_own: false }
    }

    /// The root at an absolute path inside a temporary folder of the run.
    pub fn temporary(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), is_own: true }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration file.
    pub fn conf_file(&self) -> PathBuf {
        self.path.join("conf/nginx.conf")
    }

    /// The error log that is checked.
    pub fn error_log(&self) -> PathBuf {
        self.path.join("logs/error.log")
    }

    /// The access log.
    pub fn access_log(&self) -> PathBuf {
        self.path.join("logs/access.log")
    }

    /// The file in which the server writes its process id.
    pub fn pid_file(&self) -> PathBuf {
        self.path.join("logs/nginx.pid")
    }

    /// Static files.
    pub fn html(&self) -> PathBuf {
        self.path.join("html")
    }

    /// Empties the folder and lays it out anew.
    pub fn rebuild(&self) -> Result<(), RootError> {
        if self.is_own {
            remove(&self.path)?;
        } else if self.path.is_dir() {
            for name in ["conf", "cache", "html", "logs"] {
                remove(&self.path.join(name))?;
            }
            for entry in std::fs::read_dir(&self.path).map_err(failed("read", &self.path))?.flatten() {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if entry.file_type().is_ok_and(|kind| kind.is_socket()) {
                    // A server that had to be killed leaves its sockets behind.
                    std::fs::remove_file(entry.path()).map_err(failed("remove", &entry.path()))?;
                } else if name.ends_with("_cache") || name.ends_with("_temp") {
                    remove(&entry.path())?;
                }
            }
            std::fs::remove_dir(&self.path).map_err(failed("remove", &self.path))?;
        }
        for name in ["logs", "html", "conf"] {
            let path = self.path.join(name);
            std::fs::create_dir_all(&path).map_err(failed("make", &path))?;
        }
        let index = self.html().join("index.html");
        let page = "<html><head><title>It works!</title></head><body>It works!</body></html>";
        std::fs::write(&index, page).map_err(failed("write", &index))
    }

    /// Empties the folder for a reload: the server keeps running, so its pid file, sockets, certificates and
    /// keys stay.
    pub fn rebuild_for_reload(&self) -> Result<(), RootError> {
        for entry in walkdir::WalkDir::new(&self.path).contents_first(true).into_iter().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let stays = ["nginx.pid", ".sock", ".crt", ".key"].iter().any(|end| name.ends_with(end));
            if entry.file_type().is_dir() || stays {
                continue;
            }
            std::fs::remove_file(entry.path()).map_err(failed("remove", entry.path()))?;
        }
        for name in ["logs", "html", "conf"] {
            let path = self.path.join(name);
            std::fs::create_dir_all(&path).map_err(failed("make", &path))?;
        }
        let index = self.html().join("index.html");
        let page = "<html><head><title>It works!</title></head><body>It works!</body></html>";
        std::fs::write(&index, page).map_err(failed("write", &index))
    }

    /// Writes the configuration.
    pub fn write_conf(&self, text: &[u8]) -> Result<(), RootError> {
        let path = self.conf_file();
        std::fs::write(&path, text).map_err(failed("write", &path))
    }

    /// Where a user file goes. An absolute name is taken as it is; a relative one must not leave the root.
    fn user_file_path(&self, name: &[u8]) -> Result<PathBuf, RootError> {
        let path = normal(&self.html().join(std::ffi::OsStr::from_bytes(name)));
        if name.starts_with(b"/") || (path.starts_with(&self.path) && path != self.path) {
            Ok(path)
        } else {
            Err(RootError::Outside(String::from_utf8_lossy(name).into_owned()))
        }
    }

    /// Writes one user file, whose body is already expanded.
    pub fn write_user_file(
        &self,
        file: &UserFile,
        body: &[u8],
        variables: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(), RootError> {
        let path = self.user_file_path(&file.name)?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed("make", folder))?;
        }
        std::fs::write(&path, body).map_err(failed("write", &path))?;
        let Some(date) = file.date.as_deref().filter(|date| !date.is_empty()) else { return Ok(()) };
        let mut touch = Command::new("touch");
        if let Some(search) = variables.get("PATH") {
            touch.env("PATH", std::ffi::OsStr::from_bytes(search));
        }
        touch.env("TZ", "GMT").arg("-t").arg(std::ffi::OsStr::from_bytes(date)).arg(&path);
        let status = touch.stdin(Stdio::null()).status().map_err(failed("date", &path))?;
        if status.success() { Ok(()) } else { Err(failed("date", &path)(io::Error::other(format!("touch: {status}")))) }
    }
}

/// The files of a `user_files` section.
///
/// In text, a `>>> NAME [DATE]` anywhere in a line starts a file. A list holds `[name, body, date]` lists.
pub fn user_files(value: &Value) -> Result<Vec<UserFile>, RootError> {
    if !value.is_true() {
        return Ok(Vec::new());
    }
    match value {
        Value::Array(items) => Ok(items.borrow().iter().map(listed_file).collect()),
        other if other.reference_kind().is_empty() => Ok(marked_files(&other.to_bytes())),
        other => Err(RootError::BadUserFiles(other.reference_kind().to_owned())),
    }
}

fn listed_file(item: &Value) -> UserFile {
    let parts = match item {
        Value::Array(parts) => parts.borrow().clone(),
        _ => Vec::new(),
    };
    let part = |index: usize| parts.get(index).filter(|part| part.is_defined()).map(|part| part.to_bytes().to_vec());
    UserFile { name: part(0).unwrap_or_default(), body: part(1).unwrap_or_default(), date: part(2) }
}

fn marked_files(text: &[u8]) -> Vec<UserFile> {
    let mut files: Vec<UserFile> = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if let Some(file) = marker(line) {
            files.push(file);
        } else if let Some(file) = files.last_mut() {
            file.body.extend_from_slice(line);
        }
    }
    files
}

/// The file that a line starts: `>>> NAME [DATE]`, with anything in front.
fn marker(line: &[u8]) -> Option<UserFile> {
    memchr::memmem::find_iter(line, b">>> ").find_map(|at| {
        let rest = line.get(at + 4..)?;
        let length = rest.iter().take_while(|byte| !byte.is_ascii_whitespace()).count();
        let (name, rest) = rest.split_at(length);
        if name.is_empty() {
            return None;
        }
        let date = if rest.first().is_some_and(u8::is_ascii_whitespace) { rest.trim_ascii() } else { b"" };
        let date = if date.is_empty() { None } else { Some(date.to_vec()) };
        Some(UserFile { name: name.to_vec(), body: Vec::new(), date })
    })
}

fn remove(path: &Path) -> Result<(), RootError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> RootError {
    let path = path.to_owned();
    move |source| RootError::Io { action, path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_may_stand_anywhere_in_its_line() {
        let text = b"lost\n>>> a.lua\nreturn 1\n\">>> bar\nx\n  >>> c 201203040506.07\n";
        let files = user_files(&Value::str(text.to_vec())).unwrap();
        let names: Vec<_> = files.iter().map(|file| String::from_utf8_lossy(&file.name).into_owned()).collect();
        assert_eq!(names, ["a.lua", "bar", "c"]);
        assert_eq!(files[0].body, b"return 1\n");
        assert_eq!(files[2].date.as_deref(), Some(b"201203040506.07".as_slice()));
    }

    #[test]
    fn a_list_holds_name_body_and_date() {
        let item = Value::array(vec![Value::from("x"), Value::from("y")]);
        let files = user_files(&Value::array(vec![item])).unwrap();
        assert_eq!(files, [UserFile { name: b"x".to_vec(), body: b"y".to_vec(), date: None }]);
    }

    #[test]
    fn a_relative_name_stays_in_the_root() {
        let root = ServerRoot::new("/srv/servroot");
        for (name, expected) in [
            ("a/b.lua", Some("/srv/servroot/html/a/b.lua")),
            ("../conf/x", Some("/srv/servroot/conf/x")),
            ("./../html/../x", Some("/srv/servroot/x")),
            ("../../etc/x", None),
            ("a/../../../x", None),
            ("..", None),
            ("/tmp/x", Some("/tmp/x")),
        ] {
            let path = root.user_file_path(name.as_bytes()).ok();
            assert_eq!(path.as_deref(), expected.map(Path::new), "{name}");
        }
    }

    #[test]
    fn sockets_that_a_server_left_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let root = ServerRoot::new(folder.path().join("servroot"));
        root.rebuild().unwrap();
        let socket = root.path().join("broker.sock");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        root.rebuild().unwrap();
        assert!(!socket.exists());
    }

    #[test]
    fn a_temporary_folder_is_removed_whatever_a_block_left_there() {
        let folder = tempfile::tempdir().unwrap();
        let root = ServerRoot::temporary(folder.path().join("servroot"));
        root.rebuild().unwrap();
        std::fs::write(root.path().join("left"), "x").unwrap();
        root.rebuild().unwrap();
        assert!(!root.path().join("left").exists() && root.html().exists());
    }

    #[test]
    fn a_folder_with_other_files_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let root = ServerRoot::new(folder.path().join("servroot"));
        root.rebuild().unwrap();
        root.rebuild().unwrap();
        std::fs::write(root.path().join("precious"), "x").unwrap();
        assert!(root.rebuild().is_err());
        assert!(root.path().join("precious").exists());
    }
}
