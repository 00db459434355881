//! gRPC's framing of messages: a flag for compression, and the length in four bytes, big-endian.

/// Bytes of the prefix of a message.
pub(crate) const PREFIX_BYTES: usize = 5;
/// The flag of a message that is not compressed, and of one that is.
pub(crate) const PLAIN: u8 = 0;
pub(crate) const COMPRESSED: u8 = 1;

/// The prefix of a message of this length.
pub(crate) fn prefix(flag: u8, length: usize) -> [u8; PREFIX_BYTES] {
    let [a, b, c, d] = (length as u32).to_be_bytes();
    [flag, a, b, c, d]
}

/// A buffer for a plain message of this length that already has the prefix.
pub(crate) fn framed(length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(PREFIX_BYTES + length);
    out.extend_from_slice(&prefix(PLAIN, length));
    out
}

/// A plain message with its prefix.
pub(crate) fn frame(message: &[u8]) -> Vec<u8> {
    let mut out = framed(message.len());
    out.extend_from_slice(message);
    out
}
