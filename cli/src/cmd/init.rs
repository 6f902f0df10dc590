//! `rsty init`: a small application or library that works, with its specs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;

use crate::exit::Exit;
use crate::ui;

/// Arguments of `rsty init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to write, and where: `app DIR`, `lib DIR`, or only DIR for an application.
    #[arg(value_name = "app|lib|DIR", required = true, num_args = 1..=2)]
    words: Vec<String>,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// An application with its configuration.
    App,
    /// A Lua module for others to use.
    Lib,
}

/// A file's path and content. `NAME` stands for the library's name in both.
type Template = (&'static str, &'static str);

const COMMON: [Template; 2] =
    [("rsty.toml", include_str!("init/rsty.toml")), (".gitignore", include_str!("init/gitignore"))];

const APP: [Template; 3] = [
    ("conf/nginx.conf", include_str!("init/app/conf/nginx.conf")),
    ("lua/app.lua", include_str!("init/app/lua/app.lua")),
    ("t/001-app.t", include_str!("init/app/t/001-app.t")),
];

const LIB: [Template; 2] =
    [("lib/NAME.lua", include_str!("init/lib/lib/NAME.lua")), ("t/001-NAME.t", include_str!("init/lib/t/001-NAME.t"))];

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    let (kind, folder) = match args.words.as_slice() {
        [folder] if Kind::from_str(folder, false).is_err() => (Kind::App, folder),
        [kind, folder] => match Kind::from_str(kind, false) {
            Ok(kind) => (kind, folder),
            Err(_) => return refused(&format!("\"{kind}\" is neither app nor lib"), Exit::Usage),
        },
        _ => return refused("the folder is missing: `rsty init app DIR`", Exit::Usage),
    };
    let folder = PathBuf::from(folder);
    let name = match (kind, module_name(&folder)) {
        (_, Some(name)) => name,
        (Kind::App, None) => "app".to_owned(),
        (Kind::Lib, None) => {
            let message = format!("{} has no name that a Lua module can have", folder.display());
            return refused(&message, Exit::Usage);
        }
    };
    let files: Vec<Template> = match kind {
        Kind::App => APP.into_iter().chain(COMMON).collect(),
        Kind::Lib => LIB.into_iter().chain(COMMON).collect(),
    };
    match write_all(&folder, &name, &files) {
        Ok(written) => {
            let list: String = written.iter().map(|path| format!("  {}\n", path.display())).collect();
            ui::answer(&format!("Wrote\n{list}\n{}", next_steps(kind, &folder)));
            Exit::Fine.into()
        }
        Err(message) => refused(&message, Exit::ToolFailure),
    }
}

fn refused(message: &str, exit: Exit) -> ExitCode {
    ui::error(message);
    exit.into()
}

fn next_steps(kind: Kind, folder: &Path) -> String {
    let enter = if folder == Path::new(".") { String::new() } else { format!("  cd {}\n", folder.display()) };
    let serve = if kind == Kind::App { "  rsty serve --watch\n" } else { "" };
    format!("Next:\n{enter}  rsty test\n{serve}")
}

/// The name of the folder as a Lua module's: its `lua-` and `.lua` are left out.
fn module_name(folder: &Path) -> Option<String> {
    let absolute = std::path::absolute(folder).ok()?;
    let name = absolute.components().next_back()?.as_os_str().to_str()?.to_owned();
    let name = name.strip_prefix("lua-").unwrap_or(&name);
    let name = name.strip_suffix(".lua").unwrap_or(name).replace('-', "_");
    let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (is_word && !name.is_empty()).then_some(name)
}

/// Writes all files or, when one of them is there already, none.
fn write_all(folder: &Path, name: &str, files: &[Template]) -> Result<Vec<PathBuf>, String> {
    let paths: Vec<PathBuf> = files.iter().map(|(path, _)| folder.join(path.replace("NAME", name))).collect();
    if let Some(path) = paths.iter().find(|path| path.exists()) {
        return Err(format!("{} exists already; nothing was written", path.display()));
    }
    for (path, (_, text)) in paths.iter().zip(files) {
        let wrong = |error| format!("failed to write {}: {error}", path.display());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(wrong)?;
        }
        let mut file = std::fs::File::create_new(path).map_err(wrong)?;
        file.write_all(text.replace("NAME", name).as_bytes()).map_err(wrong)?;
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_named_after_its_folder() {
        for (folder, name) in [("/a/lua-resty-thing", "resty_thing"), ("b", "b"), ("/x/y.lua", "y")] {
            assert_eq!(module_name(Path::new(folder)).as_deref(), Some(name));
        }
        assert_eq!(module_name(Path::new("/a b")), None);
    }

    #[test]
    fn nothing_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("t")).unwrap();
        std::fs::write(folder.path().join("t/001-app.t"), "mine").unwrap();
        assert!(write_all(folder.path(), "app", &APP).unwrap_err().contains("exists already"));
        assert!(!folder.path().join("conf").exists());
    }
}
