//! Built-in functions in scalar context.

use std::rc::Rc;

use crate::model::{Object, Value};
use crate::perl::ast::Expr;
use crate::perl::builtin::Builtin;
use crate::perl::{format, pack, time};

use super::pattern::quoted;
use super::place::{Place, is_array, is_hash, wrap};
use super::{Interpreter, Outcome, Output, Stop, Want};

impl Interpreter {
    /// Evaluates a function whose result is one value.
    pub(super) fn function(&mut self, builtin: Builtin, arguments: &[Expr]) -> Outcome<Value> {
        use Builtin as B;
        match builtin {
            B::Defined => self.defined(arguments),
            B::Exists => self.exists(arguments),
            B::Delete => self.delete(arguments),
            B::Undef => self.undef(arguments),
            B::Chomp | B::Chop => self.shorten(builtin, arguments),
            B::Push | B::Unshift | B::Pop | B::Shift => self.queue(builtin, arguments),
            B::Splice => Ok(super::expression::last(self.splice(arguments)?)),
            B::Keys | B::Values => match arguments.first() {
                Some(hash) if is_hash(hash) => {
                    let hash = self.hash_of(hash)?;
                    self.end_walk(&hash);
                    let count = hash.borrow().len();
                    Ok(Value::Int(count as i64))
                }
                Some(array) => Ok(Value::Int(self.array_of(array)?.borrow().len() as i64)),
                None => Ok(Value::Int(0)),
            },
            B::Scalar => match arguments.first() {
                Some(expr) => self.scalar(expr),
                None => Ok(Value::Undef),
            },
            B::Open
            | B::Close
            | B::Eof
            | B::Binmode
            | B::Fileno
            | B::Readline
            | B::Select
            | B::Unlink
            | B::Mkdir
            | B::Rmdir
            | B::Rename
            | B::Chmod
            | B::Read
            | B::Umask => self.file_function(builtin, arguments),
            B::Chdir
            | B::Closedir
            | B::Glob
            | B::Link
            | B::Lstat
            | B::Opendir
            | B::Readdir
            | B::Readlink
            | B::Stat
            | B::Symlink
            | B::Utime => self.folder_function(builtin, arguments),
            B::Localtime | B::Gmtime => {
                let seconds = self.time_argument(arguments)?;
                let calendar = if builtin == B::Gmtime { time::utc(seconds) } else { time::local(seconds) };
                Ok(Value::str(calendar.to_text()))
            }
            B::Split => {
                let mut parts = Vec::new();
                self.split(arguments, &mut parts)?;
                Ok(Value::Int(parts.len() as i64))
            }
            B::Reverse => {
                let mut text = self.joined(arguments)?;
                text.reverse();
                Ok(Value::str(text))
            }
            B::Unpack => {
                let mut values = Vec::new();
                self.list_function(builtin, arguments, &mut values)?;
                Ok(values.into_iter().next().unwrap_or_default())
            }
            B::Caller => Ok(Value::str(self.package.as_bytes())),
            B::Substr => self.substring(arguments),
            B::Each => match arguments.first() {
                Some(container) => Ok(self.each(container)?.into_iter().next().unwrap_or_default()),
                None => Ok(Value::Undef),
            },
            B::Pos => match arguments.first() {
                Some(target) => Ok(self.position_of(target)?.read()),
                None => Ok(Value::Undef),
            },
            _ => {
                let values = self.list_of(arguments)?;
                self.simple(builtin, &values)
            }
        }
    }

