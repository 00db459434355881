//! gzip: requests are inflated piece by piece up to a limit, and responses are deflated.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::protocol::framing::{COMPRESSED, PREFIX_BYTES, prefix};
use crate::protocol::status::{self, RpcError};
use crate::transport::messages::Message;
use crate::transport::quota::{Claim, FREE_BYTES, Quota, Reservation};

/// Bytes that an I/O thread inflates or deflates itself, in well below a millisecond. The threads for large
/// batches do longer messages.
pub(crate) const INLINE_BYTES: usize = 1 << 16;
/// Messages of up to this many bytes are not deflated, since gzip does not make them shorter.
const MIN_BYTES: usize = 1 << 10;
const WINDOW_BITS: u8 = 15;

/// A message that is being inflated.
pub(crate) struct Inflating {
    inflater: Decompress,
    compressed: Bytes,
    inflated: Vec<u8>,
    /// The largest size of the inflated message.
    max_bytes: usize,
    /// What `inflated` holds of the quota.
    reservation: Reservation,
    quota: Arc<Quota>,
}

impl Inflating {
    pub(crate) fn new(compressed: Bytes, max_bytes: usize, quota: Arc<Quota>) -> Self {
        let inflater = Decompress::new_gzip(WINDOW_BITS);
        Self {
            inflater,
            compressed,
            inflated: Vec::new(),
            max_bytes,
            reservation: Reservation::default(),
            quota,
        }
    }

    /// Inflates up to `INLINE_BYTES` more bytes. True: the message is whole.
    ///
    /// # Errors
    /// `RpcError`, INTERNAL: the bytes are not exactly one member of gzip. `RpcError`, RESOURCE_EXHAUSTED: the
    /// inflated message is larger than `max_bytes`, or than the quota allows.
    pub(crate) fn step(&mut self) -> Result<bool, RpcError> {
        let goal = self.inflated.len() + INLINE_BYTES;
        while self.inflated.len() < goal {
            let start = self.inflated.len();
            if start > self.max_bytes {
                let message =
                    format!("Received message after inflation larger than max ({})", self.max_bytes);
                return Err(RpcError::plain(status::RESOURCE_EXHAUSTED, message));
            }
            // One byte more than allowed shows that the message is too large.
            let wanted = (2 * start).max(4 * self.compressed.len()).max(MIN_BYTES);
            let end = wanted.min(goal).min(self.max_bytes + 1);
            self.reserve(end)?;
            self.inflated.resize(end, 0);
            let rest = &self.compressed[self.inflater.total_in() as usize..];
            let room = &mut self.inflated[start..];
            let status = self.inflater.decompress(rest, room, FlushDecompress::None).map_err(|_| broken())?;
            self.inflated.truncate(self.inflater.total_out() as usize);
            if status == Status::StreamEnd {
                let whole = self.inflater.total_in() as usize == self.compressed.len();
                return if whole { Ok(true) } else { Err(broken()) };
            }
            if self.inflated.len() < end {
                return Err(broken());
            }
        }
        Ok(false)
    }

    /// The message, after `step` has returned true.
    pub(crate) fn into_message(self) -> Message {
        Message { bytes: self.inflated.into(), compressed: true, reservation: self.reservation }
    }

    /// Makes the buffer large enough for `end` bytes. The buffer doubles, but never beyond the limit.
    fn reserve(&mut self, end: usize) -> Result<(), RpcError> {
        if end > self.inflated.capacity() {
            let capacity = end.max(2 * self.inflated.capacity()).min(self.max_bytes + 1);
            if capacity > FREE_BYTES && !self.reservation.resize(&self.quota, capacity, Claim::First) {
                return Err(RpcError::full());
            }
            self.inflated.reserve_exact(capacity - self.inflated.len());
        }
        Ok(())
    }
}

/// The error of bytes that are not exactly one member of gzip.
fn broken() -> RpcError {
    RpcError::plain(status::INTERNAL, "the message is not one member of gzip")
}

/// Whether a message, given with its prefix, is long enough to be deflated.
pub(crate) fn is_worthwhile(framed: &[u8]) -> bool {
    framed.len() > PREFIX_BYTES + MIN_BYTES
}

