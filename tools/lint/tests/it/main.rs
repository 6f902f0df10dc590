//! Tests of the whole linter.

mod bytecode;
mod hostile;
