//! Variables: a registry of names while the configuration is read, slots in the request while it is served.
//!
//! A name that the configuration mentions gets an index; its value is computed once for a request and kept in
//! the slot of that index, unless it is marked [`Flags::NO_CACHE`].

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use bytes::Bytes;

use super::request::Request;

/// Computes a value; the second argument is [`VariableDef::data`].
pub type Getter = fn(&Request, usize) -> Option<Bytes>;
/// Takes an assigned value in place of the slot.
pub type Setter = fn(&Request, Option<Bytes>, usize);
/// Computes a value of a family from the part of the name behind the prefix.
pub type FamilyGetter = fn(&Request, &[u8]) -> Option<Bytes>;

/// Properties of a variable, a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// May be assigned (`set`, `map`, `ngx.var.x = …`).
    pub const CHANGEABLE: Self = Self(1);
    /// Is computed at each use.
    pub const NO_CACHE: Self = Self(1 << 1);
    /// May be defined again by something stronger.
    pub const WEAK: Self = Self(1 << 2);

    /// The union of two sets.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all bits of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Where the value of a variable comes from.
#[derive(Clone, Copy)]
pub enum Source {
    /// All names with a prefix (`arg_`, `http_`): the function gets the rest of the name.
    Family(FamilyGetter),
    /// A function and its argument.
    Getter(Getter, usize),
    /// Only assignments give it a value.
    Assigned,
}

/// A variable that a module defines.
#[derive(Clone, Copy)]
pub struct VariableDef {
    /// The name in lower case; of a family, the prefix.
    pub name: &'static str,
    /// Where its value comes from.
    pub source: Source,
    /// What takes an assignment in place of the slot.
    pub set: Option<Setter>,
    /// Its properties.
    pub flags: Flags,
}

impl VariableDef {
    /// A variable that is computed once.
    pub const fn new(name: &'static str, get: Getter) -> Self {
        Self { name, source: Source::Getter(get, 0), set: None, flags: Flags::NONE }
    }

    /// A variable that is computed at each use.
    pub const fn volatile(name: &'static str, get: Getter) -> Self {
        Self { name, source: Source::Getter(get, 0), set: None, flags: Flags::NO_CACHE }
    }

    /// A family of variables with a common prefix.
    pub const fn family(prefix: &'static str, get: FamilyGetter) -> Self {
        Self { name: prefix, source: Source::Family(get), set: None, flags: Flags::NO_CACHE }
    }

    /// The same with an argument for the getter and the setter.
    #[must_use]
    pub const fn data(mut self, data: usize) -> Self {
        if let Source::Getter(get, _) = self.source {
            self.source = Source::Getter(get, data);
        }
        self
    }

    /// The same with a setter, and so changeable.
    #[must_use]
    pub const fn setter(mut self, set: Setter) -> Self {
        self.set = Some(set);
        self.flags = self.flags.or(Flags::CHANGEABLE);
        self
    }

    /// The same with more properties.
    #[must_use]
    pub const fn with(mut self, flags: Flags) -> Self {
        self.flags = self.flags.or(flags);
        self
    }
}

/// A variable in the registry.
#[derive(Clone, Copy)]
pub struct Variable {
    /// Where its value comes from.
    pub source: Source,
    /// What takes an assignment in place of the slot.
    pub set: Option<Setter>,
    /// Its properties.
    pub flags: Flags,
    /// Its slot, if anything uses it by index.
    pub index: Option<VarIndex>,
}

impl Variable {
    /// The argument of its getter and setter.
    pub fn data(&self) -> usize {
        if let Source::Getter(_, data) = self.source { data } else { 0 }
    }
}

/// The slot of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VarIndex(pub u32);

/// An indexed variable.
struct Indexed {
    name: Box<[u8]>,
    variable: Variable,
    /// Length of the prefix, for members of a family.
    prefix: usize,
}

/// Why a variable can't be defined or used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum VariableError {
    /// It exists and is no variable of the configuration's own.
    #[error("the duplicate \"{0}\" variable")]
    Duplicate(String),
    /// Nobody defines it.
    #[error("unknown \"{0}\" variable")]
    Unknown(String),
}

