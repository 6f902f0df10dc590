//! Lexical variables at run time: a chain of scopes, searched by name.

use std::cell::RefCell;
use std::rc::Rc;

use crate::model::{Array, Hash, Value};
use crate::perl::ast::{Name, Sigil};

/// One scope. Closures keep the chain alive.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    variables: RefCell<Vec<Variable>>,
    parent: Option<Rc<Scope>>,
}

#[derive(Debug)]
struct Variable {
    name: Name,
    slot: Slot,
    /// Declared while parsing; the `my` itself has not been executed.
    fresh: bool,
}

/// What a lexical name stands for.
#[derive(Clone, Debug)]
pub(crate) enum Slot {
    Array(Array),
    Hash(Hash),
    Our(Name),
    Scalar(Rc<RefCell<Value>>),
}

impl Slot {
    fn new(name: &str) -> Self {
        match name.as_bytes().first() {
            Some(b'@') => Self::Array(Array::default()),
            Some(b'%') => Self::Hash(Hash::default()),
            _ => Self::Scalar(Rc::default()),
        }
    }
}

impl Scope {
    /// A scope inside `parent`.
    pub(crate) fn inside(parent: &Rc<Self>) -> Rc<Self> {
        Rc::new(Self { variables: RefCell::default(), parent: Some(Rc::clone(parent)) })
    }

    /// The slot of the nearest variable of this name.
    pub(crate) fn find(&self, name: &Name) -> Option<Slot> {
        let mut scope = Some(self);
        while let Some(here) = scope {
            let variables = here.variables.borrow();
            if let Some(found) =
                variables.iter().rev().find(|variable| Rc::ptr_eq(&variable.name, name) || variable.name == *name)
            {
                return Some(found.slot.clone());
            }
            scope = here.parent.as_deref();
        }
        None
    }

    /// Executes a `my`: a new variable, or the one that parsing has already made.
    pub(crate) fn declare(&self, name: &Name) -> Slot {
        let mut variables = self.variables.borrow_mut();
        if let Some(variable) = variables.iter_mut().find(|variable| variable.fresh && variable.name == *name) {
            variable.fresh = false;
            return variable.slot.clone();
        }
        let slot = Slot::new(name);
        variables.retain(|variable| variable.name != *name);
        variables.push(Variable { name: Rc::clone(name), slot: slot.clone(), fresh: false });
        slot
    }

    /// Makes a name stand for an existing variable.
    pub(crate) fn bind(&self, name: &Name, slot: Slot) {
        let mut variables = self.variables.borrow_mut();
        variables.retain(|variable| variable.name != *name);
        variables.push(Variable { name: Rc::clone(name), slot, fresh: false });
    }

    /// Declares a variable while parsing.
    pub(crate) fn predeclare(&self, name: &Name) {
        let mut variables = self.variables.borrow_mut();
        if !variables.iter().any(|variable| variable.name == *name) {
            variables.push(Variable { name: Rc::clone(name), slot: Slot::new(name), fresh: true });
        }
    }

    /// Makes a name stand for a package variable.
    pub(crate) fn declare_our(&self, name: &Name, global: &Name) {
        let mut variables = self.variables.borrow_mut();
        variables.retain(|variable| variable.name != *name);
        variables.push(Variable { name: Rc::clone(name), slot: Slot::Our(Rc::clone(global)), fresh: false });
    }

    /// All names that can be seen from here, outermost first.
    pub(crate) fn visible(&self) -> Vec<(Name, Option<Name>)> {
        let mut names = self.parent.as_ref().map_or_else(Vec::new, |parent| parent.visible());
        for variable in self.variables.borrow().iter() {
            let our = match &variable.slot {
                Slot::Our(global) => Some(Rc::clone(global)),
                _ => None,
            };
            names.push((Rc::clone(&variable.name), our));
        }
        names
    }
}

/// The sigil that starts a lexical name.
pub(crate) fn sigil_of(name: &str) -> Sigil {
    match name.as_bytes().first() {
        Some(b'@') => Sigil::Array,
        Some(b'%') => Sigil::Hash,
        Some(b'&') => Sigil::Code,
        _ => Sigil::Scalar,
    }
}
