//! Files and the shell: `open`, `<$fh>`, `print`, `-e`, backticks.

use std::cell::RefCell;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::model::{Reference, Value};
use crate::perl::ast::Expr;
use crate::perl::builtin::Builtin;
use crate::perl::format;

use super::{Interpreter, Outcome, Output, Want};

/// An open file. Reading takes the whole file at once; writing goes through.
#[derive(Clone, Debug)]
pub struct File {
    state: Rc<RefCell<State>>,
}

#[derive(Debug)]
enum State {
    Closed,
    /// The names in a folder, the next one last.
    Folder(Vec<Vec<u8>>),
    /// A string opened for writing.
    Memory(Rc<RefCell<Value>>),
    Reading {
        data: Vec<u8>,
        at: usize,
    },
    StdErr,
    StdOut,
    Writing(fs::File),
}

impl File {
    /// A file that is open for writing.
    pub(crate) fn writing(file: fs::File) -> Self {
        Self::new(State::Writing(file))
    }

    /// An open folder with these names.
    pub(super) fn folder(mut names: Vec<Vec<u8>>) -> Self {
        names.reverse();
        Self::new(State::Folder(names))
    }

    pub(super) fn close(&self) {
        *self.state.borrow_mut() = State::Closed;
    }

    fn is_at_end(&self) -> bool {
        match &*self.state.borrow() {
            State::Reading { data, at } => *at >= data.len(),
            _ => true,
        }
    }

    /// The next name of an open folder.
    pub(super) fn next_name(&self) -> Option<Vec<u8>> {
        match &mut *self.state.borrow_mut() {
            State::Folder(names) => names.pop(),
            _ => None,
        }
    }

    fn new(state: State) -> Self {
        Self { state: Rc::new(RefCell::new(state)) }
    }
}

impl Interpreter {
    /// Defines the standard handles.
    pub(crate) fn define_standard_files(&mut self) {
        for (name, state) in [
            ("*main::STDOUT", State::StdOut),
            ("*main::STDERR", State::StdErr),
            ("*main::STDIN", State::Reading { data: Vec::new(), at: 0 }),
        ] {
            self.set_global(name, Value::File(File::new(state)));
        }
    }

    /// A path as the evaluated code means it.
    pub(crate) fn path(&self, path: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt as _;
        self.host.working_directory().join(Path::new(std::ffi::OsStr::from_bytes(path)))
    }

    pub(super) fn set_os_error(&mut self, error: &std::io::Error) {
        let text = match error.kind() {
            std::io::ErrorKind::NotFound => "No such file or directory".to_owned(),
            std::io::ErrorKind::PermissionDenied => "Permission denied".to_owned(),
            std::io::ErrorKind::AlreadyExists => "File exists".to_owned(),
            _ => {
                let text = error.to_string();
                text.split(" (os error").next().unwrap_or_default().to_owned()
            }
        };
        self.set_global("main::!", text.as_str());
    }

    /// Perl's result for an operation of the system: 1, or 0 with `$!`.
    pub(crate) fn outcome<T>(&mut self, result: std::io::Result<T>) -> Value {
        match result {
            Ok(_) => Value::Int(1),
            Err(error) => {
                self.set_os_error(&error);
                Value::Int(0)
            }
        }
    }

