//! What a session tells of its streams.

/// A message of gRPC begins with a flag and its length.
pub(crate) const PREFIX_BYTES: usize = 5;

/// The error code of a call that the server has not seen.
pub(crate) const REFUSED_STREAM: u32 = 7;

/// The connection cannot receive or send any more frames.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Http2Error;

/// How a stream ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ending {
    /// 0 where no headers came.
    pub(crate) http_status: u16,
    /// `None`: the server gave no status of gRPC.
    pub(crate) grpc_status: Option<u32>,
    /// The values of grpc-message and grpc-status-details-bin, as they were sent.
    pub(crate) message: Vec<u8>,
    pub(crate) details: Vec<u8>,
    /// HTTP/2's error code; 0 where the stream was not reset.
    pub(crate) error_code: u32,
    /// The bytes that came and were no event yet.
    pub(crate) body: Vec<u8>,
}

/// What happened on a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<T> {
    /// A message came on a stream that stays open: its prefix and its content.
    Message { owner: T, id: i32, message: Vec<u8> },
    /// The stream has ended, and is forgotten.
    Ended { owner: T, id: i32, ending: Ending },
}
