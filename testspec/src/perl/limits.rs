//! Bounds of an evaluation: a spec file is somebody's input, and must not hang or fill the machine.

/// How much an evaluation may use before it dies with a message that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Evaluated nodes, over the whole file.
    pub steps: u64,
    /// Bytes of the largest string, and items of the largest list times sixteen.
    pub bytes: usize,
    /// Nested calls and nested expressions.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 20_000_000, bytes: 256 << 20, depth: 200 }
    }
}
