//! `use`, `require`, `do FILE`: native modules, local modules, and importing from both.

use std::path::PathBuf;
use std::rc::Rc;

use crate::model::{Code, Value};
use crate::perl::ast::{Name, Unit};

use super::{Interpreter, Native, Outcome, Scope, Sub, SubKind, Want};

/// A module that the program provides itself.
pub(crate) struct NativeModule {
    pub name: &'static str,
    /// Base classes; their exports are exported too.
    pub parents: &'static [&'static str],
    /// Functions with their prototypes.
    pub functions: &'static [(&'static str, Native, Option<&'static str>)],
    /// Names exported by default: functions bare, variables with sigil.
    pub exports: &'static [&'static str],
    /// Runs once, when the module is first used.
    pub setup: Option<fn(&mut Interpreter) -> Outcome<()>>,
}

/// What `use` changes in the code behind it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UseEffect {
    pub strict: bool,
}

/// The module whose descendants take a plan as import arguments, and make code strict.
const TEST_BASE: &str = "Test::Base";

impl Interpreter {
    /// `use MODULE LIST` in `package`; `None` without a list.
    pub(crate) fn use_module(
        &mut self,
        module: &str,
        arguments: Option<Vec<Value>>,
        package: &Name,
    ) -> Outcome<UseEffect> {
        match module {
            "warnings" | "utf8" | "feature" | "integer" | "bytes" | "diagnostics" | "experimental" | "open"
            | "locale" | "bigint" | "overload" | "Exporter" | "Carp::Heavy" | "autodie" | "IO::Handle" | "IO::File"
            | "mro" | "sigtrap" | "subs" | "if" | "sort" | "version" | "Errno" => {
                if module == "Exporter" {
                    self.push_parent(package, "Exporter");
                }
                return Ok(UseEffect::default());
            }
            "lib" => {
                for path in arguments.unwrap_or_default().iter().rev() {
                    let path = self.path(&path.to_bytes());
                    self.host.add_library_path(path);
                }
                return Ok(UseEffect::default());
            }
            "vars" => {
                for name in arguments.unwrap_or_default() {
                    let name = name.to_text();
                    let global: Name = format!("{package}::{}", name.get(1..).unwrap_or_default()).into();
                    match name.as_bytes().first() {
                        Some(b'@') => drop(self.array(&global)),
                        Some(b'%') => drop(self.hash(&global)),
                        _ => drop(self.scalar_cell(&global)),
                    }
                }
                return Ok(UseEffect::default());
            }
            "constant" => {
                self.define_constants(arguments.unwrap_or_default(), package);
                return Ok(UseEffect::default());
            }
            "parent" | "base" => {
                for parent in arguments.unwrap_or_default() {
                    let parent = parent.to_text();
                    if parent == "-norequire" {
                        continue;
                    }
                    if self.host.module(&parent).is_some() || !self.has_package(&parent) && parent != "Exporter" {
                        self.require(&parent)?;
                    }
                    self.push_parent(package, &parent);
                }
                return Ok(UseEffect::default());
            }
            _ => {}
        }
        self.require(module)?;
        self.import(module, arguments, package)
    }

    fn has_package(&self, package: &str) -> bool {
        let prefix = format!("{package}::");
        self.subs.keys().any(|name| name.starts_with(&prefix))
    }

    pub(crate) fn push_parent(&mut self, package: &str, parent: &str) {
        let isa = self.array(&format!("{package}::ISA").into());
        if !isa.borrow().iter().any(|known| known.to_text() == parent) {
            isa.borrow_mut().push(parent.into());
        }
    }

    fn define_constants(&mut self, arguments: Vec<Value>, package: &str) {
        if let [Value::Hash(map)] = arguments.as_slice() {
            for (name, value) in map.borrow().iter() {
                let name = String::from_utf8_lossy(name).into_owned();
                self.define_constant(&format!("{package}::{name}"), vec![value.clone()]);
            }
        } else if let Some((name, values)) = arguments.split_first() {
            self.define_constant(&format!("{package}::{}", name.to_text()), values.to_vec());
        }
    }

    fn define_constant(&mut self, name: &str, values: Vec<Value>) {
        self.subs.insert(name.into(), Rc::new(Sub { kind: SubKind::Constant(values) }));
    }

