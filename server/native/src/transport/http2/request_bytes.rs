//! Copies of the bytes of requests. Small ones share chunks of memory, so that not every call allocates.

use std::cell::RefCell;

use bytes::BytesMut;

use crate::transport::quota::FREE_BYTES;

/// The size of a chunk. A small message keeps its chunk alive, so it may hold as much as is not counted.
const CHUNK_BYTES: usize = FREE_BYTES;
/// Longer bytes get memory of their own.
const SMALL_BYTES: usize = CHUNK_BYTES / 4;

thread_local! {
    /// The rest of a chunk.
    static CHUNK: RefCell<BytesMut> = RefCell::default();
}

/// Copies bytes of a request. A copy may be extended: it then moves to memory of its own, unless nothing else uses its
/// chunk.
pub(super) fn copy(data: &[u8]) -> BytesMut {
    if data.len() > SMALL_BYTES {
        return BytesMut::from(data);
    }
    CHUNK.with_borrow_mut(|chunk| {
        if chunk.capacity() < data.len() {
            // Uses the chunk again where nobody has a copy in it any more.
            chunk.reserve(CHUNK_BYTES);
        }
        chunk.extend_from_slice(data);
        chunk.split()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_stay_as_they_are_when_others_are_made_and_extended() {
        let mut kept = Vec::new();
        for i in 0..200_u8 {
            let mut copied = copy(&vec![i; usize::from(i) * 13]);
            if i % 3 == 0 {
                copied.extend_from_slice(&[i; 7]);
            }
            if i % 2 == 0 {
                kept.push((i, copied));
            }
        }
        for (i, copied) in kept {
            let length = usize::from(i) * 13 + if i % 3 == 0 { 7 } else { 0 };
            assert_eq!(copied, vec![i; length]);
        }
    }

    #[test]
    fn a_chunk_is_used_again_once_its_copies_are_gone() {
        let first = copy(&[1; SMALL_BYTES]).as_ptr();
        let starts: Vec<_> = (0..7).map(|_| copy(&[1; SMALL_BYTES]).as_ptr()).collect();
        assert!(starts.contains(&first), "no chunk was used twice");
    }
}
