//! Places that can be assigned to, and containers with autovivification.

use std::cell::RefCell;
use std::rc::Rc;

use crate::model::{Array, Hash, HashMap, Reference, Value};
use crate::perl::ast::{Declarator, Expr, Name, Paren, Sigil};
use crate::perl::builtin::Builtin;

use super::memory::{Positions, Subject};
use super::scope::{Slot, sigil_of};
use super::{Interpreter, Outcome, Restore};

/// A scalar that can be read and written.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Cell(Rc<RefCell<Value>>),
    Element(Array, i64),
    Entry(Hash, Vec<u8>),
    /// A part of a string: offset and length.
    Part(Box<Place>, usize, usize),
    /// Where the last `//g` in a variable with this text ended.
    Position(Rc<Positions>, Subject, Rc<Vec<u8>>),
}

impl Place {
    pub(super) fn read(&self) -> Value {
        match self {
            Self::Cell(cell) => cell.borrow().clone(),
            Self::Element(array, index) => {
                let array = array.borrow();
                wrap(*index, array.len()).and_then(|index| array.get(index)).cloned().unwrap_or_default()
            }
            Self::Entry(hash, key) => hash.borrow().get(key).cloned().unwrap_or_default(),
            Self::Part(whole, start, len) => {
                let text = whole.read().to_bytes();
                Value::str(text.get(*start..start + len).unwrap_or_default())
            }
            Self::Position(positions, subject, text) => {
                positions.find(subject, text).map_or(Value::Undef, |(at, _)| Value::Int(at as i64))
            }
        }
    }

    pub(super) fn write(&self, value: Value) {
        match self {
            Self::Cell(cell) => *cell.borrow_mut() = value,
            Self::Element(array, index) => {
                let mut array = array.borrow_mut();
                let Some(index) = wrap(*index, array.len()) else {
                    return;
                };
                if index >= array.len() {
                    array.resize(index + 1, Value::Undef);
                }
                array[index] = value;
            }
            Self::Entry(hash, key) => hash.borrow_mut().insert(key, value),
            Self::Part(whole, start, len) => {
                let mut text = whole.read().to_bytes().to_vec();
                let end = (start + len).min(text.len());
                text.splice((*start).min(end)..end, value.to_bytes().iter().copied());
                whole.write(Value::str(text));
            }
            Self::Position(positions, subject, _) if !value.is_defined() => positions.clear(subject),
            Self::Position(positions, subject, text) => {
                let at = wrap(value.to_int(), text.len()).unwrap_or(0).min(text.len());
                positions.set(subject.clone(), Rc::clone(text), at, false);
            }
        }
    }

    /// Appends to a string in place where it is not shared.
    pub(super) fn append(&self, tail: &[u8]) {
        if let Self::Cell(cell) = self
            && let Value::Str(text) = &mut *cell.borrow_mut()
        {
            Rc::make_mut(text).extend_from_slice(tail);
            return;
        }
        let mut text = self.read().to_bytes().to_vec();
        text.extend_from_slice(tail);
        self.write(Value::str(text));
    }
}

/// A Perl index, counted from the end where negative.
pub(super) fn wrap(index: i64, len: usize) -> Option<usize> {
    let index = if index < 0 { index + len as i64 } else { index };
    usize::try_from(index).ok()
}

impl Interpreter {
    pub(super) fn lexical(&mut self, name: &Name) -> Slot {
        match self.scope.find(name) {
            Some(slot) => slot,
            // A variable whose `my` was jumped over.
            None => self.scope.declare(name),
        }
    }

    pub(super) fn lexical_scalar(&mut self, name: &Name) -> Option<Rc<RefCell<Value>>> {
        match self.lexical(name) {
            Slot::Scalar(cell) => Some(cell),
            Slot::Our(global) => Some(self.scalar_cell(&global)),
            Slot::Array(_) | Slot::Hash(_) => None,
        }
    }

    fn declare_now(&mut self, declarator: Declarator, name: &Name) -> Slot {
        match declarator {
            Declarator::My => self.scope.declare(name),
            Declarator::Our => Slot::Our(Rc::clone(name)),
        }
    }

