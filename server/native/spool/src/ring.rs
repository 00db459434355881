//! A bounded ring of bytes from one producer to one consumer. Neither ever waits for the other.
//!
//! Positions count bytes since the start and never wrap; a position's place in memory is the position modulo the
//! capacity. Each record is contiguous. It begins with its length, a `u32` that is a multiple of 8. A record that
//! does not fit before the end of the memory stands at its begin, and a length with `PAD` fills the rest.

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Release},
};

/// Marks the length of bytes that hold no record.
const PAD: u32 = 1 << 31;
const WORD: usize = size_of::<u64>();
/// The least capacity in bytes.
const LEAST: usize = 1 << 12;
/// The largest capacity in bytes: lengths must stay below `PAD`.
const MOST: usize = 1 << 30;

/// Keeps a position in cache lines of its own; two, since processors fetch them in pairs.
#[repr(align(128))]
struct Position(AtomicUsize);

/// The memory of a ring and its two positions.
struct Memory {
    /// Zeros at first, which the system provides page by page when they are first written.
    words: Box<[UnsafeCell<u64>]>,
    /// Bytes before this are committed. Only the producer stores it.
    head: Position,
    /// Bytes before this may be written again. Only the consumer stores it.
    tail: Position,
}

// SAFETY: the producer writes only bytes from `head` to `tail + capacity`, and the consumer reads only those from
// `tail` to `head`. Each stores its position with Release after it is done with the bytes, and loads the other's
// position with Acquire before it touches them, so that no byte is accessed by both at the same time.
unsafe impl Sync for Memory {}

impl Memory {
    fn capacity(&self) -> usize {
        self.words.len() * WORD
    }

    /// Where the byte at a position is. The caller stays within the bytes up to the end of the memory.
    fn at(&self, position: usize) -> *mut u8 {
        let offset = position & (self.capacity() - 1);
        // A pointer that was made from the whole slice may reach all of it.
        self.words.as_ptr().cast::<u8>().cast_mut().wrapping_add(offset)
    }

    /// The bytes from a position to the end of the memory.
    fn contiguous(&self, position: usize) -> usize {
        self.capacity() - (position & (self.capacity() - 1))
    }
}

/// Makes a ring of at least `bytes` bytes; the capacity is a power of two.
pub(crate) fn ring(bytes: usize) -> (Producer, Consumer) {
    let capacity = bytes.clamp(LEAST, MOST).next_power_of_two();
    let memory = Arc::new(Memory {
        words: zeros(capacity / WORD),
        head: Position(AtomicUsize::new(0)),
        tail: Position(AtomicUsize::new(0)),
    });
    (Producer { memory: Arc::clone(&memory), head: 0, tail: 0 }, Consumer { memory, tail: 0 })
}

fn zeros(count: usize) -> Box<[UnsafeCell<u64>]> {
    let words = Box::into_raw(vec![0_u64; count].into_boxed_slice());
    // SAFETY: `UnsafeCell<u64>` has the layout of `u64`, and nothing else refers to the allocation.
    unsafe { Box::from_raw(words as *mut [UnsafeCell<u64>]) }
}

/// The end of a ring that writes.
pub(crate) struct Producer {
    memory: Arc<Memory>,
    /// What was last stored as the ring's head.
    head: usize,
    /// What was last seen of the ring's tail.
    tail: usize,
}

impl Producer {
    pub(crate) fn capacity(&self) -> usize {
        self.memory.capacity()
    }

    /// Begins to write records, which the consumer sees together when they are committed.
    pub(crate) fn begin(&mut self) -> Writing<'_> {
        Writing { position: self.head, ring: self }
    }
}

/// Records that are written and not committed yet. They are gone if this is dropped.
pub(crate) struct Writing<'a> {
    ring: &'a mut Producer,
    /// The end of what was written.
    position: usize,
}

impl Writing<'_> {
    /// The memory of one more record of `length` bytes, a multiple of 8; `None` while the ring has no room. The
    /// memory holds old bytes, and its first `u32` is set to the length.
    pub(crate) fn reserve(&mut self, length: usize) -> Option<&mut [u8]> {
        debug_assert!(length % WORD == 0 && length > 0);
        let contiguous = self.ring.memory.contiguous(self.position);
        let pad = if length <= contiguous { 0 } else { contiguous };
        let end = self.position.checked_add(pad + length)?;
        if end - self.ring.tail > self.ring.capacity() {
            self.ring.tail = self.ring.memory.tail.0.load(Acquire);
            if end - self.ring.tail > self.ring.capacity() {
                return None;
            }
        }
        if pad > 0 {
            self.bytes(self.position, WORD)[..4].copy_from_slice(&(PAD | pad as u32).to_le_bytes());
        }
        self.position = end;
        let bytes = self.bytes(end - length, length);
        bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
        Some(bytes)
    }

    fn bytes(&mut self, position: usize, length: usize) -> &mut [u8] {
        debug_assert!(length <= self.ring.memory.contiguous(position));
        // SAFETY: `reserve` has checked that these bytes are within the memory, behind the head and not ahead of
        // the tail by more than the capacity, so the consumer does not touch them. The exclusive borrow of the
        // producer keeps others from them.
        unsafe { std::slice::from_raw_parts_mut(self.ring.memory.at(position), length) }
    }

    /// Shows the records to the consumer.
    pub(crate) fn commit(self) {
        self.ring.head = self.position;
        self.ring.memory.head.0.store(self.position, Release);
    }
}

/// The end of a ring that reads.
pub(crate) struct Consumer {
    memory: Arc<Memory>,
    tail: usize,
}

impl Consumer {
    pub(crate) fn capacity(&self) -> usize {
        self.memory.capacity()
    }

    /// The end of the committed records now, for `next`.
    pub(crate) fn head(&self) -> usize {
        self.memory.head.0.load(Acquire)
    }

    /// The bytes from the next record to `head`.
    pub(crate) fn waiting(&self, head: usize) -> usize {
        head - self.tail
    }

    /// The next record before `head`, which came from `Consumer::head`.
    pub(crate) fn next(&mut self, head: usize) -> Option<&[u8]> {
        loop {
            if self.tail >= head {
                return None;
            }
            // SAFETY: the bytes from the tail to the head are initialized and within the memory: a record or
            // padding is at least a word and contiguous. The producer does not touch them before `release`,
            // which needs the record's borrow to be over.
            let word = unsafe { std::slice::from_raw_parts(self.memory.at(self.tail), 4) };
            let length = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            let begin = self.tail;
            self.tail += (length & !PAD) as usize;
            if length & PAD == 0 {
                // SAFETY: as above.
                return Some(unsafe { std::slice::from_raw_parts(self.memory.at(begin), length as usize) });
            }
        }
    }

    /// Gives the memory of the records that `next` returned back to the producer.
    pub(crate) fn release(&mut self) {
        self.memory.tail.0.store(self.tail, Release);
    }
}
