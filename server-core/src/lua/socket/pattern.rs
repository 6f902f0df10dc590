//! The automaton of `receiveuntil`.
//!
//! It reads a stream byte by byte and tells data from the pattern. Bytes that might belong to the pattern are
//! held back as the automaton's state: they are known to equal the pattern's first bytes, so they need no
//! memory of their own.

use std::cell::Cell;

/// A pattern with the progress of a search for it.
#[derive(Debug)]
pub(crate) struct Pattern {
    bytes: Box<[u8]>,
    /// For each length of a matched prefix, the length of its longest proper border (Knuth, Morris, Pratt).
    borders: Box<[u32]>,
    /// Whether the pattern itself belongs to the data.
    inclusive: bool,
    /// What a limit counts.
    counting: Counting,
    /// How many bytes of the pattern have matched so far.
    matched: Cell<usize>,
    /// The pattern was found by a read of limited size; the next read says so.
    found: Cell<bool>,
}

/// What a limit counts when bytes that were held back turn out to be data, and others are held instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counting {
    /// The data.
    Data,
    /// What is held now, as sessions do: their reads may be shorter than they should be.
    Held,
}

/// How a step through the input ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    /// The pattern is complete (or the limit reached).
    Done,
    /// The input is used up.
    More,
}

impl Pattern {
    /// Prepares a pattern; it must not be empty.
    pub(crate) fn new(bytes: &[u8], inclusive: bool, counting: Counting) -> Self {
        let mut borders = vec![0_u32; bytes.len() + 1];
        let mut border = 0;
        for (at, byte) in bytes.iter().enumerate().skip(1) {
            while border > 0 && bytes[border] != *byte {
                border = borders[border] as usize;
            }
            if bytes[border] == *byte {
                border += 1;
            }
            borders[at + 1] = border as u32;
        }
        Self {
            bytes: bytes.into(),
            borders: borders.into(),
            inclusive,
            counting,
            matched: Cell::new(0),
            found: Cell::new(false),
        }
    }

    /// Whether the last read of limited size ended with the pattern; asking forgets it.
    pub(crate) fn take_found(&self) -> bool {
        self.found.replace(false)
    }

    /// The bytes held back; the caller gives them back to the input, and the search begins anew.
    pub(crate) fn give_back(&self) -> &[u8] {
        let held = self.matched.replace(0);
        self.bytes.get(..held).unwrap_or_default()
    }

    /// Reads from `input`, moves its start, appends data to `out`. With a `limit`, stops when so many bytes of
    /// data have been found; they are subtracted from it.
    pub(crate) fn scan(&self, input: &mut &[u8], out: &mut Vec<u8>, mut limit: Option<&mut usize>) -> Scan {
        let limited = limit.is_some();
        let mut spend = |count: usize| match &mut limit {
            Some(rest) => {
                **rest = rest.saturating_sub(count);
                **rest == 0
            }
            None => false,
        };
        let mut matched = self.matched.get();
        while let Some((&byte, rest)) = input.split_first() {
            if self.bytes.get(matched) == Some(&byte) {
                *input = rest;
                matched += 1;
                if matched == self.bytes.len() {
                    self.matched.set(0);
                    self.found.set(limited);
                    if self.inclusive {
                        out.extend_from_slice(&self.bytes);
                    }
                    return Scan::Done;
                }
                continue;
            }
            if matched == 0 {
                let run = memchr::memchr(self.bytes[0], input).unwrap_or(input.len());
                let run = if limited { 1 } else { run };
                out.extend_from_slice(&input[..run]);
                *input = &input[run..];
                if spend(run) {
                    self.matched.set(0);
                    return Scan::Done;
                }
                continue;
            }
            let mut shorter = self.borders[matched] as usize;
            while shorter > 0 && self.bytes[shorter] != byte {
                shorter = self.borders[shorter] as usize;
            }
            let (released, counted) = if shorter > 0 {
                *input = rest;
                let released = matched - shorter;
                matched = shorter + 1;
                (released, if self.counting == Counting::Held { matched } else { released })
            } else {
                // The byte is looked at again, as the first one of a new match.
                let released = std::mem::take(&mut matched);
                (released, released)
            };
            out.extend_from_slice(&self.bytes[..released]);
            if spend(counted) {
                self.matched.set(matched);
                return Scan::Done;
            }
        }
        self.matched.set(matched);
        Scan::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data before the pattern, with the input cut into pieces, and what is left behind it.
    fn until(pattern: &Pattern, pieces: &[&[u8]]) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut out = Vec::new();
        for (at, piece) in pieces.iter().enumerate() {
            let mut input = *piece;
            if pattern.scan(&mut input, &mut out, None) == Scan::Done {
                return Some((out, [input, &pieces[at + 1..].concat()].concat()));
            }
        }
        None
    }

