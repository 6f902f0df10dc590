//! The memory of inputs that are empty, for whoever reads next.
//!
//! What was read is handed on by reference, so an input that is given back may still have readers; their memory is
//! used again when they are through.

use std::cell::RefCell;

use bytes::BytesMut;

/// Inputs that are kept, and the largest.
const COUNT_MAX: usize = 64;
const SIZE_MAX: usize = 8192;

thread_local! {
    static INPUTS: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty input.
pub(crate) fn take() -> BytesMut {
    INPUTS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Keeps an input that nobody needs any more.
pub(crate) fn give_back(mut input: BytesMut) {
    input.clear();
    if (1..=SIZE_MAX).contains(&input.capacity()) {
        INPUTS.with_borrow_mut(|inputs| {
            if inputs.len() < COUNT_MAX {
                inputs.push(input);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_round_once_its_readers_are_through() {
        let mut input = BytesMut::with_capacity(4096);
        let start = input.as_ptr();
        input.extend_from_slice(b"head and body");
        let head = input.split_to(4).freeze();
        give_back(input);
        drop(head);
        let mut again = take();
        assert!(again.is_empty());
        again.reserve(4096);
        assert_eq!(again.as_ptr(), start);
        give_back(BytesMut::with_capacity(SIZE_MAX + 1));
        assert_eq!(take().capacity(), 0);
    }
}