    pub(super) fn file_function(&mut self, builtin: Builtin, arguments: &[Expr]) -> Outcome<Value> {
        match builtin {
            Builtin::Open => return self.open(arguments),
            Builtin::Read => return self.read_part(arguments),
            _ => {}
        }
        let values = self.list_of(arguments)?;
        let first = values.first().cloned().unwrap_or_default();
        let path = self.path(&first.to_bytes());
        Ok(match builtin {
            Builtin::Close => match &first {
                Value::File(file) => {
                    file.close();
                    Value::Int(1)
                }
                _ => Value::bool(false),
            },
            Builtin::Eof => Value::bool(match &first {
                Value::File(file) => file.is_at_end(),
                _ => true,
            }),
            Builtin::Readline => return self.read_line(&first),
            Builtin::Binmode | Builtin::Select => Value::Int(1),
            Builtin::Fileno => Value::Int(3),
            Builtin::Umask => Value::Int(0o022),
            Builtin::Unlink => {
                for value in &values {
                    self.check_write(&self.path(&value.to_bytes()))?;
                }
                let removed =
                    values.iter().filter(|value| fs::remove_file(self.path(&value.to_bytes())).is_ok()).count();
                Value::Int(removed as i64)
            }
            Builtin::Mkdir => {
                self.check_write(&path)?;
                let made = fs::create_dir(path);
                self.outcome(made)
            }
            Builtin::Rmdir => {
                self.check_write(&path)?;
                let removed = fs::remove_dir(path);
                self.outcome(removed)
            }
            Builtin::Rename => {
                let to = self.path(&values.get(1).map(Value::to_bytes).unwrap_or_default());
                self.check_write(&path)?;
                self.check_write(&to)?;
                let renamed = fs::rename(path, to);
                self.outcome(renamed)
            }
            Builtin::Chmod => {
                use std::os::unix::fs::PermissionsExt as _;
                for value in values.iter().skip(1) {
                    self.check_write(&self.path(&value.to_bytes()))?;
                }
                let mode = fs::Permissions::from_mode(first.to_int() as u32);
                let changed = values
                    .iter()
                    .skip(1)
                    .filter(|value| fs::set_permissions(self.path(&value.to_bytes()), mode.clone()).is_ok());
                Value::Int(changed.count() as i64)
            }
            other => return Err(self.unsupported(&format!("`{}`", other.name()))),
        })
    }

    /// Dies where the host does not let this file be changed.
    pub(super) fn check_write(&self, path: &Path) -> Outcome<()> {
        self.host.may_write(path).map_err(|message| self.die(message))
    }

    fn open(&mut self, arguments: &[Expr]) -> Outcome<Value> {
        let Some((handle, rest)) = arguments.split_first() else {
            return Err(self.die("Not enough arguments for open"));
        };
        let place = self.place_of(handle)?;
        let values = self.list_of(rest)?;
        let first = values.first().map(Value::to_bytes).unwrap_or_default();
        let (mode, target) = match values.get(1) {
            Some(target) => {
                let mode =
                    first.split(|byte| *byte == b':' || byte.is_ascii_whitespace()).find(|part| !part.is_empty());
                (mode.unwrap_or_default().to_vec(), target.clone())
            }
            None => {
                let text = first.trim_ascii();
                let len = text.iter().take_while(|byte| b"<>+|".contains(byte)).count();
                let (mode, name) = text.split_at(len);
                let mode = if mode.is_empty() { b"<".as_slice() } else { mode };
                if name.ends_with(b"|") || mode.contains(&b'|') {
                    (b"-|".to_vec(), Value::str(name.strip_suffix(b"|").unwrap_or(name)))
                } else {
                    (mode.to_vec(), Value::str(name.trim_ascii_start()))
                }
            }
        };
        let opened = match (mode.as_slice(), &target) {
            (b"<", Value::Ref(Reference::Cell(cell))) => {
                Ok(State::Reading { data: cell.borrow().to_bytes().to_vec(), at: 0 })
            }
            (b">", Value::Ref(Reference::Cell(cell))) => {
                *cell.borrow_mut() = Value::str("");
                Ok(State::Memory(Rc::clone(cell)))
            }
            (b">>", Value::Ref(Reference::Cell(cell))) => Ok(State::Memory(Rc::clone(cell))),
            (b"-|", command) => {
                let command: Vec<u8> = if values.len() > 2 {
                    values
                        .get(1..)
                        .unwrap_or_default()
                        .iter()
                        .map(|word| word.to_bytes().to_vec())
                        .collect::<Vec<_>>()
                        .join(&b' ')
                } else {
                    command.to_bytes().to_vec()
                };
                let data = self.shell(&command)?;
                Ok(State::Reading { data, at: 0 })
            }
            (mode, name) => {
                let path = self.path(&name.to_bytes());
                if mode != b"<" {
                    self.check_write(&path)?;
                }
                match mode {
                    b"<" | b"+<" => fs::read(path).map(|data| State::Reading { data, at: 0 }),
                    b">" | b"+>" => fs::File::create(path).map(State::Writing),
                    b">>" => fs::OpenOptions::new().append(true).create(true).open(path).map(State::Writing),
                    _ => return Err(self.unsupported("this way of opening a file")),
                }
            }
        };
        match opened {
            Ok(state) => {
                place.write(Value::File(File::new(state)));
                Ok(Value::Int(1))
            }
            Err(error) => {
                self.set_os_error(&error);
                Ok(Value::Int(0))
            }
        }
    }

