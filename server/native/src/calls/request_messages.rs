//! The messages of a call: cut out of its body as they arrive, and inflated where they are in gzip.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use crate::access::grant::Grant;
use crate::predict::pool::Pool;
use crate::protocol::status::{self, RpcError};
use crate::rows::runner::MAX_SHARED_ROWS;
use crate::transport::arrivals;
use crate::transport::grpc::DeliveryError;
use crate::transport::gzip::Inflating;
use crate::transport::messages::{Message, MessageReader};
use crate::transport::stream::{BodyError, RequestBody};

/// Messages of a stream that arrive together are answered together, up to this many bytes.
const GATHER_BYTES: usize = 1 << 16;

/// Why a call ends early.
pub(crate) enum CallError {
    Delivery(DeliveryError),
    Failed(RpcError),
}

impl From<DeliveryError> for CallError {
    fn from(error: DeliveryError) -> Self {
        Self::Delivery(error)
    }
}

impl From<RpcError> for CallError {
    fn from(error: RpcError) -> Self {
        Self::Failed(error)
    }
}

/// Messages that arrived together. `end` is there where the request ended behind them.
pub(crate) struct MessageBatch {
    pub messages: Vec<Message>,
    pub end: Option<Result<(), CallError>>,
}

/// The messages of a request.
pub(crate) struct RequestMessages {
    body: RequestBody,
    reader: MessageReader,
    max_message_bytes: usize,
    /// Who calls, in whose turn messages are inflated; there is one only where messages may be in gzip.
    grant: Option<Arc<Grant>>,
    /// Whether the request is incomplete until it ends: a unary call has to send its message.
    awaits_message: bool,
    /// A message that a thread of the pool is inflating.
    inflating: Option<oneshot::Receiver<Result<Message, RpcError>>>,
    /// The message of a unary call whose caller has not said that no more come.
    only: Option<Message>,
}

impl RequestMessages {
    /// The messages of a call; `unary` where the call has one message.
    pub(crate) fn new(
        body: RequestBody,
        max_message_bytes: usize,
        gzip: bool,
        grant: Option<Arc<Grant>>,
        unary: bool,
    ) -> Self {
        let reader = MessageReader::new(max_message_bytes, gzip);
        Self { body, reader, max_message_bytes, grant, awaits_message: unary, inflating: None, only: None }
    }

    /// The next message; `None` at the end.
    pub(crate) fn poll_message(
        &mut self,
        pool: &Pool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Message>, CallError>> {
        loop {
            if let Some(inflating) = &mut self.inflating {
                let inflated = ready!(Pin::new(inflating).poll(cx));
                self.inflating = None;
                // The threads end only with the server.
                let inflated = inflated.map_err(|_| DeliveryError::Reset)?;
                return Poll::Ready(Ok(Some(inflated?)));
            }
            if let Some(mut message) = self.reader.next_message()? {
                message.reservation =
                    self.body.reserve_whole(message.bytes.len()).ok_or_else(RpcError::full)?;
                if !message.compressed {
                    return Poll::Ready(Ok(Some(message)));
                }
                if let Some(inflated) = self.inflate(pool, message)? {
                    return Poll::Ready(Ok(Some(inflated)));
                }
                continue;
            }
            match self.body.poll_data(cx) {
                Poll::Pending => {
                    let received = self.reader.len();
                    if (received > 0 || self.awaits_message) && !self.body.reserve_partial(received) {
                        return Poll::Ready(Err(RpcError::full().into()));
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Ok(None)) => return Poll::Ready(self.end()),
                Poll::Ready(Err(BodyError::Reset)) => return Poll::Ready(Err(DeliveryError::Reset.into())),
                Poll::Ready(Err(BodyError::Stalled)) => return Poll::Ready(Err(RpcError::stalled().into())),
                Poll::Ready(Ok(Some(chunk))) => {
                    // The rest of a message, and the message of a unary call, belong to a request that has begun.
                    if self.reader.is_empty() && !self.awaits_message {
                        arrivals::mark_request();
                    }
                    self.reader.push(chunk);
                }
            }
        }
    }

    /// Inflates a message: at once where it is short, else in a thread, and then gives `None`.
    fn inflate(&mut self, pool: &Pool, compressed: Message) -> Result<Option<Message>, RpcError> {
        let quota = Arc::clone(self.body.quota());
        let mut inflating = Inflating::new(compressed.bytes, self.max_message_bytes, quota);
        if inflating.step()? {
            return Ok(Some(inflating.into_message()));
        }
        let (sender, inflated) = oneshot::channel();
        self.inflating = Some(inflated);
        pool.run(self.grant.as_ref().map(|grant| &*grant.principal), move || {
            let _held = compressed.reservation;
            let whole = loop {
                // A caller that went away needs none of it.
                if sender.is_closed() {
                    return;
                }
                match inflating.step() {
                    Ok(true) => break Ok(inflating.into_message()),
                    Ok(false) => {}
                    Err(error) => break Err(error),
                }
            };
            let _ = sender.send(whole);
        });
        Ok(None)
    }

    /// Whether everything that the caller sent was taken.
    fn has_ended(&self) -> bool {
        self.body.has_ended() && self.reader.is_empty()
    }

    fn end(&self) -> Result<Option<Message>, CallError> {
        if self.reader.is_empty() {
            Ok(None)
        } else {
            Err(RpcError::plain(status::INTERNAL, "the last message is cut off").into())
        }
    }

    /// The messages that are here now, at least one unless the request has ended.
    pub(crate) fn poll_together(&mut self, pool: &Pool, cx: &mut Context<'_>) -> Poll<MessageBatch> {
        let (mut messages, mut size) = (Vec::new(), 0);
        while messages.len() < MAX_SHARED_ROWS && size < GATHER_BYTES {
            let end = match self.poll_message(pool, cx) {
                Poll::Ready(Ok(Some(message))) => {
                    size += message.bytes.len();
                    messages.push(message);
                    continue;
                }
                Poll::Pending if messages.is_empty() => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(Ok(None)) => Ok(()),
                Poll::Ready(Err(cut)) => Err(cut),
            };
            return Poll::Ready(MessageBatch { messages, end: Some(end) });
        }
        Poll::Ready(MessageBatch { messages, end: None })
    }

    /// The only message of a unary call, once the caller has said that no more come. Proxies cut off an answer
    /// that comes earlier.
    pub(crate) fn poll_only(
        &mut self,
        pool: &Pool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Message, CallError>> {
        let not_one = || RpcError::plain(status::UNIMPLEMENTED, "a unary call has one message").into();
        loop {
            match ready!(self.poll_message(pool, cx))? {
                // Most callers end with their message.
                Some(message) if self.only.is_none() && self.has_ended() => return Poll::Ready(Ok(message)),
                Some(_) if self.only.is_some() => return Poll::Ready(Err(not_one())),
                Some(message) => self.only = Some(message),
                None => return Poll::Ready(self.only.take().ok_or_else(not_one)),
            }
        }
    }
}
