//! What Perl keeps with a variable beside its value: where `each` stands, where `//g` ended, what `state` remembers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::model::{Array, Hash, Value};
use crate::perl::ast::{Expr, Name, Sigil};

use super::place::{Place, is_hash, pairs};
use super::scope::{Scope, Slot, sigil_of};
use super::{Interpreter, Outcome};

/// Where each running `each` stands. A container is kept alive until its walk ends.
#[derive(Debug, Default)]
pub(super) struct Walks {
    arrays: Vec<(Array, usize)>,
    hashes: Vec<(Hash, usize)>,
}

/// The variables of `state` declarations: by declaration and by the closure that it stands in.
pub(super) type States = HashMap<(usize, usize), (Rc<Scope>, Slot)>;

/// A variable that is matched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Cell(usize),
    Element(usize, i64),
    Entry(usize, Vec<u8>),
}

/// Where matches with `//g` ended.
#[derive(Debug, Default)]
pub(super) struct Positions(RefCell<HashMap<Subject, Position>>);

#[derive(Debug)]
struct Position {
    /// Any other text has no position.
    text: Rc<Vec<u8>>,
    at: usize,
    /// Whether the match was empty: the next one must not be empty at the same place.
    was_empty: bool,
}

impl Positions {
    /// The position in a text, and whether an empty match ended there.
    pub(super) fn find(&self, subject: &Subject, text: &Rc<Vec<u8>>) -> Option<(usize, bool)> {
        let positions = self.0.borrow();
        let position = positions.get(subject)?;
        (Rc::ptr_eq(&position.text, text) || position.text == *text).then_some((position.at, position.was_empty))
    }

    pub(super) fn set(&self, subject: Subject, text: Rc<Vec<u8>>, at: usize, was_empty: bool) {
        self.0.borrow_mut().insert(subject, Position { text, at, was_empty });
    }

    pub(super) fn clear(&self, subject: &Subject) {
        self.0.borrow_mut().remove(subject);
    }
}

impl Subject {
    /// The variable at a place; `None` for a part of one.
    pub(super) fn of(place: &Place) -> Option<Self> {
        match place {
            Place::Cell(cell) => Some(Self::Cell(Rc::as_ptr(cell).addr())),
            Place::Element(array, index) => Some(Self::Element(Rc::as_ptr(array).addr(), *index)),
            Place::Entry(hash, key) => Some(Self::Entry(Rc::as_ptr(hash).addr(), key.clone())),
            Place::Part(..) | Place::Position(..) => None,
        }
    }
}

impl Interpreter {
    /// The place of `pos(EXPR)`.
    pub(super) fn position_of(&mut self, target: &Expr) -> Outcome<Place> {
        let place = self.place_of(target)?;
        match Subject::of(&place) {
            Some(subject) => Ok(Place::Position(Rc::clone(&self.positions), subject, place.read().to_bytes())),
            None => Err(self.unsupported("`pos` of this")),
        }
    }

    /// `each`: the next key with its value, or nothing at the end.
    pub(super) fn each(&mut self, container: &Expr) -> Outcome<Vec<Value>> {
        if is_hash(container) {
            let hash = self.hash_of(container)?;
            let walks = &mut self.walks.hashes;
            let index = walks.iter().position(|(walked, _)| Rc::ptr_eq(walked, &hash));
            let at = index.and_then(|index| walks.get(index)).map_or(0, |(_, at)| *at);
            let next = hash.borrow().next_from(at).map(|(at, key, value)| (at, Value::str(key), value.clone()));
            if let Some(index) = index {
                walks.swap_remove(index);
            }
            return Ok(match next {
                Some((at, key, value)) => {
                    walks.push((hash, at + 1));
                    vec![key, value]
                }
                None => Vec::new(),
            });
        }
        let array = self.array_of(container)?;
        let walks = &mut self.walks.arrays;
        let index = walks.iter().position(|(walked, _)| Rc::ptr_eq(walked, &array));
        let at = index.map_or(0, |index| walks.swap_remove(index).1);
        let item = array.borrow().get(at).cloned();
        Ok(match item {
            Some(item) => {
                walks.push((array, at + 1));
                vec![Value::Int(at as i64), item]
            }
            None => Vec::new(),
        })
    }

    /// `keys` and `values` start a hash's walk anew.
    pub(super) fn end_walk(&mut self, hash: &Hash) {
        self.walks.hashes.retain(|(walked, _)| !Rc::ptr_eq(walked, hash));
    }

    /// Executes a `state` declaration: the first time in a closure makes the variable.
    pub(super) fn state_variable(&mut self, id: usize, name: &Name, init: Option<&Expr>) -> Outcome<Slot> {
        let key = (id, Rc::as_ptr(&self.closure).addr());
        if let Some((_, slot)) = self.states.get(&key) {
            let slot = slot.clone();
            self.scope.bind(name, slot.clone());
            return Ok(slot);
        }
        let slot = self.scope.declare(name);
        self.states.insert(key, (Rc::clone(&self.closure), slot.clone()));
        if let Some(init) = init {
            match (&slot, sigil_of(name)) {
                (Slot::Array(array), _) => *array.borrow_mut() = self.list(init)?,
                (Slot::Hash(hash), _) => *hash.borrow_mut() = pairs(&mut self.list(init)?.into_iter()),
                (Slot::Scalar(cell), Sigil::Scalar) => *cell.borrow_mut() = self.scalar(init)?,
                _ => {}
            }
        }
        Ok(slot)
    }
}
