//! gRPC over HTTP/2: the deadline and the compression in a request's headers, and responses with their status.

use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::protocol::status::{self, RpcError};
use crate::transport::headers::GrpcHeaders;
use crate::transport::http2::fields::{HeaderField, HeaderFields, InitialFields};
use crate::transport::stream::ResponseWriter;
use crate::transport::trailers::trailers;

const HTTP_OK: HeaderField = HeaderField::fixed(":status", "200");
const GRPC: HeaderField = HeaderField::fixed("content-type", "application/grpc");
const ACCEPTED: HeaderField = HeaderField::fixed("grpc-accept-encoding", "identity,gzip");
/// The header fields that every response begins with.
pub(crate) static INITIAL: InitialFields = InitialFields::new(const { &[HTTP_OK, GRPC, ACCEPTED] });
static INITIAL_GZIP: InitialFields =
    InitialFields::new(const { &[HTTP_OK, GRPC, ACCEPTED, HeaderField::fixed("grpc-encoding", "gzip")] });
const OK: &[HeaderField] = &[HeaderField::fixed("grpc-status", "0")];
/// The largest number of `grpc-timeout`, which has eight digits at most.
const MAX_TIMEOUT_COUNT: u64 = 99_999_999;

/// Whether the content type of the request is gRPC's.
pub(crate) fn is_grpc(request: &GrpcHeaders<'_>) -> bool {
    let kind = request.content_type.unwrap_or_default();
    kind.strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Which compression the messages of a call may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageCompression {
    Identity,
    /// Messages of the request may be compressed with gzip, and messages of the response where the caller
    /// accepts gzip.
    Gzip {
        accepted: bool,
    },
}

/// Reads the compression of a request from `grpc-encoding` and `grpc-accept-encoding`.
///
/// # Errors
/// `RpcError`, UNIMPLEMENTED: the request's encoding is neither identity nor gzip.
pub(crate) fn compression(request: &GrpcHeaders<'_>) -> Result<MessageCompression, RpcError> {
    match request.encoding {
        None | Some(b"identity") => Ok(MessageCompression::Identity),
        Some(b"gzip") => {
            let accepted = request.accept_encoding.unwrap_or_default();
            let mut names = accepted.split(|&byte| byte == b',');
            Ok(MessageCompression::Gzip { accepted: names.any(|name| name.trim_ascii() == b"gzip") })
        }
        Some(other) => {
            let name = std::str::from_utf8(other).unwrap_or("?");
            let message = format!("Compression algorithm '{name}' is disabled.");
            Err(RpcError::plain(status::UNIMPLEMENTED, message))
        }
    }
}

/// A `grpc-timeout` that is not a number with a unit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TimeoutHeaderError;

/// Reads how long the caller waits. `None`: the caller waits for as long as it takes. As in gRPC's core,
/// that is also the meaning of a number with more digits than the protocol allows.
///
/// # Errors
/// `TimeoutHeaderError`: the header is not digits with one of gRPC's units behind them.
pub(crate) fn timeout(request: &GrpcHeaders<'_>) -> Result<Option<Duration>, TimeoutHeaderError> {
    let Some(text) = request.timeout else { return Ok(None) };
    let (unit, digits) = text.split_last().ok_or(TimeoutHeaderError)?;
    let digits = digits.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(TimeoutHeaderError);
    }
    let in_unit = match unit {
        b'H' => |count| Duration::from_secs(count * 3600),
        b'M' => |count| Duration::from_secs(count * 60),
        b'S' => Duration::from_secs,
        b'm' => Duration::from_millis,
        b'u' => Duration::from_micros,
        b'n' => Duration::from_nanos,
        _ => return Err(TimeoutHeaderError),
    };
    let count = digits.iter().try_fold(0_u64, |count, digit| {
        let count = count * 10 + u64::from(digit - b'0');
        (count <= MAX_TIMEOUT_COUNT).then_some(count)
    });
    Ok(count.map(in_unit))
}

/// Why a caller does not get its response.
pub(crate) enum DeliveryError {
    /// The stream is closed: the caller cancelled the call, or the connection is gone.
    Reset,
    /// The caller's deadline has passed.
    Expired,
    /// The quotas do not allow the bytes of the response.
    Full,
}

/// Sends the response of one call: its messages, and its status.
pub(crate) struct Responder {
    writer: ResponseWriter,
    /// Whether a message was sent. The status goes into trailers then, else into the headers.
    message_sent: bool,
    /// Whether messages may be compressed with gzip.
    gzip: bool,
}

impl Responder {
    pub(crate) fn new(writer: ResponseWriter) -> Self {
        Self { writer, message_sent: false, gzip: false }
    }

    /// Allows gzip for the messages of the response, and announces it in the headers. Called before the first
    /// message is sent.
    pub(crate) fn allow_gzip(&mut self) {
        self.gzip = true;
    }

    /// Whether messages of the response may be compressed with gzip.
    pub(crate) fn allows_gzip(&self) -> bool {
        self.gzip
    }

