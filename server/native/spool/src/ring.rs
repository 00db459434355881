//! A bounded ring of bytes from one producer to one consumer. Neither ever waits for the other.
//!
//! Positions count bytes since the start and never wrap; a position's place in memory is the position modulo the
//! capacity. Each record is contiguous. It begins with its length, a `u32` that is a multiple of 8. A record that
//! does not fit before the end of the memory stands at its begin, and a length with `PAD` fills the rest.
//!
//! An empty ring restarts: it is written from the begin of the memory again, so that little traffic touches little
//! memory. The position moves on to the next multiple of the capacity. Nothing marks that in memory, which the
//! producer may write at once, so both know the position of the restart.

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

/// Marks the length of bytes that hold no record.
const PAD: u32 = 1 << 31;
const WORD: usize = size_of::<u64>();
/// An empty ring is written from its begin again once so many bytes of it are used.
const RESTART: usize = 1 << 16;
/// The least capacity in bytes.
const LEAST: usize = 1 << 12;
/// The largest capacity in bytes: lengths must stay below `PAD`.
const MOST: usize = 1 << 30;

/// Keeps what one end stores in cache lines of its own; two, since processors fetch them in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Own<T>(T);

/// What the producer stores.
#[derive(Default)]
struct Written {
    /// Bytes before this are committed.
    head: AtomicUsize,
    /// Where the last restart went on; stored before the head.
    restart: AtomicUsize,
}

/// The memory of a ring and its two positions.
struct Memory {
    /// Zeros at first, which the system provides page by page when they are first written.
    words: Box<[UnsafeCell<u64>]>,
    written: Own<Written>,
    /// Bytes before this may be written again. Only the consumer stores it.
    tail: Own<AtomicUsize>,
}

// SAFETY: the producer writes only bytes from `head` to `tail + capacity`, and the consumer reads only those from
// `tail` to `head`. Each stores its position with Release after it is done with the bytes, and loads the other's
// position with Acquire before it touches them, so that no byte is accessed by both at the same time.
// A restart at position `r`, beyond the head, only happens if the tail is the head: the consumer is done with all
// bytes. It reads no byte before it sees a new head, and then it reads from `r` on. So `r` counts as the tail.
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
    let memory =
        Arc::new(Memory { words: zeros(capacity / WORD), written: Own::default(), tail: Own::default() });
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
    #[inline]
    pub(crate) fn begin(&mut self) -> Writing<'_> {
        let (mut begin, mut tail) = (self.head, self.tail);
        let contiguous = self.memory.contiguous(begin);
        if self.capacity() - contiguous >= RESTART {
            tail = tail.max(self.memory.tail.0.load(Acquire));
            if tail == self.head {
                begin += contiguous;
                tail = begin;
            }
        }
        Writing { ring: self, begin, position: begin, tail }
    }
}

/// Records that are written and not committed yet. They are gone if this is dropped.
pub(crate) struct Writing<'a> {
    ring: &'a mut Producer,
    /// Where the first record is: the head, or where the ring restarts.
    begin: usize,
    /// The end of what was written.
    position: usize,
    /// The tail as it was last seen, or where the ring restarts.
    tail: usize,
}

