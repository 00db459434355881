//! The header of a block, as docs/spool-format.md describes it.

use crate::little_endian::{u16_at, u32_at, u64_at};

pub(crate) const MARKER: [u8; 8] = *b"\x89SWREC\r\n";
/// The format that is written. Blocks of format 1 are read as well: they have no principals.
pub(crate) const FORMAT: u16 = 2;
pub(crate) const HEADER_BYTES: usize = 96;
/// The most bytes of a body.
pub(crate) const MAX_BODY_BYTES: usize = 64 << 20;
const CRC_AT: usize = HEADER_BYTES - 4;

/// The kinds of blocks. Readers skip others.
pub mod kind {
    pub const START: u16 = 1;
    pub const SOURCE: u16 = 2;
    pub const ROWS: u16 = 3;
    pub const LEDGER: u16 = 4;
    pub const END: u16 = 5;
}

/// The header of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// From 1 to `FORMAT`.
    pub format: u16,
    /// One of `kind`, or one that this version does not know.
    pub kind: u16,
    pub body_bytes: u32,
    /// The UUID of the start.
    pub start: [u8; 16],
    /// The number of the block in its start.
    pub number: u64,
    pub source: u32,
    pub body_crc: u32,
    /// Predictions in the block, counting each part, and rows.
    pub predictions: u32,
    pub rows: u32,
    pub first_sequence: u64,
    /// Predictions and rows in all blocks before this one.
    pub predictions_before: u64,
    pub rows_before: u64,
    pub fingerprint: u64,
}

impl Default for Header {
    fn default() -> Self {
        Self {
            format: FORMAT,
            kind: 0,
            body_bytes: 0,
            start: [0; 16],
            number: 0,
            source: 0,
            body_crc: 0,
            predictions: 0,
            rows: 0,
            first_sequence: 0,
            predictions_before: 0,
            rows_before: 0,
            fingerprint: 0,
        }
    }
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MARKER);
        bytes[8..10].copy_from_slice(&self.format.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.kind.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.start);
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.source.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.body_crc.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.predictions.to_le_bytes());
        bytes[52..56].copy_from_slice(&self.rows.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.first_sequence.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.predictions_before.to_le_bytes());
        bytes[72..80].copy_from_slice(&self.rows_before.to_le_bytes());
        bytes[80..88].copy_from_slice(&self.fingerprint.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` if the bytes begin with no whole header of a format that is read.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        if bytes[..8] != MARKER
            || u32_at(bytes, CRC_AT) != crc32c::crc32c(&bytes[..CRC_AT])
            || !(1..=FORMAT).contains(&u16_at(bytes, 8))
        {
            return None;
        }
        let mut start = [0; 16];
        start.copy_from_slice(&bytes[16..32]);
        let header = Self {
            format: u16_at(bytes, 8),
            kind: u16_at(bytes, 10),
            body_bytes: u32_at(bytes, 12),
            start,
            number: u64_at(bytes, 32),
            source: u32_at(bytes, 40),
            body_crc: u32_at(bytes, 44),
            predictions: u32_at(bytes, 48),
            rows: u32_at(bytes, 52),
            first_sequence: u64_at(bytes, 56),
            predictions_before: u64_at(bytes, 64),
            rows_before: u64_at(bytes, 72),
            fingerprint: u64_at(bytes, 80),
        };
        let length = header.body_bytes as usize;
        (length <= MAX_BODY_BYTES && length.is_multiple_of(8)).then_some(header)
    }
}
