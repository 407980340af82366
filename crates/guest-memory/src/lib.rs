//! The allocator of both components: a bump pointer over an arena that is part of the module.
//!
//! An instance lives for one call, so nothing is ever given back to the host. Freed blocks are kept
//! for the next of their size, because some calls read long tables page by page and must not add
//! the pages up: small blocks in one list per power of two, large ones in a short table. The block
//! on top grows in place. The first megabyte needs no `memory.grow`, which is dear on the host's
//! side: fresh calls then run in parallel without contending for the address space.
//!
//! Single-threaded by construction: the target has no threads.

#![allow(
    unsafe_code,
    reason = "an allocator hands out raw memory; every block says why it is sound"
)]
#![allow(
    clippy::arithmetic_side_effects,
    reason = "addresses below 4 GiB and sizes bounded by isize::MAX (Layout); sums are checked where they may wrap"
)]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;

/// From this size on a block is large: it is not rounded up, and freed ones lie in a table.
pub const LARGE_BLOCK_SIZE_MIN: usize = 32 << 10;

/// Smallest block: room for the list's link on every platform.
const SMALL_BLOCK_SIZE_MIN: usize = 16;

/// One list per power of two from [`SMALL_BLOCK_SIZE_MIN`] up to [`LARGE_BLOCK_SIZE_MIN`].
const CLASSES: usize = 12;

const _: () = assert!(
    SMALL_BLOCK_SIZE_MIN << (CLASSES - 1) == LARGE_BLOCK_SIZE_MIN,
    "every small block has a class"
);

/// Freed large blocks that are remembered; more are lost until the instance ends.
const LARGE_BLOCKS_MAX: usize = 32;

/// A stretch of memory: address and length in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Region {
    /// First address; 0 marks an unused slot.
    pub start: usize,
    /// Length in bytes.
    pub size: usize,
}

const UNUSED: Region = Region { start: 0, size: 0 };

/// Gives at least `size` bytes of fresh memory that nobody else uses, or none.
pub type MoreMemory = fn(size: usize) -> Option<Region>;

struct State {
    /// Next free address.
    top: usize,
    /// End of the current region.
    end: usize,
    /// Heads of the lists of freed small blocks; 0 ends a list. Each block holds the next address.
    small: [usize; CLASSES],
    /// Freed large blocks.
    large: [Region; LARGE_BLOCKS_MAX],
}

/// What is really allocated for a request: its class, if it has one, and its size.
fn block_of(layout: Layout) -> (Option<usize>, usize) {
    // Blocks in lists are aligned to their smallest size. Nobody asks for more but page buffers.
    if layout.size() > LARGE_BLOCK_SIZE_MIN || layout.align() > SMALL_BLOCK_SIZE_MIN {
        return (None, layout.size());
    }
    let size = layout.size().max(SMALL_BLOCK_SIZE_MIN).next_power_of_two();
    let class = size.trailing_zeros() - SMALL_BLOCK_SIZE_MIN.trailing_zeros();
    (usize::try_from(class).ok(), size)
}

/// The allocator. See the module's documentation.
pub struct Bump {
    state: UnsafeCell<State>,
    more: MoreMemory,
}

// SAFETY: the only place where this is shared is a `static` of a wasm32-unknown-unknown module,
// which has one thread. Native tests keep it on their stack.
unsafe impl Sync for Bump {}

impl Bump {
    /// An allocator that takes its memory from `more`.
    #[must_use]
    pub const fn new(more: MoreMemory) -> Self {
        Self {
            state: UnsafeCell::new(State {
                top: 0,
                end: 0,
                small: [0; CLASSES],
                large: [UNUSED; LARGE_BLOCKS_MAX],
            }),
            more,
        }
    }
}

impl State {
    fn allocate(&mut self, layout: Layout, more: MoreMemory) -> Option<usize> {
        let (class, size) = block_of(layout);
        let reused = match class {
            Some(class) => self.reuse_small(class),
            None => self.reuse_large(layout),
        };
        // So that every block of a class will do for every request of that class.
        let align = layout.align().max(SMALL_BLOCK_SIZE_MIN);
        reused.or_else(|| self.bump(size, align, more))
    }

    fn bump(&mut self, size: usize, align: usize, more: MoreMemory) -> Option<usize> {
        if let Some(start) = self.fit(size, align) {
            return Some(start);
        }
        // Room for the worst alignment, so that the second attempt succeeds.
        let region = more(size.checked_add(align)?)?;
        if region.start != self.end {
            // Not adjacent: what is left of the old region is given up.
            self.top = region.start;
        }
        self.end = region.start.checked_add(region.size)?;
        self.fit(size, align)
    }

    fn fit(&mut self, size: usize, align: usize) -> Option<usize> {
        let start = self.top.checked_next_multiple_of(align)?;
        let end = start.checked_add(size)?;
        if start == 0 || end > self.end {
            return None;
        }
        self.top = end;
        Some(start)
    }

