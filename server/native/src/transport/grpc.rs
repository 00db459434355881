//! gRPC over HTTP/2: messages in frames, deadlines in headers, statuses in trailers.

use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::protocol::status::{self, Failure};
use crate::transport::headers::Request;
use crate::transport::http2::{Field, Fields, InitialFields};
use crate::transport::stream::Answer;

const HTTP_OK: Field = Field::fixed(":status", "200");
const GRPC: Field = Field::fixed("content-type", "application/grpc");
const ACCEPTED: Field = Field::fixed("grpc-accept-encoding", "identity,gzip");
/// The fields of every answer.
pub static INITIAL: InitialFields = InitialFields::new(const { &[HTTP_OK, GRPC, ACCEPTED] });
static INITIAL_GZIP: InitialFields =
    InitialFields::new(const { &[HTTP_OK, GRPC, ACCEPTED, Field::fixed("grpc-encoding", "gzip")] });
const OK: &[Field] = &[Field::fixed("grpc-status", "0")];
/// Eight digits.
const MAX_TIMEOUT_COUNT: u64 = 99_999_999;

/// Whether the request is one of gRPC.
pub fn is_grpc(request: &Request<'_>) -> bool {
    let kind = request.content_type.unwrap_or_default();
    kind.strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// How the messages of a call may be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
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
pub fn compression(request: &Request<'_>) -> Result<Compression, Failure> {
    match request.encoding {
        None | Some(b"identity") => Ok(Compression::Identity),
        Some(b"gzip") => {
            let accepted = request.accept_encoding.unwrap_or_default();
            let mut names = accepted.split(|&byte| byte == b',');
            Ok(Compression::Gzip { accepted: names.any(|name| name.trim_ascii() == b"gzip") })
        }
        Some(other) => {
            let name = std::str::from_utf8(other).unwrap_or("?");
            let message = format!("Compression algorithm '{name}' is disabled.");
            Err(Failure::plain(status::UNIMPLEMENTED, message))
        }
    }
}

/// A `grpc-timeout` that is no number with a unit.
#[derive(Debug, PartialEq, Eq)]
pub struct MalformedTimeout;

/// How long the caller waits; None where it sets no bound. As in gRPC's core, more digits than the
/// protocol has are no bound either.
///
/// # Errors
/// The header cannot be read.
pub fn timeout(request: &Request<'_>) -> Result<Option<Duration>, MalformedTimeout> {
    let Some(text) = request.timeout else { return Ok(None) };
    let (unit, digits) = text.split_last().ok_or(MalformedTimeout)?;
    let digits = digits.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(MalformedTimeout);
    }
    let in_unit = match unit {
        b'H' => |count| Duration::from_secs(count * 3600),
        b'M' => |count| Duration::from_secs(count * 60),
        b'S' => Duration::from_secs,
        b'm' => Duration::from_millis,
        b'u' => Duration::from_micros,
        b'n' => Duration::from_nanos,
        _ => return Err(MalformedTimeout),
    };
    let count = digits.iter().try_fold(0_u64, |count, digit| {
        let count = count * 10 + u64::from(digit - b'0');
        (count <= MAX_TIMEOUT_COUNT).then_some(count)
    });
    Ok(count.map(in_unit))
}

/// The caller cannot be answered any more, or no longer wants to be.
pub enum Lost {
    /// It went away.
    Reset,
    /// Its deadline passed.
    Expired,
    /// The quotas of bytes do not allow what it was to be sent.
    Full,
}

/// What goes back to the caller.
pub struct Reply {
    answer: Answer,
    /// Whether a message has been sent.
    opened: bool,
    /// Whether messages may be in gzip.
    gzip: bool,
}

impl Reply {
    pub fn new(answer: Answer) -> Self {
        Self { answer, opened: false, gzip: false }
    }

    /// Tells the caller that messages may be in gzip. To be called before the first is sent.
    pub fn allow_gzip(&mut self) {
        self.gzip = true;
    }

    /// Whether messages may be in gzip.
    pub fn allows_gzip(&self) -> bool {
        self.gzip
    }

