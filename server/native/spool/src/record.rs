//! A record as it stands in a ring: a head of fixed size, and then the columns of its rows.

use std::time::Instant;

use crate::little_endian::{u16_at, u32_at, u64_at};

const HEAD_BYTES: usize = 92;

/// What is known of a prediction, or of one part of its rows.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The number of the source, which was defined before.
    pub source: u32,
    /// When the message was read.
    pub at: Instant,
    pub server_us: u32,
    pub model_us: u32,
    /// See the format's page: 1 if the prediction is kept whatever the sample says.
    pub flags: u16,
    /// The index of the part's first row in the prediction.
    pub first_row: u32,
    /// Rows of the part.
    pub row_count: u32,
    /// Of a shadow: the writer and the sequence number of the prediction that was copied, if it has a record.
    pub original: Option<(u16, u64)>,
    pub caller: &'a [u8],
    /// The name of the principal that called; empty if everybody may call.
    pub principal: &'a [u8],
    pub routing_key: &'a [u8],
}

/// How much a record will hold. The filler must be given exactly this.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sizes {
    /// Bytes of the rows' numbers, as doubles.
    pub numbers: usize,
    /// The number of texts of the rows, and their bytes.
    pub texts: usize,
    pub text_bytes: usize,
    /// The number of doubles of the outputs.
    pub output_numbers: usize,
    /// The number of texts of the outputs, and their bytes.
    pub output_texts: usize,
    pub output_text_bytes: usize,
    /// The number of errors.
    pub errors: usize,
}

impl Sizes {
    /// The bytes of the record in a ring, a multiple of 8; `None` if they are too many for a number.
    pub(crate) fn record(&self, head: &Head<'_>) -> Option<usize> {
        let words = self.output_numbers.checked_add(self.errors)?.checked_mul(8)?;
        let ends = self.texts.checked_add(self.output_texts)?.checked_mul(4)?;
        let parts = [self.numbers, words, ends, self.text_bytes, self.output_text_bytes];
        let texts = [head.caller.len(), head.principal.len(), head.routing_key.len()];
        let total = parts.iter().chain(&texts).try_fold(HEAD_BYTES, |sum, &part| sum.checked_add(part))?;
        total.checked_next_multiple_of(8).filter(|&bytes| u32::try_from(bytes).is_ok())
    }
}

/// Copies the columns of a record into a ring, each in its order, row by row.
pub struct Filler<'a> {
    numbers: &'a mut [u8],
    outputs: &'a mut [u8],
    errors: &'a mut [u8],
    texts: TextsFiller<'a>,
    output_texts: TextsFiller<'a>,
    /// Whether more was given than the sizes said.
    overflow: bool,
}

struct TextsFiller<'a> {
    ends: &'a mut [u8],
    bytes: &'a mut [u8],
    end: u32,
}

impl TextsFiller<'_> {
    #[inline]
    fn put(&mut self, text: &[u8]) -> bool {
        self.end = self.end.wrapping_add(text.len() as u32);
        put(&mut self.bytes, text) && put(&mut self.ends, &self.end.to_le_bytes())
    }
}

/// Copies bytes to the begin of an area and moves the begin; false if they do not fit.
#[inline]
fn put(area: &mut &mut [u8], bytes: &[u8]) -> bool {
    match std::mem::take(area).split_at_mut_checked(bytes.len()) {
        Some((here, rest)) => {
            here.copy_from_slice(bytes);
            *area = rest;
            true
        }
        None => false,
    }
}

impl<'a> Filler<'a> {
    /// Writes the head of a record into its memory, behind the length, and divides the rest.
    #[inline]
    pub(crate) fn new(
        memory: &'a mut [u8],
        head: &Head<'_>,
        sequence: u64,
        at_ns: u64,
        sizes: &Sizes,
    ) -> Self {
        let (fixed, rest) = memory.split_at_mut(HEAD_BYTES);
        let (original_writer, original_sequence) = head.original.unwrap_or((u16::MAX, 0));
        fixed[4..8].copy_from_slice(&head.source.to_le_bytes());
        fixed[8..16].copy_from_slice(&sequence.to_le_bytes());
        fixed[16..24].copy_from_slice(&at_ns.to_le_bytes());
        fixed[24..28].copy_from_slice(&head.server_us.to_le_bytes());
        fixed[28..32].copy_from_slice(&head.model_us.to_le_bytes());
        fixed[32..36].copy_from_slice(&head.first_row.to_le_bytes());
        fixed[36..40].copy_from_slice(&head.row_count.to_le_bytes());
        fixed[40..42].copy_from_slice(&head.flags.to_le_bytes());
        fixed[42..44].copy_from_slice(&original_writer.to_le_bytes());
        fixed[44..48].copy_from_slice(&(sizes.errors as u32).to_le_bytes());
        fixed[48..56].copy_from_slice(&original_sequence.to_le_bytes());
        let counts = [
            sizes.numbers,
            sizes.texts,
            sizes.text_bytes,
            sizes.output_numbers,
            sizes.output_texts,
            sizes.output_text_bytes,
            head.caller.len(),
            head.routing_key.len(),
            head.principal.len(),
        ];
        for (field, count) in fixed[56..].chunks_exact_mut(4).zip(counts) {
            field.copy_from_slice(&(count as u32).to_le_bytes());
        }
        let (numbers, rest) = rest.split_at_mut(sizes.numbers);
        let (outputs, rest) = rest.split_at_mut(sizes.output_numbers * 8);
        let (errors, rest) = rest.split_at_mut(sizes.errors * 8);
        let (ends, rest) = rest.split_at_mut(sizes.texts * 4);
        let (output_ends, rest) = rest.split_at_mut(sizes.output_texts * 4);
        let (bytes, rest) = rest.split_at_mut(sizes.text_bytes);
        let (output_bytes, rest) = rest.split_at_mut(sizes.output_text_bytes);
        let (caller, rest) = rest.split_at_mut(head.caller.len());
        caller.copy_from_slice(head.caller);
        let (routing_key, rest) = rest.split_at_mut(head.routing_key.len());
        routing_key.copy_from_slice(head.routing_key);
        rest[..head.principal.len()].copy_from_slice(head.principal);
        Self {
            numbers,
            outputs,
            errors,
            texts: TextsFiller { ends, bytes, end: 0 },
            output_texts: TextsFiller { ends: output_ends, bytes: output_bytes, end: 0 },
            overflow: false,
        }
    }