    /// The place that an expression denotes.
    pub(super) fn place_of(&mut self, expr: &Expr) -> Outcome<Place> {
        Ok(match expr {
            Expr::Lexical(Sigil::Scalar, name) => match self.lexical_scalar(name) {
                Some(cell) => Place::Cell(cell),
                None => return Err(self.unsupported("this assignment")),
            },
            Expr::Global(Sigil::Scalar, name) => Place::Cell(self.scalar_cell(name)),
            Expr::Declare(declarator, names, _) if names.len() == 1 => {
                let Some((_, name)) = names.first() else {
                    return Err(self.unsupported("this declaration"));
                };
                match self.declare_now(*declarator, name) {
                    Slot::Scalar(cell) => Place::Cell(cell),
                    Slot::Our(global) => Place::Cell(self.scalar_cell(&global)),
                    _ => return Err(self.unsupported("this declaration")),
                }
            }
            Expr::Index(array, index) => {
                let array = self.array_of(array)?;
                let index = self.scalar(index)?.to_int();
                if index > 0 {
                    self.fits(usize::try_from(index).unwrap_or(usize::MAX).saturating_mul(16))?;
                }
                Place::Element(array, index)
            }
            Expr::Key(hash, key) => {
                let hash = self.hash_of(hash)?;
                Place::Entry(hash, self.scalar(key)?.to_bytes().to_vec())
            }
            Expr::Deref(Sigil::Scalar, inner) => match self.scalar(inner)? {
                Value::Ref(Reference::Cell(cell)) => Place::Cell(cell),
                Value::Ref(Reference::Element(array, index)) => Place::Element(array, index),
                Value::Ref(Reference::Entry(hash, key)) => Place::Entry(hash, key),
                Value::Undef => return Err(self.die("Can't use an undefined value as a SCALAR reference")),
                _ => return Err(self.die("Not a SCALAR reference")),
            },
            Expr::Local(inner) => {
                self.localize(inner)?;
                self.place_of(inner)?
            }
            Expr::List(items) if items.len() == 1 => match items.first() {
                Some(item) => self.place_of(item)?,
                None => return Err(self.unsupported("this assignment")),
            },
            Expr::Ternary(condition, yes, no) => {
                if self.scalar(condition)?.is_true() {
                    self.place_of(yes)?
                } else {
                    self.place_of(no)?
                }
            }
            Expr::Assign(..) | Expr::Step(..) => {
                self.scalar(expr)?;
                match expr {
                    Expr::Assign(_, left, _) | Expr::Step(_, left) => {
                        let left = match &**left {
                            // The variable exists by now.
                            Expr::Declare(Declarator::My, names, _) => match names.first() {
                                Some((sigil, name)) => return self.place_of(&Expr::Lexical(*sigil, Rc::clone(name))),
                                None => left,
                            },
                            Expr::Local(inner) => inner,
                            _ => left,
                        };
                        self.place_of(left)?
                    }
                    _ => return Err(self.unsupported("this assignment")),
                }
            }
            Expr::Builtin(Builtin::Pos, arguments) => match arguments.first() {
                Some(target) => self.position_of(target)?,
                None => return Err(self.unsupported("this assignment")),
            },
            Expr::State { id, name, init } => match self.state_variable(*id, name, init.as_deref())? {
                Slot::Scalar(cell) => Place::Cell(cell),
                _ => return Err(self.unsupported("this declaration")),
            },
            Expr::Builtin(Builtin::Substr, arguments) => {
                let Some(target) = arguments.first() else {
                    return Err(self.die("Not enough arguments for substr"));
                };
                let place = self.place_of(target)?;
                let len = place.read().to_bytes().len();
                let (start, count) = self.substring_bounds(arguments, len)?;
                Place::Part(Box::new(place), start, count)
            }
            _ => {
                // A value without a place: changes are lost.
                let value = self.scalar(expr)?;
                Place::Cell(Rc::new(RefCell::new(value)))
            }
        })
    }

    /// The array that an expression denotes, made if need be.
    pub(super) fn array_of(&mut self, expr: &Expr) -> Outcome<Array> {
        match expr {
            Expr::Arguments => Ok(Rc::clone(&self.arguments)),
            Expr::Lexical(_, name) => match self.lexical(name) {
                Slot::Array(array) => Ok(array),
                Slot::Our(global) => Ok(self.array(&global)),
                _ => Err(self.die("Not an ARRAY")),
            },
            Expr::Global(Sigil::Array, name) => Ok(self.array(name)),
            Expr::Declare(declarator, names, _) => match names.first() {
                Some((Sigil::Array, name)) => match self.declare_now(*declarator, name) {
                    Slot::Array(array) => Ok(array),
                    Slot::Our(global) => Ok(self.array(&global)),
                    _ => Err(self.die("Not an ARRAY")),
                },
                _ => Err(self.unsupported("this declaration")),
            },
            Expr::Local(inner) => {
                self.localize(inner)?;
                self.array_of(inner)
            }
            Expr::Deref(_, inner) => {
                let value = self.scalar(inner)?;
                self.array_in(&value, Some(inner))
            }
            _ => {
                let value = self.scalar(expr)?;
                self.array_in(&value, None)
            }
        }
    }