    /// Functions of plain values.
    fn simple(&mut self, builtin: Builtin, values: &[Value]) -> Outcome<Value> {
        use Builtin as B;
        let first = values.first().cloned().unwrap_or_default();
        let text = || first.to_bytes();
        Ok(match builtin {
            B::Abs => match first.numeric() {
                Value::Int(number) => Value::Int(number.saturating_abs()),
                other => Value::Num(other.to_number().abs()),
            },
            B::Atan2 => Value::Num(first.to_number().atan2(values.get(1).map_or(0.0, Value::to_number))),
            B::Bless => {
                let class = values.get(1).map_or_else(|| self.package.to_string(), Value::to_text);
                Value::Object(Rc::new(Object { class, target: first }))
            }
            B::Chr => {
                let code = first.to_int();
                match u8::try_from(code) {
                    Ok(byte) => Value::str([byte]),
                    Err(_) => {
                        let c =
                            u32::try_from(code).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
                        Value::str(c.to_string())
                    }
                }
            }
            B::Cos => Value::Num(first.to_number().cos()),
            B::Sin => Value::Num(first.to_number().sin()),
            B::Exp => Value::Num(first.to_number().exp()),
            B::Log => {
                let number = first.to_number();
                if number <= 0.0 {
                    return Err(self.die(format!("Can't take log of {}", first.to_text())));
                }
                Value::Num(number.ln())
            }
            B::Sqrt => {
                let number = first.to_number();
                if number < 0.0 {
                    return Err(self.die(format!("Can't take sqrt of {}", first.to_text())));
                }
                Value::Num(number.sqrt())
            }
            B::Die => return Err(self.death(values)),
            B::Warn => {
                let mut message = values.iter().flat_map(|value| value.to_bytes().to_vec()).collect::<Vec<u8>>();
                if message.is_empty() {
                    message.extend_from_slice(b"Warning: something's wrong");
                }
                if !message.ends_with(b"\n") {
                    message.extend_from_slice(self.place().as_bytes());
                }
                let handler = self.hash(&"main::SIG".into()).borrow().get(b"__WARN__").cloned();
                match handler.as_ref().and_then(super::call::code_of) {
                    Some(handler) => {
                        self.call(&handler, vec![Value::str(message)], Want::Void)?;
                    }
                    None => self.output.push(Output::Err(message)),
                }
                Value::Int(1)
            }
            B::Getppid => Value::Int(i64::from(nix::unistd::getppid().as_raw())),
            B::Exit => return Err(Stop::Exit(first.to_int() as i32)),
            B::Hex => Value::Int(in_radix(&text(), 16)),
            B::Oct => {
                let text = text();
                let digits = text.trim_ascii();
                match digits {
                    [b'0', b'x' | b'X', rest @ ..] | [b'x' | b'X', rest @ ..] => Value::Int(in_radix(rest, 16)),
                    [b'0', b'b' | b'B', rest @ ..] | [b'b' | b'B', rest @ ..] => Value::Int(in_radix(rest, 2)),
                    rest => Value::Int(in_radix(rest, 8)),
                }
            }
            B::Int => match first.numeric() {
                Value::Num(number) if number.abs() < 9e18 => Value::Int(number.trunc() as i64),
                other => other,
            },
            B::Index | B::Rindex => find_text(builtin, values),
            B::Join => {
                let separator = text();
                let mut joined = Vec::new();
                for (at, value) in values.iter().skip(1).enumerate() {
                    if at > 0 {
                        joined.extend_from_slice(&separator);
                    }
                    joined.extend_from_slice(&value.to_bytes());
                    self.fits(joined.len())?;
                }
                Value::str(joined)
            }
            B::Lc => Value::str(text().to_ascii_lowercase()),
            B::Uc => Value::str(text().to_ascii_uppercase()),
            B::Lcfirst | B::Ucfirst => {
                let mut text = text().to_vec();
                if let Some(letter) = text.first_mut() {
                    if builtin == B::Ucfirst { letter.make_ascii_uppercase() } else { letter.make_ascii_lowercase() }
                }
                Value::str(text)
            }
            B::Length => {
                if first.is_defined() {
                    Value::Int(text().len() as i64)
                } else {
                    Value::Undef
                }
            }
            B::Ord => Value::Int(text().first().map_or(0, |byte| i64::from(*byte))),
            B::Pack => {
                let packed = pack::pack(&text(), values.get(1..).unwrap_or_default());
                Value::str(packed.map_err(|error| self.die(error))?)
            }
            B::Quotemeta => Value::str(quoted(&text())),
            B::Rand => {
                let limit = first.to_number();
                Value::Num(self.random() * if limit == 0.0 { 1.0 } else { limit })
            }
            B::Srand => {
                self.random = (first.to_int() as u64) ^ 0x9e37_79b9_7f4a_7c15;
                first
            }
            B::Ref => Value::str(first.reference_kind()),
            B::Sprintf => Value::str(format::sprintf(&text(), values.get(1..).unwrap_or_default())),
            B::Sleep => {
                let seconds = first.to_number().clamp(0.0, 10.0);
                std::thread::sleep(std::time::Duration::from_secs_f64(seconds));
                first
            }
            B::System => {
                let command = match values {
                    [one] => one.to_bytes().to_vec(),
                    many => many.iter().map(|word| shell_quoted(&word.to_bytes())).collect::<Vec<_>>().join(&b' '),
                };
                let output = self.shell(&command)?;
                self.output.push(Output::Out(output));
                self.global("main::?")
            }
            B::Kill => {
                // Through the shell, so that a spec that may not run one ends no process either.
                let signal = text();
                let signal = signal.strip_prefix(b"SIG").unwrap_or(&signal);
                let mut reached = 0;
                for process in values.iter().skip(1) {
                    let words = [b"kill -".as_slice(), &shell_quoted(signal), b" ", &shell_quoted(&process.to_bytes())];
                    self.shell(&[&words.concat(), b" 2>&1".as_slice()].concat())?;
                    reached += i64::from(self.global("main::?").to_int() == 0);
                }
                Value::Int(reached)
            }
            B::Time => Value::Int(time::now()),
            _ => return Err(self.unsupported(&format!("`{}`", builtin.name()))),
        })
    }

