//! Reads segments, whole or damaged.

use crate::block::{HEADER_BYTES, Header, MARKER, MAX_BODY_BYTES};
use crate::little_endian::{u32_at, u64_at};

/// What a segment has at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    Block {
        offset: usize,
        header: Header,
        body: &'a [u8],
    },
    /// Bytes that are no whole block. `is_torn`: they are the begin of a block that was not written to its end, so
    /// that nothing is lost that was counted.
    Damage {
        offset: usize,
        bytes: &'a [u8],
        is_torn: bool,
    },
}

/// Reads the whole blocks of a segment in their order, and the bytes between them that are damaged. `growing`: the
/// segment may still grow, so that what follows its last whole block is not there yet.
pub fn read_segment(bytes: &[u8], growing: bool) -> impl Iterator<Item = Piece<'_>> {
    let mut reader = Reader { bytes, offset: 0, last: None };
    std::iter::from_fn(move || {
        let piece = reader.next()?;
        let at_end = reader.offset == bytes.len();
        (!growing || !at_end || matches!(piece, Piece::Block { .. })).then_some(piece)
    })
}

/// Blocks of other starts are damage, and so are numbers that do not ascend, or rise by more than the blocks that the
/// bytes between can have. A caller knows the start from the ids of its predictions, and may send texts with the bytes
/// of a block: where the segment is damaged, such a block is taken for one only if its number is about right, and then
/// it hides no more than the next blocks.
struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
    /// The start and the number of the last block, and where it ends.
    last: Option<([u8; 16], u64, usize)>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<Piece<'a>> {
        let (offset, size) = (self.offset, self.bytes.len());
        if offset == size {
            return None;
        }
        let (mut end, is_torn) = match self.header(offset) {
            None => (self.find(offset + 1), self.is_begun(offset)),
            Some(header) => match self.body(offset, &header) {
                Some(body) if crc32c::crc32c(body) == header.body_crc => {
                    self.offset = offset + HEADER_BYTES + body.len();
                    self.last = Some((header.start, header.number, self.offset));
                    return Some(Piece::Block { offset, header, body });
                }
                // The header is whole, so that the length in it is right.
                Some(body) => (offset + HEADER_BYTES + body.len(), false),
                None => (size, true),
            },
        };
        if end < size && !self.is_whole(end) {
            end = self.find(end);
        }
        self.offset = end;
        Some(Piece::Damage { offset, bytes: &self.bytes[offset..end], is_torn: is_torn && end == size })
    }

    /// The header at an offset, if it is whole and of a block that may follow.
    fn header(&self, offset: usize) -> Option<Header> {
        Header::decode(&self.bytes[offset..]).filter(|header| {
            self.last.is_none_or(|(start, number, end)| {
                let most_between = (offset - end) / HEADER_BYTES;
                header.start == start
                    && header.number > number
                    && header.number - number - 1 <= most_between as u64
            })
        })
    }

    fn body(&self, offset: usize, header: &Header) -> Option<&'a [u8]> {
        self.bytes[offset + HEADER_BYTES..].get(..header.body_bytes as usize)
    }

    fn is_whole(&self, offset: usize) -> bool {
        self.header(offset).is_some_and(|header| {
            self.body(offset, &header).is_some_and(|body| crc32c::crc32c(body) == header.body_crc)
        })
    }

    /// Whether the segment ends within a header that begins here.
    fn is_begun(&self, offset: usize) -> bool {
        let rest = &self.bytes[offset..];
        let marker = rest.len().min(MARKER.len());
        rest.len() < HEADER_BYTES && rest[..marker] == MARKER[..marker]
    }

    /// Where the next whole block begins, from an offset on; the end of the segment if there is none.
    fn find(&self, offset: usize) -> usize {
        let size = self.bytes.len();
        (offset..size).find(|&at| self.bytes[at..].starts_with(&MARKER) && self.is_whole(at)).unwrap_or(size)
    }
}

/// The sections of the body of a block of rows; `None` if the body is none.
pub fn sections(body: &[u8]) -> Option<Vec<&[u8]>> {
    if body.len() < 8 || body.len() > MAX_BODY_BYTES {
        return None;
    }
    let count = u32_at(body, 0) as usize;
    let mut at = count.checked_mul(8)?.checked_add(8).filter(|&at| at <= body.len())?;
    let mut sections = Vec::with_capacity(count);
    for index in 0..count {
        let length = usize::try_from(u64_at(body, 8 + 8 * index)).ok()?;
        let end = at.checked_add(length).filter(|&end| end <= body.len())?;
        sections.push(&body[at..end]);
        at = end.next_multiple_of(8);
    }
    (at == body.len()).then_some(sections)
}

/// The texts of a section that has so many; `None` if it has not.
pub fn texts(section: &[u8], count: usize) -> Option<Vec<&[u8]>> {
    let ends = count.checked_add(1)?.checked_mul(4).filter(|&ends| ends <= section.len())?;
    let (ends, bytes) = section.split_at(ends);
    let end = |index: usize| u32_at(ends, 4 * index) as usize;
    let whole = end(0) == 0 && end(count) == bytes.len();
    let texts = (0..count).map(|index| bytes.get(end(index)..end(index + 1)));
    if whole { texts.collect() } else { None }
}
