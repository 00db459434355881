//! Tickets: the right of a prediction to its writer's next record.

use std::sync::{Mutex, MutexGuard, PoisonError};

use scorewire_spool::Lane;

/// The flag of a prediction that is kept whatever the sample says.
pub(super) const ALWAYS: u16 = 1;
/// A UUID as text, and a hyphen.
const NAME_BYTES: usize = 37;
/// The digits of the largest sequence number.
const MOST_DIGITS: usize = 20;

/// What a writer needs beside its lane.
pub(super) struct Writer {
    /// The begin of the ids of its predictions.
    name: [u8; NAME_BYTES],
    /// Held by the thread that records, where several share the writer.
    turn: Option<Mutex<()>>,
}

impl Writer {
    /// The writer of a start with this number.
    pub(super) fn new(start: [u8; 16], number: u16, shared: bool) -> Self {
        let mut uuid = start;
        uuid[14..].copy_from_slice(&number.to_be_bytes());
        let mut name = [b'-'; NAME_BYTES];
        let mut digits = uuid.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        for (place, digit) in
            (0..NAME_BYTES - 1).filter(|place| ![8, 13, 18, 23].contains(place)).zip(&mut digits)
        {
            name[place] = b"0123456789abcdef"[usize::from(digit)];
        }
        Self { name, turn: shared.then(Mutex::default) }
    }

    /// Waits until no other thread records with this writer.
    pub(super) fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        self.turn.as_ref().map(|turn| turn.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The id of a prediction: "<writer>-<sequence>".
struct PredictionId {
    /// The id stands at the end.
    text: [u8; NAME_BYTES + MOST_DIGITS],
    start: usize,
}

impl PredictionId {
    #[inline]
    fn new(writer: &Writer, mut sequence: u64) -> Self {
        let mut text = [0; NAME_BYTES + MOST_DIGITS];
        let mut start = text.len();
        loop {
            start -= 1;
            text[start] = b'0' + (sequence % 10) as u8;
            sequence /= 10;
            if sequence == 0 {
                break;
            }
        }
        start -= NAME_BYTES;
        text[start..start + NAME_BYTES].copy_from_slice(&writer.name);
        Self { text, start }
    }

    /// The id in ASCII.
    fn text(&self) -> &[u8] {
        &self.text[self.start..]
    }
}

/// The right to the next record of a writer, which an answer names.
pub(crate) struct Ticket<'a> {
    pub(super) lane: &'a Lane,
    pub(super) source: u32,
    pub(super) flags: u16,
    pub(super) sequence: u64,
    id: PredictionId,
    _turn: Option<MutexGuard<'a, ()>>,
}

impl<'a> Ticket<'a> {
    /// Takes the ticket of a prediction of a source. Where several threads share the writer, they wait for each
    /// other until the ticket is gone.
    #[inline]
    pub(super) fn take(lane: &'a Lane, writer: &'a Writer, source: u32, flags: u16) -> Self {
        let turn = writer.turn();
        let sequence = lane.peek();
        Self { lane, source, flags, sequence, id: PredictionId::new(writer, sequence), _turn: turn }
    }

    /// The id of the prediction, in ASCII.
    pub(crate) fn id(&self) -> &[u8] {
        self.id.text()
    }

    /// What a shadow's record refers to.
    pub(crate) fn original(&self) -> Original {
        Original { writer: self.lane.writer(), sequence: self.sequence, flags: self.flags }
    }
}

/// The record of a prediction that was copied to a shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Original {
    pub(super) writer: u16,
    pub(super) sequence: u64,
    pub(super) flags: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_writer_s_uuid_and_the_number_in_decimal() {
        let start = [1, 0x9a, 2, 3, 4, 5, 0x70, 6, 0x80, 7, 8, 9, 10, 11, 0, 0];
        let writer = Writer::new(start, 0x0102, false);
        for sequence in [0, 9, 10, 1_234_567_890, u64::MAX] {
            let id = PredictionId::new(&writer, sequence);
            let wanted = format!("019a0203-0405-7006-8007-08090a0b0102-{sequence}");
            assert_eq!(std::str::from_utf8(id.text()), Ok(&*wanted));
        }
    }
}
