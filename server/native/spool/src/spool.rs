//! The thread that empties the rings and writes the spool.

use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::thread;
use std::time::{Duration, Instant};

use crate::blocks::{Block, Blocks};
use crate::clock::Clock;
use crate::disk::{Disk, LOOK, Outcome};
use crate::ledger::{self, WriterLedger};
use crate::record::Record;
use crate::ring::Consumer;
use crate::segment::RowsHeader;
use crate::shared::Shared;

/// The pause between two looks at the rings, with little and with much to do.
const LONG_PAUSE: Duration = Duration::from_millis(20);
const SHORT_PAUSE: Duration = Duration::from_millis(5);
/// Rows are written when they have waited so long here. With the pause, that is 50 ms.
const MAX_WAIT: Duration = Duration::from_millis(30);
/// All blocks that are being built have at most so many bytes together, and one record more.
const BUFFER_BYTES: usize = 4 << 20;
/// Memory is given back to the ring each time so many bytes were read.
const RELEASE_BYTES: usize = 64 << 10;

/// How full the rings were.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Load {
    Low,
    High,
    /// A ring is more than a quarter full.
    Urgent,
}

impl Load {
    fn of(consumer: &Consumer, waiting: usize) -> Self {
        if waiting > consumer.capacity() / 4 {
            Self::Urgent
        } else if waiting > consumer.capacity() / 32 {
            Self::High
        } else {
            Self::Low
        }
    }
}

/// What the spool's thread has.
pub(crate) struct Spool {
    shared: Arc<Shared>,
    consumers: Vec<Consumer>,
    started: Instant,
    disk: Disk,
    blocks: Blocks,
    /// The bytes of all blocks that are being built, and since when rows wait there.
    buffered: usize,
    waiting_since: Option<Instant>,
    /// The last ledger that was written, and when it was last compared.
    ledger: Vec<WriterLedger>,
    compared: Instant,
    /// Memory for what blocks begin with.
    scratch: Vec<u8>,
}

impl Spool {
    pub(crate) fn new(shared: Arc<Shared>, consumers: Vec<Consumer>, started: Instant, disk: Disk) -> Self {
        let (blocks, ledger, scratch) = (Blocks::default(), Vec::new(), Vec::new());
        let (buffered, waiting_since, compared) = (0, None, started);
        Self { shared, consumers, started, disk, blocks, buffered, waiting_since, ledger, compared, scratch }
    }

    /// Runs until the recorder closes. Then all that is in the rings is written, and the spool is closed.
    pub(crate) fn run(mut self) {
        loop {
            let closing = self.shared.closing.load(Acquire);
            if closing {
                // Nothing is recorded after this, so that no record stays behind in the rings.
                self.shared.writers.iter().for_each(|writer| writer.lane.close());
            }
            let load = self.drain();
            if closing {
                break;
            }
            self.disk.look_if_due();
            self.flush_if_due();
            let pause = match load {
                Load::Low => LONG_PAUSE,
                Load::High => SHORT_PAUSE,
                Load::Urgent => continue,
            };
            let waited = self.waiting_since.map_or(Duration::ZERO, |since| since.elapsed());
            thread::park_timeout(pause.min(MAX_WAIT.saturating_sub(waited)));
        }
        // One more try, if the disk could not be written.
        self.disk.look();
        self.flush();
        self.close_segment(true);
        self.disk.look();
    }

    /// Reads all that is in the rings now.
    fn drain(&mut self) -> Load {
        let released = self.shared.sources.take_released();
        let clock = Clock::now(self.started);
        let mut load = Load::Low;
        let mut consumers = std::mem::take(&mut self.consumers);
        for (writer, consumer) in consumers.iter_mut().enumerate() {
            let head = consumer.head();
            load = load.max(Load::of(consumer, consumer.waiting(head)));
            let mut unreleased = 0;
            while let Some(bytes) = consumer.next(head) {
                unreleased += bytes.len();
                self.add(writer, &Record::read(bytes), clock);
                if unreleased >= RELEASE_BYTES {
                    consumer.release();
                    unreleased = 0;
                }
            }
            consumer.release();
        }
        self.consumers = consumers;
        // Blocks keep what they need of a source.
        self.shared.sources.forget(&released);
        load
    }

