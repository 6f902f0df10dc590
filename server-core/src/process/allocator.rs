//! The allocator: the system's, and on the thread that serves a stock of blocks that came back.
//!
//! The same blocks come and go with every request: requests, the futures that serve them, buffers, values. The system's
//! allocator takes some 130 instructions to hand out a small one and take it back, and many times as many for a larger
//! one, which it cuts from what is free and joins with its neighbours again. So a thread that asked for it
//! ([`stock_up`]) keeps the ones that come back for the next who wants such a block, up to [`STOCK_MAX`] bytes, which
//! takes a fifth of that.
//!
//! Every such block is one of the system's, whoever gives it back; it is as large as its class. The sizes of small ones
//! are those that the system would round to by itself. Blocks with an alignment of their own are in `aligned.rs`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;

use super::aligned;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// The smallest size of a block, the largest of a small one, and the largest of all.
const LEAST: usize = 24;
const SMALL: usize = 1032;
const LARGE: usize = 8200;
/// Steps between the sizes of small ones, and of others.
const SMALL_STEP: usize = 16;
const STEP: usize = 512;
const SMALL_CLASSES: usize = (SMALL - LEAST) / SMALL_STEP + 1;
const CLASSES: usize = SMALL_CLASSES + (LARGE - SMALL) / STEP;
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
    aligned::open();
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

/// The class of a block; `None` for those that are too large, or aligned in an unusual way.
#[inline]
const fn class_of(layout: Layout) -> Option<usize> {
    let size = layout.size();
    if layout.align() > ALIGN || size > LARGE {
        None
    } else if size <= SMALL {
        Some(size.saturating_sub(LEAST - SMALL_STEP + 1) / SMALL_STEP)
    } else {
        Some(SMALL_CLASSES + (size - SMALL - 1) / STEP)
    }
}

#[inline]
const fn size_of_class(class: usize) -> usize {
    if class < SMALL_CLASSES { LEAST + class * SMALL_STEP } else { SMALL + (class + 1 - SMALL_CLASSES) * STEP }
}

/// What the system is asked for.
#[inline]
fn rounded(class: usize) -> Layout {
    // SAFETY: the alignment is a power of two, and the size far from the largest.
    unsafe { Layout::from_size_align_unchecked(size_of_class(class), ALIGN) }
}

// SAFETY: blocks are the system's. Those with a class are as large as that says, so each is good for whatever has the
// class; one in the stock has no owner, and leaves the stock with its next one. Nothing here unwinds: the stock of a
// thread needs no destructor and can be reached at any time.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise; a class has a valid layout.
        unsafe {
            match class_of(layout) {
                None => aligned::alloc(layout).unwrap_or_else(|| System.alloc(layout)),
                Some(class) => STOCK.with(|stock| stock.take(class)).unwrap_or_else(|| System.alloc(rounded(class))),
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; blocks of a class were allocated with its layout.
        unsafe {
            match class_of(layout) {
                None if aligned::is_ours(block) => aligned::keep(block, layout),
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
            if class_of(layout).is_none() && aligned::class_of(layout).is_none() {
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
                (None, None) if !aligned::is_ours(block) => System.realloc(block, layout, size),
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
    fn classes_fit_their_sizes() {
        let class = |size| class_of(Layout::from_size_align(size, 8).unwrap());
        assert_eq!([class(1), class(24), class(25), class(LARGE + 1)], [Some(0), Some(0), Some(1), None]);
        for size in 1..=LARGE {
            let class = class(size).unwrap();
            let waste = if size <= LEAST {
                LEAST
            } else if size <= SMALL {
                SMALL_STEP
            } else {
                STEP
            };
            assert!(class < CLASSES && (size..size + waste).contains(&size_of_class(class)), "{size}");
        }
        assert_eq!((size_of_class(SMALL_CLASSES - 1), size_of_class(CLASSES - 1)), (SMALL, LARGE));
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