/// Deflates a message; both the argument and the result have their prefix. Returns the message as it is where
/// gzip does not make it shorter.
pub(crate) fn deflate(framed: Vec<u8>) -> Vec<u8> {
    thread_local! {
        static DEFLATER: RefCell<Compress> =
            RefCell::new(Compress::new_gzip(Compression::fast(), WINDOW_BITS));
    }
    let mut out = Vec::with_capacity(framed.len());
    out.extend_from_slice(&prefix(COMPRESSED, 0));
    let status = DEFLATER.with_borrow_mut(|deflater| {
        deflater.reset();
        deflater.compress_vec(&framed[PREFIX_BYTES..], &mut out, FlushCompress::Finish)
    });
    // Another status means that `out`, which is as long as the message, was too short.
    if !matches!(status, Ok(Status::StreamEnd)) {
        return framed;
    }
    let length = out.len() - PREFIX_BYTES;
    out[..PREFIX_BYTES].copy_from_slice(&prefix(COMPRESSED, length));
    out.shrink_to_fit();
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::framing::frame;

    fn compressed(message: &[u8]) -> Bytes {
        let mut deflater = Compress::new_gzip(Compression::fast(), WINDOW_BITS);
        let mut out = Vec::with_capacity(2 * message.len() + 100);
        let done = deflater.compress_vec(message, &mut out, FlushCompress::Finish).unwrap();
        assert_eq!(done, Status::StreamEnd);
        out.into()
    }

    fn inflate(compressed: Bytes, max_bytes: usize) -> Result<Bytes, RpcError> {
        let mut inflating = Inflating::new(compressed, max_bytes, Quota::new(1 << 20));
        while !inflating.step()? {}
        assert!(inflating.inflated.capacity() <= max_bytes + 1);
        Ok(inflating.into_message().bytes)
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn messages_of_all_lengths_come_out_as_they_went_in() {
        for length in [0, 1, 1000, INLINE_BYTES - 1, INLINE_BYTES, INLINE_BYTES + 1, 3 * INLINE_BYTES] {
            for message in [vec![7; length], noise(length)] {
                assert_eq!(inflate(compressed(&message), length).unwrap(), message);
            }
        }
    }

    #[test]
    fn a_message_that_inflates_to_more_than_allowed_is_refused_at_the_limit() {
        for max_bytes in [1000, INLINE_BYTES, 3 * INLINE_BYTES + 1] {
            let mut inflating =
                Inflating::new(compressed(&vec![0; 4 * INLINE_BYTES]), max_bytes, Quota::new(1 << 20));
            let error = loop {
                match inflating.step() {
                    Ok(whole) => assert!(!whole),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.code, status::RESOURCE_EXHAUSTED);
            assert!(inflating.inflated.capacity() <= max_bytes + 1);
        }
    }

    #[test]
    fn what_is_inflated_is_held_of_the_quota_and_no_more() {
        let quota = Quota::new(3 * INLINE_BYTES);
        let mut whole = Inflating::new(compressed(&vec![7; INLINE_BYTES]), 1 << 30, Arc::clone(&quota));
        while !whole.step().unwrap() {}
        let message = whole.into_message();
        assert!(quota.used() >= INLINE_BYTES);
        let mut bomb = Inflating::new(compressed(&vec![0; 4 * INLINE_BYTES]), 1 << 30, Arc::clone(&quota));
        let error = loop {
            if let Err(error) = bomb.step() {
                break error;
            }
        };
        assert_eq!(error, RpcError::full());
        drop((message, bomb));
        assert_eq!(quota.used(), 0);
    }

    #[test]
    fn what_is_not_one_whole_member_is_refused() {
        let whole = compressed(&noise(300));
        let mut flipped = whole.to_vec();
        *flipped.last_mut().unwrap() ^= 1;
        let twice = [&whole[..], &whole].concat();
        let trailed = [&whole[..], b"x"].concat();
        let mut bad: Vec<Bytes> = [flipped, twice, trailed, b"no gzip".to_vec()].map(Bytes::from).into();
        bad.extend((0..whole.len()).map(|cut| whole.slice(..cut)));
        for bytes in bad {
            assert_eq!(inflate(bytes, 1 << 20).unwrap_err().code, status::INTERNAL);
        }
    }

    #[test]
    fn an_answer_is_compressed_where_that_makes_it_shorter() {
        for (message, shorter) in [(vec![7; 5000], true), (noise(5000), false)] {
            let answer = frame(&message);
            let out = deflate(answer.clone());
            assert_eq!(out.len() < answer.len(), shorter);
            if shorter {
                assert_eq!(
                    out[..PREFIX_BYTES],
                    [&[1][..], &((out.len() - PREFIX_BYTES) as u32).to_be_bytes()].concat()
                );
                assert_eq!(inflate(Bytes::from(out).slice(PREFIX_BYTES..), 5000).unwrap(), message);
            } else {
                assert_eq!(out, answer);
            }
        }
    }

    #[test]
    fn only_answers_above_a_kibibyte_gain() {
        assert!(!is_worthwhile(&[0; PREFIX_BYTES + 1024]));
        assert!(is_worthwhile(&[0; PREFIX_BYTES + 1025]));
    }
}
