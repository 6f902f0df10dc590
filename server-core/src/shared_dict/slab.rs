//! Pages and chunks of a zone, by the rules of nginx's slab allocator.
//!
//! Users size their zones by these rules, and see them in `free_space()` and in what is evicted when. So: a header,
//! nine slots (chunks of 8 to 2048 bytes) and a descriptor a page come first; a request of more than half a page takes
//! whole pages, a smaller one a chunk of the next power of two in a page of its slot; a page without chunks in use
//! goes back to the free pages at once; runs of free pages are found first-fit, split from their front, joined with
//! their neighbours when freed and put first.
//!
//! ```text
//! | header 200 | slots 9 × 56 | descriptors n × 24 | … to a page | n pages |
//! ```

use super::journal::Journal;
use super::memory::{Memory, PAGE};

/// The size of nginx's pool header. Ours is smaller and leaves the rest unused, so that pages come out equal.
pub(super) const HEADER: usize = 200;
const PAGE_SHIFT: u32 = PAGE.trailing_zeros();
const MIN_SHIFT: u32 = 3;
const SLOTS: usize = (PAGE_SHIFT - MIN_SHIFT) as usize;
/// A list head and four counters in nginx.
const SLOT_SIZE: usize = 24 + 32;
const LARGEST_CHUNK: usize = PAGE / 2;
const NONE: u32 = u32::MAX;

/// What the allocator keeps in the zone's header.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct State {
    /// First run of free pages.
    free: u32,
    free_pages: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Page {
    kind: Kind,
    shift: u8,
    used: u16,
    /// Pages in the run that starts here; in the last page of a free run, too.
    run: u32,
    /// Chunks in use, where 64 bits suffice; else the bits are in the page itself.
    bitmap: u64,
    next: u32,
    prev: u32,
}

/// A byte with constants, and no enum: the memory may hold any value.
type Kind = u8;
/// In a free run, neither first nor last.
const FREE_INNER: Kind = 0;
const FREE_FIRST: Kind = 1;
const FREE_LAST: Kind = 2;
const BUSY_FIRST: Kind = 3;
const BUSY_INNER: Kind = 4;
const CHUNKS: Kind = 5;

/// The allocator of one zone. All methods want the zone's lock held; they are safe to call without it only in the
/// sense that they stay inside the mapping.
#[derive(Clone, Copy)]
pub(super) struct Slab<'a> {
    memory: &'a Memory,
    journal: Journal<'a>,
    /// The offset of the [`State`] in the zone.
    state: usize,
    /// Pages there are, and where they start: from the zone's size, not from shared memory.
    layout: Layout,
}

/// Where things are in a zone of a given size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pages: u32,
    start: usize,
}

impl Layout {
    pub(super) fn of(size: usize) -> Self {
        let descriptors = HEADER + SLOTS * SLOT_SIZE;
        let pages = size.saturating_sub(descriptors) / (PAGE + size_of::<Page>());
        let start = (descriptors + pages * size_of::<Page>()).next_multiple_of(PAGE);
        let fitting = size.saturating_sub(start) / PAGE;
        Self { pages: pages.min(fitting).try_into().unwrap_or(NONE - 1), start }
    }
}

impl<'a> Slab<'a> {
    /// # Safety
    /// `state` is the offset of a [`State`] in this zone, and the zone's lock is held while the value is used.
    pub(super) unsafe fn new(memory: &'a Memory, journal: Journal<'a>, state: usize, layout: Layout) -> Self {
        Self { memory, journal, state, layout }
    }

    /// Makes all pages free.
    pub(super) fn init(self) {
        let pages = self.layout.pages;
        for slot in 0..SLOTS {
            self.set_slot(slot, NONE);
        }
        for index in 0..pages {
            self.set_page(index, Page::inner(FREE_INNER));
        }
        self.set_state(State { free: NONE, free_pages: pages });
        if pages > 0 {
            self.add_free_run(0, pages);
        }
    }

