//! The modules that specs use, provided natively.
//!
//! Their state lives in the package variables where the originals keep it (`$Test::Nginx::Util::Workers`,
//! `@Test::Nginx::Util::BlockPreprocessors`, …): prologues read and set these, and so does the loader.

mod command;
mod data;
mod inner;
mod list;
mod paths;
mod stream;
mod system;
mod test_more;
mod test_nginx;
mod websocket;

use crate::model::Value;
use crate::perl::{Interpreter, NativeModule, Outcome};

pub(super) use test_nginx::{UTIL, set_versions};

/// A function with its prototype.
type Function = (&'static str, crate::perl::Native, Option<&'static str>);

/// Finds a module by its name.
pub(super) fn find(name: &str) -> Option<&'static NativeModule> {
    let groups = [
        command::MODULES,
        data::MODULES,
        inner::MODULES,
        list::MODULES,
        paths::MODULES,
        test_more::MODULES,
        test_nginx::MODULES,
        stream::MODULES,
        system::MODULES,
        websocket::MODULES,
    ];
    groups.into_iter().flatten().find(|module| module.name == name)
}

/// A function's first argument as text.
fn first(arguments: &[Value]) -> Value {
    arguments.first().cloned().unwrap_or_default()
}

/// One value.
fn one(value: impl Into<Value>) -> Outcome<Vec<Value>> {
    Ok(vec![value.into()])
}

/// Puts a value at the front of a package array.
fn unshift(interpreter: &mut Interpreter, array: &str, value: Value) {
    interpreter.array(&array.into()).borrow_mut().insert(0, value);
}
