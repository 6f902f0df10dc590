//! `IPC::Run`, `IPC::Run3` and `File::Temp`: what suites need that test programs and not servers.

use crate::model::{Reference, Value};
use crate::perl::{File, Interpreter, NativeModule, Outcome, Want, shell_quoted};

use super::{first, one};

pub(super) const MODULES: &[NativeModule] = &[
    NativeModule {
        name: "IPC::Run",
        parents: &[],
        functions: &[("run", run, None), ("timeout", |_, arguments, _| one(first(&arguments)), None)],
        exports: &[],
        setup: None,
    },
    NativeModule {
        name: "IPC::Run3",
        parents: &[],
        functions: &[("run3", run, None)],
        exports: &["run3"],
        setup: None,
    },
    NativeModule {
        name: "File::Temp",
        parents: &[],
        functions: &[("tempfile", temporary_file, None), ("tempdir", temporary_folder, None)],
        exports: &["tempfile", "tempdir"],
        setup: None,
    },
];

/// `run \@command, \$in, \$out, \$err, timeout(N)`: output and errors go to the variables, the status to `$?`.
fn run(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let command = match arguments.first() {
        Some(Value::Array(words)) => {
            let words: Vec<Vec<u8>> = words.borrow().iter().map(|word| shell_quoted(&word.to_bytes())).collect();
            words.join(&b' ')
        }
        Some(text) => text.to_bytes().to_vec(),
        None => return Err(interpreter.die("run needs a command")),
    };
    let limit = arguments.get(4).map_or(0.0, Value::to_number);
    let limit = if limit > 0.0 { limit } else { 60.0 };
    let errors = temporary_path("stderr")?;
    let shown = errors.display().to_string();
    let script =
        [format!("exec timeout --kill-after=1 {limit} ").as_bytes(), &command, format!(" 2>{shown}").as_bytes()]
            .concat();
    let output = interpreter.shell(&script);
    let complaint = std::fs::read(&errors).unwrap_or_default();
    remove(&errors);
    let output = output?;
    for (index, text) in [(2, output), (3, complaint)] {
        if let Some(Value::Ref(Reference::Cell(cell))) = arguments.get(index) {
            *cell.borrow_mut() = Value::str(text);
        }
    }
    let status = interpreter.global("main::?").to_int();
    if status == 124 << 8 {
        return Err(interpreter.die("IPC::Run: timeout on timer #1"));
    }
    one(Value::bool(status == 0))
}

/// `tempfile(TEMPLATE, SUFFIX => …)`: an open file and its name. It goes with the spec file's Perl.
fn temporary_file(interpreter: &mut Interpreter, arguments: Vec<Value>, want: Want) -> Outcome<Vec<Value>> {
    let suffix = arguments
        .iter()
        .zip(arguments.iter().skip(1))
        .find(|(name, _)| *name.to_bytes() == b"SUFFIX")
        .map(|(_, suffix)| suffix.to_text())
        .filter(|suffix| !suffix.contains('/'))
        .unwrap_or_default();
    let path = temporary_path(&format!("file{suffix}"))?;
    let file =
        std::fs::File::create(&path).map_err(|error| interpreter.die(format!("Error in tempfile(): {error}")))?;
    let name = Value::str(path.display().to_string());
    interpreter.array(&"rsty::temporary_files".into()).borrow_mut().push(name.clone());
    let file = Value::File(File::writing(file));
    Ok(if want == Want::List { vec![file, name] } else { vec![file] })
}

fn temporary_folder(interpreter: &mut Interpreter, _: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let path = temporary_path("none")?;
    let folder = path.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
    interpreter.array(&"rsty::temporary_files".into()).borrow_mut().push(Value::str(path.display().to_string()));
    one(folder.as_str())
}

/// A path in a new folder of its own.
fn temporary_path(name: &str) -> Outcome<std::path::PathBuf> {
    let folder = tempfile::Builder::new().prefix("rsty-perl-").tempdir();
    match folder {
        Ok(folder) => Ok(folder.keep().join(name)),
        Err(error) => Err(crate::perl::Stop::Die(Value::str(format!("Error in tempdir(): {error}\n")))),
    }
}

fn remove(path: &std::path::Path) {
    // Both may be gone already.
    let _ = std::fs::remove_file(path);
    if let Some(folder) = path.parent() {
        let _ = std::fs::remove_dir(folder);
    }
}