    fn array_in(&mut self, value: &Value, origin: Option<&Expr>) -> Outcome<Array> {
        match value {
            Value::Array(array) => Ok(Rc::clone(array)),
            Value::Object(object) => self.array_in(&object.target.clone(), None),
            Value::Undef => match origin {
                Some(origin) if is_variable(origin) => {
                    let array = Array::default();
                    self.place_of(origin)?.write(Value::Array(Rc::clone(&array)));
                    Ok(array)
                }
                _ => Err(self.die("Can't use an undefined value as an ARRAY reference")),
            },
            Value::Str(_) | Value::Int(_) | Value::Num(_) => {
                let text = value.to_text();
                Err(self.die(format!(
                    "Can't use string (\"{}\") as an ARRAY ref while \"strict refs\" in use",
                    shown(&text)
                )))
            }
            _ => Err(self.die("Not an ARRAY reference")),
        }
    }

    /// The hash that an expression denotes, made if need be.
    pub(super) fn hash_of(&mut self, expr: &Expr) -> Outcome<Hash> {
        match expr {
            Expr::Lexical(_, name) => match self.lexical(name) {
                Slot::Hash(hash) => Ok(hash),
                Slot::Our(global) => Ok(self.hash(&global)),
                _ => Err(self.die("Not a HASH")),
            },
            Expr::Global(Sigil::Hash, name) if &**name == "main::+" => {
                let map = self.named_captures();
                Ok(Rc::new(RefCell::new(map)))
            }
            Expr::Global(Sigil::Hash, name) => Ok(self.hash(name)),
            Expr::Declare(declarator, names, _) => match names.first() {
                Some((Sigil::Hash, name)) => match self.declare_now(*declarator, name) {
                    Slot::Hash(hash) => Ok(hash),
                    Slot::Our(global) => Ok(self.hash(&global)),
                    _ => Err(self.die("Not a HASH")),
                },
                _ => Err(self.unsupported("this declaration")),
            },
            Expr::Local(inner) => {
                self.localize(inner)?;
                self.hash_of(inner)
            }
            Expr::Deref(_, inner) => {
                let value = self.scalar(inner)?;
                self.hash_in(&value, Some(inner))
            }
            _ => {
                let value = self.scalar(expr)?;
                self.hash_in(&value, None)
            }
        }
    }

    fn hash_in(&mut self, value: &Value, origin: Option<&Expr>) -> Outcome<Hash> {
        match value {
            Value::Hash(hash) => Ok(Rc::clone(hash)),
            Value::Object(object) => self.hash_in(&object.target.clone(), None),
            Value::Block(block) => {
                // `$block->{section}` holds the list of the section's values.
                let map = block.sections().into_iter().fold(HashMap::default(), |mut map, section| {
                    map.insert(section.name.as_bytes(), Value::array(vec![section.value]));
                    map
                });
                Ok(Rc::new(RefCell::new(map)))
            }
            Value::Undef => match origin {
                Some(origin) if is_variable(origin) => {
                    let hash = Hash::default();
                    self.place_of(origin)?.write(Value::Hash(Rc::clone(&hash)));
                    Ok(hash)
                }
                _ => Err(self.die("Can't use an undefined value as a HASH reference")),
            },
            Value::Str(_) | Value::Int(_) | Value::Num(_) => {
                let text = value.to_text();
                Err(self
                    .die(format!("Can't use string (\"{}\") as a HASH ref while \"strict refs\" in use", shown(&text))))
            }
            _ => Err(self.die("Not a HASH reference")),
        }
    }

    /// Executes a declaration without assignment.
    pub(super) fn declare(&mut self, declarator: Declarator, names: &[(Sigil, Name)]) {
        for (_, name) in names {
            if declarator == Declarator::My && !name.is_empty() {
                self.scope.declare(name);
            }
        }
    }

    /// `local`: remembers the old value and starts with an undefined one.
    pub(super) fn localize(&mut self, expr: &Expr) -> Outcome<()> {
        match expr {
            Expr::List(items) => {
                for item in items {
                    self.localize(item)?;
                }
            }
            Expr::Global(Sigil::Array, name) => {
                let array = self.array(name);
                let old = std::mem::take(&mut *array.borrow_mut());
                self.locals.push(Restore::Array(array, old));
            }
            Expr::Global(Sigil::Hash, name) => {
                let hash = self.hash(name);
                let old = std::mem::take(&mut *hash.borrow_mut());
                self.locals.push(Restore::Hash(hash, old));
            }
            Expr::Key(..) => {
                if let Place::Entry(hash, key) = self.place_of(expr)? {
                    let old = hash.borrow().get(&key).cloned();
                    self.locals.push(Restore::Entry(hash, key, old));
                }
            }
            _ => {
                if let Place::Cell(cell) = self.place_of(expr)? {
                    let old = std::mem::take(&mut *cell.borrow_mut());
                    self.locals.push(Restore::Scalar(cell, old));
                }
            }
        }
        Ok(())
    }

