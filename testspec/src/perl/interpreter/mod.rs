//! The evaluator: walks the syntax tree, in byte semantics.
//!
//! State that Perl keeps in package variables is kept there too, natively provided modules included,
//! so that a prologue can read and set it as it does with the originals. Arrays hold values, not
//! variables: where `foreach` and `@_` are aliases, what they changed is written back.
//!
//! Nothing outside is reached but through the [`Host`]. Steps, depth and the size of strings are
//! bounded; going over a bound ends the evaluation with a message.

mod call;
mod expression;
mod file;
mod folder;
mod function;
mod list_function;
mod memory;
mod module;
mod pattern;
mod place;
mod scope;
mod statement;
mod symbol;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use rsty_diag::{Diagnostic, Source, Span};

use crate::model::{Array, Code, Hash, Value};

use super::ast::{Block, Expr, Jump, Name, Sigil, StatementKind, SubDefinition, Unit};
use super::limits::Limits;
use super::parser::{ParseError, Parser};
use super::{Host, PerlError};

pub use file::File;
pub(crate) use function::shell_quoted;
pub(crate) use module::NativeModule;
pub(crate) use scope::Scope;

/// A natively provided subroutine.
pub(crate) type Native = fn(&mut Interpreter, Vec<Value>, Want) -> Result<Vec<Value>, Stop>;

/// The context in which a value is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    List,
    Scalar,
    Void,
}

/// Why evaluation left the ordinary way.
#[derive(Debug)]
pub(crate) enum Stop {
    Die(Value),
    Exit(i32),
    Jump(Jump, Option<Name>),
    Return(Vec<Value>),
    /// Perl outside the subset, or a bound; `eval` does not catch it.
    Unsupported(Box<Diagnostic>),
}

/// The result of evaluating something.
pub(crate) type Outcome<T> = Result<T, Stop>;

/// A subroutine.
#[derive(Debug)]
pub struct Sub {
    pub(crate) kind: SubKind,
}

pub(crate) enum SubKind {
    Constant(Vec<Value>),
    Native { function: Native, prototype: Option<&'static str> },
    Perl { definition: Rc<SubDefinition>, scope: Rc<Scope> },
}

impl std::fmt::Debug for SubKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sub")
    }
}

/// Something printed by the evaluated code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Err(Vec<u8>),
    Out(Vec<u8>),
}

/// What `local` puts back at the end of its scope.
#[derive(Debug)]
enum Restore {
    Array(Array, Vec<Value>),
    Entry(Hash, Vec<u8>, Option<Value>),
    Hash(Hash, crate::model::HashMap),
    Scalar(Rc<RefCell<Value>>, Value),
    Sub(Name, Option<Rc<Sub>>),
}

/// The rest of the main file.
#[derive(Debug)]
struct Pending {
    body: std::collections::VecDeque<super::ast::Statement>,
    unit: Rc<Unit>,
    scope: Rc<Scope>,
}

/// Where the last successful match was.
#[derive(Clone, Debug, Default)]
struct Captures {
    subject: Rc<Vec<u8>>,
    groups: Vec<Option<(usize, usize)>>,
    names: Vec<Option<String>>,
}

/// The state of one file's Perl.
pub(crate) struct Interpreter {
    pub(crate) limits: Limits,
    pub(crate) host: Box<dyn Host>,
    pub(crate) output: Vec<Output>,
    /// Appended to messages after a file has been read: `, <DATA> line 1`.
    pub(crate) read_note: String,
    scalars: HashMap<Name, Rc<RefCell<Value>>>,
    arrays: HashMap<Name, Array>,
    hashes: HashMap<Name, Hash>,
    subs: HashMap<Name, Rc<Sub>>,
    declared: HashMap<Name, Option<Rc<str>>>,
    loaded: Vec<String>,
    end_blocks: Vec<Code>,
    scope: Rc<Scope>,
    arguments: Array,
    package: Name,
    unit: Rc<Unit>,
    at: u32,
    want: Want,
    depth: usize,
    steps: u64,
    locals: Vec<Restore>,
    captures: Captures,
    evals: usize,
    random: u64,
    positions: Rc<memory::Positions>,
    walks: memory::Walks,
    states: memory::States,
    state_count: usize,
    /// The scope that the running subroutine closes over.
    closure: Rc<Scope>,
    pending: Option<Pending>,
    main_package: Name,
    repeats_statement: bool,
    /// The statement of the main file that ran last.
    main_at: u32,
}

impl std::fmt::Debug for Interpreter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interpreter").field("unit", &self.unit.name).finish_non_exhaustive()
    }
}

