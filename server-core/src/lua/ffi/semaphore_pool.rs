//! Where semaphores come from: blocks of them, so that making one costs no allocation, and a queue of those that are
//! free. A block none of whose semaphores is in use goes when half of all are free and it is among the older ones.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::c_int;
use std::rc::Rc;

use super::semaphore::Semaphore;
use super::worker;

/// Semaphores in a block.
const BLOCK: usize = 4095;

/// The block of a semaphore.
pub(super) struct Block {
    epoch: usize,
    used: Cell<usize>,
}

#[derive(Default)]
struct Pool {
    free: VecDeque<Rc<Semaphore>>,
    /// Blocks made so far.
    epoch: usize,
    /// Semaphores in all blocks.
    total: usize,
    used: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// A semaphore with some resources.
pub(super) fn take(resources: c_int) -> Rc<Semaphore> {
    POOL.with_borrow_mut(|pool| {
        let semaphore = if let Some(semaphore) = pool.free.pop_front() {
            worker::debug(format_args!("from head of free queue, alloc semaphore: {:p}", Rc::as_ptr(&semaphore)));
            semaphore
        } else {
            pool.epoch += 1;
            pool.total += BLOCK;
            let block = Rc::new(Block { epoch: pool.epoch, used: Cell::new(0) });
            pool.free.extend((1..BLOCK).map(|_| Rc::new(Semaphore::in_block(Rc::clone(&block)))));
            let semaphore = Rc::new(Semaphore::in_block(Rc::clone(&block)));
            let (pointer, block) = (Rc::as_ptr(&semaphore), Rc::as_ptr(&block));
            worker::debug(format_args!("new block, alloc semaphore: {pointer:p} block: {block:p}"));
            semaphore
        };
        let block = semaphore.block();
        block.used.set(block.used.get() + 1);
        pool.used += 1;
        semaphore.reset(resources);
        semaphore
    })
}

/// Takes a semaphore back that Lua has no more use for.
pub(super) fn give_back(semaphore: Rc<Semaphore>) {
    POOL.with_borrow_mut(|pool| {
        let block = Rc::clone(semaphore.block());
        block.used.set(block.used.get().saturating_sub(1));
        pool.used = pool.used.saturating_sub(1);
        let middle = pool.epoch - ((pool.total / BLOCK) >> 1);
        let is_old = block.epoch < middle;
        let end = if is_old { "tail" } else { "head" };
        worker::debug(format_args!(
            "add to free queue {end} semaphore: {:p} epoch: {} mid_epoch: {middle} cur_epoch: {}",
            Rc::as_ptr(&semaphore),
            block.epoch,
            pool.epoch
        ));
        // One that somebody still waits for is not used again.
        if Rc::strong_count(&semaphore) == 1 {
            if is_old { pool.free.push_back(semaphore) } else { pool.free.push_front(semaphore) }
        }
        if block.used.get() == 0 && pool.used <= pool.total >> 1 && is_old {
            pool.free.retain(|free| !Rc::ptr_eq(free.block(), &block));
            pool.total -= BLOCK;
            worker::debug(format_args!("free semaphore block: {:p}", Rc::as_ptr(&block)));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_blocks_go_when_they_are_empty_and_half_is_free() {
        let semaphores: Vec<_> = (0..3 * BLOCK).map(|_| take(0)).collect();
        let figures = || POOL.with_borrow(|pool| (pool.total / BLOCK, pool.used, pool.free.len()));
        assert_eq!(figures(), (3, 3 * BLOCK, 0));
        let mut semaphores = semaphores.into_iter();
        let first: Vec<_> = semaphores.by_ref().take(BLOCK).collect();
        let second: Vec<_> = semaphores.by_ref().take(BLOCK).collect();
        second.into_iter().for_each(give_back);
        assert_eq!(figures(), (3, 2 * BLOCK, BLOCK));
        first.into_iter().for_each(give_back);
        assert_eq!(figures(), (2, BLOCK, BLOCK));
        drop(take(1));
        assert_eq!(figures(), (2, BLOCK + 1, BLOCK - 1));
    }
}