/// All variables of a configuration.
pub struct Variables {
    names: HashMap<Box<[u8]>, Variable, BuildHasherDefault<NameHasher>>,
    families: Vec<(&'static str, Variable)>,
    indexed: Vec<Indexed>,
}

/// Hashes the short names of variables (FNV-1a). Only configurations add names: nobody can choose them to collide.
struct NameHasher(u64);

impl Default for NameHasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for NameHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The length of a name says little that its bytes don't.
    fn write_usize(&mut self, _length: usize) {}
}

impl Default for Variables {
    /// Those of `http { }`.
    fn default() -> Self {
        Self::of(super::order::VARIABLES.iter().copied().flatten())
    }
}

impl Variables {
    /// A registry that begins with these.
    pub(crate) fn of(defs: impl Iterator<Item = &'static VariableDef>) -> Self {
        let mut variables = Self { names: HashMap::default(), families: Vec::new(), indexed: Vec::new() };
        for def in defs {
            let variable = Variable { source: def.source, set: def.set, flags: def.flags, index: None };
            match def.source {
                Source::Family(_) => variables.families.push((def.name, variable)),
                Source::Getter(..) | Source::Assigned => {
                    variables.names.insert(def.name.as_bytes().into(), variable);
                }
            }
        }
        variables
    }
}

impl Variables {
    /// Defines a variable of the configuration (`map`, `set`, `geo`). One that exists and is changeable is
    /// reused: the caller overrides its source with [`Variables::define`]'s result if it has one.
    pub fn define(
        &mut self,
        name: &[u8],
        source: Source,
        set: Option<Setter>,
        flags: Flags,
    ) -> Result<(), VariableError> {
        let name = name.to_ascii_lowercase();
        if let Some(known) = self.names.get_mut(&*name) {
            if !known.flags.has(Flags::CHANGEABLE) {
                return Err(VariableError::Duplicate(String::from_utf8_lossy(&name).into_owned()));
            }
            if !flags.has(Flags::WEAK) {
                known.flags = Flags(known.flags.0 & !Flags::WEAK.0);
            }
            if !matches!(source, Source::Assigned) {
                known.source = source;
                known.flags = flags;
                if set.is_some() {
                    known.set = set;
                }
            }
            return Ok(());
        }
        self.names.insert(name.into(), Variable { source, set, flags, index: None });
        Ok(())
    }

    /// The slot of a variable; it need not be defined yet.
    pub fn index(&mut self, name: &[u8]) -> VarIndex {
        let name = name.to_ascii_lowercase();
        if let Some(known) = self.indexed.iter().position(|indexed| *indexed.name == *name) {
            return VarIndex(known as u32);
        }
        let undefined = Variable { source: Source::Assigned, set: None, flags: Flags::NONE, index: None };
        self.indexed.push(Indexed { name: name.into(), variable: undefined, prefix: 0 });
        VarIndex((self.indexed.len() - 1) as u32)
    }

    /// Whether a name is defined, by itself or as a member of a family.
    pub fn is_defined(&self, name: &[u8]) -> bool {
        self.lookup(&name.to_ascii_lowercase()).is_some()
    }

    /// The definition of a name (in lower case).
    pub fn named(&self, name: &[u8]) -> Option<&Variable> {
        self.names.get(name)
    }

    /// The name behind an index.
    pub fn name_of(&self, index: VarIndex) -> &[u8] {
        self.indexed.get(index.0 as usize).map_or(b"", |indexed| &indexed.name)
    }

    /// The number of slots a request needs.
    pub fn slots(&self) -> usize {
        self.indexed.len()
    }

    /// Connects indexes with definitions, when the whole configuration has been read.
    pub fn finish(&mut self) -> Result<(), VariableError> {
        for at in 0..self.indexed.len() {
            let name = self.indexed[at].name.clone();
            let Some((mut variable, prefix)) = self.lookup(&name) else {
                return Err(VariableError::Unknown(String::from_utf8_lossy(&name).into_owned()));
            };
            variable.index = Some(VarIndex(at as u32));
            if let Some(known) = self.names.get_mut(&name) {
                known.index = variable.index;
            }
            self.indexed[at].variable = variable;
            self.indexed[at].prefix = prefix;
        }
        Ok(())
    }

    fn lookup(&self, name: &[u8]) -> Option<(Variable, usize)> {
        if let Some(variable) = self.names.get(name) {
            return Some((*variable, 0));
        }
        let family = self.families.iter().filter(|(prefix, _)| name.starts_with(prefix.as_bytes()));
        family.max_by_key(|(prefix, _)| prefix.len()).map(|(prefix, variable)| (*variable, prefix.len()))
    }
}