    /// A number in [0, 1).
    fn random(&mut self) -> f64 {
        // splitmix64: tests want variety, not secrecy.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn death(&self, values: &[Value]) -> Stop {
        if let [only @ (Value::Object(_) | Value::Hash(_) | Value::Array(_))] = values {
            return Stop::Die(only.clone());
        }
        let message: Vec<u8> = values.iter().flat_map(|value| value.to_bytes().to_vec()).collect();
        if message.is_empty() {
            return self.die("Died");
        }
        if message.ends_with(b"\n") { Stop::Die(Value::str(message)) } else { self.die(message) }
    }

    fn joined(&mut self, arguments: &[Expr]) -> Outcome<Vec<u8>> {
        let values = self.list_of(arguments)?;
        Ok(values.iter().flat_map(|value| value.to_bytes().to_vec()).collect())
    }

    fn defined(&mut self, arguments: &[Expr]) -> Outcome<Value> {
        use crate::perl::ast::Callee;
        let Some(expr) = arguments.first() else {
            return Ok(Value::bool(self.global("main::_").is_defined()));
        };
        Ok(Value::bool(match expr {
            Expr::Call { callee: Callee::Named(name), current_arguments: true, .. } => self.sub(name).is_some(),
            _ if is_array(expr) => !self.array_of(expr)?.borrow().is_empty(),
            _ if is_hash(expr) => !self.hash_of(expr)?.borrow().is_empty(),
            _ => self.scalar(expr)?.is_defined(),
        }))
    }

    fn exists(&mut self, arguments: &[Expr]) -> Outcome<Value> {
        use crate::perl::ast::Callee;
        Ok(Value::bool(match arguments.first() {
            Some(Expr::Key(hash, key)) => {
                let key = self.scalar(key)?.to_bytes();
                let hash = self.hash_of(hash)?;

                hash.borrow().contains(&key)
            }
            Some(Expr::Index(array, index)) => {
                let index = self.scalar(index)?.to_int();
                let array = self.array_of(array)?;
                let len = array.borrow().len();
                wrap(index, len).is_some_and(|index| index < len)
            }
            Some(Expr::Call { callee: Callee::Named(name), .. }) => self.sub(name).is_some(),
            _ => return Err(self.unsupported("`exists` of this")),
        }))
    }

    fn delete(&mut self, arguments: &[Expr]) -> Outcome<Value> {
        match arguments.first() {
            Some(Expr::Key(hash, key)) => {
                let key = self.scalar(key)?.to_bytes();
                let hash = self.hash_of(hash)?;
                let removed = hash.borrow_mut().remove(&key);
                Ok(removed.unwrap_or_default())
            }
            Some(place @ Expr::Index(..)) => {
                let place = self.place_of(place)?;
                let old = place.read();
                place.write(Value::Undef);
                Ok(old)
            }
            Some(Expr::HashSlice(..)) => {
                let mut removed = Vec::new();
                self.list_function(Builtin::Delete, arguments, &mut removed)?;
                Ok(super::expression::last(removed))
            }
            Some(Expr::Local(inner)) => {
                self.localize(inner)?;
                self.delete(std::slice::from_ref(inner))
            }
            _ => Err(self.unsupported("`delete` of this")),
        }
    }

    fn undef(&mut self, arguments: &[Expr]) -> Outcome<Value> {
        if let Some(expr) = arguments.first() {
            if is_array(expr) {
                self.array_of(expr)?.borrow_mut().clear();
            } else if is_hash(expr) {
                *self.hash_of(expr)?.borrow_mut() = crate::model::HashMap::default();
            } else {
                self.place_of(expr)?.write(Value::Undef);
            }
        }
        Ok(Value::Undef)
    }

    fn shorten(&mut self, builtin: Builtin, arguments: &[Expr]) -> Outcome<Value> {
        let Some(expr) = arguments.first() else {
            return Ok(Value::Int(0));
        };
        if is_array(expr) {
            let array = self.array_of(expr)?;
            let mut count = 0;
            for value in array.borrow_mut().iter_mut() {
                let (shorter, removed) = shortened(builtin, value);
                *value = shorter;
                count += removed.len();
            }
            return Ok(Value::Int(count as i64));
        }
        // A list in parentheses, or one place.
        let expr = match expr {
            Expr::List(items) if items.len() == 1 => items.first().unwrap_or(expr),
            other => other,
        };
        let place = self.place_of(expr)?;
        let value = place.read();
        if !value.is_defined() {
            return Ok(Value::Int(0));
        }
        let (shorter, removed) = shortened(builtin, &value);
        if !removed.is_empty() {
            place.write(shorter);
        }
        Ok(if builtin == Builtin::Chomp { Value::Int(removed.len() as i64) } else { Value::str(removed) })
    }

