//! Lua inside other files: nginx configuration and spec files.
//!
//! Each piece becomes a [`Snippet`]: the Lua text as the server would compile it, a map from its offsets
//! to the outer file's, and the phase it runs in.

mod conf;
mod map;
mod phase;
mod spec;
mod variables;

pub use conf::snippets as conf_snippets;
pub(crate) use conf::uncached;
pub use map::Map;
pub use phase::{Phase, Subsystem};
pub use spec::snippets as spec_snippets;

/// A piece of Lua in another file.
#[derive(Clone, Debug)]
pub struct Snippet {
    /// The Lua text. Variables of the test runner are replaced by numbers of the same length.
    pub text: Vec<u8>,
    /// Where its bytes stand in the outer file.
    pub map: Map,
    /// When it runs; `None` where nothing tells.
    pub phase: Option<Phase>,
    /// Which flavour of the API it sees.
    pub subsystem: Subsystem,
    /// Whether the outer text may be rewritten (by Perl) before the server reads it. Then a syntax error means nothing.
    pub rewritten: bool,
    /// The block of the spec file it stands in: snippets of one block share their globals.
    pub group: usize,
    /// Whether it is a file that the spec block writes.
    pub written_file: bool,
}
