//! A decoded request: its names and its positional rows. Every encoding is decoded to this.
//!
//! The decoder of the positional encoding is here as well, since a `Request` mirrors its messages. Its rules
//! are protobuf's: the last of a field counts, parts of a message are merged, and doubles may be packed in one
//! run, split over several runs, or single. Nothing is copied unless the doubles are in several runs: a
//! request is a set of places in the bytes that it came in.

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::protocol::protobuf::{DEPTH_LIMIT, Kind, MalformedError, Reader, Span};

type Result<T> = std::result::Result<T, MalformedError>;

const DOUBLE: usize = 8;
/// Texts and bytes of numbers for which memory is kept between requests.
const KEPT_TEXTS: usize = 1 << 12;
const KEPT_BYTES: usize = 1 << 16;

/// What the answer is to explain.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Explain {
    /// How many columns of each row; 0 for all.
    pub top_k: u32,
    /// The name of an output; empty for the first one that can be explained.
    pub output: Span,
}

/// The names and the positional rows of one message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    /// The correlation id of a message in a stream; else 0.
    pub correlation_id: u64,
    pub model: Span,
    pub version: Span,
    pub schema_fingerprint: Span,
    pub routing_key: Span,
    /// `None`: nothing is to be explained.
    pub explain: Option<Explain>,
    pub row_count: u32,
    pub texts: Vec<Span>,
    /// Where all doubles stand in one run. Without it they are in `gathered`.
    run: Option<Span>,
    /// The doubles, little-endian, where the message has them in several runs.
    pub gathered: Vec<u8>,
}

impl Request {
    /// Reads a `PredictRequest`.
    ///
    /// # Errors
    /// `MalformedError`: the bytes do not parse as this message.
    pub(crate) fn decode(&mut self, data: &[u8]) -> Result<()> {
        self.clear();
        self.read_request(data, 0..data.len(), DEPTH_LIMIT)
    }

    /// Reads a `PredictStreamRequest`.
    ///
    /// # Errors
    /// `MalformedError`: the bytes do not parse as this message. The correlation id is 0 then.
    pub(crate) fn decode_stream(&mut self, data: &[u8]) -> Result<()> {
        self.clear();
        let mut reader = Reader::new(data, 0..data.len())?;
        let read = (|| {
            while let Some((field, kind)) = reader.tag()? {
                match (field, kind) {
                    (1, Kind::Varint) => self.correlation_id = reader.varint()?,
                    (2, Kind::Bytes) => {
                        let part = reader.bytes()?;
                        self.read_request(data, part.range(), DEPTH_LIMIT - 1)?;
                    }
                    _ => reader.skip(field, kind, DEPTH_LIMIT)?,
                }
            }
            Ok(())
        })();
        if read.is_err() {
            self.correlation_id = 0;
        }
        read
    }

    /// The doubles, little-endian: a multiple of eight bytes.
    pub(crate) fn numbers<'a>(&'a self, data: &'a [u8]) -> &'a [u8] {
        match self.run {
            Some(run) => run.of(data),
            None => &self.gathered,
        }
    }

    /// Takes the doubles from one run in the message, without copying them.
    pub(crate) fn take_run(&mut self, run: Span) {
        self.run = Some(run);
    }

    /// Empties the request and keeps its memory for the next one.
    pub(crate) fn clear(&mut self) {
        self.release();
        let (texts, gathered) = (std::mem::take(&mut self.texts), std::mem::take(&mut self.gathered));
        *self = Self { texts, gathered, ..Self::default() };
    }

    /// Frees the memory of a large request, so that it is not held for good.
    pub(crate) fn release(&mut self) {
        self.texts.clear();
        self.gathered.clear();
        self.texts.shrink_to(KEPT_TEXTS);
        self.gathered.shrink_to(KEPT_BYTES);
    }

    fn read_request(&mut self, data: &[u8], part: Range<usize>, depth: u32) -> Result<()> {
        let mut reader = Reader::new(data, part)?;
        while let Some((field, kind)) = reader.tag()? {
            match (field, kind) {
                (1, Kind::Bytes) => self.model = reader.text()?,
                (2, Kind::Bytes) => self.version = reader.text()?,
                (3, Kind::Bytes) => self.schema_fingerprint = reader.text()?,
                (4, Kind::Bytes) => self.routing_key = reader.text()?,
                (5, Kind::Bytes) => {
                    let part = reader.bytes()?;
                    self.read_rows(data, part.range(), depth)?;
                }
                (6, Kind::Bytes) => {
                    let part = reader.bytes()?;
                    self.read_explain(data, part.range(), depth)?;
                }
                _ => reader.skip(field, kind, depth)?,
            }
        }
        Ok(())
    }

    fn read_explain(&mut self, data: &[u8], part: Range<usize>, depth: u32) -> Result<()> {
        let explain = self.explain.get_or_insert_default();
        let mut reader = Reader::new(data, part)?;
        while let Some((field, kind)) = reader.tag()? {
            match (field, kind) {
                (1, Kind::Varint) => explain.top_k = reader.varint()? as u32,
                (2, Kind::Bytes) => explain.output = reader.text()?,
                _ => reader.skip(field, kind, depth - 1)?,
            }
        }
        Ok(())
    }

    fn read_rows(&mut self, data: &[u8], part: Range<usize>, depth: u32) -> Result<()> {
        let mut reader = Reader::new(data, part)?;
        while let Some((field, kind)) = reader.tag()? {
            match (field, kind) {
                // As everywhere in protobuf, a uint32 is the low half of the varint.
                (1, Kind::Varint) => self.row_count = reader.varint()? as u32,
                (2, Kind::Bytes) => {
                    let run = reader.bytes()?;
                    self.add_numbers(data, run)?;
                }
                (2, Kind::Fixed64) => {
                    let one = reader.take(DOUBLE)?;
                    self.add_numbers(data, one)?;
                }
                (3, Kind::Bytes) => {
                    let text = reader.text()?;
                    self.texts.push(text);
                }
                _ => reader.skip(field, kind, depth - 1)?,
            }
        }
        Ok(())
    }

    fn add_numbers(&mut self, data: &[u8], run: Span) -> Result<()> {
        let bytes = run.of(data);
        if !bytes.len().is_multiple_of(DOUBLE) {
            return Err(MalformedError);
        }
        if self.run.is_none() && self.gathered.is_empty() {
            self.run = Some(run);
        } else {
            if let Some(first) = self.run.take() {
                self.gathered.extend_from_slice(first.of(data));
            }
            self.gathered.extend_from_slice(bytes);
        }
        Ok(())
    }
}