    /// Bytes in free pages.
    pub(super) fn free_space(self) -> usize {
        self.state().free_pages as usize * PAGE
    }

    /// The offset of a new block.
    pub(super) fn alloc(self, size: usize) -> Option<usize> {
        if size > LARGEST_CHUNK {
            let index = self.alloc_pages(u32::try_from(size.div_ceil(PAGE)).ok()?)?;
            return Some(self.address(index));
        }
        let shift = size.max(1 << MIN_SHIFT).next_power_of_two().trailing_zeros();
        let slot = (shift - MIN_SHIFT) as usize;
        let first = self.slot(slot);
        let index = if first < self.layout.pages { first } else { self.new_chunk_page(slot, shift)? };
        self.take_chunk(index, slot)
    }

    /// Gives a block back. An offset that names no block is ignored.
    pub(super) fn free(self, offset: usize) {
        let Some(index) = offset.checked_sub(self.layout.start).map(|at| (at / PAGE) as u32) else { return };
        if index >= self.layout.pages {
            return;
        }
        let page = self.page(index);
        match page.kind {
            BUSY_FIRST => self.free_pages(index, page.run),
            CHUNKS => self.free_chunk(index, page, offset % PAGE),
            _ => {}
        }
    }

    fn new_chunk_page(self, slot: usize, shift: u32) -> Option<u32> {
        let index = self.alloc_pages(1)?;
        let mut page = Page { shift: shift as u8, ..Page::inner(CHUNKS) };
        if bits_in_page(shift) {
            // The bits take the first chunks of the page.
            let reserved = reserved_chunks(shift);
            // SAFETY: the caller holds the lock. The page was free, so nothing in it has to be kept.
            unsafe { self.memory.clear(self.address(index), chunks_in_page(shift) / 8) };
            for chunk in 0..reserved {
                self.set_bit(index, &mut page, chunk, true);
            }
        }
        self.set_page(index, page);
        self.push_slot(slot, index);
        Some(index)
    }

    fn take_chunk(self, index: u32, slot: usize) -> Option<usize> {
        let mut page = self.page(index);
        let shift = u32::from(page.shift);
        let chunk = self.first_clear_bit(index, &page)?;
        self.set_bit(index, &mut page, chunk, true);
        page.used = page.used.saturating_add(1);
        self.set_page(index, page);
        if usize::from(page.used) >= usable_chunks(shift) {
            self.unlink_slot(slot, index);
        }
        Some(self.address(index) + (chunk << shift))
    }

    fn free_chunk(self, index: u32, mut page: Page, at: usize) {
        let shift = u32::from(page.shift);
        let chunk = at >> shift;
        if at & ((1 << shift) - 1) != 0 || !self.bit(index, &page, chunk) {
            return;
        }
        let slot = shift.saturating_sub(MIN_SHIFT) as usize;
        let was_full = usize::from(page.used) >= usable_chunks(shift);
        self.set_bit(index, &mut page, chunk, false);
        page.used = page.used.saturating_sub(1);
        self.set_page(index, page);
        if was_full {
            self.push_slot(slot, index);
        }
        if page.used == 0 {
            self.unlink_slot(slot, index);
            self.free_pages(index, 1);
        }
    }

    fn alloc_pages(self, count: u32) -> Option<u32> {
        let mut index = self.state().free;
        // The list has fewer members than there are pages, unless the memory is damaged.
        for _ in 0..self.layout.pages {
            if index >= self.layout.pages {
                return None;
            }
            let run = self.page(index);
            if run.run >= count {
                self.split_run(index, run, count);
                return Some(index);
            }
            index = run.next;
        }
        None
    }

