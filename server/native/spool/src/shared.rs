//! What the threads that record and the spool's thread share.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::lane::{Lane, Tally};
use crate::ledger::WriterLedger;
use crate::sources::Sources;

/// What the spool's thread counts of each lane.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct SpoolCounts {
    pub spooled: Tally,
    pub spool_full: Tally,
    pub disk: Tally,
}

/// A lane, and what became of its records behind it.
pub(crate) struct Writer {
    pub lane: Lane,
    pub counts: SpoolCounts,
}

impl Writer {
    pub(crate) fn ledger(&self) -> WriterLedger {
        let (lane, spool) = (self.lane.counts(), &self.counts);
        WriterLedger {
            sampled_out: lane.sampled_out.get().into(),
            spooled: spool.spooled.get().into(),
            ring_full: lane.ring_full.get().into(),
            too_large: lane.too_large.get().into(),
            spool_full: spool.spool_full.get().into(),
            disk: spool.disk.get().into(),
            // Read last: a number is taken before it is counted as dropped, so never are more dropped than taken.
            next_sequence: lane.next(),
        }
    }
}

pub(crate) struct Shared {
    pub writers: Box<[Writer]>,
    pub sources: Arc<Sources>,
    problem: Mutex<String>,
    pub closing: AtomicBool,
}

impl Shared {
    pub(crate) fn new(writers: Box<[Writer]>) -> Self {
        Self { writers, sources: Arc::default(), problem: Mutex::default(), closing: AtomicBool::new(false) }
    }

    pub(crate) fn problem(&self) -> String {
        guard(&self.problem).clone()
    }

    pub(crate) fn tell(&self, problem: String) {
        *guard(&self.problem) = problem;
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