    /// The header fields before the first message.
    fn initial(&self) -> &'static InitialFields {
        if self.gzip { &INITIAL_GZIP } else { &INITIAL }
    }

    /// Answers a request that is not a gRPC request with a status of HTTP.
    pub(crate) fn refuse(self, status: &'static str) {
        self.writer.headers_only(&[HeaderField::fixed(":status", status), ACCEPTED]);
    }

    /// Sends the message of a unary call, with its prefix, and the status OK. Where the quotas do not allow
    /// the message, the call ends with RESOURCE_EXHAUSTED instead.
    pub(crate) fn answer(self, message: Vec<u8>) {
        let initial = self.initial();
        if let Err(writer) = self.writer.finish(initial, Bytes::from(message), HeaderFields::Borrowed(OK)) {
            Self::new(writer).finish(Some(&RpcError::full()));
        }
    }

    /// Waits until the bytes before were sent, then sends these: messages of a stream, with their prefixes.
    ///
    /// # Errors
    /// `DeliveryError::Reset`: the stream is closed. `DeliveryError::Full`: the quotas do not allow the bytes.
    pub(crate) async fn send(&mut self, bytes: Bytes) -> Result<(), DeliveryError> {
        if std::future::poll_fn(|cx| self.writer.poll_capacity(cx)).await.is_err() {
            return Err(DeliveryError::Reset);
        }
        if !self.writer.data(self.initial(), bytes) {
            return Err(DeliveryError::Full);
        }
        self.message_sent = true;
        Ok(())
    }

    /// Whether the quotas are used up, so that only a small response can be sent.
    pub(crate) fn is_full(&self) -> bool {
        self.writer.is_full()
    }

    /// Ends the call with this error; `None`: with the status OK.
    pub(crate) fn finish(self, error: Option<&RpcError>) {
        let initial = self.initial();
        match error {
            None => self.writer.end(initial, HeaderFields::Borrowed(OK)),
            Some(error) if self.message_sent => self.writer.end(initial, trailers(error).into()),
            Some(error) => {
                let mut fields = INITIAL.fields.to_vec();
                fields.extend(trailers(error));
                self.writer.headers_only(&fields);
            }
        }
    }

    /// Gives the writer back. Nothing was sent.
    pub(crate) fn into_writer(self) -> ResponseWriter {
        self.writer
    }

    /// Waits for a future as long as the caller does.
    ///
    /// # Errors
    /// `DeliveryError::Reset`: the stream is closed. `DeliveryError::Expired`: the deadline has passed.
    pub(crate) async fn wait_for<T>(
        &mut self,
        deadline: Option<Instant>,
        future: impl Future<Output = T>,
    ) -> Result<T, DeliveryError> {
        let expiry = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = future => Ok(done),
            () = std::future::poll_fn(|cx| self.writer.poll_reset(cx)) => Err(DeliveryError::Reset),
            () = expiry => Err(DeliveryError::Expired),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> GrpcHeaders<'static> {
        GrpcHeaders::default()
    }

    #[test]
    fn timeouts_are_digits_and_a_unit() {
        let read = |text: &'static str| timeout(&GrpcHeaders { timeout: Some(text.as_bytes()), ..none() });
        let taken = |duration| Ok(Some(duration));
        assert_eq!(read("5S"), taken(Duration::from_secs(5)));
        assert_eq!(read("250m"), taken(Duration::from_millis(250)));
        assert_eq!(read("99999999H"), taken(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(read("00000000001 u"), taken(Duration::from_micros(1)));
        for text in ["100000000S", "99999999999999999999999999999n"] {
            assert_eq!(read(text), Ok(None), "{text}");
        }
        for text in ["", "S", "5", "5x", "5s", "-5S", "+5S", "1.5S"] {
            assert_eq!(read(text), Err(TimeoutHeaderError), "{text}");
        }
        assert_eq!(timeout(&none()), Ok(None));
    }

    #[test]
    fn gzip_is_taken_and_answered_where_the_caller_accepts_it() {
        let read = |encoding: Option<&'static str>, accepted: &'static str| {
            compression(&GrpcHeaders {
                encoding: encoding.map(str::as_bytes),
                accept_encoding: Some(accepted.as_bytes()),
                ..none()
            })
        };
        assert_eq!(compression(&none()), Ok(MessageCompression::Identity));
        assert_eq!(read(None, "gzip"), Ok(MessageCompression::Identity));
        assert_eq!(read(Some("identity"), ""), Ok(MessageCompression::Identity));
        for (accepted, told) in
            [("gzip", true), ("identity, deflate,gzip", true), ("identity,xgzip", false), ("", false)]
        {
            assert_eq!(
                read(Some("gzip"), accepted),
                Ok(MessageCompression::Gzip { accepted: told }),
                "{accepted}"
            );
        }
        let unknown = read(Some("snappy"), "").unwrap_err();
        assert_eq!(unknown.code, status::UNIMPLEMENTED);
        assert_eq!(unknown.message, "Compression algorithm 'snappy' is disabled.");
    }

    #[test]
    fn only_grpc_content_types_are_taken() {
        for (text, taken) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;v=1", true),
            ("application/grpc-web", false),
            ("text/plain", false),
        ] {
            assert_eq!(
                is_grpc(&GrpcHeaders { content_type: Some(text.as_bytes()), ..none() }),
                taken,
                "{text}"
            );
        }
    }
}
