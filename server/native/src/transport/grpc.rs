//! gRPC over HTTP/2: messages in frames, deadlines in headers, statuses in trailers.

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
/// The fields of every answer.
pub(crate) static INITIAL: InitialFields = InitialFields::new(const { &[HTTP_OK, GRPC, ACCEPTED] });
static INITIAL_GZIP: InitialFields =
    InitialFields::new(const { &[HTTP_OK, GRPC, ACCEPTED, HeaderField::fixed("grpc-encoding", "gzip")] });
const OK: &[HeaderField] = &[HeaderField::fixed("grpc-status", "0")];
/// Eight digits.
const MAX_TIMEOUT_COUNT: u64 = 99_999_999;

/// Whether the request is one of gRPC.
pub(crate) fn is_grpc(request: &GrpcHeaders<'_>) -> bool {
    let kind = request.content_type.unwrap_or_default();
    kind.strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// How the messages of a call may be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageCompression {
    Identity,
    /// The request's may be in gzip; the answer's only where the caller accepts that.
    Gzip {
        accepted: bool,
    },
}

/// How the messages of a request may be compressed.
///
/// # Errors
/// In a way that the server does not know.
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

/// A `grpc-timeout` that is no number with a unit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TimeoutHeaderError;

/// How long the caller waits; None where it sets no bound. As in gRPC's core, more digits than the
/// protocol has are no bound either.
///
/// # Errors
/// The header cannot be read.
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

/// The caller cannot be answered any more, or no longer wants to be.
pub(crate) enum DeliveryError {
    /// It went away.
    Reset,
    /// Its deadline passed.
    Expired,
    /// The quotas of bytes do not allow what it was to be sent.
    Full,
}

/// What goes back to the caller.
pub(crate) struct Responder {
    writer: ResponseWriter,
    /// Whether a message has been sent.
    opened: bool,
    /// Whether messages may be in gzip.
    gzip: bool,
}

impl Responder {
    pub(crate) fn new(writer: ResponseWriter) -> Self {
        Self { writer, opened: false, gzip: false }
    }

    /// Tells the caller that messages may be in gzip. To be called before the first is sent.
    pub(crate) fn allow_gzip(&mut self) {
        self.gzip = true;
    }

    /// Whether messages may be in gzip.
    pub(crate) fn allows_gzip(&self) -> bool {
        self.gzip
    }

    /// The fields before the first message.
    fn initial(&self) -> &'static InitialFields {
        if self.gzip { &INITIAL_GZIP } else { &INITIAL }
    }

    /// Answers a request that is none of gRPC with a status of HTTP's.
    pub(crate) fn refuse(self, status: &'static str) {
        self.writer.refuse(&[HeaderField::fixed(":status", status), ACCEPTED]);
    }

    /// Sends the one message of a unary call, and that all is well.
    pub(crate) fn answer(self, message: Vec<u8>) {
        let initial = self.initial();
        if let Err(answer) = self.writer.finish(initial, Bytes::from(message), HeaderFields::Borrowed(OK)) {
            Self::new(answer).finish(Some(&RpcError::full()));
        }
    }

    /// Sends bytes of messages once the caller has taken those before.
    ///
    /// # Errors
    /// The caller went away, or the quotas do not allow the bytes.
    pub(crate) async fn send(&mut self, bytes: Bytes) -> Result<(), DeliveryError> {
        if std::future::poll_fn(|cx| self.writer.poll_room(cx)).await.is_err() {
            return Err(DeliveryError::Reset);
        }
        if !self.writer.data(self.initial(), bytes) {
            return Err(DeliveryError::Full);
        }
        self.opened = true;
        Ok(())
    }

    /// Whether the quotas allow no answer that is to be counted.
    pub(crate) fn is_full(&self) -> bool {
        self.writer.is_full()
    }

    /// Ends the call, well or with a failure.
    pub(crate) fn finish(self, failed: Option<&RpcError>) {
        let initial = self.initial();
        match failed {
            None => self.writer.end(initial, HeaderFields::Borrowed(OK)),
            Some(failure) if self.opened => self.writer.end(initial, trailers(failure).into()),
            Some(failure) => {
                let mut fields = INITIAL.fields.to_vec();
                fields.extend(trailers(failure));
                self.writer.refuse(&fields);
            }
        }
    }

    /// The answer's side of the call again, to which nothing was sent.
    pub(crate) fn into_writer(self) -> ResponseWriter {
        self.writer
    }

    /// Waits for a future, unless the caller goes away or its deadline passes.
    ///
    /// # Errors
    /// It did, or it passed.
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
            () = std::future::poll_fn(|cx| self.writer.poll_gone(cx)) => Err(DeliveryError::Reset),
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