    /// A method of an open file; `None` where it has none of that name. `values` start with the file.
    pub(super) fn file_method(
        &mut self,
        file: &File,
        name: &str,
        values: &[Value],
        want: Want,
    ) -> Outcome<Option<Vec<Value>>> {
        let this = Value::File(file.clone());
        let rest = values.get(1..).unwrap_or_default();
        Ok(Some(match name {
            "autoflush" | "binmode" | "blocking" | "flush" => vec![Value::Int(1)],
            "close" => {
                file.close();
                vec![Value::Int(1)]
            }
            "eof" => vec![Value::bool(file.is_at_end())],
            "getline" => vec![self.read_line(&this)?],
            "getlines" if want == Want::List => {
                let mut lines = Vec::new();
                while let line @ Value::Str(_) = self.read_line(&this)? {
                    lines.push(line);
                }
                lines
            }
            "print" | "say" | "printf" => {
                let mut text = if name == "printf" {
                    let template = rest.first().map(Value::to_bytes).unwrap_or_default();
                    format::sprintf(&template, rest.get(1..).unwrap_or_default())
                } else {
                    rest.iter().flat_map(|value| value.to_bytes().to_vec()).collect()
                };
                if name == "say" {
                    text.push(b'\n');
                }
                vec![self.write(file, text)]
            }
            _ => return Ok(None),
        }))
    }

    /// `read FILE, $buffer, LENGTH, OFFSET`: how many bytes came.
    fn read_part(&mut self, arguments: &[Expr]) -> Outcome<Value> {
        let [file, buffer, rest @ ..] = arguments else {
            return Err(self.die("Not enough arguments for read"));
        };
        let Value::File(file) = self.scalar(file)? else {
            return Ok(Value::Undef);
        };
        let place = self.place_of(buffer)?;
        let numbers = self.list_of(rest)?;
        let number = |at: usize| numbers.get(at).and_then(|value| usize::try_from(value.to_int()).ok()).unwrap_or(0);
        let (length, offset) = (number(0), number(1));
        self.fits(length.saturating_add(offset))?;
        let mut text = place.read().to_bytes().to_vec();
        text.resize(offset, 0);
        let State::Reading { data, at } = &mut *file.state.borrow_mut() else {
            return Ok(Value::Undef);
        };
        let rest = data.get(*at..).unwrap_or_default();
        let part = rest.get(..length.min(rest.len())).unwrap_or_default();
        text.extend_from_slice(part);
        let count = part.len();
        *at += count;
        place.write(Value::str(text));
        Ok(Value::Int(count as i64))
    }

    /// The next record of a file; undefined at its end.
    pub(super) fn read_line(&mut self, file: &Value) -> Outcome<Value> {
        let Value::File(file) = file else {
            return Ok(Value::Undef);
        };
        let separator = self.global("main::/");
        let mut state = file.state.borrow_mut();
        let State::Reading { data, at } = &mut *state else {
            return Ok(Value::Undef);
        };
        let rest = data.get(*at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(Value::Undef);
        }
        let len = match &separator {
            Value::Undef => rest.len(),
            separator => {
                let separator = separator.to_bytes();
                let needle: &[u8] = if separator.is_empty() { b"\n\n" } else { &separator };
                memchr::memmem::find(rest, needle).map_or(rest.len(), |found| found + needle.len())
            }
        };
        let line = rest.get(..len).unwrap_or_default().to_vec();
        *at += len;
        Ok(Value::str(line))
    }

