//! How calls fail. The texts are the control plane's; the engine carries them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;

use crate::transport::http2::Field;

/// Codes of gRPC that the engine itself answers with.
pub const DEADLINE_EXCEEDED: u32 = 4;
pub const RESOURCE_EXHAUSTED: u32 = 8;
pub const UNIMPLEMENTED: u32 = 12;
pub const INTERNAL: u32 = 13;

/// What a caller sees of a call that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failure {
    pub code: u32,
    /// The number of the reason; 0 for failures below the contract.
    pub reason: u32,
    pub message: String,
    /// google.rpc.Status as bytes; empty for failures below the contract.
    pub status: Bytes,
}

impl Failure {
    /// A failure of the transport, which has no reason of the contract's.
    pub fn plain(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), ..Self::default() }
    }

    /// The failure of a call whose message or answer the quotas of bytes do not allow.
    pub fn full() -> Self {
        let message = "the server holds as many bytes of messages and answers as it may; try again later";
        Self::plain(RESOURCE_EXHAUSTED, message)
    }

    /// The failure of a call whose request does not come to its end.
    pub fn stalled() -> Self {
        Self::plain(DEADLINE_EXCEEDED, "the rest of the request did not come in time")
    }

    /// The fields that end a call with this failure.
    pub fn fields(&self) -> Vec<Field> {
        let owned = |name, value: String| Field { name, value: value.into() };
        let mut fields = vec![
            owned("grpc-status", self.code.to_string()),
            owned("grpc-message", percent_encode(&self.message)),
        ];
        if !self.status.is_empty() {
            fields.push(owned("grpc-status-details-bin", STANDARD_NO_PAD.encode(&self.status)));
        }
        fields
    }
}

/// The text with all but printable ASCII, and the percent sign, as %XX.
fn percent_encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if (0x20..0x7f).contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// The failures that are always the same, made by the control plane when the engine is.
#[derive(Debug, Clone, Default)]
pub struct Fixed {
    pub malformed: Failure,
    pub too_many_in_flight: Failure,
    pub too_many_failing: Failure,
    pub expired: Failure,
    pub overloaded: Failure,
    pub run_stopped: Failure,
    pub draining: Failure,
    pub internal: Failure,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encode("50% of 'x'\n\u{e9}"), "50%25 of 'x'%0A%C3%A9");
    }

    #[test]
    fn a_status_is_written_in_base64_without_padding() {
        let failed =
            Failure { code: 3, reason: 1, message: "no".into(), status: Bytes::from_static(b"\xff\xfe") };
        let expected = [
            Field::fixed("grpc-status", "3"),
            Field::fixed("grpc-message", "no"),
            Field::fixed("grpc-status-details-bin", "//4"),
        ];
        assert_eq!(failed.fields(), expected);
    }

    #[test]
    fn a_plain_failure_has_no_status() {
        assert_eq!(Failure::plain(UNIMPLEMENTED, "no").fields().len(), 2);
    }
}
