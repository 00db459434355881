//! The status that ends a failed call. The control plane words the failures of the contract. The engine only
//! carries them, and words those of the transport itself.

use bytes::Bytes;

/// gRPC's codes of the failures that the engine words itself.
pub(crate) const OK: u32 = 0;
pub(crate) const CANCELLED: u32 = 1;
pub(crate) const DEADLINE_EXCEEDED: u32 = 4;
pub(crate) const RESOURCE_EXHAUSTED: u32 = 8;
pub(crate) const UNIMPLEMENTED: u32 = 12;
pub(crate) const INTERNAL: u32 = 13;

/// What a caller sees of a call that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RpcError {
    pub code: u32,
    /// The number of the contract's reason; 0 for failures of the transport.
    pub reason: u32,
    pub message: String,
    /// `google.rpc.Status` as bytes; empty for failures of the transport.
    pub status: Bytes,
}

impl RpcError {
    /// A failure of the transport.
    pub(crate) fn plain(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), ..Self::default() }
    }

    /// The failure of a call whose messages or answers need more bytes than the quotas have left.
    pub(crate) fn full() -> Self {
        let message = "the server holds as many bytes of messages and answers as it may; try again later";
        Self::plain(RESOURCE_EXHAUSTED, message)
    }

    /// The failure of a call whose client stopped sending in the middle of a message.
    pub(crate) fn stalled() -> Self {
        Self::plain(DEADLINE_EXCEEDED, "the rest of the request did not come in time")
    }
}

/// The failures whose words never change. The control plane gives them when it makes the engine.
#[derive(Debug, Clone, Default)]
pub(crate) struct FixedErrors {
    pub malformed: RpcError,
    pub too_many_in_flight: RpcError,
    pub too_many_failing: RpcError,
    pub expired: RpcError,
    pub overloaded: RpcError,
    pub run_stopped: RpcError,
    pub draining: RpcError,
    pub internal: RpcError,
    pub unauthenticated: RpcError,
    pub permission_denied: RpcError,
    /// Without the time after which the caller may try again, which is appended as the last detail.
    pub caller_limit: RpcError,
}
