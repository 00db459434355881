//! The thread that empties the rings and writes the spool.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::columns::{Columns, Shape};
use crate::lane::Tally;
use crate::ledger::{self, WriterLedger};
use crate::record::Record;
use crate::ring::Consumer;
use crate::segment::{RowsHeader, SegmentWriter};
use crate::shared::{Shared, SpoolCounts};
use crate::space::Space;

/// Blocks of rows have at most so many bytes, unless one record has more.
const BLOCK_BYTES: usize = 1 << 20;
/// All blocks that are being built have at most so many bytes together, and one record more.
const BUFFER_BYTES: usize = 4 << 20;
/// The pause between two looks at the rings, with little and with much to do.
const LONG_PAUSE: Duration = Duration::from_millis(20);
const SHORT_PAUSE: Duration = Duration::from_millis(5);
/// Rows are written when they have waited so long here. With the pause, that is 50 ms.
const MAX_WAIT: Duration = Duration::from_millis(30);
/// How often the disk is looked at, and tried again after a failure.
const LOOK: Duration = Duration::from_secs(1);
/// A failure is told for so long, where no rows come that could be written.
const FAILURE_TIME: Duration = Duration::from_secs(10);
/// Memory is given back to the ring each time so many bytes were read.
const RELEASE_BYTES: usize = 64 << 10;
/// The most bytes of the memory that is kept to be used again.
const POOL_BYTES: usize = 4 << 20;

/// A block of rows that is being built.
struct Building {
    shape: Arc<Shape>,
    columns: Columns,
}

/// How full the rings were.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Load {
    Low,
    High,
    /// A ring is more than a quarter full.
    Urgent,
}

/// What the spool's thread has.
pub(crate) struct Spool {
    shared: Arc<Shared>,
    consumers: Vec<Consumer>,
    started: Instant,
    writer: SegmentWriter,
    space: Space,
    building: Vec<Building>,
    /// Where in `building` each source is.
    places: HashMap<u32, usize>,
    /// The source of the last record, and its place: most records are of the same source as the one before.
    last_place: Option<(u32, usize)>,
    /// Empty columns, and the bytes of their memory.
    pool: Vec<Columns>,
    pooled: usize,
    /// The bytes of all that is being built, and since when.
    buffered: usize,
    waiting_since: Option<Instant>,
    /// Whether nothing is written before the next look.
    is_broken: bool,
    /// Why a write failed last, and when. Forgotten once rows are written, or after a while.
    failure: Option<(String, Instant)>,
    /// A record that no source describes: an error of the program.
    flaw: Option<String>,
    full: bool,
    next_look: Instant,
    last_ledger: (Instant, Vec<WriterLedger>),
    table: Vec<u8>,
}

impl Spool {
    pub(crate) fn new(
        shared: Arc<Shared>,
        consumers: Vec<Consumer>,
        started: Instant,
        writer: SegmentWriter,
        space: Space,
    ) -> Self {
        Self {
            shared,
            consumers,
            started,
            writer,
            space,
            building: Vec::new(),
            places: HashMap::new(),
            last_place: None,
            pool: Vec::new(),
            pooled: 0,
            buffered: 0,
            waiting_since: None,
            is_broken: false,
            failure: None,
            flaw: None,
            full: false,
            next_look: started,
            last_ledger: (started, Vec::new()),
            table: Vec::new(),
        }
    }

    /// Runs until the recorder closes. Then all that is in the rings is written, and the spool is closed.
    pub(crate) fn run(mut self) {
        self.open();
        loop {
            // Read first, so that what was recorded before the close is written.
            let closing = self.shared.closing.load(Acquire);
            let load = self.drain();
            if closing {
                break;
            }
            self.look();
            self.flush_if_due();
            let pause = match load {
                Load::Low => LONG_PAUSE,
                Load::High => SHORT_PAUSE,
                Load::Urgent => continue,
            };
            let waited = self.waiting_since.map_or(Duration::ZERO, |since| since.elapsed());
            thread::park_timeout(pause.min(MAX_WAIT.saturating_sub(waited)));
        }
        self.finish();
    }