/// The value of a variable in a request.
#[derive(Clone, Debug, Default)]
enum Value {
    #[default]
    Unset,
    Missing,
    Found(Bytes),
}

#[derive(Clone, Debug, Default)]
struct Slot {
    value: Value,
    no_cache: bool,
}

/// The slots of a request; a subrequest usually shares its parent's.
#[derive(Clone, Default)]
pub struct Slots(RefCell<Vec<Slot>>);

impl Slots {
    /// Slots for all indexed variables.
    pub fn new(count: usize) -> Self {
        Self(RefCell::new(vec![Slot::default(); count]))
    }

    /// Forgets all values.
    pub fn reset(&self) {
        for slot in self.0.borrow_mut().iter_mut() {
            *slot = Slot::default();
        }
    }
}

thread_local! {
    /// How deep the evaluation of variables is nested (a `map` of a `map` of …).
    static DEPTH: Cell<u8> = const { Cell::new(0) };
}

const MAX_DEPTH: u8 = 100;

impl Request {
    /// The value of an indexed variable, computed when it isn't known yet.
    pub fn variable(&self, index: VarIndex) -> Option<Bytes> {
        self.kept_variable(index, |_| true)
    }

    /// The value of an indexed variable, computed anew when it must not be kept.
    pub fn fresh_variable(&self, index: VarIndex) -> Option<Bytes> {
        self.kept_variable(index, |slot| !slot.no_cache)
    }

    /// The value in a slot that is good enough, else a new one.
    #[inline]
    fn kept_variable(&self, index: VarIndex, is_good: impl Fn(&Slot) -> bool) -> Option<Bytes> {
        if let Some(slot) = self.slots().0.borrow().get(index.0 as usize).filter(|slot| is_good(slot)) {
            match &slot.value {
                Value::Unset => {}
                Value::Missing => return None,
                Value::Found(value) => return Some(value.clone()),
            }
        }
        let indexed = self.main_conf().core.variables.indexed.get(index.0 as usize)?;
        let value = self.compute(&indexed.variable, &indexed.name, indexed.prefix);
        self.store(index, value.clone(), indexed.variable.flags.has(Flags::NO_CACHE));
        value
    }

    /// The value of any variable by its name in lower case (`ngx.var`, SSI).
    pub fn variable_named(&self, name: &[u8]) -> Option<Bytes> {
        let variables = &self.main_conf().core.variables;
        let (variable, prefix) = variables.lookup(name)?;
        if let Some(index) = variable.index {
            return self.fresh_variable(index);
        }
        if prefix > 0
            && let Some(index) = variables.indexed.iter().position(|indexed| &*indexed.name == name)
        {
            return self.fresh_variable(VarIndex(index as u32));
        }
        self.compute(&variable, name, prefix)
    }

    /// Puts a value into a slot, as `set` does.
    pub fn set_variable(&self, index: VarIndex, value: Option<Bytes>) {
        self.store(index, value, false);
    }

    /// Assigns as the `set` directive does: to the variable's setter if it has one, else to its slot.
    pub fn assign_variable(&self, index: VarIndex, value: Option<Bytes>) {
        let indexed = self.main_conf().core.variables.indexed.get(index.0 as usize);
        if let Some(variable) = indexed.map(|indexed| &indexed.variable)
            && let Some(set) = variable.set
        {
            let data = if let Source::Getter(_, data) = variable.source { data } else { 0 };
            set(self, value, data);
            return;
        }
        self.set_variable(index, value);
    }

    fn store(&self, index: VarIndex, value: Option<Bytes>, no_cache: bool) {
        if let Some(slot) = self.slots().0.borrow_mut().get_mut(index.0 as usize) {
            slot.value = value.map_or(Value::Missing, Value::Found);
            slot.no_cache = no_cache;
        }
    }

    fn compute(&self, variable: &Variable, name: &[u8], prefix: usize) -> Option<Bytes> {
        let depth = DEPTH.get();
        if depth >= MAX_DEPTH {
            return None;
        }
        DEPTH.set(depth + 1);
        let value = match variable.source {
            Source::Assigned => None,
            Source::Family(get) => get(self, name.get(prefix..).unwrap_or_default()),
            Source::Getter(get, data) => get(self, data),
        };
        DEPTH.set(depth);
        value
    }
}
