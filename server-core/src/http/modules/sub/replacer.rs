//! Finds texts in a stream that comes in pieces. Pure: pieces in, pieces out.

/// What a [`Replacer`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Bytes that pass unchanged.
    Text(Vec<u8>),
    /// The needle with this index stood here.
    Match(usize),
}

/// Whether each needle is replaced once or always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repetition {
    Once,
    Always,
}

/// The state of a search across pieces. Needles are compared without regard to ASCII case.
#[derive(Debug)]
pub(crate) struct Replacer {
    needles: Vec<Option<Vec<u8>>>,
    repetition: Repetition,
    tail: Vec<u8>,
}

impl Replacer {
    /// A search for `needles`; empty ones never match.
    pub(crate) fn new(needles: impl IntoIterator<Item = Vec<u8>>, repetition: Repetition) -> Self {
        let needles = needles.into_iter().map(|needle| (!needle.is_empty()).then(|| needle.to_ascii_lowercase()));
        Self { needles: needles.collect(), repetition, tail: Vec::new() }
    }

    /// Whether nothing is left to look for; then pieces may pass unseen, after [`Replacer::finish`].
    pub(crate) fn is_exhausted(&self) -> bool {
        self.needles.iter().all(Option::is_none)
    }

    /// Takes a piece. Bytes that might begin a needle are kept for the next call.
    pub(crate) fn feed(&mut self, data: &[u8]) -> Vec<Piece> {
        self.tail.extend_from_slice(data);
        let buffer = std::mem::take(&mut self.tail);
        let mut pieces = Vec::new();
        let mut start = 0;
        let mut at = 0;
        while at < buffer.len() {
            match self.probe(&buffer[at..]) {
                Probe::Match(index, length) => {
                    push_text(&mut pieces, &buffer[start..at]);
                    pieces.push(Piece::Match(index));
                    if self.repetition == Repetition::Once {
                        self.needles[index] = None;
                    }
                    at += length;
                    start = at;
                }
                Probe::Partial => break,
                Probe::Nothing => at += 1,
            }
        }
        push_text(&mut pieces, &buffer[start..at]);
        self.tail = buffer[at..].to_vec();
        pieces
    }

    /// The bytes that were kept back: the stream ended.
    pub(crate) fn finish(&mut self) -> Vec<Piece> {
        let buffer = std::mem::take(&mut self.tail);
        let mut pieces = Vec::new();
        let mut start = 0;
        let mut at = 0;
        while at < buffer.len() {
            if let Probe::Match(index, length) = self.probe_complete(&buffer[at..]) {
                push_text(&mut pieces, &buffer[start..at]);
                pieces.push(Piece::Match(index));
                if self.repetition == Repetition::Once {
                    self.needles[index] = None;
                }
                at += length;
                start = at;
            } else {
                at += 1;
            }
        }
        push_text(&mut pieces, &buffer[start..]);
        pieces
    }

    fn probe(&self, rest: &[u8]) -> Probe {
        let mut partial = false;
        for (index, needle) in self.needles.iter().enumerate() {
            let Some(needle) = needle else { continue };
            let common = needle.len().min(rest.len());
            if needle[..common].eq_ignore_ascii_case(&rest[..common]) {
                if common == needle.len() {
                    return Probe::Match(index, common);
                }
                partial = true;
            }
        }
        if partial { Probe::Partial } else { Probe::Nothing }
    }

    fn probe_complete(&self, rest: &[u8]) -> Probe {
        let found = self.needles.iter().enumerate().find_map(|(index, needle)| {
            let needle = needle.as_deref()?;
            let head = rest.get(..needle.len())?;
            head.eq_ignore_ascii_case(needle).then_some(Probe::Match(index, needle.len()))
        });
        found.unwrap_or(Probe::Nothing)
    }
}

enum Probe {
    Match(usize, usize),
    Partial,
    Nothing,
}

fn push_text(pieces: &mut Vec<Piece>, text: &[u8]) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_vec()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(needles: &[&str], repetition: Repetition, pieces: &[&str]) -> String {
        let mut replacer = Replacer::new(needles.iter().map(|needle| needle.as_bytes().to_vec()), repetition);
        let mut out = String::new();
        let mut write = |found: Vec<Piece>| {
            for piece in found {
                match piece {
                    Piece::Text(text) => out.push_str(&String::from_utf8_lossy(&text)),
                    Piece::Match(index) => out.push_str(&format!("<{index}>")),
                }
            }
        };
        for piece in pieces {
            write(replacer.feed(piece.as_bytes()));
        }
        write(replacer.finish());
        out
    }

    #[test]
    fn needles_are_found_across_pieces_in_any_case() {
        assert_eq!(run(&["Hello"], Repetition::Always, &["say hE", "L", "lO hello", "!"]), "say <0> <0>!");
        assert_eq!(run(&["aab"], Repetition::Always, &["aa", "ab"]), "a<0>");
        assert_eq!(run(&["abc"], Repetition::Always, &["xab"]), "xab");
    }

    #[test]
    fn once_means_once_a_needle() {
        assert_eq!(run(&["a", "b"], Repetition::Once, &["abab"]), "<0><1>ab");
        assert_eq!(run(&["", "b"], Repetition::Once, &["ab"]), "a<1>");
        assert_eq!(run(&["abcd", "ab"], Repetition::Always, &["abab"]), "<1><1>");
    }
}