    /// The fields before the first message.
    fn initial(&self) -> &'static InitialFields {
        if self.gzip { &INITIAL_GZIP } else { &INITIAL }
    }

    /// Answers a request that is none of gRPC with a status of HTTP's.
    pub fn refuse(self, status: &'static str) {
        self.answer.refuse(&[Field::fixed(":status", status), ACCEPTED]);
    }

    /// Sends the one message of a unary call, and that all is well.
    pub fn answer(self, message: Vec<u8>) {
        let initial = self.initial();
        if let Err(answer) = self.answer.finish(initial, Bytes::from(message), Fields::Borrowed(OK)) {
            Self::new(answer).finish(Some(&Failure::full()));
        }
    }

    /// Sends bytes of messages once the caller has taken those before.
    ///
    /// # Errors
    /// The caller went away, or the quotas do not allow the bytes.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), Lost> {
        if std::future::poll_fn(|cx| self.answer.poll_room(cx)).await.is_err() {
            return Err(Lost::Reset);
        }
        if !self.answer.data(self.initial(), bytes) {
            return Err(Lost::Full);
        }
        self.opened = true;
        Ok(())
    }

    /// Whether the quotas allow no answer that is to be counted.
    pub fn is_full(&self) -> bool {
        self.answer.is_full()
    }

    /// Ends the call, well or with a failure.
    pub fn finish(self, failed: Option<&Failure>) {
        let initial = self.initial();
        match failed {
            None => self.answer.end(initial, Fields::Borrowed(OK)),
            Some(failure) if self.opened => self.answer.end(initial, failure.fields().into()),
            Some(failure) => {
                let mut fields = INITIAL.fields.to_vec();
                fields.extend(failure.fields());
                self.answer.refuse(&fields);
            }
        }
    }

    /// The answer's side of the call again, to which nothing was sent.
    pub fn into_answer(self) -> Answer {
        self.answer
    }

    /// Waits for a future, unless the caller goes away or its deadline passes.
    ///
    /// # Errors
    /// It did, or it passed.
    pub async fn attend<T>(
        &mut self,
        deadline: Option<Instant>,
        future: impl Future<Output = T>,
    ) -> Result<T, Lost> {
        let expiry = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = future => Ok(done),
            () = std::future::poll_fn(|cx| self.answer.poll_gone(cx)) => Err(Lost::Reset),
            () = expiry => Err(Lost::Expired),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Request<'static> {
        Request::default()
    }

    #[test]
    fn timeouts_are_digits_and_a_unit() {
        let read = |text: &'static str| timeout(&Request { timeout: Some(text.as_bytes()), ..none() });
        let taken = |duration| Ok(Some(duration));
        assert_eq!(read("5S"), taken(Duration::from_secs(5)));
        assert_eq!(read("250m"), taken(Duration::from_millis(250)));
        assert_eq!(read("99999999H"), taken(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(read("00000000001 u"), taken(Duration::from_micros(1)));
        for text in ["100000000S", "99999999999999999999999999999n"] {
            assert_eq!(read(text), Ok(None), "{text}");
        }
        for text in ["", "S", "5", "5x", "5s", "-5S", "+5S", "1.5S"] {
            assert_eq!(read(text), Err(MalformedTimeout), "{text}");
        }
        assert_eq!(timeout(&none()), Ok(None));
    }

    #[test]
    fn gzip_is_taken_and_answered_where_the_caller_accepts_it() {
        let read = |encoding: Option<&'static str>, accepted: &'static str| {
            compression(&Request {
                encoding: encoding.map(str::as_bytes),
                accept_encoding: Some(accepted.as_bytes()),
                ..none()
            })
        };
        assert_eq!(compression(&none()), Ok(Compression::Identity));
        assert_eq!(read(None, "gzip"), Ok(Compression::Identity));
        assert_eq!(read(Some("identity"), ""), Ok(Compression::Identity));
        for (accepted, told) in
            [("gzip", true), ("identity, deflate,gzip", true), ("identity,xgzip", false), ("", false)]
        {
            assert_eq!(read(Some("gzip"), accepted), Ok(Compression::Gzip { accepted: told }), "{accepted}");
        }
        assert_eq!(read(Some("snappy"), "").unwrap_err().code, status::UNIMPLEMENTED);
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
            assert_eq!(is_grpc(&Request { content_type: Some(text.as_bytes()), ..none() }), taken, "{text}");
        }
    }
}
