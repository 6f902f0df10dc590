//! The world that a spec file sees while it is evaluated.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;

use crate::perl::Limits;

/// Whether a prologue may run shell commands (backticks, `system`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shell {
    /// Through `sh -c`, in the working directory.
    #[default]
    Allowed,
    /// A shell command is a diagnostic.
    Refused,
}

/// A package of the original whose code evaluates sections.
#[derive(Clone, Copy, Debug)]
pub enum Package {
    /// `Test::Nginx::Socket`: what belongs to requests and answers.
    Socket,
    /// `Test::Nginx::Util`: what belongs to the server; its settings are visible by their short names.
    Util,
}

impl Package {
    /// The package's name in Perl.
    pub fn name(self) -> &'static str {
        match self {
            Self::Socket => "Test::Nginx::Socket",
            Self::Util => super::native::UTIL,
        }
    }
}

/// Everything outside the file that its evaluation depends on. Nothing is read from the process.
#[derive(Clone, Debug)]
pub struct Environment {
    /// `%ENV` as the prologue finds it. `TEST_NGINX_SERVER_ROOT` is set from `server_root` by loading.
    pub variables: BTreeMap<String, Vec<u8>>,
    /// The port in `listen`, `$ServerPort`.
    pub server_port: u16,
    /// The port that the client connects to, `$ServerPortForClient`.
    pub server_port_for_client: u16,
    /// The absolute server root, `server_root()`; `html_dir()` lies in it.
    pub server_root: PathBuf,
    /// What `cwd()` says and relative paths start from; absolute.
    pub working_directory: PathBuf,
    /// Further directories in which local modules are looked for (`-I`, `PERL5LIB`).
    pub library_paths: Vec<PathBuf>,
    /// The text of `nginx -V`.
    pub nginx_version: VersionText,
    /// Whether shell commands run.
    pub shell: Shell,
    /// Bounds of the evaluation.
    pub limits: Limits,
}

type Ask = Box<dyn Fn() -> Vec<u8>>;

/// The text of `nginx -V`, asked for at most once and only if a file wants to know. Clones share it.
#[derive(Clone)]
pub struct VersionText {
    inner: Rc<(OnceCell<Vec<u8>>, Ask)>,
}

impl VersionText {
    /// A text to be had from `ask`.
    pub fn new(ask: impl Fn() -> Vec<u8> + 'static) -> Self {
        Self { inner: Rc::new((OnceCell::new(), Box::new(ask))) }
    }

    /// The text; empty where the server could not be asked.
    pub fn text(&self) -> &[u8] {
        self.inner.0.get_or_init(|| (self.inner.1)())
    }
}

impl fmt::Debug for VersionText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VersionText").field(&self.inner.0.get().map(|text| text.escape_ascii().to_string())).finish()
    }
}

impl Environment {
    /// A world with the original's defaults: port 1984, root `t/servroot` under `working_directory`, no
    /// variables, and a server that says nothing about its version.
    pub fn new(working_directory: impl Into<PathBuf>) -> Self {
        let working_directory = working_directory.into();
        Self {
            variables: BTreeMap::new(),
            server_port: 1984,
            server_port_for_client: 1984,
            server_root: working_directory.join("t/servroot"),
            working_directory,
            library_paths: Vec::new(),
            nginx_version: VersionText::new(Vec::new),
            shell: Shell::Allowed,
            limits: Limits::default(),
        }
    }
}