    /// Takes the front of a free run; what is left keeps its place in the list.
    fn split_run(self, index: u32, run: Page, count: u32) {
        let rest = run.run - count;
        let successor = if rest == 0 {
            run.next
        } else {
            let first = index + count;
            self.mark_free_run(first, rest, run.next, run.prev);
            self.set_prev(run.next, first);
            first
        };
        if rest == 0 {
            self.set_prev(run.next, run.prev);
        }
        self.set_next_of(run.prev, successor);
        self.set_page(index, Page { run: count, ..Page::inner(BUSY_FIRST) });
        for inner in index + 1..index + count {
            self.set_page(inner, Page::inner(BUSY_INNER));
        }
        let mut state = self.state();
        state.free_pages = state.free_pages.saturating_sub(count);
        self.set_state(state);
    }

    fn free_pages(self, index: u32, count: u32) {
        let total = self.layout.pages;
        let (mut first, mut len) = (index, count.min(total - index));
        let mut state = self.state();
        state.free_pages = state.free_pages.saturating_add(len).min(total);
        self.set_state(state);
        for page in first..first + len {
            self.set_page(page, Page::inner(FREE_INNER));
        }
        let behind = first + len;
        if behind < total {
            let page = self.page(behind);
            if page.kind == FREE_FIRST {
                len += page.run.min(total - behind);
                self.remove_free_run(behind, page);
            }
        }
        if first > 0 {
            let before = self.page(first - 1);
            let start = match before.kind {
                FREE_FIRST => first - 1,
                FREE_LAST => first.saturating_sub(before.run),
                _ => first,
            };
            let page = self.page(start);
            if start < first && page.kind == FREE_FIRST {
                self.remove_free_run(start, page);
                len += first - start;
                first = start;
            }
        }
        self.add_free_run(first, len);
    }

    fn add_free_run(self, first: u32, len: u32) {
        let mut state = self.state();
        self.mark_free_run(first, len, state.free, NONE);
        self.set_prev(state.free, first);
        state.free = first;
        self.set_state(state);
    }

    fn remove_free_run(self, first: u32, page: Page) {
        self.set_prev(page.next, page.prev);
        self.set_next_of(page.prev, page.next);
        self.set_page(first, Page::inner(FREE_INNER));
        if page.run > 1 {
            self.set_page(first.saturating_add(page.run - 1), Page::inner(FREE_INNER));
        }
    }

    fn mark_free_run(self, first: u32, len: u32, next: u32, prev: u32) {
        if len > 1 {
            // The end of a run tells how far back its start is.
            self.set_page(first + len - 1, Page { run: len, ..Page::inner(FREE_LAST) });
        }
        self.set_page(first, Page { run: len, next, prev, ..Page::inner(FREE_FIRST) });
    }

    fn set_prev(self, index: u32, prev: u32) {
        if index < self.layout.pages {
            self.set_page(index, Page { prev, ..self.page(index) });
        }
    }

    /// Sets the successor of a free run, or the head of the list when there is no run before.
    fn set_next_of(self, index: u32, next: u32) {
        if index < self.layout.pages {
            self.set_page(index, Page { next, ..self.page(index) });
        } else {
            self.set_state(State { free: next, ..self.state() });
        }
    }

    fn push_slot(self, slot: usize, index: u32) {
        let head = self.slot(slot);
        self.set_page(index, Page { next: head, prev: NONE, ..self.page(index) });
        self.set_prev(head, index);
        self.set_slot(slot, index);
    }

    fn unlink_slot(self, slot: usize, index: u32) {
        let page = self.page(index);
        self.set_prev(page.next, page.prev);
        if page.prev < self.layout.pages {
            self.set_page(page.prev, Page { next: page.next, ..self.page(page.prev) });
        } else if self.slot(slot) == index {
            self.set_slot(slot, page.next);
        }
        self.set_page(index, Page { next: NONE, prev: NONE, ..page });
    }

    fn first_clear_bit(self, index: u32, page: &Page) -> Option<usize> {
        let shift = u32::from(page.shift);
        let chunks = chunks_in_page(shift);
        let words = chunks.div_ceil(64);
        (0..words)
            .map(|word| (word, self.bits(index, page, word)))
            .find(|&(_, bits)| bits != u64::MAX)
            .map(|(word, bits)| word * 64 + bits.trailing_ones() as usize)
            .filter(|&chunk| chunk < chunks)
    }