impl Interpreter {
    /// A fresh evaluator that knows no module yet.
    pub(crate) fn new(host: Box<dyn Host>, limits: Limits) -> Self {
        let unit = Rc::new(Unit { name: "-".to_owned(), text: Rc::from(Vec::new()), source: None });
        let mut interpreter = Self {
            limits,
            host,
            output: Vec::new(),
            read_note: String::new(),
            scalars: HashMap::new(),
            arrays: HashMap::new(),
            hashes: HashMap::new(),
            subs: HashMap::new(),
            declared: HashMap::new(),
            loaded: Vec::new(),
            end_blocks: Vec::new(),
            scope: Rc::default(),
            arguments: Array::default(),
            package: "main".into(),
            unit,
            at: 0,
            want: Want::Void,
            depth: 0,
            steps: 0,
            locals: Vec::new(),
            captures: Captures::default(),
            evals: 0,
            random: 0x9e37_79b9_7f4a_7c15 ^ u64::from(std::process::id()),
            positions: Rc::default(),
            walks: memory::Walks::default(),
            states: memory::States::default(),
            state_count: 0,
            closure: Rc::default(),
            pending: None,
            main_package: "main".into(),
            repeats_statement: false,
            main_at: 0,
        };
        interpreter.define_standard_files();
        for (name, value) in [
            ("main::0", Value::str("-")),
            ("main::/", Value::str("\n")),
            ("main::,", Value::Undef),
            ("main::\\", Value::Undef),
            ("main::\"", Value::str(" ")),
            ("main::;", Value::str([28])),
            ("main::@", Value::str("")),
            ("main::!", Value::str("")),
            ("main::?", Value::Int(0)),
            ("main::^O", Value::str("linux")),
            ("main::^V", Value::str("v5.36.0")),
            ("main::]", Value::Num(5.036)),
            ("main::$", Value::Int(i64::from(std::process::id()))),
        ] {
            *interpreter.scalar_cell(&name.into()).borrow_mut() = value;
        }
        interpreter
    }

    /// Compiles and runs the main file in package main, up to where it starts its tests or ends.
    /// `source` gives places to diagnostics. What follows is run by [`Self::resume`].
    pub(crate) fn run_main(&mut self, name: &str, text: &[u8], source: &Source) -> Outcome<()> {
        let unit = Rc::new(Unit { name: name.to_owned(), text: Rc::from(text), source: Some(source.clone()) });
        self.set_global("main::0", Value::str(name));
        let scope = Rc::<Scope>::default();
        let body = self.compile(&unit, &"main".into(), false, &scope)?;
        self.pending = Some(Pending { body: body.into_iter().collect(), unit, scope });
        self.resume()
    }

    /// Runs the statements of the main file that have not been run.
    pub(crate) fn resume(&mut self) -> Outcome<()> {
        let Some(mut pending) = self.pending.take() else {
            return Ok(());
        };
        while let Some(statement) = pending.body.pop_front() {
            let (unit, scope) = (Rc::clone(&pending.unit), Rc::clone(&pending.scope));
            let package = Rc::clone(&self.main_package);
            self.main_at = statement.at;
            let result = self.in_frame(unit, package, scope, |it| {
                let result = it.statements(std::slice::from_ref(&statement), Want::Void);
                it.main_package = Rc::clone(&it.package);
                result
            });
            if let Err(stop) = result {
                if self.repeats_statement {
                    pending.body.push_front(statement);
                }
                self.pending = Some(pending);
                return Err(stop);
            }
        }
        Ok(())
    }

    /// Runs the statement that the main file stopped at, and keeps it: it walks over the blocks, and is run again for
    /// each of them.
    pub(crate) fn run_again(&mut self) -> Outcome<()> {
        let Some(mut pending) = self.pending.take() else { return Ok(()) };
        let rest = pending.body.split_off(pending.body.len().min(1));
        let statement = pending.body.pop_front();
        let (unit, scope, package) =
            (Rc::clone(&pending.unit), Rc::clone(&pending.scope), Rc::clone(&self.main_package));
        let result = match &statement {
            Some(statement) => {
                self.in_frame(unit, package, scope, |it| it.statements(std::slice::from_ref(statement), Want::Void))
            }
            None => Ok(Vec::new()),
        };
        pending.body.extend(statement);
        pending.body.extend(rest);
        self.pending = Some(pending);
        result.map(|_| ())
    }

    /// From now on the statement that the main file stops at is run again for each block.
    pub(crate) fn repeat_statement(&mut self) {
        self.repeats_statement = true;
    }

