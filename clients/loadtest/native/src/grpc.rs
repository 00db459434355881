//! Calls of gRPC as requests and responses of HTTP/2.

use crate::http2::event::PREFIX_BYTES;
use crate::http2::session::RequestFields;
use crate::settings::Settings;
use crate::status::Failure;

/// What came of a call.
pub(crate) enum Reply<'a> {
    Response(&'a [u8]),
    /// The server said OK, and what it answered cannot be read: why.
    Unreadable(&'static str),
    Failure(Failure),
}

/// The message in the bytes of a response.
pub(crate) fn content(body: &[u8]) -> Reply<'_> {
    match body.split_first_chunk::<PREFIX_BYTES>() {
        Some(([0, length @ ..], message)) if u32::from_be_bytes(*length) as usize == message.len() => {
            Reply::Response(message)
        }
        Some(([1, ..], _)) => Reply::Unreadable("the response is compressed"),
        _ => Reply::Unreadable("the response is not one message"),
    }
}

/// The header fields of all requests of a run.
pub(crate) fn request_fields(settings: &Settings) -> RequestFields {
    // gRPC writes at most eight digits, and the unit.
    let timeout = match settings.timeout_ns.div_ceil(1_000_000) {
        milliseconds @ ..=99_999_999 => format!("{milliseconds}m"),
        milliseconds => format!("{}S", milliseconds / 1_000),
    };
    let mut fields = vec![
        (":method", "POST".to_owned()),
        (":scheme", if settings.tls.is_some() { "https" } else { "http" }.to_owned()),
        (":path", settings.path.clone()),
        (":authority", settings.authority.clone()),
        ("te", "trailers".to_owned()),
        ("content-type", "application/grpc".to_owned()),
        ("user-agent", settings.user_agent.clone()),
    ];
    if let Some(shown) = &settings.authorization {
        fields.push(("authorization", shown.clone()));
    }
    // A stream lasts as long as the run.
    if settings.streams.is_none() {
        fields.push(("grpc-timeout", timeout));
    }
    RequestFields::new(fields)
}
