//! Blocks that are aligned to two lines of the processor's cache: the runtime's tasks, and what it knows about sockets.
//!
//! For such a block the system's allocator takes a larger one and leaves what stands before the aligned place to whoever
//! may fit in: of the memory of an idle connection, which has two of them, that was a sixth. On the thread that serves
//! they are cut from a region of addresses instead, one after the other; what comes back is kept for the next.
//!
//! Whose a block is follows from its address, so that any thread may give back any block. One that is given back by
//! another thread than the one that serves is used by that thread only.

use std::alloc::Layout;
use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The alignment, and the step between sizes.
const LINE: usize = 128;
/// The largest block, in steps.
const CLASSES: usize = 4;
/// Addresses of the region. Pages that were never used take no memory.
const REGION: usize = 256 << 20;

/// Where the region of this process begins, if it has one.
static START: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    /// Blocks that came back, by their sizes.
    static FREE: [Cell<*mut Free>; CLASSES] = const { [const { Cell::new(ptr::null_mut()) }; CLASSES] };
    /// What of the region was never used, if this thread may cut from it.
    static FRESH: Cell<usize> = const { Cell::new(REGION) };
}

/// A block that nobody uses; it names the next one of its size.
struct Free {
    next: *mut Free,
}

/// Lets this thread cut from the region, which the first one that asks gets.
pub(super) fn open() {
    if !START.load(Ordering::Relaxed).is_null() {
        return;
    }
    // SAFETY: a new anonymous mapping touches no existing memory; that it is to have no huge pages is advice.
    let start = unsafe {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let start = libc::mmap(ptr::null_mut(), REGION, access, kind | libc::MAP_NORESERVE, -1, 0);
        if start == libc::MAP_FAILED {
            // The system's allocator does as well.
            return;
        }
        libc::madvise(start, REGION, libc::MADV_NOHUGEPAGE);
        start.cast()
    };
    START.store(start, Ordering::Relaxed);
    FRESH.set(0);
}

/// The class of a block; `None` for those that are not of this kind.
#[inline]
pub(super) const fn class_of(layout: Layout) -> Option<usize> {
    if layout.align() == LINE && layout.size() != 0 && layout.size() <= LINE * CLASSES {
        Some((layout.size() - 1) / LINE)
    } else {
        None
    }
}

/// A block; `None` when it has to come from the system.
#[inline]
pub(super) fn alloc(layout: Layout) -> Option<*mut u8> {
    let class = class_of(layout)?;
    FREE.with(|free| {
        let list = free.get(class)?;
        let block = list.get();
        if block.is_null() {
            return cut((class + 1) * LINE);
        }
        // SAFETY: a block in the list is nobody else's and begins with a `Free`.
        list.set(unsafe { (*block).next });
        Some(block.cast())
    })
}

/// New bytes of the region.
fn cut(size: usize) -> Option<*mut u8> {
    let begin = FRESH.get();
    let end = begin + size;
    if end > REGION {
        return None;
    }
    FRESH.set(end);
    // SAFETY: both ends lie in the region, which there is since this thread may cut from it.
    Some(unsafe { START.load(Ordering::Relaxed).add(begin) })
}

/// Whether a block was cut from the region.
#[inline]
pub(super) fn is_ours(block: *mut u8) -> bool {
    let start = START.load(Ordering::Relaxed);
    !start.is_null() && block.addr().wrapping_sub(start.addr()) < REGION
}

/// Keeps a block for the next who wants one.
///
/// # Safety
/// The block was cut from the region with this layout, and nobody uses it any more.
#[inline]
pub(super) unsafe fn keep(block: *mut u8, layout: Layout) {
    let Some(class) = class_of(layout) else { return };
    FREE.with(|free| {
        let Some(list) = free.get(class) else { return };
        let block: *mut Free = block.cast();
        // SAFETY: the caller's promise; the region is aligned for pointers.
        unsafe { block.write(Free { next: list.get() }) };
        list.set(block);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(128))]
    struct Two([u8; 200]);

    #[test]
    fn blocks_lie_side_by_side_and_come_back() {
        open();
        let layout = Layout::new::<Two>();
        if FRESH.get() == REGION {
            // Another test's thread has the region.
            assert_eq!(alloc(layout), None);
            return;
        }
        let (one, two) = (Box::new(Two([1; 200])), Box::new(Two([2; 200])));
        let place = |boxed: &Two| ptr::from_ref(boxed).cast_mut().cast::<u8>();
        assert!(is_ours(place(&one)) && place(&one).addr().is_multiple_of(LINE));
        assert_eq!(place(&one).addr().abs_diff(place(&two).addr()), 256);
        let gone = place(&one);
        drop(one);
        let again = Box::new(Two([3; 200]));
        assert_eq!(place(&again), gone);
        // Another thread may give it back.
        std::thread::spawn(move || drop(again)).join().unwrap();
        assert!(two.0.iter().all(|&byte| byte == 2));
        assert!(!is_ours(Box::into_raw(Box::new(1_u8)).cast()));
        assert_eq!(alloc(Layout::from_size_align(LINE * CLASSES + 1, LINE).unwrap()), None);
    }
}