    fn reuse_small(&mut self, class: usize) -> Option<usize> {
        let head = self.small.get_mut(class).filter(|head| **head != 0)?;
        let start = *head;
        // SAFETY: a block in a list is free, aligned to at least 16 bytes, and holds the next address.
        *head = unsafe { ptr::with_exposed_provenance::<usize>(start).read() };
        Some(start)
    }

    /// The smallest kept block that is large enough.
    fn reuse_large(&mut self, layout: Layout) -> Option<usize> {
        let slot = self
            .large
            .iter_mut()
            .filter(|block| block.size >= layout.size() && block.start.is_multiple_of(layout.align()))
            .min_by_key(|block| block.size)?;
        let start = slot.start;
        *slot = UNUSED;
        Some(start)
    }

    fn give_back(&mut self, start: usize, layout: Layout) {
        let (class, size) = block_of(layout);
        if start + size == self.top {
            self.top = start;
        } else if let Some(class) = class {
            if let Some(head) = self.small.get_mut(class) {
                // SAFETY: the block is free now, aligned to at least 16 bytes and at least as long.
                unsafe { ptr::with_exposed_provenance_mut::<usize>(start).write(*head) };
                *head = start;
            }
        } else if let Some(slot) = self.large.iter_mut().find(|slot| **slot == UNUSED) {
            *slot = Region { start, size };
        }
    }

    /// Grows or shrinks a block where it is, if it can.
    fn resize(&mut self, start: usize, old: Layout, new: Layout) -> bool {
        let ((_, old_size), (_, new_size)) = (block_of(old), block_of(new));
        if old_size == new_size {
            return true;
        }
        let end = start.checked_add(new_size).filter(|end| *end <= self.end);
        match end {
            Some(end) if start + old_size == self.top => {
                self.top = end;
                true
            }
            _ => false,
        }
    }
}

// SAFETY: `alloc` returns addresses inside regions that `more` handed over, each at most once
// until it is given back; `dealloc` trusts the layout, as its contract allows.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: one thread, and no call below re-enters the allocator.
        let state = unsafe { &mut *self.state.get() };
        let found = state.allocate(layout, self.more);
        found.map_or(ptr::null_mut(), ptr::with_exposed_provenance_mut)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        let state = unsafe { &mut *self.state.get() };
        state.give_back(block.expose_provenance(), layout);
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that `new_size` makes a valid layout with this alignment.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: as in `alloc`.
        let state = unsafe { &mut *self.state.get() };
        if state.resize(block.addr(), layout, new_layout) {
            return block;
        }
        // SAFETY: `new_size` is not zero by the contract of `realloc`.
        let new_block = unsafe { self.alloc(new_layout) };
        if !new_block.is_null() {
            // SAFETY: both blocks are live, distinct, and at least this long.
            unsafe { ptr::copy_nonoverlapping(block, new_block, layout.size().min(new_size)) };
            // SAFETY: `block` was allocated with `layout`.
            unsafe { self.dealloc(block, layout) };
        }
        new_block
    }
}

/// Memory of a module on wasm32: the arena first, then `memory.grow`.
#[cfg(target_arch = "wasm32")]
pub mod wasm {
    use super::{MoreMemory, Region};
    use core::cell::{Cell, UnsafeCell};

    const ARENA_SIZE: usize = 1 << 20;
    const PAGE_SIZE: usize = 64 << 10;
    /// Grown at a time, at least: four pages.
    const GROW_PAGES_MIN: usize = 4;

    struct Arena {
        bytes: UnsafeCell<[u8; ARENA_SIZE]>,
        given: Cell<bool>,
    }

    // SAFETY: the target has one thread.
    unsafe impl Sync for Arena {}

    static ARENA: Arena = Arena {
        bytes: UnsafeCell::new([0; ARENA_SIZE]),
        given: Cell::new(false),
    };

    fn more_memory(size: usize) -> Option<Region> {
        let given = ARENA.given.replace(true);
        if !given && size <= ARENA_SIZE {
            return Some(Region {
                start: ARENA.bytes.get().expose_provenance(),
                size: ARENA_SIZE,
            });
        }
        let pages = size.div_ceil(PAGE_SIZE).max(GROW_PAGES_MIN);
        match core::arch::wasm32::memory_grow::<0>(pages) {
            usize::MAX => None,
            before => Some(Region {
                start: before.checked_mul(PAGE_SIZE)?,
                size: pages.checked_mul(PAGE_SIZE)?,
            }),
        }
    }

