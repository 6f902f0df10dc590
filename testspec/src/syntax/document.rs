//! The tree: a document, its blocks and their sections.

use rsty_diag::{Diagnostic, Source, Span};

/// A spec file split into its parts. The parts follow each other without a gap:
/// prologue, marker, preamble (with the defaults), blocks.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file.
    pub source: Source,
    /// The Perl before the marker; `None` in a file that has no prologue.
    pub prologue: Option<Span>,
    /// The `__DATA__` or `__END__` line with its line end; empty where there is none.
    pub marker: Span,
    /// What stands between the marker and the first block.
    pub preamble: Span,
    /// The sections in the preamble. They mean something only in a file without a prologue.
    pub defaults: Vec<SectionNode>,
    /// All blocks.
    pub blocks: Vec<BlockNode>,
    /// Findings that belong to no block.
    pub problems: Vec<Diagnostic>,
}

/// A block: `===`, blanks, name, blank lines, description, sections.
#[derive(Clone, Debug)]
pub struct BlockNode {
    /// The whole block, up to the next one or the end.
    pub span: Span,
    /// The name; trailing blanks belong to it.
    pub name: Span,
    /// The text between the header and the first section; may be blank.
    pub description: Span,
    /// The sections.
    pub sections: Vec<SectionNode>,
    /// What the original refuses in this block.
    pub problems: Vec<Diagnostic>,
}

/// A section: header line and body.
#[derive(Clone, Debug)]
pub struct SectionNode {
    /// Header and body.
    pub span: Span,
    /// The header line with its line end.
    pub header: Span,
    /// The name in the header.
    pub name: Span,
    /// The filters named in the header.
    pub filters: Vec<Span>,
    /// Where the value stands.
    pub value: Body,
    /// The lines below the header, whatever the form of the value.
    pub body: Span,
}

/// The two places where a section's value can stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// In the header behind a colon, trimmed.
    Inline(Span),
    /// In the lines below the header.
    Lines(Span),
}

/// The blocks that run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Indices into [`Document::blocks`], ascending.
    pub blocks: Vec<usize>,
    /// Number of blocks that were looked at; problems of later ones don't matter.
    pub examined: usize,
    /// Whether a block was chosen because of `ONLY`.
    pub only: bool,
}

impl Document {
    /// The bytes of a span.
    pub fn slice(&self, span: Span) -> &[u8] {
        self.source.slice(span)
    }

    /// A section's name as text; names are ASCII words.
    pub fn section_name(&self, section: &SectionNode) -> &str {
        std::str::from_utf8(self.slice(section.name)).unwrap_or_default()
    }

    /// Everything found in the file.
    pub fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.problems.iter().chain(self.blocks.iter().flat_map(|block| &block.problems))
    }

    /// Whether a block has a section of this name.
    pub fn has_section(&self, block: &BlockNode, name: &str) -> bool {
        block.sections.iter().any(|section| self.slice(section.name) == name.as_bytes())
    }

    /// Applies `ONLY`, `SKIP` and `LAST`, tested in this order for each block.
    pub fn selection(&self) -> Selection {
        let mut selection = Selection::default();
        for (index, block) in self.blocks.iter().enumerate() {
            selection.examined = index + 1;
            if self.has_section(block, "ONLY") {
                selection.blocks = vec![index];
                selection.only = true;
                break;
            }
            if self.has_section(block, "SKIP") {
                continue;
            }
            selection.blocks.push(index);
            if self.has_section(block, "LAST") {
                break;
            }
        }
        selection
    }
}

impl SectionNode {
    /// The place of the value.
    pub fn value_span(&self) -> Span {
        match self.value {
            Body::Inline(span) | Body::Lines(span) => span,
        }
    }

    /// Whether the value stands in the header.
    pub fn is_inline(&self) -> bool {
        matches!(self.value, Body::Inline(_))
    }
}
