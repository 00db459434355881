//! The recorder: its settings, its start and its end, and what it counts.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::Ordering::Release;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::disk::Disk;
use crate::lane::Lane;
use crate::ledger::WriterLedger;
use crate::segment::{SegmentWriter, Start};
use crate::shared::{Shared, SpoolCounts, Writer};
use crate::source::Source;
use crate::sources::DefinedSource;
use crate::space::{Bounds, Space};
use crate::spool::Spool;

/// How long a close waits for a disk that does not answer.
const CLOSE_TIME: Duration = Duration::from_secs(10);

/// The settings of a recorder.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of records; the spool is in `_spool` below it.
    pub folder: PathBuf,
    /// The UUID of this start of the server, with zeros for the writer's number.
    pub start: [u8; 16],
    /// The version of the server, and the name of the engine.
    pub server: String,
    pub engine: String,
    /// The number of lanes.
    pub lanes: usize,
    /// The size of each lane's ring in bytes; it is rounded up to a power of two.
    pub ring_bytes: usize,
    /// The size and the age at which a segment is closed.
    pub segment_bytes: u64,
    pub segment_time: Duration,
    /// The most bytes of the spools of all starts.
    pub spool_bytes: u64,
    /// The least free bytes of the disk.
    pub free_bytes: u64,
}

/// What became of the rows of all predictions since the start. Once no thread records,
/// offered = sampled_out + ring_full + too_large + spool_full + disk + buffered + spooled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    pub offered: u64,
    pub sampled_out: u64,
    /// Dropped, by cause: the ring had no room; the record did not fit in it; the spool had reached its bounds;
    /// the spool could not be written.
    pub ring_full: u64,
    pub too_large: u64,
    pub spool_full: u64,
    pub disk: u64,
    /// In the rings, and in blocks that are not written yet.
    pub buffered: u64,
    pub spooled: u64,
    /// For people: why records are being lost; empty if none are.
    pub problem: String,
}

/// Takes records of predictions from several threads, and writes them to a spool with a thread of its own.
pub struct Recorder {
    shared: Arc<Shared>,
    thread: Mutex<Option<SpoolThread>>,
}

struct SpoolThread {
    handle: JoinHandle<()>,
    /// Disconnected when the thread has ended.
    end: Receiver<()>,
}

impl Recorder {
    /// Starts the spool's thread. A folder that cannot be written is no error: it is tried again every second,
    /// and `Counts::problem` tells why.
    ///
    /// # Errors
    /// `io::Error`: there is no lane or are more than 65,535, or the thread cannot be started.
    pub fn start(options: Options) -> io::Result<Arc<Self>> {
        if !(1..usize::from(u16::MAX)).contains(&options.lanes) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a recorder has 1 to 65534 lanes"));
        }
        let started = Instant::now();
        let (writers, consumers): (Vec<_>, Vec<_>) = (0..options.lanes)
            .map(|index| {
                let (lane, consumer) = Lane::new(index as u16, started, options.ring_bytes);
                (Writer { lane, counts: SpoolCounts::default() }, consumer)
            })
            .unzip();
        let shared = Arc::new(Shared::new(writers.into()));
        let spool = options.folder.join("_spool");
        let bounds = Bounds { spool_bytes: options.spool_bytes, free_bytes: options.free_bytes };
        let space = Space::new(spool.clone(), bounds);
        let start = Start {
            spool,
            uuid: options.start,
            server: options.server,
            engine: options.engine,
            writers: options.lanes,
        };
        let writer = SegmentWriter::new(start, options.segment_bytes, options.segment_time);
        let theirs = Arc::clone(&shared);
        let (alive, end) = mpsc::channel();
        let handle = thread::Builder::new().name("spool".into()).spawn(move || {
            let _alive = alive;
            let run = || {
                let disk = Disk::open(Arc::clone(&theirs), writer, space);
                Spool::new(Arc::clone(&theirs), consumers, started, disk).run();
            };
            if catch_unwind(AssertUnwindSafe(run)).is_err() {
                theirs.tell(
                    "the spool's thread failed, so no record is kept until the server starts again".into(),
                );
            }
        })?;
        Ok(Arc::new(Self { shared, thread: Mutex::new(Some(SpoolThread { handle, end })) }))
    }

    /// Describes a source, before its first record; records may be of it while the result is held. A number that
    /// is taken keeps its source until then.
    ///
    /// # Errors
    /// `io::Error`: something is to be hashed and there is no key, or the key or the description is too long.
    pub fn define(&self, source: Source) -> io::Result<DefinedSource> {
        source.check()?;
        Ok(self.shared.sources.define(source))
    }

    /// The lane of a writer.
    ///
    /// # Panics
    /// There are not as many lanes.
    pub fn lane(&self, writer: usize) -> &Lane {
        &self.shared.writers[writer].lane
    }

    /// What became of all rows so far.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { problem: self.shared.problem(), ..Counts::default() };
        for writer in &self.shared.writers {
            let lane = writer.lane.counts();
            // The spool's counts are read before those of the lane, of which they are a part.
            let WriterLedger { sampled_out, spooled, ring_full, too_large, spool_full, disk, .. } =
                writer.ledger();
            counts.sampled_out += sampled_out.rows;
            counts.spooled += spooled.rows;
            counts.ring_full += ring_full.rows;
            counts.too_large += too_large.rows;
            counts.spool_full += spool_full.rows;
            counts.disk += disk.rows;
            let gone = spooled.rows + spool_full.rows + disk.rows;
            counts.buffered += lane.committed.get().1.saturating_sub(gone);
            counts.offered += lane.offered.get().1;
        }
        counts
    }

    /// The ledger of each writer.
    pub fn ledger(&self) -> Vec<WriterLedger> {
        self.shared.writers.iter().map(Writer::ledger).collect()
    }

    /// Writes all that was recorded, and ends the spool in order. What is recorded afterwards is dropped. A disk
    /// that does not answer is waited for 10 seconds.
    pub fn close(&self) {
        self.shared.closing.store(true, Release);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(SpoolThread { handle, end }) = thread else { return };
        handle.thread().unpark();
        if end.recv_timeout(CLOSE_TIME) == Err(RecvTimeoutError::Disconnected) {
            // Its panics are caught and told.
            let _ = handle.join();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.close();
    }
}