    /// Whether the main file stopped at a statement that only keeps something in a variable.
    pub(crate) fn stands_at_assignment(&self) -> bool {
        let statement = self.pending.as_ref().and_then(|pending| pending.body.front());
        statement.is_some_and(|statement| matches!(statement.kind, StatementKind::Expr(Expr::Assign(..))))
    }

    /// Runs the statement that the main file stopped at, and everything behind it.
    pub(crate) fn run_to_end(&mut self) -> Outcome<()> {
        self.repeats_statement = false;
        match self.resume() {
            Err(Stop::Exit(_)) => Ok(()),
            other => other,
        }
    }

    /// Leaves the repeated statement behind.
    pub(crate) fn end_repetition(&mut self) {
        if std::mem::take(&mut self.repeats_statement)
            && let Some(pending) = &mut self.pending
        {
            pending.body.pop_front();
        }
    }

    /// Where the evaluation is, or was when it stopped: the file and the line's span.
    pub(crate) fn main_place(&self) -> Option<(Source, Span)> {
        let pending = self.pending.as_ref()?;
        let source = pending.unit.source.clone()?;
        let at = self.main_at as usize;
        let end = pending
            .unit
            .text
            .iter()
            .skip(at)
            .position(|byte| *byte == b'\n')
            .map_or(pending.unit.text.len(), |len| at + len);
        Some((source, Span::new(at, end)))
    }

    /// Runs text as `eval` does in `package`, strict, seeing no lexical variables. The error is `$@`.
    pub(crate) fn eval_apart(
        &mut self,
        text: &[u8],
        package: &str,
        want: Want,
    ) -> Outcome<Result<Vec<Value>, Vec<u8>>> {
        let outer = std::mem::take(&mut self.scope);
        let arguments = std::mem::take(&mut self.arguments);
        let result = self.eval_text(text, package.into(), true, want);
        self.scope = outer;
        self.arguments = arguments;
        result
    }

    fn eval_text(
        &mut self,
        text: &[u8],
        package: Name,
        strict: bool,
        want: Want,
    ) -> Outcome<Result<Vec<Value>, Vec<u8>>> {
        self.evals += 1;
        let unit = Rc::new(Unit { name: format!("(eval {})", self.evals), text: Rc::from(text), source: None });
        let scope = Scope::inside(&self.scope);
        let saved = self.locals.len();
        let depth = self.depth;
        let outer_want = std::mem::replace(&mut self.want, want);
        let result = self.run_unit(unit, package, strict, scope, want);
        self.want = outer_want;
        self.restore_locals(saved);
        self.depth = depth;
        self.caught(result)
    }

    /// Turns a death into `$@`, as `eval` does.
    fn caught(&mut self, result: Outcome<Vec<Value>>) -> Outcome<Result<Vec<Value>, Vec<u8>>> {
        let cell = self.scalar_cell(&"main::@".into());
        match result {
            Ok(values) | Err(Stop::Return(values)) => {
                *cell.borrow_mut() = Value::str("");
                Ok(Ok(values))
            }
            Err(Stop::Die(value)) => {
                let text = value.to_bytes().to_vec();
                *cell.borrow_mut() = value;
                Ok(Err(text))
            }
            Err(other) => Err(other),
        }
    }

    fn run_unit(
        &mut self,
        unit: Rc<Unit>,
        package: Name,
        strict: bool,
        scope: Rc<Scope>,
        want: Want,
    ) -> Outcome<Vec<Value>> {
        let body = self.compile(&unit, &package, strict, &scope)?;
        self.in_frame(unit, package, scope, |it| it.statements(&body, want))
    }

    fn compile(&mut self, unit: &Rc<Unit>, package: &Name, strict: bool, scope: &Rc<Scope>) -> Outcome<Block> {
        let parser = Parser::new(self, Rc::clone(unit), Rc::clone(package), strict, Rc::clone(scope));
        parser.program().map_err(|error| match error {
            ParseError::Perl(mut message) => {
                if !self.read_note.is_empty() && message.ends_with(b".\n") {
                    message = self.noted(&message);
                }
                Stop::Die(Value::str(message))
            }
            ParseError::Stopped(stop) => *stop,
            ParseError::Unsupported { what, at } => self.unsupported_at(&what, unit, at),
        })
    }