    /// Opens a segment, so that a folder that cannot be written is known at once.
    fn open(&mut self) {
        self.is_broken = false;
        if let Err(error) = self.writer.ensure_open() {
            self.fail(&error);
        }
    }

    /// Gives up writing until the next look.
    fn fail(&mut self, error: &io::Error) {
        self.is_broken = true;
        self.failure = Some((error.to_string(), Instant::now()));
        self.tell();
    }

    /// Reads all that is in the rings now.
    fn drain(&mut self) -> Load {
        let clock = Clock::now(self.started);
        let mut load = Load::Low;
        let mut consumers = std::mem::take(&mut self.consumers);
        for (writer, consumer) in consumers.iter_mut().enumerate() {
            let head = consumer.head();
            let waiting = consumer.waiting(head);
            load = load.max(match waiting {
                much if much > consumer.capacity() / 4 => Load::Urgent,
                some if some > consumer.capacity() / 32 => Load::High,
                _ => Load::Low,
            });
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
        load
    }

    /// Adds a record to the block of its source.
    fn add(&mut self, writer: usize, record: &Record<'_>, clock: Clock) {
        let Some(place) = self.place(record) else {
            let counts = &self.shared.writers[writer].counts;
            counts.disk.add(u64::from(record.first_row == 0), u64::from(record.row_count));
            return;
        };
        let building = &self.building[place];
        let more = building.shape.most_bytes(record);
        let has_room = building.columns.bytes() + more <= BLOCK_BYTES
            && building.columns.rows.checked_add(record.row_count).is_some();
        if building.columns.predictions > 0 && !has_room {
            self.write(place);
        }
        let Building { shape, columns } = &mut self.building[place];
        columns.push(shape, record, writer as u16, clock.at_us(record.at_ns));
        self.buffered += more;
        if self.waiting_since.is_none() {
            self.waiting_since = Some(Instant::now());
        }
        if self.buffered > BUFFER_BYTES {
            self.write_all();
        }
    }

    /// Where the block of a record's source is; `None` if no source describes the record.
    fn place(&mut self, record: &Record<'_>) -> Option<usize> {
        let place = match self.last_place {
            Some((source, place)) if source == record.source => place,
            _ => match self.places.get(&record.source) {
                Some(&place) => place,
                None => self.begin(record.source)?,
            },
        };
        self.last_place = Some((record.source, place));
        if !self.building[place].shape.fits(record) {
            self.flaw = Some(format!("a record has other columns than its source {}", record.source));
            return None;
        }
        Some(place)
    }

    /// Begins a block of a source.
    fn begin(&mut self, source: u32) -> Option<usize> {
        let Some(shape) = self.shared.shape(source) else {
            self.flaw = Some(format!("source {source} was never defined"));
            return None;
        };
        let mut columns = match self.pool.pop() {
            Some(mut columns) => {
                self.pooled -= columns.capacity();
                columns
            }
            None => Columns::default(),
        };
        columns.begin(&shape);
        self.places.insert(source, self.building.len());
        self.building.push(Building { shape, columns });
        Some(self.building.len() - 1)
    }

    /// Writes the block at a place, counts its rows, and empties it.
    fn write(&mut self, place: usize) {
        let tally = self.append(place);
        let Building { shape, columns } = &mut self.building[place];
        for (writer, &(predictions, rows)) in self.shared.writers.iter().zip(&columns.by_writer) {
            tally(&writer.counts).add(predictions, rows);
        }
        columns.begin(shape);
        self.after_write();
    }

    /// Writes the block at a place if that is possible. Returns what its rows count as.
    fn append(&mut self, place: usize) -> fn(&SpoolCounts) -> &Tally {
        let Building { shape, columns } = &self.building[place];
        if self.is_broken {
            return |counts| &counts.disk;
        }
        if self.full {
            return |counts| &counts.spool_full;
        }
        let about = RowsHeader {
            predictions: columns.predictions,
            rows: columns.rows,
            first_sequence: columns.first_sequence,
        };
        match self.writer.rows(&shape.source, about, &columns.body(&mut self.table)) {
            Ok(()) => {
                if self.failure.take().is_some() {
                    self.tell();
                }
                |counts| &counts.spooled
            }
            Err(error) => {
                self.fail(&error);
                |counts| &counts.disk
            }
        }
    }

    fn after_write(&mut self) {
        self.space.write(self.writer.take_written());
        self.full |= self.space.is_full();
        if self.writer.is_due() {
            self.close_segment(false);
        }
    }

    /// Writes all blocks that are being built.
    fn write_all(&mut self) {
        for place in 0..self.building.len() {
            if self.building[place].columns.predictions > 0 {
                self.write(place);
            }
        }
        self.places.clear();
        self.last_place = None;
        for Building { mut columns, .. } in self.building.drain(..) {
            let capacity = columns.capacity();
            if self.pooled + capacity <= POOL_BYTES {
                self.pooled += capacity;
                self.pool.push(columns);
            }
        }
        (self.buffered, self.waiting_since) = (0, None);
    }

    /// Writes what has waited long enough, and the ledger.
    fn flush_if_due(&mut self) {
        let rows_wait = self.waiting_since.is_some_and(|since| since.elapsed() >= MAX_WAIT);
        if rows_wait {
            self.ensure_in_place();
            self.write_all();
        }
        let (written, _) = self.last_ledger;
        if (rows_wait && !self.full) || written.elapsed() >= LOOK {
            self.write_ledger(false);
        }
        if self.writer.is_due() {
            self.close_segment(false);
        }
    }

    /// Opens another segment, in a folder that is made again if need be, if the open one was removed.
    fn ensure_in_place(&mut self) {
        if !self.is_broken && !self.writer.is_in_place() {
            self.open();
        }
    }

    /// Writes the ledger if it has changed, or in any case.
    fn write_ledger(&mut self, always: bool) {
        let writers: Vec<_> = self.shared.writers.iter().map(|writer| writer.ledger()).collect();
        self.last_ledger.0 = Instant::now();
        if self.is_broken || (!always && writers == self.last_ledger.1) {
            return;
        }
        ledger::encode(&writers, &mut self.table);
        match self.writer.ledger(&self.table) {
            Ok(()) => self.last_ledger.1 = writers,
            Err(error) => self.fail(&error),
        }
        self.space.write(self.writer.take_written());
    }

    /// Ends the open segment with the ledger and an end block. The next block opens another one.
    fn close_segment(&mut self, last: bool) {
        self.write_ledger(true);
        if !self.is_broken {
            if let Err(error) = self.writer.close(last) {
                self.fail(&error);
            }
        }
    }

    /// Looks at the disk once a second, and tries again what failed.
    fn look(&mut self) {
        if Instant::now() < self.next_look {
            return;
        }
        self.next_look = Instant::now() + LOOK;
        if self.is_broken {
            self.open();
        }
        let is_over = |(_, since): &(String, Instant)| since.elapsed() >= FAILURE_TIME;
        if !self.is_broken && self.failure.as_ref().is_some_and(is_over) {
            self.failure = None;
        }
        self.space.measure();
        self.full = self.space.is_full();
        if self.full && !self.is_broken && self.writer.has_rows() {
            // So that the shipper can move it, and make room.
            self.close_segment(false);
        }
        self.tell();
    }

    fn tell(&self) {
        let broken = self.failure.as_ref().map(|(error, _)| {
            format!("the spool cannot be written ({error}): records are dropped, and writing is tried every second")
        });
        let problem =
            broken.or_else(|| self.space.problem()).or_else(|| self.flaw.clone()).unwrap_or_default();
        if self.shared.problem() != problem {
            self.shared.tell(problem);
        }
    }

    /// Writes all, the last ledger and the last block.
    fn finish(&mut self) {
        // One more try.
        self.next_look = self.started;
        self.look();
        self.ensure_in_place();
        self.write_all();
        self.close_segment(true);
        self.tell();
    }
}