    #[test]
    fn a_prefix_that_is_no_match_is_replayed() {
        let pattern = Pattern::new(b"abcabd", false, Counting::Data);
        assert_eq!(until(&pattern, &[b"abcabcabd!"]), Some((b"abc".to_vec(), b"!".to_vec())));
        assert_eq!(
            until(&Pattern::new(b"--abc", false, Counting::Data), &[b"----abc"]),
            Some((b"--".to_vec(), vec![]))
        );
        assert_eq!(until(&Pattern::new(b"aa", false, Counting::Data), &[b"baa"]), Some((b"b".to_vec(), vec![])));
    }

    #[test]
    fn inclusive_keeps_the_pattern() {
        let pattern = Pattern::new(b"\r\n", true, Counting::Data);
        assert_eq!(until(&pattern, &[b"x\r", b"\ny"]), Some((b"x\r\n".to_vec(), b"y".to_vec())));
    }

    #[test]
    fn a_limit_cuts_the_data_and_the_end_is_told_apart() {
        let pattern = Pattern::new(b"--", false, Counting::Data);
        let mut input = &b"abcd--e"[..];
        for expected in [&b"ab"[..], b"cd"] {
            let (mut out, mut limit) = (Vec::new(), 2);
            assert_eq!(pattern.scan(&mut input, &mut out, Some(&mut limit)), Scan::Done);
            assert_eq!(out, expected);
            assert!(!pattern.take_found());
        }
        let (mut out, mut limit) = (Vec::new(), 2);
        assert_eq!(pattern.scan(&mut input, &mut out, Some(&mut limit)), Scan::Done);
        assert_eq!((out.as_slice(), input), (&b""[..], &b"e"[..]));
        assert!(pattern.take_found() && !pattern.take_found());
    }

    #[test]
    fn a_session_counts_what_is_held() {
        for (counting, reads) in [(Counting::Data, ["a--", ""]), (Counting::Held, ["a-", "-"])] {
            let pattern = Pattern::new(b"--|", false, counting);
            let mut input = &b"a----|"[..];
            for read in reads {
                let (mut out, mut limit) = (Vec::new(), 3);
                assert_eq!(pattern.scan(&mut input, &mut out, Some(&mut limit)), Scan::Done);
                assert_eq!(out, read.as_bytes(), "{counting:?}");
            }
        }
    }

    #[test]
    fn held_bytes_can_be_given_back() {
        let pattern = Pattern::new(b"abc", false, Counting::Data);
        let (mut input, mut out) = (&b"xab"[..], Vec::new());
        assert_eq!(pattern.scan(&mut input, &mut out, None), Scan::More);
        assert_eq!((out.as_slice(), pattern.give_back(), pattern.give_back()), (&b"x"[..], &b"ab"[..], &b""[..]));
    }

    proptest::proptest! {
        #[test]
        fn it_finds_what_a_plain_search_finds(
            pattern in "[ab]{1,5}", text in "[ab]{0,40}", cuts in proptest::collection::vec(0_usize..40, 0..4)
        ) {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < text.len()).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for cut in cuts {
                pieces.push(&text[start..cut]);
                start = cut;
            }
            pieces.push(&text[start..]);
            let expected = memchr::memmem::find(text, pattern)
                .map(|at| (text[..at].to_vec(), text[at + pattern.len()..].to_vec()));
            proptest::prop_assert_eq!(until(&Pattern::new(pattern, false, Counting::Data), &pieces), expected);
        }
    }
}