impl Writing<'_> {
    /// The memory of one more record of `length` bytes, a multiple of 8; `None` while the ring has no room. The
    /// memory holds old bytes, and its first `u32` is set to the length.
    pub(crate) fn reserve(&mut self, length: usize) -> Option<&mut [u8]> {
        assert!(length.is_multiple_of(WORD) && length > 0);
        let contiguous = self.ring.memory.contiguous(self.position);
        let pad = if length <= contiguous { 0 } else { contiguous };
        let end = self.position.checked_add(pad + length)?;
        if end - self.tail > self.ring.capacity() {
            self.tail = self.tail.max(self.ring.memory.tail.0.load(Acquire));
            if end - self.tail > self.ring.capacity() {
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
        // SAFETY: `reserve` has checked that these bytes are within the memory, behind the head and not ahead of
        // the tail by more than the capacity, so the consumer does not touch them. The exclusive borrow of the
        // producer keeps others from them.
        unsafe { std::slice::from_raw_parts_mut(self.ring.memory.at(position), length) }
    }

    /// Shows the records to the consumer.
    pub(crate) fn commit(self) {
        let Written { head, restart } = &self.ring.memory.written.0;
        if self.begin != self.ring.head {
            restart.store(self.begin, Relaxed);
        }
        head.store(self.position, Release);
        (self.ring.head, self.ring.tail) = (self.position, self.tail);
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
    pub(crate) fn head(&mut self) -> usize {
        let Written { head, restart } = &self.memory.written.0;
        let head = head.load(Acquire);
        let restart = restart.load(Relaxed);
        // A restart beyond the head belongs to a later one.
        if restart <= head {
            self.tail = self.tail.max(restart);
        }
        head
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::thread;

    use super::*;

    /// Pseudorandom numbers: xorshift64.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % bound as u64) as usize
        }
    }

    /// Fills a record with what its length and its number decide.
    fn fill(bytes: &mut [u8], number: u64) {
        for (index, word) in bytes[WORD..].chunks_exact_mut(WORD).enumerate() {
            word.copy_from_slice(
                &number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(index as u32).to_le_bytes(),
            );
        }
    }

    fn check(bytes: &[u8], number: u64) {
        let mut expected = bytes.to_vec();
        fill(&mut expected, number);
        assert!(bytes == expected, "record {number}");
        assert_eq!(bytes[..4], (bytes.len() as u32).to_le_bytes());
    }

    #[test]
    fn records_come_out_as_they_went_in_at_all_wraps() {
        for seed in 1..=if cfg!(miri) { 2 } else { 200 } {
            let mut random = Numbers(seed);
            let (mut producer, mut consumer) = ring(LEAST);
            let mut model = VecDeque::new();
            for number in 0..500 {
                let length = WORD * (1 + random.below(if seed % 2 == 0 { 256 } else { 20 }));
                let mut writing = producer.begin();
                if let Some(bytes) = writing.reserve(length) {
                    fill(bytes, number);
                    if random.below(8) > 0 {
                        writing.commit();
                        model.push_back((length, number));
                    }
                } else {
                    let Producer { memory, head, .. } = &producer;
                    let contiguous = memory.contiguous(*head);
                    let needed = if length <= contiguous { length } else { contiguous + length };
                    assert!(head - memory.tail.0.load(Acquire) + needed > LEAST);
                }
                if random.below(3) == 0 {
                    let head = consumer.head();
                    for _ in 0..random.below(9) {
                        let Some(bytes) = consumer.next(head) else { break };
                        let (length, number) = model.pop_front().expect("a record that went in");
                        assert_eq!(bytes.len(), length);
                        check(bytes, number);
                    }
                    consumer.release();
                }
            }
            let head = consumer.head();
            while let Some(bytes) = consumer.next(head) {
                check(bytes, model.pop_front().expect("a record that went in").1);
            }
            assert!(model.is_empty());
        }
    }

    #[test]
    fn two_threads_lose_and_change_nothing() {
        let records = if cfg!(miri) { 300 } else { 50_000 };
        // Small enough to be full, and large enough to restart.
        let (mut producer, mut consumer) = ring(2 * RESTART);
        let writer = thread::spawn(move || {
            let mut random = Numbers(7);
            let mut number = 0;
            while number < records {
                let mut writing = producer.begin();
                // Several records are seen together.
                let together = 1 + random.below(3) as u64;
                let written = (number..number + together).all(|number| {
                    writing.reserve(WORD * (1 + random.below(400))).map(|bytes| fill(bytes, number)).is_some()
                });
                if written {
                    writing.commit();
                    number += together;
                } else {
                    thread::yield_now();
                }
            }
            number
        });
        let mut expected = 0;
        loop {
            let is_last = writer.is_finished();
            let head = consumer.head();
            while let Some(bytes) = consumer.next(head) {
                check(bytes, expected);
                expected += 1;
                if expected % 5 == 0 {
                    consumer.release();
                }
            }
            consumer.release();
            if is_last {
                break;
            }
            thread::yield_now();
        }
        assert_eq!(writer.join().expect("no panic"), expected);
    }

    #[test]
    fn a_full_ring_takes_no_more_until_memory_is_released() {
        let (mut producer, mut consumer) = ring(LEAST);
        let mut push = || {
            let mut writing = producer.begin();
            let fits = writing.reserve(LEAST / 4).is_some();
            writing.commit();
            fits
        };
        assert_eq!([push(), push(), push(), push(), push()], [true, true, true, true, false]);
        let head = consumer.head();
        assert!(consumer.next(head).is_some());
        assert!(!push());
        consumer.release();
        assert!(push());
        assert!(!push());
    }

    #[test]
    fn records_that_are_not_committed_are_gone() {
        let (mut producer, mut consumer) = ring(LEAST);
        assert!(producer.begin().reserve(64).is_some());
        let head = consumer.head();
        assert_eq!(consumer.waiting(head), 0);
        let mut writing = producer.begin();
        fill(writing.reserve(16).expect("room"), 5);
        writing.commit();
        let head = consumer.head();
        check(consumer.next(head).expect("a record"), 5);
        assert!(consumer.next(head).is_none());
    }

    #[test]
    fn an_empty_ring_restarts_with_its_whole_capacity() {
        let capacity = 1 << 20;
        let (mut producer, mut consumer) = ring(capacity);
        let mut number = 0;
        for round in 0..2000 {
            // Now and then the ring is filled, and what follows is not committed.
            let count = if round % 100 == 99 { capacity / 1024 } else { 1 };
            for _ in 0..count {
                let mut writing = producer.begin();
                fill(writing.reserve(1024).expect("room"), number);
                writing.commit();
                number += 1;
            }
            assert_eq!(producer.begin().reserve(1024).is_some(), count == 1);
            let head = consumer.head();
            assert_eq!(consumer.waiting(head), 1024 * count);
            for number in number - count as u64..number {
                check(consumer.next(head).expect("a record"), number);
            }
            assert!(consumer.next(head).is_none());
            consumer.release();
            if count == 1 && round % 100 > 0 {
                assert!(capacity - producer.memory.contiguous(producer.head) <= RESTART + 1024);
            }
        }
    }
}
