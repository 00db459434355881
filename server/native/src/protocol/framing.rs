//! gRPC's framing: before each message a flag for compression, and its length in four bytes, big-endian.

/// Bytes of the prefix: the flag and the length.
pub(crate) const PREFIX_BYTES: usize = 5;
/// The flags of messages that are not compressed and of those that are.
pub(crate) const PLAIN: u8 = 0;
pub(crate) const COMPRESSED: u8 = 1;

/// The prefix of a message of this length.
pub(crate) fn prefix(flag: u8, length: usize) -> [u8; PREFIX_BYTES] {
    let [a, b, c, d] = (length as u32).to_be_bytes();
    [flag, a, b, c, d]
}

/// A buffer that holds the prefix of a plain message of this length, with room for the message.
pub(crate) fn framed(length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(PREFIX_BYTES + length);
    out.extend_from_slice(&prefix(PLAIN, length));
    out
}

/// A plain message behind its prefix.
pub(crate) fn frame(message: &[u8]) -> Vec<u8> {
    let mut out = framed(message.len());
    out.extend_from_slice(message);
    out
}