    /// Each `… line N.` gets the note about the file read last.
    fn noted(&self, message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in message.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_suffix(b".\n") {
                Some(text) => {
                    out.extend_from_slice(text);
                    out.extend_from_slice(self.read_note.as_bytes());
                    out.extend_from_slice(b".\n");
                }
                None => out.extend_from_slice(line),
            }
        }
        out
    }

    /// Evaluates with another unit, package and scope, and puts the old ones back.
    fn in_frame<T>(
        &mut self,
        unit: Rc<Unit>,
        package: Name,
        scope: Rc<Scope>,
        run: impl FnOnce(&mut Self) -> Outcome<T>,
    ) -> Outcome<T> {
        let outer = (
            std::mem::replace(&mut self.unit, unit),
            std::mem::replace(&mut self.package, package),
            std::mem::replace(&mut self.scope, scope),
            self.at,
        );
        let result = self.deeper(run);
        (self.unit, self.package, self.scope, self.at) = outer;
        result
    }

    fn deeper<T>(&mut self, run: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        if self.depth >= self.limits.depth {
            return Err(self.unsupported("recursion this deep"));
        }
        self.depth += 1;
        let result = run(self);
        self.depth -= 1;
        result
    }

    /// Counts one step of the evaluation.
    fn step(&mut self) -> Outcome<()> {
        self.steps += 1;
        if self.steps > self.limits.steps {
            return Err(self.unsupported("an evaluation this long"));
        }
        Ok(())
    }

    /// Checks a size before it is allocated.
    pub(crate) fn fits(&self, bytes: usize) -> Outcome<()> {
        if bytes > self.limits.bytes { Err(self.unsupported("a value this large")) } else { Ok(()) }
    }

    /// Checks the size of a value that is made anew. Large values count as steps, so that many of them are bounded,
    /// too.
    fn makes(&mut self, bytes: usize) -> Outcome<()> {
        self.fits(bytes)?;
        self.steps += bytes as u64 / 16;
        self.step()
    }

    fn unsupported(&self, what: &str) -> Stop {
        self.unsupported_at(what, &self.unit, self.at as usize)
    }

    #[expect(clippy::unused_self, reason = "reads as a method beside its sibling")]
    fn unsupported_at(&self, what: &str, unit: &Unit, at: usize) -> Stop {
        let text = format!("{what} is outside the Perl that rsty understands");
        let diagnostic = Diagnostic::error("perl_unsupported", text);
        Stop::Unsupported(Box::new(match &unit.source {
            Some(source) => {
                let end =
                    unit.text.iter().skip(at).position(|byte| *byte == b'\n').map_or(unit.text.len(), |len| at + len);
                diagnostic.at(source, Span::new(at, end))
            }
            None => diagnostic.help(format!("at {} line {}", unit.name, unit.line(at))),
        }))
    }

    /// ` at FILE line N` for messages.
    pub(crate) fn place(&self) -> String {
        format!(" at {} line {}{}.\n", self.unit.name, self.unit.line(self.at as usize), self.read_note)
    }

    /// A death with a message of ours, with the place.
    pub(crate) fn die(&self, text: impl AsRef<[u8]>) -> Stop {
        let mut message = text.as_ref().to_vec();
        message.extend_from_slice(self.place().as_bytes());
        Stop::Die(Value::str(message))
    }

    /// What a stop means to somebody outside of Perl.
    pub(crate) fn error(stop: Stop) -> PerlError {
        let message = match stop {
            Stop::Die(value) => value.to_bytes().to_vec(),
            Stop::Exit(code) => format!("exit({code})\n").into_bytes(),
            Stop::Jump(..) => b"Can't leave a loop from outside\n".to_vec(),
            Stop::Return(_) => b"Can't return outside a subroutine\n".to_vec(),
            Stop::Unsupported(diagnostic) => format!("{diagnostic}\n").into_bytes(),
        };
        PerlError { message }
    }

    /// The cell of a package scalar, made if need be.
    pub(crate) fn scalar_cell(&mut self, name: &Name) -> Rc<RefCell<Value>> {
        if let Some(cell) = self.scalars.get(name) {
            return Rc::clone(cell);
        }
        Rc::clone(self.scalars.entry(Rc::clone(name)).or_default())
    }

    /// A package array, made if need be.
    pub(crate) fn array(&mut self, name: &Name) -> Array {
        Rc::clone(self.arrays.entry(Rc::clone(name)).or_default())
    }

    /// A package hash, made if need be.
    pub(crate) fn hash(&mut self, name: &Name) -> Hash {
        Rc::clone(self.hashes.entry(Rc::clone(name)).or_default())
    }

    /// The value of a package scalar.
    pub(crate) fn global(&self, name: &str) -> Value {
        self.scalars.get(name).map_or(Value::Undef, |cell| cell.borrow().clone())
    }

    /// Sets a package scalar.
    pub(crate) fn set_global(&mut self, name: &str, value: impl Into<Value>) {
        *self.scalar_cell(&name.into()).borrow_mut() = value.into();
    }

    /// Whether a package variable exists.
    pub(crate) fn has_variable(&self, sigil: Sigil, name: &str) -> bool {
        match sigil {
            Sigil::Array => self.arrays.contains_key(name),
            Sigil::Code => self.subs.contains_key(name),
            Sigil::Hash => self.hashes.contains_key(name),
            Sigil::Scalar => self.scalars.contains_key(name),
        }
    }

    /// Whether a subroutine of this full name is defined or declared.
    pub(crate) fn has_sub(&self, name: &str) -> bool {
        self.subs.contains_key(name) || self.declared.contains_key(name)
    }

    /// The subroutine of this full name.
    pub(crate) fn sub(&self, name: &str) -> Option<&Rc<Sub>> {
        self.subs.get(name)
    }

    /// The prototype of a known subroutine.
    #[expect(clippy::option_option, reason = "unknown, known without a prototype, known with one")]
    pub(crate) fn sub_prototype(&self, name: &str) -> Option<Option<Rc<str>>> {
        match self.subs.get(name).map(|sub| &sub.kind) {
            Some(SubKind::Constant(_)) => Some(Some("".into())),
            Some(SubKind::Native { prototype, .. }) => Some(prototype.map(Into::into)),
            Some(SubKind::Perl { definition, .. }) => Some(definition.prototype.clone()),
            None => self.declared.get(name).cloned(),
        }
    }

    /// A number for another `state` declaration.
    pub(crate) fn next_state(&mut self) -> usize {
        self.state_count += 1;
        self.state_count
    }

    pub(crate) fn declare_sub(&mut self, name: &Name, prototype: Option<Rc<str>>) {
        self.declared.insert(Rc::clone(name), prototype);
    }

    pub(crate) fn define_sub(&mut self, definition: &Rc<SubDefinition>, scope: &Rc<Scope>) {
        if let Some(name) = &definition.name {
            let kind = SubKind::Perl { definition: Rc::clone(definition), scope: Rc::clone(scope) };
            self.subs.insert(Rc::clone(name), Rc::new(Sub { kind }));
        }
    }

    pub(crate) fn add_end_block(&mut self, definition: &Rc<SubDefinition>, scope: &Rc<Scope>) {
        let kind = SubKind::Perl { definition: Rc::clone(definition), scope: Rc::clone(scope) };
        self.end_blocks.insert(0, Code(Rc::new(Sub { kind })));
    }

    /// Runs the `END` blocks, last defined first.
    pub(crate) fn run_end_blocks(&mut self) -> Outcome<()> {
        for code in std::mem::take(&mut self.end_blocks) {
            self.call(&code, Vec::new(), Want::Void)?;
        }
        Ok(())
    }

    /// Runs a `BEGIN` block.
    pub(crate) fn run_now(&mut self, definition: &Rc<SubDefinition>, scope: &Rc<Scope>) -> Outcome<()> {
        let kind = SubKind::Perl { definition: Rc::clone(definition), scope: Rc::clone(scope) };
        self.call(&Code(Rc::new(Sub { kind })), Vec::new(), Want::Void).map(|_| ())
    }

    /// Evaluates the list behind `use NAME`.
    pub(crate) fn constant_list(
        &mut self,
        list: &Expr,
        unit: &Rc<Unit>,
        package: &Name,
        scope: &Rc<Scope>,
    ) -> Outcome<Vec<Value>> {
        self.in_frame(Rc::clone(unit), Rc::clone(package), Rc::clone(scope), |it| it.list(list))
    }

    fn restore_locals(&mut self, to: usize) {
        while self.locals.len() > to {
            match self.locals.pop() {
                Some(Restore::Scalar(cell, value)) => *cell.borrow_mut() = value,
                Some(Restore::Sub(name, Some(sub))) => {
                    self.subs.insert(name, sub);
                }
                Some(Restore::Sub(name, None)) => {
                    self.subs.remove(&name);
                }
                Some(Restore::Array(array, items)) => *array.borrow_mut() = items,
                Some(Restore::Hash(hash, map)) => *hash.borrow_mut() = map,
                Some(Restore::Entry(hash, key, Some(value))) => hash.borrow_mut().insert(&key, value),
                Some(Restore::Entry(hash, key, None)) => {
                    hash.borrow_mut().remove(&key);
                }
                None => {}
            }
        }
    }
}
