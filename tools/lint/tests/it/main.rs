//! Tests of the whole linter.

mod hostile;
