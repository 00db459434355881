//! The messages of a request, put together from the DATA frames that carry them.

use bytes::{Buf, Bytes, BytesMut};

use crate::protocol::framing::PREFIX_BYTES;
use crate::protocol::status::{self, RpcError};
use crate::transport::quota::Reservation;

/// A message without its prefix.
#[derive(Debug)]
pub(crate) struct Message {
    pub bytes: Bytes,
    /// Whether the caller compressed the message with gzip.
    pub compressed: bool,
    /// The bytes of the quota that the message holds.
    pub reservation: Reservation,
}

/// Reads messages from the bytes of a request, however these are cut into frames.
pub(crate) struct MessageReader {
    /// The last frame, where no message came in several frames. Messages are slices of it, without a copy.
    chunk: Bytes,
    /// A copy of the frames since the beginning of a message that came in several frames. Never filled
    /// while `chunk` is.
    pending: BytesMut,
    max_message_bytes: usize,
    gzip: bool,
}

impl MessageReader {
    /// Reads messages of up to `max_message_bytes`. Compressed messages are errors unless `gzip` is set.
    pub(crate) fn new(max_message_bytes: usize, gzip: bool) -> Self {
        Self { chunk: Bytes::new(), pending: BytesMut::new(), max_message_bytes, gzip }
    }

    /// Adds the bytes of a frame. The caller has taken all whole messages of earlier frames out.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() && self.pending.is_empty() {
            self.chunk = chunk;
            return;
        }
        if self.pending.is_empty() {
            self.pending.extend_from_slice(&std::mem::take(&mut self.chunk));
        }
        self.pending.extend_from_slice(&chunk);
    }

    /// The number of bytes that no message has taken.
    pub(crate) fn len(&self) -> usize {
        self.chunk.len() + self.pending.len()
    }

    /// Whether messages have taken all bytes.
    pub(crate) fn is_empty(&self) -> bool {
        self.chunk.is_empty() && self.pending.is_empty()
    }

    /// Takes the next whole message out, compressed as it was sent. `None`: the rest of it has not come yet.
    ///
    /// # Errors
    /// `RpcError`: the message is larger than allowed, the flag of the message is unknown, or the message is
    /// compressed although the call did not announce gzip.
    pub(crate) fn next_message(&mut self) -> Result<Option<Message>, RpcError> {
        let bytes = if self.pending.is_empty() { &self.chunk[..] } else { &self.pending[..] };
        let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        let compressed = match prefix[0] {
            0 => false,
            1 if self.gzip => true,
            1 => return Err(RpcError::plain(status::INTERNAL, "compressed flag set with identity encoding")),
            _ => return Err(RpcError::plain(status::INTERNAL, "a message has an unknown flag")),
        };
        if length > self.max_message_bytes {
            let limit = self.max_message_bytes;
            let message = format!("Received message larger than max ({length} vs. {limit})");
            return Err(RpcError::plain(status::RESOURCE_EXHAUSTED, message));
        }
        if rest.len() < length {
            return Ok(None);
        }
        if self.pending.is_empty() {
            self.chunk.advance(PREFIX_BYTES);
            return Ok(Some(Message {
                bytes: self.chunk.split_to(length),
                compressed,
                reservation: Reservation::default(),
            }));
        }
        self.pending.advance(PREFIX_BYTES);
        let bytes = self.pending.split_to(length).freeze();
        if !self.pending.is_empty() {
            self.chunk = self.pending.split().freeze();
        }
        Ok(Some(Message { bytes, compressed, reservation: Reservation::default() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap();
        [&[0][..], &length.to_be_bytes(), message].concat()
    }

    #[test]
    fn messages_come_out_whole_however_they_are_cut() {
        let bytes = [framed(b"one"), framed(b""), framed(&[7; 300])].concat();
        for size in 1..bytes.len() + 1 {
            let mut reader = MessageReader::new(1000, false);
            let mut found = Vec::new();
            for chunk in bytes.chunks(size) {
                reader.push(Bytes::copy_from_slice(chunk));
                while let Some(message) = reader.next_message().unwrap() {
                    found.push(message.bytes);
                }
            }
            assert_eq!(found, [&b"one"[..], b"", &[7; 300]]);
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn a_message_over_the_limit_is_refused_by_its_prefix() {
        let mut reader = MessageReader::new(10, false);
        reader.push(Bytes::from_static(&[0, 0, 0, 0, 11]));
        assert_eq!(reader.next_message().unwrap_err().code, status::RESOURCE_EXHAUSTED);
    }

    #[test]
    fn a_message_in_gzip_is_refused_unless_the_call_is_in_gzip() {
        for (flag, gzip, taken) in [(1, false, false), (1, true, true), (2, true, false)] {
            let mut reader = MessageReader::new(10, gzip);
            reader.push(Bytes::from_static(if flag == 1 { &[1, 0, 0, 0, 0] } else { &[2, 0, 0, 0, 0] }));
            match reader.next_message() {
                Ok(message) => assert!(taken && message.unwrap().compressed),
                Err(error) => assert!(!taken && error.code == status::INTERNAL),
            }
        }
    }

    #[test]
    fn a_message_that_has_only_begun_takes_no_more_than_has_come() {
        let mut reader = MessageReader::new(1 << 24, false);
        for chunk in [&[0, 1, 0][..], &[0, 0, 7, 7]] {
            reader.push(Bytes::copy_from_slice(chunk));
            assert!(reader.next_message().unwrap().is_none());
        }
        assert!(reader.pending.capacity() < 1 << 10);
    }
}
