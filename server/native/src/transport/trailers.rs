//! A status in gRPC's trailers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::protocol::status::RpcError;
use crate::transport::http2::fields::HeaderField;

/// The trailers that end a call with this error.
pub(crate) fn trailers(error: &RpcError) -> Vec<HeaderField> {
    let owned = |name, value: String| HeaderField { name, value: value.into() };
    let mut fields = vec![
        owned("grpc-status", error.code.to_string()),
        owned("grpc-message", percent_encode(&error.message)),
    ];
    if !error.status.is_empty() {
        fields.push(owned("grpc-status-details-bin", STANDARD_NO_PAD.encode(&error.status)));
    }
    fields
}

/// Percent-encodes a text as `grpc-message` asks: every byte but printable ASCII, and the percent sign, is %XX.
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::protocol::status::UNIMPLEMENTED;

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encode("50% of 'x'\n\u{e9}"), "50%25 of 'x'%0A%C3%A9");
    }

    #[test]
    fn a_status_is_written_in_base64_without_padding() {
        let error =
            RpcError { code: 3, reason: 1, message: "no".into(), status: Bytes::from_static(b"\xff\xfe") };
        let expected = [
            HeaderField::fixed("grpc-status", "3"),
            HeaderField::fixed("grpc-message", "no"),
            HeaderField::fixed("grpc-status-details-bin", "//4"),
        ];
        assert_eq!(trailers(&error), expected);
    }

    #[test]
    fn an_error_of_the_transport_has_no_details() {
        assert_eq!(trailers(&RpcError::plain(UNIMPLEMENTED, "no")).len(), 2);
    }
}