    fn queue(&mut self, builtin: Builtin, arguments: &[Expr]) -> Outcome<Value> {
        let Some((array, rest)) = arguments.split_first() else {
            return Err(self.die(format!("Not enough arguments for {}", builtin.name())));
        };
        let array = self.array_of(array)?;
        match builtin {
            Builtin::Pop => {
                let item = array.borrow_mut().pop();
                Ok(item.unwrap_or_default())
            }
            Builtin::Shift => {
                let mut items = array.borrow_mut();
                Ok(if items.is_empty() { Value::Undef } else { items.remove(0) })
            }
            _ => {
                let values = self.list_of(rest)?;
                let mut items = array.borrow_mut();
                self.fits((items.len() + values.len()).saturating_mul(16))?;
                if builtin == Builtin::Push {
                    items.extend(values);
                } else {
                    items.splice(0..0, values);
                }
                Ok(Value::Int(items.len() as i64))
            }
        }
    }

    /// Start and length that `substr` arguments mean for a text of `len` bytes.
    pub(super) fn substring_bounds(&mut self, arguments: &[Expr], len: usize) -> Outcome<(usize, usize)> {
        let start = match arguments.get(1) {
            Some(expr) => self.scalar(expr)?.to_int(),
            None => 0,
        };
        let start = wrap(start, len).unwrap_or(0).min(len);
        let count = match arguments.get(2) {
            Some(expr) => match self.scalar(expr)? {
                Value::Undef => len - start,
                count if count.to_int() < 0 => usize::try_from((len - start) as i64 + count.to_int()).unwrap_or(0),
                count => usize::try_from(count.to_int()).unwrap_or(0).min(len - start),
            },
            None => len - start,
        };
        Ok((start, count))
    }

    fn substring(&mut self, arguments: &[Expr]) -> Outcome<Value> {
        let Some(target) = arguments.first() else {
            return Err(self.die("Not enough arguments for substr"));
        };
        let text = self.scalar(target)?.to_bytes();
        let (start, count) = self.substring_bounds(arguments, text.len())?;
        if let Some(replacement) = arguments.get(3) {
            let new = self.scalar(replacement)?;
            let place = self.place_of(target)?;
            let part = Place::Part(Box::new(place), start, count);
            let old = part.read();
            part.write(new);
            return Ok(old);
        }
        Ok(Value::str(text.get(start..start + count).unwrap_or_default()))
    }
}

fn shortened(builtin: Builtin, value: &Value) -> (Value, Vec<u8>) {
    let text = value.to_bytes();
    let cut = match (builtin, text.last()) {
        (Builtin::Chomp, Some(b'\n')) | (Builtin::Chop, Some(_)) => text.len() - 1,
        _ => return (value.clone(), Vec::new()),
    };
    let (kept, removed) = text.split_at(cut);
    (Value::str(kept), removed.to_vec())
}

fn in_radix(text: &[u8], radix: u32) -> i64 {
    let digits = text.strip_prefix(b"0x").or(text.strip_prefix(b"0X")).unwrap_or(text);
    let mut number = 0_i64;
    for &byte in digits {
        if byte == b'_' {
            continue;
        }
        let Some(digit) = char::from(byte).to_digit(radix) else {
            break;
        };
        number = number.wrapping_mul(i64::from(radix)).wrapping_add(i64::from(digit));
    }
    number
}

fn find_text(builtin: Builtin, values: &[Value]) -> Value {
    let text = values.first().map(Value::to_bytes).unwrap_or_default();
    let part = values.get(1).map(Value::to_bytes).unwrap_or_default();
    let found = if builtin == Builtin::Index {
        let from = values.get(2).map_or(0, |from| usize::try_from(from.to_int()).unwrap_or(0)).min(text.len());
        memchr::memmem::find(text.get(from..).unwrap_or_default(), &part).map(|at| at + from)
    } else {
        let end = match values.get(2) {
            Some(from) => usize::try_from(from.to_int()).unwrap_or(0).saturating_add(part.len()).min(text.len()),
            None => text.len(),
        };
        memchr::memmem::rfind(text.get(..end).unwrap_or_default(), &part)
    };
    Value::Int(found.map_or(-1, |at| at as i64))
}

/// A word that a shell takes as it is.
pub(crate) fn shell_quoted(word: &[u8]) -> Vec<u8> {
    let mut out = vec![b'\''];
    for &byte in word {
        if byte == b'\'' {
            out.extend_from_slice(b"'\\''");
        } else {
            out.push(byte);
        }
    }
    out.push(b'\'');
    out
}
