//! Calling subroutines and methods.

use std::cell::RefCell;
use std::rc::Rc;

use crate::model::{Array, Code, Value};
use crate::perl::ast::{Callee, Expr, MethodName, Name, Sigil, SubDefinition};

use super::place::{Place, is_array};
use super::{Interpreter, Outcome, Scope, Stop, SubKind, Want};

impl Interpreter {
    /// Calls a subroutine.
    pub(crate) fn call(&mut self, code: &Code, arguments: Vec<Value>, want: Want) -> Outcome<Vec<Value>> {
        match &code.0.kind {
            SubKind::Constant(values) => Ok(values.clone()),
            SubKind::Native { function, .. } => {
                let function = *function;
                self.deeper(|it| function(it, arguments, want))
            }
            SubKind::Perl { definition, scope } => {
                self.call_perl(definition, scope, Rc::new(RefCell::new(arguments)), want)
            }
        }
    }

    fn call_perl(
        &mut self,
        definition: &Rc<SubDefinition>,
        scope: &Rc<Scope>,
        arguments: Array,
        want: Want,
    ) -> Outcome<Vec<Value>> {
        let definition = Rc::clone(definition);
        let outer_closure = std::mem::replace(&mut self.closure, Rc::clone(scope));
        let outer_arguments = std::mem::replace(&mut self.arguments, arguments);
        let outer_want = std::mem::replace(&mut self.want, want);
        let saved = self.locals.len();
        let inside = Scope::inside(scope);
        let result = self.in_frame(Rc::clone(&definition.unit), Rc::clone(&definition.package), inside, |it| {
            let want = if want == Want::Void { Want::Scalar } else { want };
            it.statements(&definition.body, want)
        });
        self.restore_locals(saved);
        self.arguments = outer_arguments;
        self.closure = outer_closure;
        self.want = outer_want;
        match result {
            Err(Stop::Return(values)) => Ok(values),
            other => other,
        }
    }

    /// Calls a subroutine that names elements of `@_`: what it makes of them is written back to the caller's
    /// variables.
    fn call_aliased(
        &mut self,
        definition: &Rc<SubDefinition>,
        scope: &Rc<Scope>,
        arguments: &[Expr],
        want: Want,
    ) -> Outcome<Vec<Value>> {
        let mut places = Vec::new();
        let mut before = Vec::new();
        for argument in arguments {
            self.argument_places(argument, &mut before, &mut places)?;
        }
        let shared = Rc::new(RefCell::new(before.clone()));
        let result = self.call_perl(definition, scope, Rc::clone(&shared), want);
        let after = shared.borrow();
        // What was shifted away is gone from the front.
        let gone = before.len().saturating_sub(after.len());
        for ((place, old), new) in places.iter().zip(&before).skip(gone).zip(after.iter()) {
            let is_same = old.is_defined() == new.is_defined() && old.to_bytes() == new.to_bytes();
            if let (Some(place), false) = (place, is_same) {
                place.write(new.clone());
            }
        }
        result
    }

    fn argument_places(
        &mut self,
        argument: &Expr,
        values: &mut Vec<Value>,
        places: &mut Vec<Option<Place>>,
    ) -> Outcome<()> {
        match argument {
            Expr::List(items) => {
                for item in items {
                    self.argument_places(item, values, places)?;
                }
            }
            _ if is_array(argument) => {
                let array = self.array_of(argument)?;
                let items = array.borrow().clone();
                places.extend((0..items.len()).map(|index| Some(Place::Element(Rc::clone(&array), index as i64))));
                values.extend(items);
            }
            Expr::Lexical(Sigil::Scalar, _)
            | Expr::Global(Sigil::Scalar, _)
            | Expr::Deref(Sigil::Scalar, _)
            | Expr::Index(..)
            | Expr::Key(..) => {
                let place = self.place_of(argument)?;
                values.push(place.read());
                places.push(Some(place));
            }
            _ => {
                self.list_into(argument, values)?;
                places.resize(values.len(), None);
            }
        }
        Ok(())
    }

    /// Calls a subroutine by its full name.
    pub(crate) fn call_named(&mut self, name: &str, arguments: Vec<Value>, want: Want) -> Outcome<Vec<Value>> {
        match self.sub(name) {
            Some(sub) => {
                let code = Code(Rc::clone(sub));
                self.call(&code, arguments, want)
            }
            None => Err(self.die(format!("Undefined subroutine &{name} called"))),
        }
    }

    pub(super) fn call_expression(
        &mut self,
        callee: &Callee,
        arguments: &[Expr],
        current: bool,
        want: Want,
    ) -> Outcome<Vec<Value>> {
        if let Callee::Named(name) = callee
            && !current
            && let Some(sub) = self.sub(name).cloned()
            && let SubKind::Perl { definition, scope } = &sub.kind
            && definition.aliases
        {
            return self.call_aliased(definition, scope, arguments, want);
        }
        let values = if current { self.arguments.borrow().clone() } else { self.list_of(arguments)? };
        match callee {
            Callee::Named(name) => self.call_named(name, values, want),
            Callee::Dynamic(expr) => {
                let value = self.scalar(expr)?;
                match code_of(&value) {
                    Some(code) => self.call(&code, values, want),
                    None if value.is_defined() => {
                        let text = value.to_text();
                        match self.sub(&text).cloned() {
                            Some(sub) => self.call(&Code(sub), values, want),
                            None => Err(self.die("Not a CODE reference")),
                        }
                    }
                    None => Err(self.die("Can't use an undefined value as a subroutine reference")),
                }
            }
        }
    }

