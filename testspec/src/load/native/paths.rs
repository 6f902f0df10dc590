//! Paths and folders: `Cwd`, `File::Basename`, `File::Copy`, `File::Path`, `File::Slurp`, `File::Spec`, `FindBin`.

use std::path::{Component, Path, PathBuf};

use crate::model::{Regex, Value};
use crate::perl::{Interpreter, NativeModule, Outcome, Want};

use super::{first, one};

/// Makes the tables of `File::Spec`: as methods of the class, and as functions.
macro_rules! file_spec {
    ($($name:literal => $function:expr,)*) => {
        const METHODS: &[super::Function] = &[$(($name, |it, arguments, want| {
            let function: crate::perl::Native = $function;
            function(it, arguments.get(1..).unwrap_or_default().to_vec(), want)
        }, None)),*];
        const FUNCTIONS: &[super::Function] = &[$(($name, $function, None)),*];
    };
}

file_spec! {
    "abs2rel" => absolute_to_relative,
    "canonpath" => |_, arguments, _| one(catenated(arguments.get(..1).unwrap_or_default()).as_str()),
    "catdir" => |_, arguments, _| one(catenated(&arguments).as_str()),
    "catfile" => |_, arguments, _| one(catenated(&arguments).as_str()),
    "curdir" => |_, _, _| one("."),
    "devnull" => |_, _, _| one("/dev/null"),
    "file_name_is_absolute" => |_, arguments, _| one(Value::bool(first(&arguments).to_bytes().starts_with(b"/"))),
    "rel2abs" => relative_to_absolute,
    "rootdir" => |_, _, _| one("/"),
    "splitdir" => |_, arguments, _| Ok(first(&arguments).to_text().split('/').map(Value::from).collect()),
    "splitpath" => split_path,
    "tmpdir" => |_, _, _| one("/tmp"),
    "updir" => |_, _, _| one(".."),
}

pub(super) const MODULES: &[NativeModule] = &[
    NativeModule {
        name: "Cwd",
        parents: &[],
        functions: &[
            ("abs_path", real_path, Some(";$")),
            ("cwd", cwd, Some("")),
            ("getcwd", cwd, Some("")),
            ("realpath", real_path, Some(";$")),
        ],
        exports: &["cwd", "getcwd"],
        setup: None,
    },
    NativeModule {
        name: "File::Basename",
        parents: &[],
        functions: &[("basename", basename, None), ("dirname", dirname, None), ("fileparse", parse_name, None)],
        exports: &["basename", "dirname", "fileparse"],
        setup: None,
    },
    NativeModule {
        name: "File::Copy",
        parents: &[],
        functions: &[
            ("copy", |it, arguments, _| transfer(it, &arguments, |from, to| std::fs::copy(from, to).map(drop)), None),
            ("cp", |it, arguments, _| transfer(it, &arguments, |from, to| std::fs::copy(from, to).map(drop)), None),
            ("move", |it, arguments, _| transfer(it, &arguments, |from, to| std::fs::rename(from, to)), None),
            ("mv", |it, arguments, _| transfer(it, &arguments, |from, to| std::fs::rename(from, to)), None),
        ],
        exports: &["copy", "move"],
        setup: None,
    },
    NativeModule { name: "File::Spec", parents: &[], functions: METHODS, exports: &[], setup: None },
    NativeModule {
        name: "File::Spec::Functions",
        parents: &[],
        functions: FUNCTIONS,
        exports: &["canonpath", "catdir", "catfile", "curdir", "file_name_is_absolute", "rootdir", "updir"],
        setup: None,
    },
    NativeModule {
        name: "File::Path",
        parents: &[],
        functions: &[
            ("make_path", make_path, None),
            ("mkpath", make_path, None),
            ("remove_tree", remove_tree, None),
            ("rmtree", remove_tree, None),
        ],
        exports: &["mkpath", "rmtree", "make_path", "remove_tree"],
        setup: None,
    },
    NativeModule {
        name: "File::Slurp",
        parents: &[],
        functions: &[
            ("read_file", read_file, None),
            ("slurp", read_file, None),
            ("write_file", |it, arguments, _| write_file(it, &arguments, false), None),
            ("append_file", |it, arguments, _| write_file(it, &arguments, true), None),
        ],
        exports: &["read_file", "write_file", "append_file"],
        setup: None,
    },
    NativeModule { name: "FindBin", parents: &[], functions: &[], exports: &[], setup: Some(find_program) },
];

