//! The spool on its disk, and what happens while that cannot be written: nothing is, and it is tried again about
//! every second.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::segment::{RowsHeader, SegmentWriter};
use crate::shared::Shared;
use crate::source::Source;
use crate::space::Space;

/// How often the disk is looked at, and tried again after a failure.
pub(crate) const LOOK: Duration = Duration::from_secs(1);
/// A failure is told for so long, where no rows come that could be written.
const FAILURE_TIME: Duration = Duration::from_secs(10);

/// What became of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Spooled,
    /// The spool or its disk has no more room for records.
    SpoolFull,
    /// The spool could not be written.
    Failed,
}

/// Writes the spool, and tells what is wrong with it.
pub(crate) struct Disk {
    shared: Arc<Shared>,
    writer: SegmentWriter,
    space: Space,
    is_full: bool,
    /// Whether nothing is written before the next look.
    is_broken: bool,
    /// Why a write failed last, and when. Forgotten once rows are written, or after a while.
    failure: Option<(String, Instant)>,
    /// A record that fits no source: an error of the program.
    flaw: Option<String>,
    next_look: Instant,
}

impl Disk {
    /// Opens the first segment, so that a folder that cannot be written is known at once.
    pub(crate) fn open(shared: Arc<Shared>, writer: SegmentWriter, space: Space) -> Self {
        let (is_full, is_broken, failure, flaw, next_look) = (false, false, None, None, Instant::now());
        let mut disk = Self { shared, writer, space, is_full, is_broken, failure, flaw, next_look };
        disk.ensure_open();
        disk
    }

    fn ensure_open(&mut self) {
        self.is_broken = false;
        if let Err(error) = self.writer.ensure_open() {
            self.fail(&error);
        }
    }

    /// Opens another segment, in a folder that is made again if need be, if the open one was removed.
    pub(crate) fn ensure_in_place(&mut self) {
        if !self.is_broken && !self.writer.is_in_place() {
            self.ensure_open();
        }
    }

    /// Writes a block of rows.
    pub(crate) fn rows(&mut self, source: &Source, about: RowsHeader, body: &[&[u8]]) -> Outcome {
        if self.is_broken {
            return Outcome::Failed;
        }
        if self.is_full {
            return Outcome::SpoolFull;
        }
        let written = self.writer.rows(source, about, body);
        self.measure_written();
        match written {
            Ok(()) => {
                if self.failure.take().is_some() {
                    self.tell();
                }
                Outcome::Spooled
            }
            Err(error) => {
                self.fail(&error);
                Outcome::Failed
            }
        }
    }

    /// Writes a ledger. Returns whether it is written.
    pub(crate) fn ledger(&mut self, body: &[u8]) -> bool {
        let written = !self.is_broken && self.try_to(|writer| writer.ledger(body));
        self.measure_written();
        written
    }

    /// Ends the open segment; the next block opens another one. `last`: the server stops in order.
    pub(crate) fn close_segment(&mut self, last: bool) {
        if !self.is_broken {
            self.try_to(|writer| writer.close(last));
        }
    }

    fn try_to(&mut self, write: impl FnOnce(&mut SegmentWriter) -> io::Result<()>) -> bool {
        let written = write(&mut self.writer);
        if let Err(error) = &written {
            self.fail(error);
        }
        written.is_ok()
    }

    fn measure_written(&mut self) {
        self.space.write(self.writer.take_written());
        self.is_full |= self.space.is_full();
    }

    /// Whether no rows are written for want of room.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether the open segment is to be closed: it is large or old enough, or the spool is full, so that the
    /// shipper can move it and make room.
    pub(crate) fn is_segment_due(&self) -> bool {
        self.writer.is_due() || (self.is_full && self.writer.has_rows())
    }

    /// Looks at the disk, and tries again what failed, if the last look is a second ago.
    pub(crate) fn look_if_due(&mut self) {
        if Instant::now() >= self.next_look {
            self.look();
        }
    }

    /// Looks at the disk, and tries again what failed.
    pub(crate) fn look(&mut self) {
        self.next_look = Instant::now() + LOOK;
        if self.is_broken {
            self.ensure_open();
        }
        let is_over = |(_, since): &(String, Instant)| since.elapsed() >= FAILURE_TIME;
        if !self.is_broken && self.failure.as_ref().is_some_and(is_over) {
            self.failure = None;
        }
        self.space.measure();
        self.is_full = self.space.is_full();
        self.tell();
    }

    /// Gives up writing until the next look.
    fn fail(&mut self, error: &io::Error) {
        self.is_broken = true;
        self.failure = Some((error.to_string(), Instant::now()));
        self.tell();
    }

    /// Tells of an error of the program, with the next look.
    pub(crate) fn report(&mut self, flaw: String) {
        self.flaw = Some(flaw);
    }

    fn tell(&self) {
        let failure = self.failure.as_ref().map(|(error, _)| {
            format!("the spool cannot be written ({error}): records are dropped, and writing is tried every second")
        });
        let problem =
            failure.or_else(|| self.space.problem()).or_else(|| self.flaw.clone()).unwrap_or_default();
        if self.shared.problem() != problem {
            self.shared.tell(problem);
        }
    }
}
