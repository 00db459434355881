//! The memory that nghttp2 uses: small blocks are kept and used again.
//!
//! nghttp2 takes and frees about eight small blocks for each call. The allocator of the system has a fast path for
//! few blocks of one size only, so with many calls in flight these blocks cost as much as the rest of a response. Each
//! thread keeps some blocks of each size class.
//!
//! A block begins with a header of 16 bytes, which has its capacity. So a block can be freed by any thread.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::RefCell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};

use libnghttp2_sys as ng;

const HEADER_BYTES: usize = 16;
/// The capacities of kept blocks are multiples of this.
const CLASS_BYTES: usize = 64;
const CLASSES: usize = 8;
/// The most blocks of a class that a thread keeps: 288 KiB of all classes. In debug builds it keeps none, so that
/// AddressSanitizer, under which the tests run, sees the end of each block.
const KEPT_BLOCKS: usize = if cfg!(debug_assertions) { 0 } else { 128 };

thread_local! {
    static KEPT: RefCell<Kept> = const { RefCell::new(Kept::new(KEPT_BLOCKS)) };
}

/// The functions by which a session of nghttp2 uses this memory.
pub(super) fn functions() -> ng::nghttp2_mem {
    ng::nghttp2_mem {
        mem_user_data: ptr::null_mut(),
        malloc: Some(malloc),
        free: Some(free),
        calloc: Some(calloc),
        realloc: Some(realloc),
    }
}

/// The start of a block that was allocated by `Block::new`; behind its header are `capacity` bytes.
#[derive(Clone, Copy)]
struct Block(NonNull<u8>);

impl Block {
    fn layout(capacity: usize) -> Option<Layout> {
        Layout::from_size_align(capacity.checked_add(HEADER_BYTES)?, HEADER_BYTES).ok()
    }

    /// `None`: there is no memory.
    fn new(capacity: usize) -> Option<Self> {
        let layout = Self::layout(capacity)?;
        // SAFETY: the layout is not empty. The block is aligned for the header, and has room for it.
        unsafe {
            let start = NonNull::new(alloc(layout))?;
            start.cast::<usize>().write(capacity);
            Some(Self(start))
        }
    }

    /// # Safety
    /// `data` came from `data` of a block that was not freed.
    unsafe fn of(data: NonNull<c_void>) -> Self {
        // SAFETY: the data is behind the header.
        Self(unsafe { data.cast::<u8>().sub(HEADER_BYTES) })
    }

    fn data(self) -> NonNull<c_void> {
        // SAFETY: the block is longer than its header.
        unsafe { self.0.add(HEADER_BYTES).cast() }
    }

    fn capacity(self) -> usize {
        // SAFETY: `new` has written the header. Whoever has the data does not write there.
        unsafe { self.0.cast::<usize>().read() }
    }

    /// # Safety
    /// Nobody uses the block, or any copy of `self`, after this.
    unsafe fn free(self) {
        if let Some(layout) = Self::layout(self.capacity()) {
            // SAFETY: `new` has allocated the block with this layout.
            unsafe { dealloc(self.0.as_ptr(), layout) };
        }
    }
}

/// Free blocks by class: those of class `i` have a capacity of `(i + 1) * CLASS_BYTES`.
struct Kept {
    blocks: [Vec<Block>; CLASSES],
    most: usize,
}

impl Kept {
    const fn new(most: usize) -> Self {
        Self { blocks: [const { Vec::new() }; CLASSES], most }
    }

    /// A block for `size` bytes; `None`: there is no memory.
    fn take(&mut self, size: usize) -> Option<Block> {
        let class = size.saturating_sub(1) / CLASS_BYTES;
        match self.blocks.get_mut(class) {
            Some(kept) => kept.pop().or_else(|| Block::new((class + 1) * CLASS_BYTES)),
            None => Block::new(size),
        }
    }