    /// Loads a module once.
    pub(crate) fn require(&mut self, module: &str) -> Outcome<()> {
        let name = module.strip_suffix(".pm").map_or_else(|| module.to_owned(), |path| path.replace('/', "::"));
        if self.loaded.contains(&name) {
            return Ok(());
        }
        // Loaded from here on, so that modules that use each other end.
        self.loaded.push(name.clone());
        if let Some(native) = self.host.module(&name) {
            return self.install(native);
        }
        let is_path = module.contains('/') && !module.contains("::");
        let path = if is_path { module.to_owned() } else { format!("{}.pm", name.replace("::", "/")) };
        let Some(found) = self.find_library(&path) else {
            let list: Vec<String> = self.host.library_paths().iter().map(|path| path.display().to_string()).collect();
            return Err(self.die(format!(
                "Can't locate {path} in @INC (you may need to install the {name} module) (@INC contains: {})",
                list.join(" ")
            )));
        };
        self.run_library(&found, &path)?;
        Ok(())
    }

    fn find_library(&self, path: &str) -> Option<PathBuf> {
        self.host.library_paths().iter().map(|library| library.join(path)).find(|path| path.is_file())
    }

    fn run_library(&mut self, file: &std::path::Path, shown: &str) -> Outcome<Value> {
        let text = match std::fs::read(file) {
            Ok(text) => text,
            Err(error) => return Err(self.die(format!("Can't read {shown}: {error}"))),
        };
        let text = with_self(text);
        let source = rsty_diag::Source::new(file, text.clone());
        let unit = Rc::new(Unit { name: file.display().to_string(), text: Rc::from(text), source: Some(source) });
        let values = self.run_unit(unit, "main".into(), false, Rc::<Scope>::default(), Want::Scalar)?;
        Ok(super::expression::last(values))
    }

    pub(super) fn do_file(&mut self, file: &Value) -> Outcome<Value> {
        let shown = file.to_text();
        let path = self.path(&file.to_bytes());
        let path = if path.is_file() { Some(path) } else { self.find_library(shown.trim_start_matches("./")) };
        match path {
            Some(path) => self.run_library(&path, &shown),
            None => {
                self.set_global("main::!", "No such file or directory");
                Ok(Value::Undef)
            }
        }
    }

    fn install(&mut self, native: &'static NativeModule) -> Outcome<()> {
        for parent in native.parents {
            self.require(parent)?;
            self.push_parent(native.name, parent);
        }
        for (function, code, prototype) in native.functions {
            let name: Name = format!("{}::{function}", native.name).into();
            let kind = SubKind::Native { function: *code, prototype: *prototype };
            self.subs.insert(name, Rc::new(Sub { kind }));
        }
        let exports = self.array(&format!("{}::EXPORT", native.name).into());
        *exports.borrow_mut() = native.exports.iter().map(|name| Value::from(*name)).collect();
        match native.setup {
            Some(setup) => setup(self),
            None => Ok(()),
        }
    }

    fn import(&mut self, module: &str, arguments: Option<Vec<Value>>, package: &Name) -> Outcome<UseEffect> {
        let own_import = format!("{module}::import");
        if self.sub(&own_import).is_some() {
            let mut values = vec![Value::from(module)];
            values.extend(arguments.unwrap_or_default());
            self.call_named(&own_import, values, Want::Void)?;
            return Ok(UseEffect::default());
        }
        let ancestry = self.ancestry(module);
        if ancestry.iter().any(|class| class == TEST_BASE) {
            let mut rest = Vec::new();
            let mut is_base = false;
            for argument in arguments.unwrap_or_default() {
                if argument.to_text().eq_ignore_ascii_case("-base") {
                    is_base = true;
                } else {
                    rest.push(argument);
                }
            }
            if is_base {
                self.push_parent(package, module);
            } else if !rest.is_empty() {
                self.call_named("Test::More::plan", rest, Want::Void)?;
            }
            for class in ancestry.iter().rev() {
                self.import_defaults(class, package)?;
            }
            return Ok(UseEffect { strict: true });
        }
        match arguments {
            None => {
                for class in ancestry.iter().rev() {
                    self.import_defaults(class, package)?;
                }
            }
            Some(names) => {
                for name in names {
                    let name = name.to_text();
                    if let Some(tag) = name.strip_prefix(':') {
                        self.import_tag(module, tag, package)?;
                    } else if !name.starts_with(['-', '/', '!']) {
                        self.import_name(module, &name, package)?;
                    }
                }
            }
        }
        // Test::More and its kind take a plan in their list.
        Ok(UseEffect::default())
    }

