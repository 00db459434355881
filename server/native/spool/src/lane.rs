//! Lanes: where a thread leaves its records.

use std::cell::UnsafeCell;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::thread;
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
    /// Set while a record is written, and once the lane is closed.
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

    /// The sequence number of the next record, so that an answer can name the record before it is written.
    #[inline]
    pub fn peek(&self) -> u64 {
        self.counts.next.load(Relaxed)
    }

    /// Waits for a record that is being written. What is recorded later is dropped, as if the ring were full.
    pub(crate) fn close(&self) {
        while self.busy.swap(true, Acquire) {
            thread::yield_now();
        }
    }

    /// Counts a prediction that the policy leaves out. It takes no number.
    #[inline]
    pub fn sampled_out(&self, rows: u32) {
        self.counts.offered.add(1, u64::from(rows));
        self.counts.sampled_out.add(1, u64::from(rows));
    }

    /// Takes the next sequence number, and records a prediction in one part. Returns false, and counts it as
    /// dropped, if the ring has no room, or the record does not fit, or `fill` gives the filler more or less than
    /// the sizes say, or panics.
    #[inline]
    pub fn record(&self, head: &Head<'_>, sizes: &Sizes, fill: impl FnOnce(&mut Filler<'_>)) -> bool {
        self.begin(head.row_count).is_some_and(|mut parts| parts.part(head, sizes, fill) && parts.commit())
    }

    /// Takes the next sequence number, and begins to record a prediction with so many rows in several parts, all
    /// of which or none are kept. `None`, and the prediction counts as dropped, if another thread records on this
    /// lane right now, or the lane is closed.
    #[inline]
    pub fn begin(&self, rows: u32) -> Option<Recording<'_>> {
        let sequence = self.peek();
        self.counts.offered.add(1, u64::from(rows));
        self.counts.next.store(sequence.wrapping_add(1), Release);
        if self.busy.swap(true, Acquire) {
            self.counts.ring_full.add(1, u64::from(rows));
            return None;
        }
        // SAFETY: `busy` was not set, so no other `Recording` of this lane is there, and none comes before it is
        // dropped, which alone clears `busy`.
        let writing = unsafe { &mut *self.producer.get() };
        let capacity = writing.capacity();
        let writing = Some(writing.begin());
        Some(Recording {
            lane: self,
            sequence,
            rows,
            capacity,
            used: 0,
            dropped: Some(Dropped::TooLarge),
            writing,
        })
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
    sequence: u64,
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
        let mut filler = Filler::new(memory, head, self.sequence, at_ns, sizes);
        fill(&mut filler);
        if !filler.is_complete() {
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

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::record::Record;

    const RING_BYTES: usize = 1 << 16;

    fn head(row_count: u32) -> Head<'static> {
        Head {
            source: 1,
            at: Instant::now(),
            server_us: 0,
            model_us: 0,
            flags: 0,
            first_row: 0,
            row_count,
            original: None,
            caller: b"::1",
            principal: b"shop",
            routing_key: b"",
        }
    }

    fn sizes(bytes: usize) -> Sizes {
        Sizes { numbers: bytes, ..Sizes::default() }
    }

    fn record(lane: &Lane, bytes: usize) -> bool {
        lane.record(&head(1), &sizes(bytes), |filler| filler.numbers(&vec![7; bytes]))
    }

    fn sequences(consumer: &mut Consumer) -> Vec<u64> {
        let head = consumer.head();
        let mut found = Vec::new();
        while let Some(bytes) = consumer.next(head) {
            found.push(Record::read(bytes).sequence);
        }
        consumer.release();
        found
    }

    /// Offered, committed, full, too large; in rows.
    fn counts(lane: &Lane) -> [u64; 4] {
        let LaneCounts { offered, committed, ring_full, too_large, .. } = lane.counts();
        [offered, committed, ring_full, too_large].map(|tally| tally.get().1)
    }

    #[test]
    fn a_panic_while_a_record_is_written_drops_it_alone() {
        let (lane, mut consumer) = Lane::new(0, Instant::now(), RING_BYTES);
        assert!(record(&lane, 80));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            lane.record(&head(1), &sizes(80), |filler| {
                filler.numbers(&[0; 40]);
                panic!("in the middle");
            })
        }));
        assert!(panicked.is_err());
        assert!(record(&lane, 80));
        assert_eq!(sequences(&mut consumer), [0, 2]);
        assert_eq!(counts(&lane), [3, 2, 0, 1]);
    }

    #[test]
    fn a_record_that_is_not_what_its_sizes_say_is_dropped() {
        let (lane, mut consumer) = Lane::new(0, Instant::now(), RING_BYTES);
        let texts = Sizes { texts: 1, text_bytes: 3, ..Sizes::default() };
        assert!(!lane.record(&head(1), &sizes(80), |filler| filler.numbers(&[0; 72])));
        assert!(!lane.record(&head(1), &sizes(80), |filler| filler.numbers(&[0; 88])));
        assert!(!lane.record(&head(1), &texts, |filler| filler.text(b"four")));
        assert!(!lane.record(&head(1), &texts, |filler| filler.text(b"tw")));
        assert!(!lane.record(&head(1), &texts, |filler| {
            filler.text(b"two");
            filler.text(b"");
        }));
        assert!(!lane.record(&head(1), &Sizes::default(), |filler| filler.error(0, 1, 2)));
        assert!(lane.record(&head(1), &texts, |filler| filler.text(b"one")));
        assert_eq!(sequences(&mut consumer), [6]);
        assert_eq!(counts(&lane), [7, 1, 0, 6]);
    }

    #[test]
    fn what_has_no_room_is_dropped_and_counted_by_its_cause() {
        let (lane, mut consumer) = Lane::new(0, Instant::now(), RING_BYTES);
        assert!(!record(&lane, RING_BYTES / 2));
        assert!(!record(&lane, usize::MAX / 4 - 7));
        assert_eq!(
            [record(&lane, 30_000), record(&lane, 30_000), record(&lane, 30_000)],
            [true, true, false]
        );
        assert_eq!(counts(&lane), [5, 2, 1, 2]);
        assert_eq!(sequences(&mut consumer), [2, 3]);
        assert!(record(&lane, 30_000));
        assert_eq!(lane.counts().next(), 6);
    }

    #[test]
    fn all_parts_of_a_prediction_are_kept_or_none() {
        let (lane, mut consumer) = Lane::new(0, Instant::now(), RING_BYTES);
        for (parts, expected) in [(3, true), (2, false)] {
            let whole = head(10 * parts);
            let mut recording = lane.begin(10 * parts).expect("no one else");
            let fits = (0..parts).all(|part| {
                let head = Head { first_row: 10 * part, row_count: 10, ..whole };
                recording.part(&head, &sizes(16_000), |filler| filler.numbers(&[1; 16_000]))
            });
            assert_eq!((fits, recording.commit()), (expected, expected));
        }
        assert_eq!(sequences(&mut consumer), [0, 0, 0]);
        assert_eq!(counts(&lane), [50, 30, 20, 0]);

        // Together they are larger than the ring.
        let whole = head(5);
        let mut recording = lane.begin(5).expect("no one else");
        for first_row in 0..5 {
            recording.part(&Head { first_row, row_count: 1, ..whole }, &sizes(16_000), |filler| {
                filler.numbers(&[1; 16_000]);
            });
        }
        assert!(!recording.commit());
        assert!(sequences(&mut consumer).is_empty());
        assert_eq!(counts(&lane), [55, 30, 20, 5]);
    }

    #[test]
    fn a_lane_that_is_used_twice_at_a_time_drops_the_second_record() {
        let (lane, mut consumer) = Lane::new(0, Instant::now(), RING_BYTES);
        assert!(lane.record(&head(1), &sizes(0), |_| assert!(!record(&lane, 8))));
        assert_eq!(sequences(&mut consumer), [0]);
        assert_eq!(counts(&lane), [2, 1, 1, 0]);
    }
}