    /// Assigns a list to a list of places; returns how many values there were.
    pub(super) fn assign_list(&mut self, target: &Expr, values: Vec<Value>) -> Outcome<usize> {
        let count = values.len();
        let mut values = values.into_iter();
        self.assign_from(target, &mut values)?;
        Ok(count)
    }

    fn assign_from(&mut self, target: &Expr, values: &mut std::vec::IntoIter<Value>) -> Outcome<()> {
        match target {
            Expr::List(items) => {
                for item in items {
                    self.assign_from(item, values)?;
                }
            }
            Expr::Declare(declarator, names, _) => {
                for (sigil, name) in names {
                    if name.is_empty() {
                        values.next();
                        continue;
                    }
                    let slot = self.declare_now(*declarator, name);
                    let sigil = if *declarator == Declarator::My { sigil_of(name) } else { *sigil };
                    match (slot, sigil) {
                        (Slot::Scalar(cell), _) => *cell.borrow_mut() = values.next().unwrap_or_default(),
                        (Slot::Array(array), _) => *array.borrow_mut() = values.collect(),
                        (Slot::Hash(hash), _) => *hash.borrow_mut() = pairs(values),
                        (Slot::Our(global), Sigil::Array) => *self.array(&global).borrow_mut() = values.collect(),
                        (Slot::Our(global), Sigil::Hash) => *self.hash(&global).borrow_mut() = pairs(values),
                        (Slot::Our(global), _) => {
                            *self.scalar_cell(&global).borrow_mut() = values.next().unwrap_or_default();
                        }
                    }
                }
            }
            Expr::Local(inner) => {
                self.localize(inner)?;
                self.assign_from(inner, values)?;
            }
            Expr::Constant(Value::Undef) => {
                values.next();
            }
            Expr::Builtin(Builtin::Undef, arguments) if arguments.is_empty() => {
                values.next();
            }
            Expr::ArraySlice(array, indices) => {
                let array = self.array_of(array)?;
                for index in self.list(indices)? {
                    Place::Element(Rc::clone(&array), index.to_int()).write(values.next().unwrap_or_default());
                }
            }
            Expr::HashSlice(hash, keys) => {
                let hash = self.hash_of(hash)?;
                for key in self.list(keys)? {
                    hash.borrow_mut().insert(&key.to_bytes(), values.next().unwrap_or_default());
                }
            }
            _ if is_array(target) => {
                let array = self.array_of(target)?;
                *array.borrow_mut() = values.collect();
            }
            _ if is_hash(target) => {
                let hash = self.hash_of(target)?;
                *hash.borrow_mut() = pairs(values);
            }
            _ => {
                let place = self.place_of(target)?;
                place.write(values.next().unwrap_or_default());
            }
        }
        Ok(())
    }
}

/// Whether an assignment to this takes a list.
pub(super) fn is_list_target(expr: &Expr) -> bool {
    match expr {
        Expr::List(_) | Expr::ArraySlice(..) | Expr::HashSlice(..) => true,
        Expr::Declare(_, names, paren) => {
            *paren == Paren::Yes || names.iter().any(|(sigil, _)| *sigil != Sigil::Scalar)
        }
        Expr::Local(inner) => is_list_target(inner),
        other => is_array(other) || is_hash(other),
    }
}

pub(super) fn is_array(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Arguments | Expr::Lexical(Sigil::Array, _) | Expr::Global(Sigil::Array, _) | Expr::Deref(Sigil::Array, _)
    )
}

pub(super) fn is_hash(expr: &Expr) -> bool {
    matches!(expr, Expr::Lexical(Sigil::Hash, _) | Expr::Global(Sigil::Hash, _) | Expr::Deref(Sigil::Hash, _))
}

fn is_variable(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Lexical(..) | Expr::Global(..) | Expr::Index(..) | Expr::Key(..) | Expr::Deref(..) | Expr::Declare(..)
    )
}

/// Keys and values out of a flat list.
pub(super) fn pairs(values: &mut dyn Iterator<Item = Value>) -> HashMap {
    let mut map = HashMap::default();
    while let Some(key) = values.next() {
        let value = values.next().unwrap_or_default();
        map.insert(&key.to_bytes(), value);
    }
    map
}

/// The beginning of a text, as Perl shows it in messages.
fn shown(text: &str) -> String {
    if text.chars().count() > 32 {
        format!("{}\"...", text.chars().take(32).collect::<String>())
    } else {
        text.to_owned()
    }
}
