//! From offsets in a snippet to offsets in the file around it.

/// Offsets of a text that was cut out of another one, perhaps with escape sequences decoded.
#[derive(Clone, Debug, Default)]
pub struct Map {
    /// From this inner offset on, the outer offset is the second value plus the distance. Ascending.
    pieces: Vec<(u32, u32)>,
}

impl Map {
    /// A text that stands in the outer one as it is, from `outer` on.
    pub fn shifted(outer: usize) -> Self {
        Self { pieces: vec![(0, outer as u32)] }
    }

    /// Tells that from `inner` on the bytes come from `outer`.
    pub fn piece(&mut self, inner: usize, outer: usize) {
        self.pieces.push((inner as u32, outer as u32));
    }

    /// The outer offset of an inner one.
    pub fn outer(&self, inner: u32) -> usize {
        let index = self.pieces.partition_point(|(start, _)| *start <= inner);
        let (start, outer) = self.pieces.get(index.saturating_sub(1)).copied().unwrap_or_default();
        (outer + (inner - start.min(inner))) as usize
    }

    /// Whether the text is the outer one.
    pub fn is_whole_file(&self) -> bool {
        matches!(self.pieces.as_slice(), [(0, 0)])
    }

    /// Whether the text stands in the outer one without change, so that edits can be carried over.
    pub fn is_plain(&self) -> bool {
        self.pieces.len() <= 1
    }
}
