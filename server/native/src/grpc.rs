//! gRPC over HTTP/2: messages in frames, deadlines in headers, statuses in trailers.

use std::future::Future;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};

use crate::answer::HEAD;
use crate::failure::{self, Failure};
use crate::headers::Head;
use crate::link::{Answer, Gone};
use crate::session::{Field, Fields};

const HTTP_OK: Field = Field::fixed(":status", "200");
const GRPC: Field = Field::fixed("content-type", "application/grpc");
const OPENING: &[Field] = &[HTTP_OK, GRPC];
const OK: &[Field] = &[Field::fixed("grpc-status", "0")];
const MAX_TIMEOUT_DIGITS: usize = 8;

/// Whether the request is one of gRPC.
pub fn is_grpc(headers: Head<'_>) -> bool {
    let kind = headers.get("content-type").unwrap_or_default();
    kind.strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The failure of a request whose messages are compressed, if they are.
pub fn refuse_encoding(headers: Head<'_>) -> Option<Failure> {
    let encoding = headers.get("grpc-encoding")?;
    (encoding != b"identity").then(|| {
        let name = std::str::from_utf8(encoding).unwrap_or("?");
        Failure::plain(failure::UNIMPLEMENTED, format!("Compression algorithm '{name}' is disabled."))
    })
}

/// How long the caller waits, if it says so in a way that gRPC allows.
pub fn timeout(headers: Head<'_>) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?;
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > MAX_TIMEOUT_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0_u64, |count, digit| count * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Messages out of the frames of a request.
pub struct Inbox {
    /// What came last; messages that are whole in it are not copied.
    chunk: Bytes,
    /// The beginning of a message that came in several frames.
    pending: BytesMut,
    max_message_bytes: usize,
}

impl Inbox {
    pub fn new(max_message_bytes: usize) -> Self {
        Self { chunk: Bytes::new(), pending: BytesMut::new(), max_message_bytes }
    }

    /// Takes the bytes of a frame. All whole messages of earlier frames have been taken out.
    pub fn push(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() && self.pending.is_empty() {
            self.chunk = chunk;
            return;
        }
        if self.pending.is_empty() {
            self.pending.extend_from_slice(&std::mem::take(&mut self.chunk));
        }
        self.pending.extend_from_slice(&chunk);
    }

    /// Whether nothing is left over.
    pub fn is_empty(&self) -> bool {
        self.chunk.is_empty() && self.pending.is_empty()
    }

    /// The next whole message, without its head.
    ///
    /// # Errors
    /// It is larger than allowed, or compressed.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, Failure> {
        let bytes = if self.pending.is_empty() { &self.chunk[..] } else { &self.pending[..] };
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if head[0] != 0 {
            let message = "compressed flag set with identity encoding";
            return Err(Failure::plain(failure::INTERNAL, message));
        }
        if length > self.max_message_bytes {
            let limit = self.max_message_bytes;
            let message = format!("Received message larger than max ({length} vs. {limit})");
            return Err(Failure::plain(failure::RESOURCE_EXHAUSTED, message));
        }
        if rest.len() < length {
            if !self.pending.is_empty() {
                self.pending.reserve(length - rest.len());
            }
            return Ok(None);
        }
        if self.pending.is_empty() {
            self.chunk.advance(HEAD);
            return Ok(Some(self.chunk.split_to(length)));
        }
        self.pending.advance(HEAD);
        let message = self.pending.split_to(length).freeze();
        if !self.pending.is_empty() {
            self.chunk = self.pending.split().freeze();
        }
        Ok(Some(message))
    }
}

/// The caller cannot be answered any more, or no longer wants to be.
pub enum Lost {
    /// It went away.
    Reset,
    /// Its deadline passed.
    Expired,
}

impl From<Gone> for Lost {
    fn from(_: Gone) -> Self {
        Self::Reset
    }
}

/// What goes back to the caller.
pub struct Reply {
    answer: Answer,
    /// Whether a message has been sent.
    opened: bool,
}

impl Reply {
    pub fn new(answer: Answer) -> Self {
        Self { answer, opened: false }
    }

    /// Answers a request that is none of gRPC with a status of HTTP's.
    pub fn refuse(self, status: &'static str) {
        self.answer.refuse(&[Field::fixed(":status", status)]);
    }

    /// Sends the one message of a unary call, and that all is well.
    pub fn answer(self, message: Vec<u8>) {
        self.answer.data(OPENING, Bytes::from(message));
        self.answer.end(OPENING, Fields::Borrowed(OK));
    }

    /// Sends bytes of messages once the caller has taken those before.
    ///
    /// # Errors
    /// The caller went away.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), Lost> {
        std::future::poll_fn(|cx| self.answer.poll_room(cx)).await?;
        self.opened = true;
        self.answer.data(OPENING, bytes);
        Ok(())
    }

    /// Ends the call, well or with a failure.
    pub fn finish(self, failed: Option<&Failure>) {
        match failed {
            None => self.answer.end(OPENING, Fields::Borrowed(OK)),
            Some(failure) if self.opened => self.answer.end(OPENING, failure.fields().into()),
            Some(failure) => {
                let mut fields = OPENING.to_vec();
                fields.extend(failure.fields());
                self.answer.refuse(&fields);
            }
        }
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
    use crate::headers::Begun;

    fn with_head<T>(name: &str, value: &str, read: impl Fn(Head<'_>) -> T) -> T {
        let mut begun = Begun::default();
        begun.begin();
        begun.push(name.as_bytes(), value.as_bytes());
        begun.end(1, false);
        begun.iter().next().map(|(_, head)| read(head)).unwrap()
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap();
        [&[0][..], &length.to_be_bytes(), message].concat()
    }

    #[test]
    fn messages_come_out_whole_however_they_are_cut() {
        let bytes = [framed(b"one"), framed(b""), framed(&[7; 300])].concat();
        for size in 1..bytes.len() + 1 {
            let mut inbox = Inbox::new(1000);
            let mut found = Vec::new();
            for chunk in bytes.chunks(size) {
                inbox.push(Bytes::copy_from_slice(chunk));
                while let Some(message) = inbox.next_message().unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(found, [&b"one"[..], b"", &[7; 300]]);
            assert!(inbox.is_empty());
        }
    }

    #[test]
    fn a_message_over_the_limit_is_refused_by_its_head() {
        let mut inbox = Inbox::new(10);
        inbox.push(Bytes::from_static(&[0, 0, 0, 0, 11]));
        assert_eq!(inbox.next_message().unwrap_err().code, failure::RESOURCE_EXHAUSTED);
    }

    #[test]
    fn a_compressed_message_is_refused() {
        let mut inbox = Inbox::new(10);
        inbox.push(Bytes::from_static(&[1, 0, 0, 0, 0]));
        assert_eq!(inbox.next_message().unwrap_err().code, failure::INTERNAL);
    }

    #[test]
    fn timeouts_are_digits_and_a_unit() {
        let read = |text| with_head("grpc-timeout", text, timeout);
        assert_eq!(read("5S"), Some(Duration::from_secs(5)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for text in ["", "S", "5", "5x", "-5S", "123456789S"] {
            assert_eq!(read(text), None, "{text}");
        }
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
            assert_eq!(with_head("content-type", text, is_grpc), taken, "{text}");
        }
    }
}