    /// # Safety
    /// As of `Block::free`.
    unsafe fn give_back(&mut self, block: Block) {
        let capacity = block.capacity();
        let class = (capacity / CLASS_BYTES).wrapping_sub(1);
        match self.blocks.get_mut(class) {
            Some(kept) if capacity.is_multiple_of(CLASS_BYTES) && kept.len() < self.most => kept.push(block),
            // SAFETY: the caller's promise.
            _ => unsafe { block.free() },
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for block in self.blocks.iter_mut().flat_map(std::mem::take) {
            // SAFETY: nobody else has a kept block.
            unsafe { block.free() };
        }
    }
}

fn take(size: usize) -> *mut c_void {
    // While a thread ends, it keeps no blocks any more.
    let block = KEPT.try_with(|kept| kept.borrow_mut().take(size)).unwrap_or_else(|_| Block::new(size));
    block.map_or(ptr::null_mut(), |block| block.data().as_ptr())
}

unsafe extern "C" fn malloc(size: usize, _: *mut c_void) -> *mut c_void {
    take(size)
}

unsafe extern "C" fn free(data: *mut c_void, _: *mut c_void) {
    let Some(data) = NonNull::new(data) else { return };
    // SAFETY: nghttp2 passes what one of these functions gave it, and does not use it any more.
    unsafe {
        let block = Block::of(data);
        if KEPT.try_with(|kept| kept.borrow_mut().give_back(block)).is_err() {
            block.free();
        }
    }
}

unsafe extern "C" fn calloc(count: usize, size: usize, _: *mut c_void) -> *mut c_void {
    let Some(bytes) = count.checked_mul(size) else { return ptr::null_mut() };
    let data = take(bytes);
    if !data.is_null() {
        // SAFETY: the block has at least `bytes` bytes.
        unsafe { data.cast::<u8>().write_bytes(0, bytes) };
    }
    data
}

unsafe extern "C" fn realloc(data: *mut c_void, size: usize, user_data: *mut c_void) -> *mut c_void {
    let Some(old) = NonNull::new(data) else { return take(size) };
    // SAFETY: as in `free`. The new block is longer than the old one.
    unsafe {
        let capacity = Block::of(old).capacity();
        if size <= capacity {
            return data;
        }
        let longer = take(size);
        if !longer.is_null() {
            ptr::copy_nonoverlapping(data.cast::<u8>(), longer.cast(), capacity);
            free(data, user_data);
        }
        longer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_a_class_are_used_again_up_to_a_bound() {
        let mut kept = Kept::new(2);
        let blocks: Vec<Block> = [1, 64, 33].map(|size| kept.take(size).unwrap()).into();
        assert!(blocks.iter().all(|block| block.capacity() == 64));
        let last = blocks[1].0;
        for block in blocks {
            // SAFETY: the test does not use the block any more.
            unsafe { kept.give_back(block) };
        }
        assert_eq!(kept.blocks[0].len(), 2);
        let again = kept.take(50).unwrap();
        assert_eq!(again.0, last);
        // SAFETY: as above.
        unsafe { kept.give_back(again) };
    }

    #[test]
    fn every_size_gets_a_block_that_is_long_enough() {
        let mut kept = Kept::new(8);
        for size in [0, 1, 63, 64, 65, 511, 512, 513, 1000, 1 << 16] {
            let block = kept.take(size).unwrap();
            assert!(block.capacity() >= size, "{size}");
            // SAFETY: the block has at least `size` bytes, and is not used after this.
            unsafe {
                block.data().cast::<u8>().write_bytes(1, size);
                kept.give_back(block);
            }
        }
        assert!(kept.take(usize::MAX).is_none());
        assert_eq!(kept.blocks.iter().map(Vec::len).sum::<usize>(), 3);
    }

    #[test]
    fn a_block_outlives_the_thread_that_took_it() {
        let none = ptr::null_mut();
        for size in [100, 10_000] {
            // SAFETY: the block has `size` bytes, and is freed once, by this thread.
            unsafe {
                let take = move || calloc(1, size, ptr::null_mut()).expose_provenance();
                let data = ptr::with_exposed_provenance_mut::<u8>(std::thread::spawn(take).join().unwrap());
                assert_eq!(std::slice::from_raw_parts(data, size), vec![0; size]);
                free(data.cast(), none);
            }
        }
    }

    #[test]
    fn memory_is_zeroed_and_keeps_its_bytes_as_it_grows() {
        let none = ptr::null_mut();
        // SAFETY: each block is as long as it is read and written here, and is freed once.
        unsafe {
            let data = calloc(10, 7, none).cast::<u8>();
            assert_eq!(std::slice::from_raw_parts(data, 70), [0; 70]);
            data.write_bytes(9, 70);
            let grown = realloc(data.cast(), 5_000, none).cast::<u8>();
            assert_eq!(std::slice::from_raw_parts(grown, 70), [9; 70]);
            assert_eq!(realloc(grown.cast(), 100, none).cast(), grown);
            free(grown.cast(), none);
            free(none, none);
            assert!(calloc(usize::MAX, 2, none).is_null());
        }
    }
}
