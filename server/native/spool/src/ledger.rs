//! The ledger: what became of the predictions of each writer since the start.

use crate::little_endian::{u32_at, u64_at};

const FIELDS: usize = 13;

/// Predictions and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    pub predictions: u64,
    pub rows: u64,
}

impl From<(u64, u64)> for Count {
    fn from((predictions, rows): (u64, u64)) -> Self {
        Self { predictions, rows }
    }
}

/// The ledger of one writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriterLedger {
    /// The next sequence number.
    pub next_sequence: u64,
    /// Left out by the policy.
    pub sampled_out: Count,
    /// In blocks of the spool.
    pub spooled: Count,
    /// Dropped because the ring was full.
    pub ring_full: Count,
    /// Dropped because they did not fit in the ring.
    pub too_large: Count,
    /// Dropped because the spool had reached its limit or the disk its least free space.
    pub spool_full: Count,
    /// Dropped because the spool could not be written.
    pub disk: Count,
}

impl WriterLedger {
    fn fields(&self) -> [u64; FIELDS] {
        let Self { next_sequence, sampled_out, spooled, ring_full, too_large, spool_full, disk } = self;
        let mut fields = [*next_sequence; FIELDS];
        let counts = [sampled_out, spooled, ring_full, too_large, spool_full, disk];
        for (pair, count) in fields[1..].chunks_exact_mut(2).zip(counts) {
            pair.copy_from_slice(&[count.predictions, count.rows]);
        }
        fields
    }

    fn of(fields: &[u64; FIELDS]) -> Self {
        let count = |at: usize| Count { predictions: fields[at], rows: fields[at + 1] };
        Self {
            next_sequence: fields[0],
            sampled_out: count(1),
            spooled: count(3),
            ring_full: count(5),
            too_large: count(7),
            spool_full: count(9),
            disk: count(11),
        }
    }
}

/// Writes the body of a ledger block.
pub(crate) fn encode(writers: &[WriterLedger], body: &mut Vec<u8>) {
    body.clear();
    body.extend_from_slice(&(writers.len() as u32).to_le_bytes());
    body.extend_from_slice(&(FIELDS as u32).to_le_bytes());
    for writer in writers {
        writer.fields().iter().for_each(|field| body.extend_from_slice(&field.to_le_bytes()));
    }
}

/// Reads the body of a ledger block. Fields that this version does not know are skipped. `None`: the body is no
/// ledger.
pub fn decode(body: &[u8]) -> Option<Vec<WriterLedger>> {
    if body.len() < 8 {
        return None;
    }
    let (writers, fields) = (u32_at(body, 0) as usize, u32_at(body, 4) as usize);
    let length = writers.checked_mul(fields)?.checked_mul(8)?;
    if fields < FIELDS || body.len() - 8 != length {
        return None;
    }
    let read = |of: &[u8]| WriterLedger::of(&std::array::from_fn(|field| u64_at(of, 8 * field)));
    Some(body[8..].chunks_exact(8 * fields).map(read).collect())
}