    fn bits(self, index: u32, page: &Page, word: usize) -> u64 {
        if !bits_in_page(u32::from(page.shift)) {
            return page.bitmap;
        }
        // SAFETY: `at` gives a readable address; the lock is held.
        unsafe { self.memory.at::<u64>(self.address(index) + word * 8).read() }
    }

    fn bit(self, index: u32, page: &Page, chunk: usize) -> bool {
        self.bits(index, page, chunk / 64) & 1 << (chunk % 64) != 0
    }

    fn set_bit(self, index: u32, page: &mut Page, chunk: usize, used: bool) {
        let mask = 1 << (chunk % 64);
        let old = self.bits(index, page, chunk / 64);
        let bits = if used { old | mask } else { old & !mask };
        if bits_in_page(u32::from(page.shift)) {
            let at = self.address(index) + chunk / 64 * 8;
            self.journal.save(at, size_of::<u64>());
            // SAFETY: `at` gives a writable address; the lock is held.
            unsafe { self.memory.at::<u64>(at).write(bits) }
        } else {
            page.bitmap = bits;
        }
    }

    fn address(self, index: u32) -> usize {
        self.layout.start + index as usize * PAGE
    }

    fn page(self, index: u32) -> Page {
        // SAFETY: `at` gives a readable address; every bit pattern is a `Page`; the lock is held.
        unsafe { self.memory.at::<Page>(descriptor(index)).read() }
    }

    fn set_page(self, index: u32, page: Page) {
        if index < self.layout.pages {
            self.journal.save(descriptor(index), size_of::<Page>());
            // SAFETY: `at` gives a writable address; the lock is held.
            unsafe { self.memory.at::<Page>(descriptor(index)).write(page) }
        }
    }

    fn slot(self, slot: usize) -> u32 {
        // SAFETY: `at` gives a readable address; the lock is held.
        unsafe { self.memory.at::<u32>(HEADER + slot.min(SLOTS - 1) * SLOT_SIZE).read() }
    }

    fn set_slot(self, slot: usize, index: u32) {
        let at = HEADER + slot.min(SLOTS - 1) * SLOT_SIZE;
        self.journal.save(at, size_of::<u32>());
        // SAFETY: `at` gives a writable address; the lock is held.
        unsafe { self.memory.at::<u32>(at).write(index) }
    }

    fn state(self) -> State {
        // SAFETY: `at` gives a readable address; every bit pattern is a `State`; the lock is held.
        unsafe { self.memory.at::<State>(self.state).read() }
    }

    fn set_state(self, state: State) {
        self.journal.save(self.state, size_of::<State>());
        // SAFETY: `at` gives a writable address; the lock is held.
        unsafe { self.memory.at::<State>(self.state).write(state) }
    }
}

impl Page {
    const fn inner(kind: Kind) -> Self {
        Self { kind, shift: 0, used: 0, run: 0, bitmap: 0, next: NONE, prev: NONE }
    }
}

const fn descriptor(index: u32) -> usize {
    HEADER + SLOTS * SLOT_SIZE + index as usize * size_of::<Page>()
}

/// Chunks a page is divided into. A damaged shift counts as the largest.
const fn chunks_in_page(shift: u32) -> usize {
    if shift >= PAGE_SHIFT { 1 } else { PAGE >> shift }
}

const fn bits_in_page(shift: u32) -> bool {
    chunks_in_page(shift) > 64
}

/// Chunks that the bits take, when they are in the page.
const fn reserved_chunks(shift: u32) -> usize {
    if bits_in_page(shift) { (chunks_in_page(shift) / 8).div_ceil(1 << shift) } else { 0 }
}

const fn usable_chunks(shift: u32) -> usize {
    chunks_in_page(shift) - reserved_chunks(shift)
}
