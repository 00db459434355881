//! gRPC over HTTP/2: messages in frames, deadlines in headers, statuses in trailers.

use std::future::Future;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::failure::{self, Failure};
use crate::predict::HEAD;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const OK: HeaderValue = HeaderValue::from_static("0");
const MAX_TIMEOUT_DIGITS: usize = 8;

/// Whether the request is one of gRPC.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    kind.strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The failure of a request whose messages are compressed, if they are.
pub fn refuse_encoding(headers: &HeaderMap) -> Option<Failure> {
    let encoding = headers.get("grpc-encoding")?;
    (encoding != "identity").then(|| {
        let name = encoding.to_str().unwrap_or("?");
        Failure::plain(failure::UNIMPLEMENTED, format!("Compression algorithm '{name}' is disabled."))
    })
}

/// How long the caller waits, if it says so in a way that gRPC allows.
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.as_bytes();
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

/// What goes back to the caller.
pub struct Reply {
    respond: SendResponse<Bytes>,
    body: Option<SendStream<Bytes>>,
}

impl Reply {
    pub fn new(respond: SendResponse<Bytes>) -> Self {
        Self { respond, body: None }
    }

    /// Answers a request that is none of gRPC.
    pub fn refuse(mut self, status: StatusCode) {
        let mut response = Response::new(());
        *response.status_mut() = status;
        let _ = self.respond.send_response(response, true);
    }

    /// Sends the one message of a unary call, and that all is well.
    pub fn answer(mut self, message: Vec<u8>) {
        if let Some(body) = self.open() {
            let _ = body.send_data(Bytes::from(message), false);
        }
        self.finish(None);
    }

    /// Sends bytes of messages as fast as the caller takes them.
    ///
    /// # Errors
    /// The caller went away.
    pub async fn send(&mut self, mut bytes: Bytes) -> Result<(), Lost> {
        let body = self.open().ok_or(Lost::Reset)?;
        while !bytes.is_empty() {
            body.reserve_capacity(bytes.len());
            let capacity = match body.capacity() {
                0 => std::future::poll_fn(|cx| body.poll_capacity(cx)).await,
                capacity => Some(Ok(capacity)),
            };
            let capacity = capacity.and_then(Result::ok).ok_or(Lost::Reset)?;
            let part = bytes.split_to(capacity.min(bytes.len()));
            body.send_data(part, false).map_err(|_| Lost::Reset)?;
        }
        Ok(())
    }

    /// Ends the call, well or with a failure.
    pub fn finish(mut self, failed: Option<&Failure>) {
        let mut trailers = HeaderMap::with_capacity(4);
        match failed {
            None => drop(trailers.insert(STATUS, OK)),
            Some(failure) => failure.write(&mut trailers),
        }
        // A caller that went away is told nothing.
        let _ = match &mut self.body {
            Some(body) => body.send_trailers(trailers),
            None => {
                trailers.insert(CONTENT_TYPE, GRPC);
                let mut response = Response::new(());
                *response.headers_mut() = trailers;
                self.respond.send_response(response, true).map(drop)
            }
        };
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
            _ = std::future::poll_fn(|cx| self.poll_reset(cx)) => Err(Lost::Reset),
            () = expiry => Err(Lost::Expired),
        }
    }

    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reason, h2::Error>> {
        match &mut self.body {
            Some(body) => body.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        }
    }

    /// The body, after the headers.
    fn open(&mut self) -> Option<&mut SendStream<Bytes>> {
        if self.body.is_none() {
            let mut response = Response::new(());
            response.headers_mut().insert(CONTENT_TYPE, GRPC);
            self.body = self.respond.send_response(response, false).ok();
        }
        self.body.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_static(text));
            timeout(&headers)
        };
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
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(text));
            assert_eq!(is_grpc(&headers), taken, "{text}");
        }
    }
}