/// Where the spec file lies.
fn find_program(interpreter: &mut Interpreter) -> Outcome<()> {
    let script = interpreter.path(&interpreter.global("main::0").to_bytes());
    let folder = |path: &Path| path.parent().map(bytes_of).unwrap_or_default();
    let name = |path: &Path| path.file_name().map(|name| bytes_of(Path::new(name))).unwrap_or_default();
    let real = script.canonicalize().unwrap_or_else(|_| script.clone());
    let plain = crate::load::normal(&script);
    for (variable, value) in
        [("Bin", folder(&plain)), ("Script", name(&plain)), ("RealBin", folder(&real)), ("RealScript", name(&real))]
    {
        interpreter.set_global(&format!("FindBin::{variable}"), value);
    }
    Ok(())
}

fn bytes_of(path: &Path) -> Value {
    use std::os::unix::ffi::OsStrExt as _;
    Value::str(path.as_os_str().as_bytes())
}

fn cwd(interpreter: &mut Interpreter, _: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    one(bytes_of(interpreter.host.working_directory()))
}

fn real_path(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let path = interpreter.path(&arguments.first().map(Value::to_bytes).unwrap_or_default());
    Ok(vec![match path.canonicalize() {
        Ok(path) => bytes_of(&path),
        // The last part need not exist.
        Err(_) => match (path.parent().and_then(|parent| parent.canonicalize().ok()), path.file_name()) {
            (Some(parent), Some(name)) => bytes_of(&parent.join(name)),
            _ => Value::Undef,
        },
    }])
}

fn basename(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let path = first(&arguments).to_text();
    let mut name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    for suffix in arguments.iter().skip(1) {
        let suffix = suffix.to_text();
        if name != suffix {
            name = name.strip_suffix(suffix.as_str()).unwrap_or(name);
        }
    }
    one(name)
}

fn dirname(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let path = first(&arguments).to_text();
    let trimmed = path.trim_end_matches('/');
    one(match trimmed.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((directory, _)) => directory.trim_end_matches('/'),
        None if trimmed.is_empty() && path.starts_with('/') => "/",
        None => ".",
    })
}

/// `fileparse PATH, SUFFIX…`: name, folder and the first suffix, a pattern, that fits.
fn parse_name(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let path = first(&arguments).to_bytes();
    let slash = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let (folder, name) = path.split_at(slash);
    let folder: &[u8] = if folder.is_empty() { b"./" } else { folder };
    for suffix in arguments.iter().skip(1) {
        let pattern = match suffix {
            Value::Regex(regex) => regex.to_text(),
            text => text.to_bytes().to_vec(),
        };
        let regex = Regex::new([b"(?:".as_slice(), &pattern, b")\\z"].concat(), "s");
        let place = regex.captures_at(name, 0).ok().flatten().and_then(|groups| groups.first().copied().flatten());
        if let Some((from, _)) = place {
            let (stem, suffix) = name.split_at(from);
            return Ok(vec![Value::str(stem), Value::str(folder), Value::str(suffix)]);
        }
    }
    Ok(vec![Value::str(name), Value::str(folder), Value::str("")])
}

/// Parts joined with `/` and made canonical: no `//`, no `/./`, but `..` kept.
fn catenated(parts: &[Value]) -> String {
    let joined = parts.iter().map(Value::to_text).collect::<Vec<_>>().join("/");
    let path: PathBuf = Path::new(&joined).components().filter(|part| !matches!(part, Component::CurDir)).collect();
    let text = path.to_string_lossy().into_owned();
    if text.is_empty() && !joined.is_empty() { ".".to_owned() } else { text }
}

