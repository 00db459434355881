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
    /// Bytes that are no whole block and stand before a block, or at the end of a segment that is done.
    Damage {
        offset: usize,
        bytes: &'a [u8],
    },
    /// An incomplete block at the end of a segment that is done.
    TornTail {
        offset: usize,
        bytes: &'a [u8],
    },
}

/// What stands at an offset.
enum Found {
    Whole(Header),
    /// The begin of a block whose end is not there.
    Incomplete,
    Damaged,
}

/// Reads a segment. `growing`: it may still grow, so that what is incomplete at its end is not there yet.
pub fn read_segment(bytes: &[u8], growing: bool) -> impl Iterator<Item = Piece<'_>> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(offset..).filter(|rest| !rest.is_empty())?;
        let at = offset;
        match found(rest) {
            Found::Whole(header) => {
                let end = HEADER_BYTES + header.body_bytes as usize;
                offset += end;
                Some(Piece::Block { offset: at, header, body: &rest[HEADER_BYTES..end] })
            }
            Found::Incomplete => {
                offset = bytes.len();
                (!growing).then_some(Piece::TornTail { offset: at, bytes: rest })
            }
            Found::Damaged => {
                let next = next_block(rest);
                let length = next.unwrap_or(rest.len());
                offset += length;
                (next.is_some() || !growing).then_some(Piece::Damage { offset: at, bytes: &rest[..length] })
            }
        }
    })
}

fn found(bytes: &[u8]) -> Found {
    if bytes.len() < HEADER_BYTES {
        return Found::Incomplete;
    }
    let Some(header) = Header::decode(bytes) else { return Found::Damaged };
    match bytes[HEADER_BYTES..].get(..header.body_bytes as usize) {
        Some(body) if crc32c::crc32c(body) == header.body_crc => Found::Whole(header),
        Some(_) => Found::Damaged,
        None => Found::Incomplete,
    }
}

/// Where the next block begins behind damage, whole or incomplete with a whole header.
fn next_block(bytes: &[u8]) -> Option<usize> {
    (1..bytes.len().saturating_sub(HEADER_BYTES - 1))
        .find(|&at| bytes[at..].starts_with(&MARKER) && !matches!(found(&bytes[at..]), Found::Damaged))
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
