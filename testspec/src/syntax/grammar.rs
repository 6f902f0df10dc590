//! The parser that pest makes of `grammar.pest`.

/// The line grammar; see `grammar.pest`.
#[derive(pest_derive::Parser)]
#[grammar = "syntax/grammar.pest"]
pub(super) struct SpecGrammar;