fn relative_to_absolute(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let mut path = PathBuf::new();
    if let Some(base) = arguments.get(1) {
        path.push(interpreter.path(&base.to_bytes()));
    }
    path.push(first(&arguments).to_text());
    let path = interpreter.path(&bytes_of(&path).to_bytes());
    one(catenated(&[bytes_of(&path)]).as_str())
}

fn absolute_to_relative(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let path = crate::load::normal(&interpreter.path(&first(&arguments).to_bytes()));
    let base = interpreter.path(&arguments.get(1).map(Value::to_bytes).unwrap_or_default());
    let base = crate::load::normal(&base);
    let common = path.components().zip(base.components()).take_while(|(path, base)| path == base).count();
    let mut relative: PathBuf = base.components().skip(common).map(|_| Component::ParentDir).collect();
    relative.extend(path.components().skip(common));
    one(if relative.as_os_str().is_empty() { Value::str(".") } else { bytes_of(&relative) })
}

/// `splitpath`: volume, folder with its slash, and name.
fn split_path(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let path = first(&arguments).to_text();
    let slash = path.rfind('/').map_or(0, |at| at + 1);
    let (folder, name) = path.split_at(slash);
    Ok(vec!["".into(), folder.into(), name.into()])
}

fn make_path(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let paths = arguments.iter().filter(|value| !matches!(value, Value::Hash(_)));
    let mut made = 0;
    for path in paths.map(|value| interpreter.path(&value.to_bytes())) {
        interpreter.host.may_write(&path).map_err(|message| interpreter.die(message))?;
        made += usize::from(std::fs::create_dir_all(path).is_ok());
    }
    one(made as i64)
}

/// Only below the working directory: a mistake in a spec must not cost a machine.
fn remove_tree(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let mut removed = 0;
    for argument in arguments.iter().filter(|value| !matches!(value, Value::Hash(_))) {
        let path = interpreter.path(&argument.to_bytes());
        if interpreter.host.may_remove_tree(&path) && std::fs::remove_dir_all(path).is_ok() {
            removed += 1;
        }
    }
    one(removed)
}

/// Brings a file to another name, or into a folder.
fn transfer(
    interpreter: &mut Interpreter,
    arguments: &[Value],
    bring: fn(&Path, &Path) -> std::io::Result<()>,
) -> Outcome<Vec<Value>> {
    let from = interpreter.path(&first(arguments).to_bytes());
    let mut to = interpreter.path(&arguments.get(1).map(Value::to_bytes).unwrap_or_default());
    if to.is_dir() {
        to.extend(from.file_name());
    }
    for path in [&from, &to] {
        interpreter.host.may_write(path).map_err(|message| interpreter.die(message))?;
    }
    let brought = bring(&from, &to);
    one(interpreter.outcome(brought))
}

fn read_file(interpreter: &mut Interpreter, arguments: Vec<Value>, want: Want) -> Outcome<Vec<Value>> {
    let name = first(&arguments).to_bytes();
    let text = std::fs::read(interpreter.path(&name)).map_err(|error| {
        let name = String::from_utf8_lossy(&name).into_owned();
        interpreter.die(format!("read_file '{name}' - open: {error}"))
    })?;
    match want {
        Want::List => Ok(text.split_inclusive(|byte| *byte == b'\n').map(Value::str).collect()),
        _ => one(Value::str(text)),
    }
}

fn write_file(interpreter: &mut Interpreter, arguments: &[Value], append: bool) -> Outcome<Vec<Value>> {
    use std::io::Write as _;
    let path = interpreter.path(&first(arguments).to_bytes());
    interpreter.host.may_write(&path).map_err(|message| interpreter.die(message))?;
    let parts = arguments.iter().skip(1).filter(|value| !matches!(value, Value::Hash(_)));
    let text: Vec<u8> = parts.flat_map(|part| part.to_bytes().to_vec()).collect();
    let file = std::fs::OpenOptions::new().create(true).append(append).write(true).truncate(!append).open(path);
    let written = file.and_then(|mut file| file.write_all(&text));
    one(interpreter.outcome(written))
}
