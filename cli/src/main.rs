//! The `rsty` binary.

fn main() {}