    /// For `Bump::new` in a component's `#[global_allocator]`.
    pub const MORE_MEMORY: MoreMemory = more_memory;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaked(size: usize) -> Option<Region> {
        let bytes = Box::leak(vec![0_u8; size.max(1 << 20)].into_boxed_slice());
        Some(Region {
            start: bytes.as_mut_ptr().expose_provenance(),
            size: bytes.len(),
        })
    }

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 16).unwrap()
    }

    #[test]
    fn blocks_are_aligned_and_do_not_overlap() {
        let bump = Bump::new(leaked);
        let mut blocks: Vec<(usize, usize)> = Vec::new();
        for size in [1, 7, 4096, 3, 100_000, 2_000_000, 15] {
            // SAFETY: sizes are not zero.
            let start = unsafe { bump.alloc(layout(size)) }.addr();
            assert_ne!(start, 0);
            assert!(start.is_multiple_of(16));
            assert!(
                blocks
                    .iter()
                    .all(|(other, len)| start + size <= *other || other + len <= start)
            );
            blocks.push((start, size));
        }
    }

    #[test]
    fn the_block_on_top_grows_in_place_and_is_given_back() {
        let bump = Bump::new(leaked);
        // SAFETY: layouts are not empty and are passed on as they were allocated.
        unsafe {
            let block = bump.alloc(layout(100_000));
            *block = 7;
            let grown = bump.realloc(block, layout(100_000), 500_000);
            assert_eq!(grown, block);
            bump.dealloc(grown, layout(500_000));
            assert_eq!(bump.alloc(layout(60_000)), block);
        }
    }

    #[test]
    fn a_freed_small_block_serves_the_next_of_its_class() {
        let bump = Bump::new(leaked);
        // SAFETY: as above.
        unsafe {
            let (first, second) = (bump.alloc(layout(100)), bump.alloc(layout(120)));
            let _above = bump.alloc(layout(100));
            bump.dealloc(first, layout(100));
            bump.dealloc(second, layout(120));
            assert_eq!(bump.alloc(layout(65)), second, "last in, first out");
            assert_eq!(bump.alloc(layout(128)), first);
            assert!(![first, second].contains(&bump.alloc(layout(128))));
        }
    }

    #[test]
    fn as_many_large_blocks_as_fit_the_table_are_kept_and_one_more_is_lost() {
        let kept = |count: usize| {
            let bump = Bump::new(|size| leaked(size.max(8 << 20)));
            let size = LARGE_BLOCK_SIZE_MIN + 1;
            // SAFETY: as above. The last block keeps the others from the top.
            unsafe {
                let blocks: Vec<_> = (0..=count).map(|_| bump.alloc(layout(size))).collect();
                for block in &blocks[..count] {
                    bump.dealloc(*block, layout(size));
                }
                (0..count)
                    .map(|_| bump.alloc(layout(size)))
                    .filter(|block| blocks.contains(block))
                    .count()
            }
        };
        assert_eq!(kept(LARGE_BLOCKS_MAX), LARGE_BLOCKS_MAX);
        assert_eq!(kept(LARGE_BLOCKS_MAX + 1), LARGE_BLOCKS_MAX);
    }

    /// Pages of rows are read and dropped again and again: memory must not add up.
    #[test]
    fn reading_page_after_page_takes_the_memory_of_one() {
        let bump = Bump::new(|size| if size < 1 << 20 { leaked(1 << 20) } else { None });
        for _page in 0..1000 {
            // SAFETY: as above.
            let rows: Vec<_> = (1..1000).map(|n| (n, unsafe { bump.alloc(layout(n)) })).collect();
            for (size, row) in rows {
                assert!(!row.is_null());
                // SAFETY: as above.
                unsafe { bump.dealloc(row, layout(size)) };
            }
        }
    }

    #[test]
    fn a_block_below_the_top_moves_with_its_content() {
        let bump = Bump::new(leaked);
        // SAFETY: as above.
        unsafe {
            let block = bump.alloc(layout(4));
            block.copy_from_nonoverlapping([1_u8, 2, 3, 4].as_ptr(), 4);
            let _above = bump.alloc(layout(4));
            let moved = bump.realloc(block, layout(4), 4096);
            assert_ne!(moved, block);
            assert_eq!(core::slice::from_raw_parts(moved, 4), [1, 2, 3, 4]);
        }
    }

    #[test]
    fn a_freed_large_block_serves_the_next_large_one() {
        let bump = Bump::new(leaked);
        // SAFETY: as above.
        unsafe {
            let first = bump.alloc(layout(200_000));
            let _above = bump.alloc(layout(8));
            bump.dealloc(first, layout(200_000));
            assert_ne!(bump.alloc(layout(8)), first, "small blocks leave it alone");
            assert_eq!(bump.alloc(layout(150_000)), first);
            assert_ne!(bump.alloc(layout(150_000)), first);
        }
    }

    #[test]
    fn exhaustion_is_a_null_pointer() {
        let bump = Bump::new(|_| None);
        // SAFETY: as above.
        assert!(unsafe { bump.alloc(layout(8)) }.is_null());
    }
}
