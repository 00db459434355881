//! Prediction messages as bytes.
//!
//! The rules are protobuf's: the last of a field counts, parts of a message are merged, runs of
//! doubles may be packed, split or single, fields that are not known are passed over, texts are
//! UTF-8. A request is read without copying: it is a set of places in the bytes it came in.

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::encodings::tensors::Parts;

/// The bytes are not the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

type Result<T> = std::result::Result<T, Malformed>;

pub const DEPTH_LIMIT: u32 = 100;
const DOUBLE: usize = 8;
const KEPT_TEXTS: usize = 1 << 12;
const KEPT_BYTES: usize = 1 << 16;

/// A place in the bytes of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The bytes at this place.
    pub fn of(self, data: &[u8]) -> &[u8] {
        &data[self.start as usize..self.end as usize]
    }

    /// The text at this place, which was checked when it was read.
    pub fn text(self, data: &[u8]) -> &str {
        std::str::from_utf8(self.of(data)).unwrap_or_default()
    }

    /// Where the bytes are.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A decoded PredictRequest, and the correlation id where it came in a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub correlation_id: u64,
    pub model: Span,
    pub version: Span,
    pub schema_fingerprint: Span,
    pub routing_key: Span,
    pub row_count: u32,
    pub texts: Vec<Span>,
    /// Of a ModelInferRequest: what its rows are read from.
    pub tensors: Parts,
    /// Where all doubles stand in one run; else they are gathered in `gathered`.
    run: Option<Span>,
    pub gathered: Vec<u8>,
}

impl Request {
    /// Reads a PredictRequest.
    ///
    /// # Errors
    /// The bytes are none.
    pub fn decode(&mut self, data: &[u8]) -> Result<()> {
        self.clear();
        self.read_request(data, 0..data.len(), DEPTH_LIMIT)
    }

