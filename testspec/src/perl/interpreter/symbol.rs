//! Symbols by their names: `*name = sub {…}`, `*{"Package::name"} = \$variable`.

use std::rc::Rc;

use crate::model::{Code, Reference, Value};
use crate::perl::ast::{Expr, Name, Sigil};

use super::{Interpreter, Outcome, Restore};

impl Interpreter {
    /// The name of the symbol that an expression stands for, if it stands for one.
    pub(super) fn symbol(&mut self, expr: &Expr) -> Outcome<Option<Name>> {
        Ok(match expr {
            Expr::Global(Sigil::Scalar, name) => name.strip_prefix('*').map(Name::from),
            Expr::Glob(inner, package) => {
                let name = self.scalar(inner)?.to_text();
                let name = name.strip_prefix('*').unwrap_or(&name);
                let is_full = name.contains("::");
                Some(if is_full { name.into() } else { format!("{package}::{name}").into() })
            }
            Expr::Local(inner) => {
                let name = self.symbol(inner)?;
                if let Some(name) = &name {
                    let restore = Restore::Sub(name.clone(), self.subs.get(name).cloned());
                    self.locals.push(restore);
                }
                name
            }
            _ => None,
        })
    }

    /// Makes the symbol another name of what a reference refers to.
    pub(super) fn assign_symbol(&mut self, name: &Name, value: Value) -> Outcome<Value> {
        match &value {
            Value::Code(Code(sub)) => {
                self.subs.insert(name.clone(), Rc::clone(sub));
            }
            Value::Ref(Reference::Cell(cell)) => {
                self.scalars.insert(name.clone(), Rc::clone(cell));
            }
            Value::Array(array) => {
                self.arrays.insert(name.clone(), Rc::clone(array));
            }
            Value::Hash(hash) => {
                self.hashes.insert(name.clone(), Rc::clone(hash));
            }
            Value::File(_) => self.set_global(&format!("*{name}"), value.clone()),
            _ => return Err(self.unsupported("this assignment to a typeglob")),
        }
        Ok(value)
    }

    /// `*this = *that`: both names mean the same.
    pub(super) fn alias_symbol(&mut self, this: &Name, that: &Name) {
        if let Some(sub) = self.subs.get(that).cloned() {
            self.subs.insert(this.clone(), sub);
        }
        let (scalar, array, hash) = (self.scalar_cell(that), self.array(that), self.hash(that));
        self.scalars.insert(this.clone(), scalar);
        self.arrays.insert(this.clone(), array);
        self.hashes.insert(this.clone(), hash);
        let file = self.global(&format!("*{that}"));
        self.set_global(&format!("*{this}"), file);
    }
}
