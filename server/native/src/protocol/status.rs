//! The status that ends a call that failed. The control plane words the failures of the contract; the
//! engine carries them, and words only those of the transport.

use bytes::Bytes;

/// Codes of gRPC that the engine itself answers with.
pub(crate) const DEADLINE_EXCEEDED: u32 = 4;
pub(crate) const RESOURCE_EXHAUSTED: u32 = 8;
pub(crate) const UNIMPLEMENTED: u32 = 12;
pub(crate) const INTERNAL: u32 = 13;

/// What a caller sees of a call that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RpcError {
    pub code: u32,
    /// The number of the reason; 0 for failures below the contract.
    pub reason: u32,
    pub message: String,
    /// google.rpc.Status as bytes; empty for failures below the contract.
    pub status: Bytes,
}

impl RpcError {
    /// A failure of the transport, which has no reason of the contract's.
    pub(crate) fn plain(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), ..Self::default() }
    }

    /// The failure of a call whose message or answer the quotas of bytes do not allow.
    pub(crate) fn full() -> Self {
        let message = "the server holds as many bytes of messages and answers as it may; try again later";
        Self::plain(RESOURCE_EXHAUSTED, message)
    }

    /// The failure of a call whose request does not come to its end.
    pub(crate) fn stalled() -> Self {
        Self::plain(DEADLINE_EXCEEDED, "the rest of the request did not come in time")
    }
}

/// The failures that are always the same, made by the control plane when the engine is.
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
}