    /// The class and everything that it inherits from, nearest first.
    fn ancestry(&mut self, class: &str) -> Vec<String> {
        let mut classes = vec![class.to_owned()];
        let mut at = 0;
        while let Some(class) = classes.get(at).cloned() {
            for parent in self.parents(&class) {
                if !classes.contains(&parent) && classes.len() < 100 {
                    classes.push(parent);
                }
            }
            at += 1;
        }
        classes
    }

    fn import_defaults(&mut self, module: &str, package: &Name) -> Outcome<()> {
        let exports = self.array(&format!("{module}::EXPORT").into());
        let names: Vec<String> = exports.borrow().iter().map(Value::to_text).collect();
        for name in names {
            self.import_name(module, &name, package)?;
        }
        Ok(())
    }

    fn import_tag(&mut self, module: &str, tag: &str, package: &Name) -> Outcome<()> {
        let tags = self.hash(&format!("{module}::EXPORT_TAGS").into());
        let names = tags.borrow().get(tag.as_bytes()).cloned();
        match names {
            Some(Value::Array(names)) => {
                let names: Vec<String> = names.borrow().iter().map(Value::to_text).collect();
                for name in names {
                    self.import_name(module, &name, package)?;
                }
            }
            _ => self.import_defaults(module, package)?,
        }
        Ok(())
    }

    /// Makes a name of a module known in a package: both share the variable or code.
    fn import_name(&mut self, module: &str, name: &str, package: &Name) -> Outcome<()> {
        let (sigil, bare) = match name.as_bytes().first() {
            Some(sigil @ (b'$' | b'@' | b'%' | b'&')) => (*sigil, name.get(1..).unwrap_or_default()),
            _ => (b'&', name),
        };
        let from: Name = format!("{module}::{bare}").into();
        let to: Name = format!("{package}::{bare}").into();
        match sigil {
            b'$' => {
                let cell = self.scalar_cell(&from);
                self.scalars.insert(to, cell);
            }
            b'@' => {
                let array = self.array(&from);
                self.arrays.insert(to, array);
            }
            b'%' => {
                let hash = self.hash(&from);
                self.hashes.insert(to, hash);
            }
            _ => match self.subs.get(&from).cloned() {
                Some(sub) => {
                    self.subs.insert(to, sub);
                }
                None => match self.declared.get(&from).cloned() {
                    Some(prototype) => {
                        self.declared.insert(to, prototype);
                    }
                    None if self.host.module(module).is_some() => {
                        return Err(self.unsupported(&format!("`{bare}` of {module}")));
                    }
                    None => {}
                },
            },
        }
        Ok(())
    }

    /// Gives a subroutine another name.
    pub(crate) fn alias_sub(&mut self, name: &str, code: &Code) {
        self.subs.insert(name.into(), Rc::clone(&code.0));
    }

    /// A code value of a defined subroutine.
    pub(crate) fn code(&self, name: &str) -> Option<Code> {
        self.sub(name).map(|sub| Code(Rc::clone(sub)))
    }
}

/// In a module that says `use X -Base`, a sub without prototype gets `my $self = shift;`.
fn with_self(text: Vec<u8>) -> Vec<u8> {
    let Some(base) = memchr::memmem::find(&text, b" -Base;") else {
        return text;
    };
    let mut out = Vec::with_capacity(text.len() + 256);
    let mut at = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let words: Vec<&[u8]> = line.splitn(3, |byte| *byte == b' ').collect();
        match words.as_slice() {
            [b"sub", name, rest]
                if at > base
                    && rest.starts_with(b"{")
                    && name.iter().all(|byte| crate::perl::cursor::is_word(*byte)) =>
            {
                out.extend_from_slice(b"sub ");
                out.extend_from_slice(name);
                out.extend_from_slice(b" {my $self = shift;");
                out.extend_from_slice(rest.get(1..).unwrap_or_default());
            }
            _ => out.extend_from_slice(line),
        }
        at += line.len();
    }
    out
}