    /// Adds numbers of the rows, as little-endian doubles.
    #[inline]
    pub fn numbers(&mut self, bytes: &[u8]) {
        self.overflow |= !put(&mut self.numbers, bytes);
    }

    /// Adds a text of the rows, in UTF-8.
    #[inline]
    pub fn text(&mut self, text: &[u8]) {
        self.overflow |= !self.texts.put(text);
    }

    /// Adds numbers of the outputs: all rows of the first output, then of the next one.
    #[inline]
    pub fn outputs(&mut self, values: impl IntoIterator<Item = f64>) {
        let mut area = std::mem::take(&mut self.outputs);
        for value in values {
            self.overflow |= !put(&mut area, &value.to_le_bytes());
        }
        self.outputs = area;
    }

    /// Adds a text of the outputs, in UTF-8.
    #[inline]
    pub fn output_text(&mut self, text: &[u8]) {
        self.overflow |= !self.output_texts.put(text);
    }

    /// Adds an error: the index of the row in the part, ascending, the number of the reason, and the index of the
    /// feature.
    #[inline]
    pub fn error(&mut self, row: u32, reason: u16, feature: u16) {
        let word = u64::from(row) | u64::from(reason) << 32 | u64::from(feature) << 48;
        self.overflow |= !put(&mut self.errors, &word.to_le_bytes());
    }

    /// Whether exactly as much was given as the sizes said.
    pub(crate) fn is_complete(&self) -> bool {
        let areas = [&self.numbers, &self.outputs, &self.errors, &self.texts.ends, &self.texts.bytes];
        let outputs = [&self.output_texts.ends, &self.output_texts.bytes];
        !self.overflow && areas.iter().chain(&outputs).all(|area| area.is_empty())
    }
}

/// A record that is read. The columns are little-endian bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    pub source: u32,
    pub sequence: u64,
    /// In a ring, nanoseconds since the recorder started.
    pub at_ns: u64,
    pub server_us: u32,
    pub model_us: u32,
    pub first_row: u32,
    pub row_count: u32,
    pub flags: u16,
    pub original_writer: u16,
    pub original_sequence: u64,
    pub caller: &'a [u8],
    pub routing_key: &'a [u8],
    pub principal: &'a [u8],
    pub numbers: &'a [u8],
    pub texts: Texts<'a>,
    pub outputs: &'a [u8],
    pub output_texts: Texts<'a>,
    /// For each error a word: row, reason, feature.
    pub errors: &'a [u8],
}

/// Texts: their ends as `u32`, and their bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Texts<'a> {
    pub ends: &'a [u8],
    pub bytes: &'a [u8],
}

impl<'a> Texts<'a> {
    pub(crate) fn get(self, index: usize) -> &'a [u8] {
        let end = |index: usize| u32_at(self.ends, 4 * index) as usize;
        &self.bytes[if index == 0 { 0 } else { end(index - 1) }..end(index)]
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let mut begin = 0;
        self.ends.chunks_exact(4).map(move |end| {
            let end = u32_at(end, 0) as usize;
            let text = &self.bytes[begin..end];
            begin = end;
            text
        })
    }
}

impl<'a> Record<'a> {
    /// Reads a record that a `Filler` wrote.
    pub(crate) fn read(bytes: &'a [u8]) -> Self {
        let count = |at| u32_at(bytes, at) as usize;
        let mut rest = &bytes[HEAD_BYTES..];
        let mut take = |length| {
            let (here, behind) = rest.split_at(length);
            rest = behind;
            here
        };
        let numbers = take(count(56));
        let outputs = take(count(68) * 8);
        let errors = take(count(44) * 8);
        let (ends, output_ends) = (take(count(60) * 4), take(count(72) * 4));
        let (text_bytes, output_bytes) = (take(count(64)), take(count(76)));
        Self {
            source: u32_at(bytes, 4),
            sequence: u64_at(bytes, 8),
            at_ns: u64_at(bytes, 16),
            server_us: u32_at(bytes, 24),
            model_us: u32_at(bytes, 28),
            first_row: u32_at(bytes, 32),
            row_count: u32_at(bytes, 36),
            flags: u16_at(bytes, 40),
            original_writer: u16_at(bytes, 42),
            original_sequence: u64_at(bytes, 48),
            caller: take(count(80)),
            routing_key: take(count(84)),
            principal: take(count(88)),
            numbers,
            texts: Texts { ends, bytes: text_bytes },
            outputs,
            output_texts: Texts { ends: output_ends, bytes: output_bytes },
            errors,
        }
    }
}