    pub(super) fn method(
        &mut self,
        invocant: &Expr,
        name: &MethodName,
        arguments: &[Expr],
        want: Want,
    ) -> Outcome<Vec<Value>> {
        let invocant = self.scalar(invocant)?;
        let mut values = vec![invocant.clone()];
        for argument in arguments {
            self.list_into(argument, &mut values)?;
        }
        let name: Name = match name {
            MethodName::Static(name) => Rc::clone(name),
            MethodName::Dynamic(expr) => {
                let value = self.scalar(expr)?;
                if let Some(code) = code_of(&value) {
                    return self.call(&code, values, want);
                }
                value.to_text().into()
            }
        };
        self.call_method(&invocant, &name, values, want)
    }

    /// Calls a method; `values` start with the invocant.
    pub(crate) fn call_method(
        &mut self,
        invocant: &Value,
        name: &str,
        values: Vec<Value>,
        want: Want,
    ) -> Outcome<Vec<Value>> {
        if let Value::Block(block) = invocant {
            return Ok(match name {
                "name" => vec![Value::str(block.name())],
                "description" => vec![Value::str(block.description())],
                "seq_num" => vec![Value::Int(block.number() as i64)],
                "set_value" => {
                    let section = values.get(1).map(Value::to_text).unwrap_or_default();
                    block.set_value(&section, values.get(2).cloned().unwrap_or_default());
                    vec![values.get(2).cloned().unwrap_or_default()]
                }
                "original_values" => {
                    let map = block.sections().iter().fold(crate::model::HashMap::default(), |mut map, section| {
                        map.insert(section.name.as_bytes(), Value::Str(Rc::clone(&section.raw)));
                        map
                    });
                    vec![Value::Hash(Rc::new(RefCell::new(map)))]
                }
                _ => match block.value(name) {
                    Some(value) => vec![value],
                    None if want == Want::List => Vec::new(),
                    None => vec![Value::Undef],
                },
            });
        }
        let class = match invocant {
            Value::Undef => return Err(self.die(format!("Can't call method \"{name}\" on an undefined value"))),
            Value::Object(object) => object.class.clone(),
            Value::Array(_) | Value::Hash(_) | Value::Code(_) | Value::Ref(_) => {
                return Err(self.die(format!("Can't call method \"{name}\" on unblessed reference")));
            }
            Value::Regex(_) => "Regexp".to_owned(),
            Value::File(_) => "IO::File".to_owned(),
            other => other.to_text(),
        };
        let full = if name.contains("::") { Some(name.to_owned()) } else { self.find_method(&class, name, 0) };
        if let Some(full) = full {
            return self.call_named(&full, values, want);
        }
        if let Value::File(file) = invocant
            && let Some(result) = self.file_method(file, name, &values, want)?
        {
            return Ok(result);
        }
        match name {
            "can" => {
                let wanted = values.get(1).map(Value::to_text).unwrap_or_default();
                let found = self.find_method(&class, &wanted, 0).and_then(|full| self.sub(&full).cloned());
                Ok(vec![found.map_or(Value::str(""), |sub| Value::Code(Code(sub)))])
            }
            "isa" => {
                let wanted = values.get(1).map(Value::to_text).unwrap_or_default();
                Ok(vec![Value::bool(self.is_a(&class, &wanted, 0))])
            }
            "import" | "unimport" => Ok(Vec::new()),
            _ if class.is_empty() => {
                Err(self.die(format!("Can't call method \"{name}\" without a package or object reference")))
            }
            _ => Err(self.die(format!(
                "Can't locate object method \"{name}\" via package \"{class}\" (perhaps you forgot to load \"{class}\"?)"
            ))),
        }
    }

    fn find_method(&mut self, class: &str, name: &str, depth: usize) -> Option<String> {
        let full = format!("{class}::{name}");
        if self.sub(&full).is_some() {
            return Some(full);
        }
        if depth > 20 {
            return None;
        }
        let parents = self.parents(class);
        parents.iter().find_map(|parent| self.find_method(parent, name, depth + 1))
    }

    fn is_a(&mut self, class: &str, wanted: &str, depth: usize) -> bool {
        class == wanted || (depth < 20 && self.parents(class).iter().any(|parent| self.is_a(parent, wanted, depth + 1)))
    }

    /// A class's `@ISA`.
    pub(super) fn parents(&mut self, class: &str) -> Vec<String> {
        let isa = self.arrays.get(format!("{class}::ISA").as_str());
        isa.map_or_else(Vec::new, |isa| isa.borrow().iter().map(Value::to_text).collect())
    }
}

/// The subroutine that a code reference, or an object of one, stands for.
pub(super) fn code_of(value: &Value) -> Option<Code> {
    match value {
        Value::Code(code) => Some(code.clone()),
        Value::Object(object) => code_of(&object.target),
        _ => None,
    }
}
