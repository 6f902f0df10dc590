//! The allocator: the system's, and on the thread that serves a stock of blocks of middle size.
//!
//! The system's allocator has small blocks at hand. Larger ones it cuts from what is free and joins with their
//! neighbours when they come back, which takes many times as long; and those are what comes and goes with every
//! request: requests, the futures that serve them, buffers. So a thread that asked for it ([`stock_up`]) keeps the ones
//! that come back for the next who wants such a block, up to [`STOCK_MAX`] bytes.
//!
//! Every block is one of the system's, whoever gives it back; those of middle size are rounded up to a multiple of
//! [`STEP`].

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// Sizes above the first and up to the second are of the middle.
const SMALL: usize = 1024;
const LARGE: usize = 8192;
/// Sizes in between are multiples of this.
const STEP: usize = 512;
const CLASSES: usize = (LARGE - SMALL) / STEP;
/// What the system aligns by itself.
const ALIGN: usize = 16;
/// Bytes that are kept at most.
const STOCK_MAX: usize = 1 << 20;

struct Allocator;

/// A block that nobody uses; it names the next one of its size.
struct Free {
    next: *mut Free,
}

thread_local! {
    static STOCK: Stock = const { Stock { room: Cell::new(0), blocks: [const { Cell::new(ptr::null_mut()) }; CLASSES] } };
}

/// The blocks that a thread keeps.
struct Stock {
    /// Bytes that may still be kept.
    room: Cell<usize>,
    blocks: [Cell<*mut Free>; CLASSES],
}

/// Lets this thread keep blocks. It is meant for one that lives as long as its process: what is kept is lost with it.
pub(super) fn stock_up() {
    STOCK.with(|stock| stock.room.set(STOCK_MAX));
}

/// Gives what this thread keeps back to the system.
pub(super) fn clear_stock() {
    STOCK.with(|stock| {
        for (class, blocks) in stock.blocks.iter().enumerate() {
            while let Some(block) = stock.take(class) {
                // SAFETY: a block of this class, which nobody uses.
                unsafe { System.dealloc(block, rounded(class)) };
            }
            debug_assert!(blocks.get().is_null(), "a class without blocks");
        }
    });
}

impl Stock {
    #[inline]
    fn take(&self, class: usize) -> Option<*mut u8> {
        let blocks = self.blocks.get(class)?;
        let block = blocks.get();
        if block.is_null() {
            return None;
        }
        // SAFETY: a block in the stock is nobody else's and begins with a `Free`.
        blocks.set(unsafe { (*block).next });
        self.room.set(self.room.get() + size_of_class(class));
        Some(block.cast())
    }

    /// Whether the block is kept.
    ///
    /// # Safety
    /// The block is of this class, and its owner gives it up if the answer is yes.
    #[inline]
    unsafe fn put(&self, class: usize, block: *mut u8) -> bool {
        let (Some(blocks), Some(room)) = (self.blocks.get(class), self.room.get().checked_sub(size_of_class(class)))
        else {
            return false;
        };
        self.room.set(room);
        let block: *mut Free = block.cast();
        // SAFETY: the caller's promise; the system aligns blocks for pointers.
        unsafe { block.write(Free { next: blocks.get() }) };
        blocks.set(block);
        true
    }
}

/// The class of a block of the middle; `None` for all others.
#[inline]
const fn class_of(layout: Layout) -> Option<usize> {
    if layout.size() > SMALL && layout.size() <= LARGE && layout.align() <= ALIGN {
        Some((layout.size() - SMALL - 1) / STEP)
    } else {
        None
    }
}

#[inline]
const fn size_of_class(class: usize) -> usize {
    SMALL + (class + 1) * STEP
}

/// What the system is asked for.
#[inline]
fn rounded(class: usize) -> Layout {
    // SAFETY: the alignment is a power of two, and the size far from the largest.
    unsafe { Layout::from_size_align_unchecked(size_of_class(class), ALIGN) }
}

// SAFETY: blocks are the system's. Of the middle ones all are as large as their class, so each is good for whatever has
// that class; one in the stock has no owner, and leaves the stock with its next one. Nothing here unwinds: the stock of
// a thread needs no destructor and can be reached at any time.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise; a class has a valid layout.
        unsafe {
            match class_of(layout) {
                None => System.alloc(layout),
                Some(class) => STOCK.with(|stock| stock.take(class)).unwrap_or_else(|| System.alloc(rounded(class))),
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; blocks of a class were allocated with its layout.
        unsafe {
            match class_of(layout) {
                None => System.dealloc(block, layout),
                Some(class) => {
                    if !STOCK.with(|stock| stock.put(class, block)) {
                        System.dealloc(block, rounded(class));
                    }
                }
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise; a block is at least as large as it was asked for.
        unsafe {
            if class_of(layout).is_none() {
                return System.alloc_zeroed(layout);
            }
            let block = self.alloc(layout);
            if !block.is_null() {
                ptr::write_bytes(block, 0, layout.size());
            }
            block
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size is valid with this alignment; the block is good for the smaller of
        // the two sizes.
        unsafe {
            let wanted = Layout::from_size_align_unchecked(size, layout.align());
            match (class_of(layout), class_of(wanted)) {
                (None, None) => System.realloc(block, layout, size),
                (Some(has), Some(wants)) if has == wants => block,
                _ => {
                    let other = self.alloc(wanted);
                    if !other.is_null() {
                        ptr::copy_nonoverlapping(block, other, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    other
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_cover_the_middle() {
        let class = |size| class_of(Layout::from_size_align(size, 8).unwrap());
        assert_eq!([class(1), class(1024), class(8193)], [None; 3]);
        for size in 1025..=8192 {
            let class = class(size).unwrap();
            assert!(class < CLASSES && (size..size + STEP).contains(&size_of_class(class)), "{size}");
        }
        assert_eq!(class_of(Layout::from_size_align(2048, 128).unwrap()), None);
    }

    #[test]
    fn a_block_comes_back_and_the_stock_is_bounded() {
        stock_up();
        let block = vec![1_u8; 4000];
        let place = block.as_ptr();
        drop(block);
        let again = vec![0_u8; 3900];
        assert_eq!(again.as_ptr(), place);
        assert!(again.iter().all(|&byte| byte == 0));
        let many: Vec<Vec<u8>> = (0..500).map(|_| Vec::with_capacity(8000)).collect();
        drop(many);
        let kept = || STOCK.with(|stock| STOCK_MAX - stock.room.get());
        assert!((1 << 19..=STOCK_MAX).contains(&kept()));
        clear_stock();
        assert_eq!(kept(), 0);
    }

    #[test]
    fn what_grows_and_shrinks_keeps_its_content() {
        for stocked in [false, true] {
            if stocked {
                stock_up();
            }
            let mut bytes = Vec::new();
            for at in 0..40_000_u32 {
                bytes.push((at % 251) as u8);
                if at % 1000 == 0 {
                    bytes.shrink_to_fit();
                }
            }
            while bytes.len() > 10 {
                bytes.truncate(bytes.len() * 4 / 5);
                bytes.shrink_to_fit();
                assert!(bytes.iter().enumerate().all(|(at, &byte)| byte == (at % 251) as u8));
            }
        }
        clear_stock();
    }
}
