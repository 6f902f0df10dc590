//! What evaluated Perl reaches of the world: modules, library paths, the shell.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use crate::perl::{Host, NativeModule};

use super::environment::{Environment, Shell};
use super::native;

/// The world of one loaded file.
pub(super) struct World {
    environment: Environment,
    library_paths: Vec<PathBuf>,
    /// The working directory at the start.
    home: PathBuf,
}

impl World {
    /// The world for a spec file: local modules are looked for in the working directory, the given
    /// paths, `lib`, `inc`, and the directories above the file.
    pub(super) fn new(environment: Environment, spec: &Path) -> Self {
        let base = environment.working_directory.clone();
        let mut library_paths = environment.library_paths.clone();
        library_paths.extend([base.clone(), base.join("lib"), base.join("t/lib"), base.join("inc")]);
        let spec = base.join(spec);
        for ancestor in spec.ancestors().skip(1).take(5) {
            for path in [ancestor.to_path_buf(), ancestor.join("lib")] {
                if !library_paths.contains(&path) {
                    library_paths.push(path);
                }
            }
        }
        Self { environment, library_paths, home: base }
    }

    /// Whether a command asks the server for its version and build options.
    fn is_version_question(command: &[u8]) -> bool {
        let text = String::from_utf8_lossy(command);
        let mut words = text.split_ascii_whitespace();
        let program = words.next().unwrap_or_default();
        let names_server = program
            .rsplit('/')
            .next()
            .is_some_and(|name| name.starts_with("nginx") || name.starts_with("openresty") || name.starts_with("rsty"));
        let rest: Vec<&str> = words.collect();
        names_server && matches!(rest.as_slice(), ["-V" | "-v"] | ["-V" | "-v", "2>&1"])
    }
}

/// A path without `.` and `..`.
pub(crate) fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

impl Host for World {
    fn module(&self, name: &str) -> Option<&'static NativeModule> {
        native::find(name)
    }

    fn library_paths(&self) -> &[PathBuf] {
        &self.library_paths
    }

    fn add_library_path(&mut self, path: PathBuf) {
        self.library_paths.insert(0, path);
    }

    fn working_directory(&self) -> &Path {
        &self.environment.working_directory
    }

    fn change_directory(&mut self, path: &Path) -> std::io::Result<()> {
        let path = path.canonicalize()?;
        // Fails as `chdir` does where it is no folder, or not a readable one.
        std::fs::read_dir(&path)?;
        self.environment.working_directory = path;
        Ok(())
    }

    fn may_remove_tree(&self, path: &Path) -> bool {
        path.canonicalize().is_ok_and(|path| path.starts_with(&self.home) && path != self.home)
    }

    fn may_write(&self, path: &Path) -> Result<(), String> {
        let environment = &self.environment;
        let home = [self.home.clone(), environment.server_root.clone(), std::env::temp_dir()];
        let path = normal(path);
        if environment.shell == Shell::Allowed || home.iter().any(|home| path.starts_with(home)) {
            return Ok(());
        }
        Err(format!("Without a shell, a spec file may not change {}", path.display()))
    }

    fn server_version(&self) -> Vec<u8> {
        self.environment.nginx_version.text().to_vec()
    }

    fn shell(&mut self, command: &[u8], environment: &[(Vec<u8>, Vec<u8>)]) -> Result<(Vec<u8>, i32), String> {
        if Self::is_version_question(command) {
            return Ok((self.server_version(), 0));
        }
        if self.environment.shell == Shell::Refused {
            // The only command of most prologues, and one whose answer is known.
            if command.trim_ascii() == b"pwd" {
                let mut folder = self.environment.working_directory.as_os_str().as_bytes().to_vec();
                folder.push(b'\n');
                return Ok((folder, 0));
            }
            return Err(format!("shell commands are refused: `{}`", String::from_utf8_lossy(command)));
        }
        let os = std::ffi::OsStr::from_bytes;
        let output = Command::new("sh")
            .arg("-c")
            .arg(os(command))
            .current_dir(&self.environment.working_directory)
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (os(name), os(value))))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("can't run a shell: {error}"))?;
        use std::os::unix::process::ExitStatusExt as _;
        Ok((output.stdout, output.status.into_raw()))
    }
}