    pub(super) fn print(&mut self, builtin: Builtin, file: Option<&Expr>, arguments: &[Expr]) -> Outcome<Value> {
        let file = match file {
            Some(expr) => self.scalar(expr)?,
            None => self.global("*main::STDOUT"),
        };
        let mut values = self.list_of(arguments)?;
        if values.is_empty() && builtin != Builtin::Printf {
            values.push(self.global("main::_"));
        }
        let mut text = match builtin {
            Builtin::Printf => {
                let template = values.first().map(Value::to_bytes).unwrap_or_default();
                format::sprintf(&template, values.get(1..).unwrap_or_default())
            }
            _ => {
                let separator = self.global("main::,").to_bytes();
                let mut text = Vec::new();
                for (at, value) in values.iter().enumerate() {
                    if at > 0 {
                        text.extend_from_slice(&separator);
                    }
                    text.extend_from_slice(&value.to_bytes());
                }
                text.extend_from_slice(&self.global("main::\\").to_bytes());
                text
            }
        };
        if builtin == Builtin::Say {
            text.push(b'\n');
        }
        let Value::File(file) = file else {
            return Ok(Value::Int(0));
        };
        Ok(self.write(&file, text))
    }

    fn write(&mut self, file: &File, text: Vec<u8>) -> Value {
        let written = match &mut *file.state.borrow_mut() {
            State::StdOut => {
                self.output.push(Output::Out(text));
                Ok(())
            }
            State::StdErr => {
                self.output.push(Output::Err(text));
                Ok(())
            }
            State::Memory(cell) => {
                let mut whole = cell.borrow().to_bytes().to_vec();
                whole.extend_from_slice(&text);
                *cell.borrow_mut() = Value::str(whole);
                Ok(())
            }
            State::Writing(file) => file.write_all(&text),
            State::Closed | State::Folder(_) | State::Reading { .. } => return Value::Int(0),
        };
        self.outcome(written)
    }

    pub(super) fn file_test(&mut self, letter: u8, operand: &Value) -> Value {
        let path = self.path(&operand.to_bytes());
        let metadata = if letter == b'l' { fs::symlink_metadata(&path) } else { fs::metadata(&path) };
        let metadata = match metadata {
            Ok(metadata) => metadata,
            Err(error) => {
                self.set_os_error(&error);
                return Value::Undef;
            }
        };
        use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
        match letter {
            b'f' => Value::bool(metadata.is_file()),
            b'd' => Value::bool(metadata.is_dir()),
            b'l' => Value::bool(metadata.is_symlink()),
            b'S' => Value::bool(metadata.file_type().is_socket()),
            b's' if metadata.len() > 0 => Value::Int(metadata.len() as i64),
            b's' => Value::bool(false),
            b'z' => Value::bool(metadata.len() == 0),
            b'x' => Value::bool(metadata.permissions().mode() & 0o111 != 0),
            _ => Value::bool(true),
        }
    }

    /// Runs a command and returns what it wrote; sets `$?`.
    pub(crate) fn shell(&mut self, command: &[u8]) -> Outcome<Vec<u8>> {
        let environment: Vec<(Vec<u8>, Vec<u8>)> = {
            let hash = self.hash(&"main::ENV".into());
            let hash = hash.borrow();
            hash.iter()
                .filter(|(_, value)| value.is_defined())
                .map(|(key, value)| (key.to_vec(), value.to_bytes().to_vec()))
                .collect()
        };
        match self.host.shell(command, &environment) {
            Ok((output, status)) => {
                self.set_global("main::?", i64::from(status));
                Ok(output)
            }
            Err(message) => Err(self.die(message)),
        }
    }

    pub(super) fn shell_output(&mut self, command: &[u8]) -> Outcome<Vec<u8>> {
        self.shell(command)
    }
}
