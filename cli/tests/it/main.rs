//! Integration tests of the binary.

fn main() {}
