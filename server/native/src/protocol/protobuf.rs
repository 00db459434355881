//! Protobuf's wire format: fields out of bytes, and fields into bytes.
//!
//! The rules are protobuf's: the last of a field counts, unknown fields are skipped, a text is UTF-8.
//! Nothing is copied while reading: a `Span` is a place in the bytes of the message.

use std::ops::Range;

/// The bytes do not parse as the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MalformedError;

type Result<T> = std::result::Result<T, MalformedError>;

/// How deep messages and groups may nest, as in protobuf's own parsers.
pub(crate) const DEPTH_LIMIT: u32 = 100;

/// A place in the bytes of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The bytes at this place.
    pub(crate) fn of(self, data: &[u8]) -> &[u8] {
        &data[self.start as usize..self.end as usize]
    }

    /// The text at this place. `Reader::text` has checked that it is UTF-8.
    pub(crate) fn text(self, data: &[u8]) -> &str {
        std::str::from_utf8(self.of(data)).unwrap_or_default()
    }

    /// The place as a range.
    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// The wire type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    Group = 3,
    EndGroup = 4,
    Fixed32 = 5,
}

/// Reads the fields of a message.
pub(crate) struct Reader<'a> {
    data: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    /// A reader of a part of `data`.
    ///
    /// # Errors
    /// `MalformedError`: the part ends beyond 4 GiB, which a `Span` cannot say.
    pub(crate) fn new(data: &'a [u8], part: Range<usize>) -> Result<Self> {
        u32::try_from(part.end).map_err(|_| MalformedError)?;
        Ok(Self { data, at: part.start, end: part.end })
    }

    /// The next field's number and kind; `None` at the end.
    ///
    /// # Errors
    /// `MalformedError`: the bytes are not a tag.
    #[inline]
    pub(crate) fn tag(&mut self) -> Result<Option<(u32, Kind)>> {
        if self.at == self.end {
            return Ok(None);
        }
        let tag = u32::try_from(self.short_varint()?).map_err(|_| MalformedError)?;
        let kind = match tag & 7 {
            0 => Kind::Varint,
            1 => Kind::Fixed64,
            2 => Kind::Bytes,
            3 => Kind::Group,
            4 => Kind::EndGroup,
            5 => Kind::Fixed32,
            _ => return Err(MalformedError),
        };
        let field = tag >> 3;
        if field == 0 { Err(MalformedError) } else { Ok(Some((field, kind))) }
    }

    #[inline]
    fn byte(&mut self) -> Result<u8> {
        if self.at == self.end {
            return Err(MalformedError);
        }
        let byte = self.data[self.at];
        self.at += 1;
        Ok(byte)
    }

    /// The number of bytes that were not read.
    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.end - self.at
    }

    /// Whether everything was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.end
    }

    /// A varint of up to 64 bits.
    ///
    /// # Errors
    /// `MalformedError`: the bytes end within the varint, or it is longer than ten bytes.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64> {
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
        Err(MalformedError)
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// `MalformedError`: fewer bytes are left.
    #[inline]
    pub(crate) fn take(&mut self, length: usize) -> Result<Span> {
        if length > self.end - self.at {
            return Err(MalformedError);
        }
        let start = self.at;
        self.at += length;
        // `new` checked that every place fits.
        Ok(Span { start: start as u32, end: self.at as u32 })
    }

    /// A field of bytes: its length, then the bytes.
    ///
    /// # Errors
    /// `MalformedError`: fewer bytes are left than the length says.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<Span> {
        let length = self.short_varint()?;
        self.take(usize::try_from(length).map_err(|_| MalformedError)?)
    }

    /// A field of text: its length, then the text.
    ///
    /// # Errors
    /// `MalformedError`: as of `bytes`, or the text is not UTF-8.
    #[inline]
    pub(crate) fn text(&mut self) -> Result<Span> {
        let span = self.bytes()?;
        if is_text(span.of(self.data)) { Ok(span) } else { Err(MalformedError) }
    }

    /// Skips a field whose tag was read.
    ///
    /// # Errors
    /// `MalformedError`: the bytes end within the field, or groups nest deeper than `depth`.
    pub(crate) fn skip(&mut self, field: u32, kind: Kind, depth: u32) -> Result<()> {
        match kind {
            Kind::Varint => drop(self.varint()?),
            Kind::Fixed64 => drop(self.take(8)?),
            Kind::Fixed32 => drop(self.take(4)?),
            Kind::Bytes => drop(self.bytes()?),
            Kind::EndGroup => return Err(MalformedError),
            Kind::Group => {
                let depth = depth.checked_sub(1).ok_or(MalformedError)?;
                loop {
                    match self.tag()? {
                        None => return Err(MalformedError),
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
pub(crate) fn is_text(bytes: &[u8]) -> bool {
    // Most texts are ASCII, and that check is faster.
    bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
}

/// The length of a varint in bytes.
#[inline]
pub(crate) const fn varint_len(value: u64) -> usize {
    ((value | 1).ilog2() / 7 + 1) as usize
}

/// Appends a varint.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
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
pub(crate) fn put_tag(out: &mut Vec<u8>, field: u32, kind: Kind) {
    put_varint(out, tag(field, kind));
}

/// The length of a varint field in bytes; 0 for the value 0, which is not written.
#[inline]
pub(crate) fn varint_field_len(field: u32, value: u64) -> usize {
    if value == 0 { 0 } else { varint_len(tag(field, Kind::Varint)) + varint_len(value) }
}

/// Appends a varint field; the value 0 is not written.
#[inline]
pub(crate) fn put_varint_field(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        put_tag(out, field, Kind::Varint);
        put_varint(out, value);
    }
}

/// The length in bytes of a field of `length` bytes.
#[inline]
pub(crate) fn bytes_field_len(field: u32, length: usize) -> usize {
    varint_len(tag(field, Kind::Bytes)) + varint_len(length as u64) + length
}

/// Appends the tag and the length of a field of bytes.
#[inline]
pub(crate) fn put_bytes_head(out: &mut Vec<u8>, field: u32, length: usize) {
    put_tag(out, field, Kind::Bytes);
    put_varint(out, length as u64);
}

/// The length of a field of text in bytes; 0 for the text "", which is not written.
#[inline]
pub(crate) fn text_field_len(field: u32, length: usize) -> usize {
    if length == 0 { 0 } else { bytes_field_len(field, length) }
}

/// Appends a field of text; "" is not written.
#[inline]
pub(crate) fn put_text_field(out: &mut Vec<u8>, field: u32, text: &[u8]) {
    if !text.is_empty() {
        put_bytes_head(out, field, text.len());
        out.extend_from_slice(text);
    }
}

/// A field of text; empty for "".
pub(crate) fn text_field(field: u32, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_text_field(&mut out, field, text.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_number_are_read_as_they_were_written() {
        for number in [1, 3, 15, 16, 31, 32, 100, 2047, 2048, (1 << 29) - 1] {
            for value in [1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
                let mut out = Vec::new();
                put_varint_field(&mut out, number, value);
                assert_eq!(out.len(), varint_field_len(number, value));
                let mut reader = Reader::new(&out, 0..out.len()).unwrap();
                assert_eq!(reader.tag(), Ok(Some((number, Kind::Varint))));
                assert_eq!((reader.varint(), reader.is_empty()), (Ok(value), true));
            }
            let mut out = Vec::new();
            put_bytes_head(&mut out, number, 200);
            out.extend_from_slice(&[7; 200]);
            assert_eq!(out.len(), bytes_field_len(number, 200));
            let mut reader = Reader::new(&out, 0..out.len()).unwrap();
            assert_eq!(reader.tag(), Ok(Some((number, Kind::Bytes))));
            assert_eq!(reader.bytes().map(|place| place.of(&out).len()), Ok(200));
        }
        assert_eq!(varint_field_len(3, 0), 0);
    }
}
