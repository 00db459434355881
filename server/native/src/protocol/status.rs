//! The status that ends a failed call. The control plane words the failures of the contract. The engine only
//! carries them, and words those of the transport itself.

use std::time::Duration;

use bytes::Bytes;

use crate::protocol::protobuf::{put_bytes_head, put_text_field, put_varint_field};

/// gRPC's codes of the failures that the engine words itself.
pub(crate) const OK: u32 = 0;
pub(crate) const CANCELLED: u32 = 1;
pub(crate) const DEADLINE_EXCEEDED: u32 = 4;
pub(crate) const RESOURCE_EXHAUSTED: u32 = 8;
pub(crate) const UNIMPLEMENTED: u32 = 12;
pub(crate) const INTERNAL: u32 = 13;

/// The field of `google.rpc.Status` that has the details, and the type of one of them.
const STATUS_DETAILS: u32 = 3;
const RETRY_INFO: &[u8] = b"type.googleapis.com/google.rpc.RetryInfo";

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

    /// This failure with the time after which the caller may try again: whole milliseconds, rounded up, one at
    /// least. The time is the last of the details, a `google.rpc.RetryInfo`.
    pub(crate) fn with_retry(&self, wait: Duration) -> Self {
        let milliseconds = wait.as_nanos().div_ceil(1_000_000).max(1) as u64;
        let (mut delay, mut info, mut detail) = (Vec::new(), Vec::new(), Vec::new());
        put_varint_field(&mut delay, 1, milliseconds / 1000);
        put_varint_field(&mut delay, 2, milliseconds % 1000 * 1_000_000);
        put_bytes_head(&mut info, 1, delay.len());
        info.extend_from_slice(&delay);
        put_text_field(&mut detail, 1, RETRY_INFO);
        put_bytes_head(&mut detail, 2, info.len());
        detail.extend_from_slice(&info);
        let mut status = self.status.to_vec();
        put_bytes_head(&mut status, STATUS_DETAILS, detail.len());
        status.extend_from_slice(&detail);
        Self { status: status.into(), ..self.clone() }
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
    pub over_share: RpcError,
    pub run_stopped: RpcError,
    pub draining: RpcError,
    pub internal: RpcError,
    pub unauthenticated: RpcError,
    pub permission_denied: RpcError,
    /// Without the time after which the caller may try again, which is appended as the last detail.
    pub caller_limit: RpcError,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_try_again_is_the_last_detail_in_whole_milliseconds() {
        let error = RpcError { status: Bytes::from_static(b"\x08\x08"), ..RpcError::default() };
        let detail = |delay: &[u8]| {
            let mut info = vec![0x0a, delay.len() as u8];
            info.extend_from_slice(delay);
            let mut detail = vec![0x0a, RETRY_INFO.len() as u8];
            detail.extend_from_slice(RETRY_INFO);
            detail.extend_from_slice(&[0x12, info.len() as u8]);
            detail.extend_from_slice(&info);
            [&[0x08, 0x08, 0x1a, detail.len() as u8], &detail[..]].concat()
        };
        let status = |wait| error.with_retry(wait).status;
        // 1 ms is 1,000,000 ns.
        let one = detail(&[0x10, 0xc0, 0x84, 0x3d]);
        assert_eq!(status(Duration::ZERO), one);
        assert_eq!(status(Duration::from_nanos(1)), one);
        assert_eq!(status(Duration::from_millis(1)), one);
        assert_eq!(status(Duration::from_millis(3000)), detail(&[0x08, 3]));
        assert_eq!(status(Duration::from_nanos(3_000_000_001)), detail(&[0x08, 3, 0x10, 0xc0, 0x84, 0x3d]));
    }
}