    /// Reads a PredictStreamRequest.
    ///
    /// # Errors
    /// The bytes are none; the correlation id is 0 then.
    pub fn decode_stream(&mut self, data: &[u8]) -> Result<()> {
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

    /// The doubles, little-endian, as many bytes as a multiple of eight.
    pub fn numbers<'a>(&'a self, data: &'a [u8]) -> &'a [u8] {
        match self.run {
            Some(run) => run.of(data),
            None => &self.gathered,
        }
    }

    /// Has all doubles in one run.
    pub fn take_run(&mut self, run: Span) {
        self.run = Some(run);
    }

    /// Forgets what was read, and keeps the room for it.
    pub fn clear(&mut self) {
        self.release();
        let (texts, gathered) = (std::mem::take(&mut self.texts), std::mem::take(&mut self.gathered));
        let tensors = std::mem::take(&mut self.tensors);
        *self = Self { texts, gathered, tensors, ..Self::default() };
    }

    /// Gives the rows up: one huge request must not hold its memory for good.
    pub fn release(&mut self) {
        self.tensors.clear();
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
                _ => reader.skip(field, kind, depth)?,
            }
        }
        Ok(())
    }

    fn read_rows(&mut self, data: &[u8], part: Range<usize>, depth: u32) -> Result<()> {
        let mut reader = Reader::new(data, part)?;
        while let Some((field, kind)) = reader.tag()? {
            match (field, kind) {
                // A uint32 takes the low half of what was written, as everywhere in protobuf.
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
        if bytes.len() % DOUBLE != 0 {
            return Err(Malformed);
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

/// How a field is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    Group = 3,
    EndGroup = 4,
    Fixed32 = 5,
}

/// Reads the fields of a message.
pub struct Reader<'a> {
    data: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    /// # Errors
    /// There are more bytes than places can say.
    pub fn new(data: &'a [u8], part: Range<usize>) -> Result<Self> {
        u32::try_from(part.end).map_err(|_| Malformed)?;
        Ok(Self { data, at: part.start, end: part.end })
    }

    /// The next field's number and kind; None at the end.
    #[inline]
    ///
    /// # Errors
    /// There is none that could be.
    pub fn tag(&mut self) -> Result<Option<(u32, Kind)>> {
        if self.at == self.end {
            return Ok(None);
        }
        let tag = u32::try_from(self.short_varint()?).map_err(|_| Malformed)?;
        let kind = match tag & 7 {
            0 => Kind::Varint,
            1 => Kind::Fixed64,
            2 => Kind::Bytes,
            3 => Kind::Group,
            4 => Kind::EndGroup,
            5 => Kind::Fixed32,
            _ => return Err(Malformed),
        };
        let field = tag >> 3;
        if field == 0 { Err(Malformed) } else { Ok(Some((field, kind))) }
    }

    #[inline]
    fn byte(&mut self) -> Result<u8> {
        if self.at == self.end {
            return Err(Malformed);
        }
        let byte = self.data[self.at];
        self.at += 1;
        Ok(byte)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.at == self.end
    }

    /// A number of up to 64 bits.
    ///
    /// # Errors
    /// It is cut, or longer.
    #[inline]
    pub fn varint(&mut self) -> Result<u64> {
        self.varint_of(10)
    }

    /// A varint of at most five bytes, as tags and lengths are.
    #[inline]
    fn short_varint(&mut self) -> Result<u64> {
        self.varint_of(5)
    }

    #[inline]
    fn varint_of(&mut self, longest: u32) -> Result<u64> {
        let mut value = 0_u64;
        for i in 0..longest {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// So many bytes.
    ///
    /// # Errors
    /// There are fewer.
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<Span> {
        if length > self.end - self.at {
            return Err(Malformed);
        }
        let start = self.at;
        self.at += length;
        // `new` saw to it that every place fits.
        Ok(Span { start: start as u32, end: self.at as u32 })
    }

    /// Bytes, with their length before them.
    ///
    /// # Errors
    /// There are fewer.
    #[inline]
    pub fn bytes(&mut self) -> Result<Span> {
        let length = self.short_varint()?;
        self.take(usize::try_from(length).map_err(|_| Malformed)?)
    }

    /// A text, with its length before it.
    ///
    /// # Errors
    /// It is not UTF-8, or cut.
    #[inline]
    pub fn text(&mut self) -> Result<Span> {
        let span = self.bytes()?;
        if is_text(span.of(self.data)) { Ok(span) } else { Err(Malformed) }
    }

    /// Passes a field over.
    ///
    /// # Errors
    /// It is cut, or groups nest too deep.
    pub fn skip(&mut self, field: u32, kind: Kind, depth: u32) -> Result<()> {
        match kind {
            Kind::Varint => drop(self.varint()?),
            Kind::Fixed64 => drop(self.take(8)?),
            Kind::Fixed32 => drop(self.take(4)?),
            Kind::Bytes => drop(self.bytes()?),
            Kind::EndGroup => return Err(Malformed),
            Kind::Group => {
                let depth = depth.checked_sub(1).ok_or(Malformed)?;
                loop {
                    match self.tag()? {
                        None => return Err(Malformed),
                        Some((end, Kind::EndGroup)) if end == field => break,
                        Some((inner, kind)) => self.skip(inner, kind, depth)?,
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether bytes are UTF-8.
#[inline]
pub fn is_text(bytes: &[u8]) -> bool {
    // Most are ASCII, which is seen faster.
    bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
}

/// How many bytes a varint takes.
#[inline]
pub const fn varint_len(value: u64) -> usize {
    ((value | 1).ilog2() / 7 + 1) as usize
}

/// Appends a varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The tag of a field.
#[inline]
const fn tag(field: u32, kind: Kind) -> u64 {
    (field as u64) << 3 | kind as u64
}

/// Appends the tag of a field.
#[inline]
pub fn put_tag(out: &mut Vec<u8>, field: u32, kind: Kind) {
    put_varint(out, tag(field, kind));
}

/// How many bytes a varint field takes; zero is not written.
#[inline]
pub fn varint_field_len(field: u32, value: u64) -> usize {
    if value == 0 { 0 } else { varint_len(tag(field, Kind::Varint)) + varint_len(value) }
}

/// Appends a varint field; zero is not written.
#[inline]
pub fn put_varint_field(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        put_tag(out, field, Kind::Varint);
        put_varint(out, value);
    }
}

/// How many bytes a field of bytes takes.
#[inline]
pub fn bytes_field_len(field: u32, length: usize) -> usize {
    varint_len(tag(field, Kind::Bytes)) + varint_len(length as u64) + length
}

/// Appends the head of a field of bytes.
#[inline]
pub fn put_bytes_head(out: &mut Vec<u8>, field: u32, length: usize) {
    put_tag(out, field, Kind::Bytes);
    put_varint(out, length as u64);
}
