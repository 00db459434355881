//! Lanes: where a thread leaves its records.

use std::cell::UnsafeCell;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Instant;

use crate::record::{Filler, Head, Sizes};
use crate::ring::{Consumer, Producer, Writing, ring};

/// The largest record: hashes make it a few times larger, and a block has at most 64 MiB.
const MAX_RECORD_BYTES: usize = 8 << 20;

/// Counts of predictions and of rows that one thread changes and others read.
#[derive(Default)]
pub(crate) struct Tally {
    predictions: AtomicU64,
    rows: AtomicU64,
}

impl Tally {
    /// Adds to the counts. Only one thread may do so, or counts are lost.
    #[inline]
    pub(crate) fn add(&self, predictions: u64, rows: u64) {
        for (count, more) in [(&self.predictions, predictions), (&self.rows, rows)] {
            // Cheaper than `fetch_add`. Whoever sees it also sees what was counted before it.
            count.store(count.load(Relaxed).wrapping_add(more), Release);
        }
    }

    pub(crate) fn get(&self) -> (u64, u64) {
        (self.predictions.load(Acquire), self.rows.load(Acquire))
    }
}

/// What a lane's producer counts.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct LaneCounts {
    next: AtomicU64,
    /// Predictions that got a number, or were left out by the policy.
    pub offered: Tally,
    pub sampled_out: Tally,
    pub ring_full: Tally,
    pub too_large: Tally,
    /// What went into the ring.
    pub committed: Tally,
}

impl LaneCounts {
    /// The next sequence number.
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Acquire)
    }
}

/// A writer's end of the spool: it gives sequence numbers, and takes records into a ring.
///
/// One thread uses a lane at a time: each thread has a lane of its own, or a mutex stands around it. This is the
/// caller's duty. If it fails, the memory stays sound, but records and counts are lost and numbers given twice.
///
/// Nothing here waits, locks, allocates or calls the system.
pub struct Lane {
    writer: u16,
    started: Instant,
    /// Held while a record is written.
    busy: AtomicBool,
    producer: UnsafeCell<Producer>,
    counts: LaneCounts,
}

// SAFETY: all fields but the producer are `Sync`, and the producer is only reached by the thread that has set
// `busy`, in `begin`.
unsafe impl Sync for Lane {}

impl Lane {
    pub(crate) fn new(writer: u16, started: Instant, ring_bytes: usize) -> (Self, Consumer) {
        let (producer, consumer) = ring(ring_bytes);
        let (busy, counts) = (AtomicBool::new(false), LaneCounts::default());
        (Self { writer, started, busy, producer: UnsafeCell::new(producer), counts }, consumer)
    }

    /// The number of the writer.
    pub fn writer(&self) -> u16 {
        self.writer
    }

    pub(crate) fn counts(&self) -> &LaneCounts {
        &self.counts
    }

    /// Takes the next sequence number, for a prediction with so many rows that is to be recorded.
    #[inline]
    pub fn next(&self, rows: u32) -> u64 {
        let sequence = self.counts.next.load(Relaxed);
        self.counts.offered.add(1, u64::from(rows));
        self.counts.next.store(sequence.wrapping_add(1), Release);
        sequence
    }

    /// Counts a prediction that the policy leaves out. It takes no number.
    #[inline]
    pub fn sampled_out(&self, rows: u32) {
        self.counts.offered.add(1, u64::from(rows));
        self.counts.sampled_out.add(1, u64::from(rows));
    }

    /// Records a prediction in one part. Returns false, and counts it as dropped, if the ring has no room, or the
    /// record does not fit, or `fill` gives the filler more or less than the sizes say, or panics.
    #[inline]
    pub fn record(&self, head: &Head<'_>, sizes: &Sizes, fill: impl FnOnce(&mut Filler<'_>)) -> bool {
        self.begin(head.row_count).is_some_and(|mut parts| parts.part(head, sizes, fill) && parts.commit())
    }

    /// Begins to record a prediction with so many rows in several parts, all of which or none are kept. `None`,
    /// and the prediction counts as dropped, if another thread records on this lane right now.
    #[inline]
    pub fn begin(&self, rows: u32) -> Option<Recording<'_>> {
        if self.busy.swap(true, Acquire) {
            debug_assert!(false, "two threads use a lane at one time");
            self.counts.ring_full.add(1, u64::from(rows));
            return None;
        }
        // SAFETY: `busy` was not set, so no other `Recording` of this lane is there, and none comes before it is
        // dropped, which alone clears `busy`.
        let writing = unsafe { &mut *self.producer.get() };
        let capacity = writing.capacity();
        let writing = Some(writing.begin());
        Some(Recording { lane: self, rows, capacity, used: 0, dropped: Some(Dropped::TooLarge), writing })
    }
}

/// Why a record that is being written would not be kept.
#[derive(Clone, Copy)]
enum Dropped {
    RingFull,
    TooLarge,
}

/// A prediction that is being recorded. Unless it is committed, it counts as dropped.
pub struct Recording<'a> {
    lane: &'a Lane,
    rows: u32,
    capacity: usize,
    /// Bytes of the parts so far.
    used: usize,
    /// What a drop counts as; `None` once the record is committed.
    dropped: Option<Dropped>,
    /// `None` after a part failed: the others are not written.
    writing: Option<Writing<'a>>,
}

impl Recording<'_> {
    /// Adds a part. Returns false if it cannot be recorded, as `Lane::record` does; then no part is.
    #[inline]
    pub fn part(&mut self, head: &Head<'_>, sizes: &Sizes, fill: impl FnOnce(&mut Filler<'_>)) -> bool {
        // Taken out meanwhile, so that nothing is committed behind a panic.
        let Some(mut writing) = self.writing.take() else { return false };
        let largest = MAX_RECORD_BYTES.min(self.capacity / 2);
        let Some(length) = sizes.record(head).filter(|&length| length <= largest) else { return false };
        self.used += length;
        if self.used > self.capacity {
            return false;
        }
        let Some(memory) = writing.reserve(length) else {
            self.dropped = Some(Dropped::RingFull);
            return false;
        };
        let at_ns = head.at.saturating_duration_since(self.lane.started).as_nanos() as u64;
        let mut filler = Filler::new(memory, head, at_ns, sizes);
        fill(&mut filler);
        if !filler.is_complete() {
            debug_assert!(false, "a record is not what its sizes say");
            return false;
        }
        self.writing = Some(writing);
        true
    }

    /// Hands the parts to the spool. Returns false if one of them could not be recorded.
    #[inline]
    pub fn commit(mut self) -> bool {
        let Some(writing) = self.writing.take() else { return false };
        self.dropped = None;
        // Counted first, so that the spool never has more than what was counted.
        self.lane.counts.committed.add(1, u64::from(self.rows));
        writing.commit();
        true
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        let rows = u64::from(self.rows);
        match self.dropped {
            Some(Dropped::RingFull) => self.lane.counts.ring_full.add(1, rows),
            Some(Dropped::TooLarge) => self.lane.counts.too_large.add(1, rows),
            None => {}
        }
        self.writing = None;
        self.lane.busy.store(false, Release);
    }
}