    /// Adds a record to the block of its source.
    fn add(&mut self, writer: usize, record: &Record<'_>, clock: Clock) {
        let Some(place) = self.place(record) else {
            let counts = &self.shared.writers[writer].counts;
            counts.disk.add(u64::from(record.first_row == 0), u64::from(record.row_count));
            return;
        };
        if !self.blocks.at(place).has_room(record) {
            self.write(place);
        }
        let Block { shape, columns } = self.blocks.at(place);
        let before = columns.bytes();
        columns.push(shape, record, writer as u16, clock.at_us(record.at_ns));
        self.buffered += columns.bytes() - before;
        if self.waiting_since.is_none() {
            self.waiting_since = Some(Instant::now());
        }
        if self.buffered > BUFFER_BYTES {
            self.write_all();
        }
    }

    /// Where the block of a record's source is; `None` if no source describes the record.
    fn place(&mut self, record: &Record<'_>) -> Option<usize> {
        let Some(place) = self.blocks.place(record.source, |number| self.shared.sources.shape(number)) else {
            self.disk.report(format!("a record is of source {}, which was never defined", record.source));
            return None;
        };
        if !self.blocks.at(place).shape.fits(record) {
            self.disk.report(format!("a record has other columns than its source {}", record.source));
            return None;
        }
        Some(place)
    }

    /// Writes the block at a place, counts its rows, and empties it.
    fn write(&mut self, place: usize) {
        let block = self.blocks.at(place);
        let Block { shape, columns } = &*block;
        let about = RowsHeader {
            predictions: columns.predictions,
            rows: columns.rows,
            first_sequence: columns.first_sequence,
        };
        let outcome = self.disk.rows(&shape.source, about, &columns.body(&mut self.scratch));
        for (writer, &(predictions, rows)) in self.shared.writers.iter().zip(&columns.by_writer) {
            let counts = &writer.counts;
            let tally = match outcome {
                Outcome::Spooled => &counts.spooled,
                Outcome::SpoolFull => &counts.spool_full,
                Outcome::Failed => &counts.disk,
            };
            tally.add(predictions, rows);
        }
        let bytes = columns.bytes();
        block.clear();
        self.buffered -= bytes - block.columns.bytes();
        if self.disk.is_segment_due() {
            self.close_segment(false);
        }
    }

    /// Writes all blocks that are being built.
    fn write_all(&mut self) {
        for place in 0..self.blocks.len() {
            if self.blocks.at(place).columns.predictions > 0 {
                self.write(place);
            }
        }
        self.blocks.clear();
        (self.buffered, self.waiting_since) = (0, None);
    }

    fn flush(&mut self) {
        self.disk.ensure_in_place();
        self.write_all();
    }

    /// Writes what has waited long enough, and the ledger.
    fn flush_if_due(&mut self) {
        let rows_wait = self.waiting_since.is_some_and(|since| since.elapsed() >= MAX_WAIT);
        if rows_wait {
            self.flush();
        }
        if (rows_wait && !self.disk.is_full()) || self.compared.elapsed() >= LOOK {
            self.write_ledger(false);
        }
        if self.disk.is_segment_due() {
            self.close_segment(false);
        }
    }

    /// Writes the ledger if it has changed, or in any case.
    fn write_ledger(&mut self, always: bool) {
        let writers: Vec<_> = self.shared.writers.iter().map(|writer| writer.ledger()).collect();
        self.compared = Instant::now();
        if always || writers != self.ledger {
            ledger::encode(&writers, &mut self.scratch);
            if self.disk.ledger(&self.scratch) {
                self.ledger = writers;
            }
        }
    }

    /// Ends the open segment with the ledger and an end block.
    fn close_segment(&mut self, last: bool) {
        self.write_ledger(true);
        self.disk.close_segment(last);
    }
}
