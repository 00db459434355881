//! How a call ended: its gRPC status, out of what HTTP/2 tells.

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::http2::event::{Ending, REFUSED_STREAM};
use crate::protobuf::{Fields, Value};

/// gRPC's status codes that the generator gives by itself.
pub(crate) mod code {
    pub(crate) const OK: u32 = 0;
    pub(crate) const CANCELLED: u32 = 1;
    pub(crate) const UNKNOWN: u32 = 2;
    pub(crate) const DEADLINE_EXCEEDED: u32 = 4;
    pub(crate) const PERMISSION_DENIED: u32 = 7;
    pub(crate) const RESOURCE_EXHAUSTED: u32 = 8;
    pub(crate) const UNIMPLEMENTED: u32 = 12;
    pub(crate) const INTERNAL: u32 = 13;
    pub(crate) const UNAVAILABLE: u32 = 14;
    pub(crate) const UNAUTHENTICATED: u32 = 16;
}

const MAX_MESSAGE_CHARS: usize = 200;
const ERROR_INFO: &[u8] = b"type.googleapis.com/google.rpc.ErrorInfo";

/// The status of a call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The number of the status code.
    pub(crate) code: u32,
    /// The reason in the status's ErrorInfo, or "".
    pub(crate) reason: String,
    /// The message of the status.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: u32, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self { code, reason: String::new(), message: message.chars().take(MAX_MESSAGE_CHARS).collect() }
    }

    /// Reads a google.rpc.Status. `None`: the bytes are not such a message.
    pub(crate) fn of_status(status: &[u8]) -> Option<Self> {
        let mut failure = Self::new(code::OK, "");
        for field in Fields::of(status) {
            match field.map(|field| (field.number, field.value))? {
                (1, Value::Varint(code)) => failure.code = code as u32,
                (2, Value::Bytes(text)) => {
                    failure.message = Self::new(0, String::from_utf8_lossy(text)).message;
                }
                (3, Value::Bytes(detail)) if failure.reason.is_empty() => {
                    failure.reason = reason(detail).unwrap_or_default();
                }
                _ => {}
            }
        }
        Some(failure)
    }
}

/// The reason in a google.protobuf.Any that has a google.rpc.ErrorInfo.
fn reason(detail: &[u8]) -> Option<String> {
    let (mut is_info, mut value) = (false, &b""[..]);
    for field in Fields::of(detail) {
        match field.map(|field| (field.number, field.value))? {
            (1, Value::Bytes(url)) => is_info = url == ERROR_INFO,
            (2, Value::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    if !is_info {
        return None;
    }
    let mut reason = None;
    for field in Fields::of(value) {
        if let (1, Value::Bytes(text)) = field.map(|field| (field.number, field.value))? {
            reason = Some(String::from_utf8_lossy(text).into_owned());
        }
    }
    reason
}

/// The status of a call by the end of its stream. `None`: it is OK.
pub(crate) fn failure(ending: &Ending) -> Option<Failure> {
    if let Some(status) = ending.grpc_status {
        if status == code::OK {
            return None;
        }
        let mut failure = Failure::new(status, unescape(&ending.message));
        failure.reason = details(&ending.details).map(|told| told.reason).unwrap_or_default();
        return Some(failure);
    }
    if ending.http_status != 0 && ending.http_status != 200 {
        let message = format!("the server answered with the HTTP status {}", ending.http_status);
        return Some(Failure::new(code_of_http(ending.http_status), message));
    }
    if ending.error_code != 0 {
        let message = format!("the stream was reset with the HTTP/2 error {}", ending.error_code);
        return Some(Failure::new(code_of_reset(ending.error_code), message));
    }
    Some(Failure::new(code::UNKNOWN, "the server ended the call without a status"))
}

/// The status in the field grpc-status-details-bin.
fn details(value: &[u8]) -> Option<Failure> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, config);
    Failure::of_status(&engine.decode(value).ok()?)
}

/// Decodes the percent-encoding of the field grpc-message.
fn unescape(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(escaped) if *byte == b'%' => {
                out.push(escaped);
                rest = &after[2..];
            }
            _ => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// See "HTTP to gRPC Status Code Mapping" of gRPC.
fn code_of_http(status: u16) -> u32 {
    match status {
        400 => code::INTERNAL,
        401 => code::UNAUTHENTICATED,
        403 => code::PERMISSION_DENIED,
        404 => code::UNIMPLEMENTED,
        429 | 502 | 503 | 504 => code::UNAVAILABLE,
        _ => code::UNKNOWN,
    }
}

/// See "Errors" of gRPC over HTTP/2.
fn code_of_reset(error: u32) -> u32 {
    match error {
        REFUSED_STREAM => code::UNAVAILABLE,
        8 => code::CANCELLED,
        11 => code::RESOURCE_EXHAUSTED,
        12 => code::PERMISSION_DENIED,
        _ => code::INTERNAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(grpc_status: Option<u32>) -> Ending {
        Ending { grpc_status, ..Ending::default() }
    }

    #[test]
    fn a_status_of_ok_is_no_failure() {
        assert_eq!(failure(&ending(Some(0))), None);
    }

    #[test]
    fn a_failure_has_its_message_and_its_reason() {
        let info = b"\x0a\x0dTOO_MANY_ROWS\x12\x09scorewire";
        let mut any = vec![0x0a, ERROR_INFO.len() as u8];
        any.extend_from_slice(ERROR_INFO);
        any.extend_from_slice(&[0x12, info.len() as u8]);
        any.extend_from_slice(info);
        let mut status = b"\x08\x08\x12\x02no\x1a".to_vec();
        status.push(any.len() as u8);
        status.extend_from_slice(&any);
        let told = Failure { code: 8, reason: "TOO_MANY_ROWS".into(), message: "no".into() };
        assert_eq!(Failure::of_status(&status), Some(told));
        for padding in [true, false] {
            let mut text = base64::prelude::BASE64_STANDARD.encode(&status);
            if !padding {
                text = text.trim_end_matches('=').to_owned();
            }
            let found = failure(&Ending {
                message: b"50%25 of caf%C3%A9 %zz%".to_vec(),
                details: text.into_bytes(),
                ..ending(Some(8))
            });
            let told =
                Failure { code: 8, reason: "TOO_MANY_ROWS".into(), message: "50% of café %zz%".into() };
            assert_eq!(found, Some(told));
        }
        let broken = failure(&Ending { details: b"???".to_vec(), ..ending(Some(3)) });
        assert_eq!(broken, Some(Failure::new(3, "")));
        assert_eq!(Failure::of_status(b"\x08"), None);
    }

    #[test]
    fn a_call_without_a_status_of_grpc_fails_as_http_says() {
        let http = |http_status| failure(&Ending { http_status, ..ending(None) }).unwrap().code;
        assert_eq!([404, 503, 418, 200].map(http), [code::UNIMPLEMENTED, code::UNAVAILABLE, 2, 2]);
        let reset = |error_code| failure(&Ending { error_code, ..ending(None) }).unwrap().code;
        assert_eq!([7, 8, 11, 2].map(reset), [14, 1, 8, 13]);
    }

    #[test]
    fn a_message_is_cut() {
        assert_eq!(Failure::new(2, "é".repeat(1_000)).message.chars().count(), MAX_MESSAGE_CHARS);
    }
}
