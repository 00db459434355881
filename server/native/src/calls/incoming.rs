//! The messages of a call, as they arrive and inflated.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use crate::predict::pool::Pool;
use crate::protocol::status::{self, Failure};
use crate::routing::snapshot::MAX_JOINT_ROWS;
use crate::transport::grpc::Lost;
use crate::transport::gzip::Inflating;
use crate::transport::inbox::{Inbox, Message};
use crate::transport::stream::{Body, Gone};

/// Messages of a stream that are here together are answered together, up to this many bytes.
const GATHER_BYTES: usize = 1 << 16;

/// Why reading a request ended.
pub enum Cut {
    Lost(Lost),
    Failed(Failure),
}

impl From<Lost> for Cut {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

impl From<Failure> for Cut {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Messages of a request that came together, and how it ended where it did behind them.
pub struct Together {
    pub messages: Vec<Message>,
    pub end: Option<Result<(), Cut>>,
}

/// The messages of a request.
pub struct Incoming {
    body: Body,
    inbox: Inbox,
    max_message_bytes: usize,
    /// Whether the caller owes something until its request ends.
    owes: bool,
    /// A message that a thread inflates.
    inflating: Option<oneshot::Receiver<Result<Message, Failure>>>,
    /// The message of a unary call whose caller has not ended.
    only: Option<Message>,
}

impl Incoming {
    /// The messages of a call: `unary` where it has one, and ends.
    pub fn new(body: Body, max_message_bytes: usize, gzip: bool, unary: bool) -> Self {
        let inbox = Inbox::new(max_message_bytes, gzip);
        Self { body, inbox, max_message_bytes, owes: unary, inflating: None, only: None }
    }

    /// The next message; None at the end.
    pub fn poll_message(&mut self, pool: &Pool, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Cut>> {
        loop {
            if let Some(inflating) = &mut self.inflating {
                let inflated = ready!(Pin::new(inflating).poll(cx));
                self.inflating = None;
                // The threads end only with the server.
                let inflated = inflated.map_err(|_| Lost::Reset)?;
                return Poll::Ready(Ok(Some(inflated?)));
            }
            if let Some(mut message) = self.inbox.next_message()? {
                message.held = self.body.settle(message.bytes.len()).ok_or_else(Failure::full)?;
                if !message.zipped {
                    return Poll::Ready(Ok(Some(message)));
                }
                if let Some(inflated) = self.inflate(pool, message)? {
                    return Poll::Ready(Ok(Some(inflated)));
                }
                continue;
            }
            match self.body.poll_data(cx) {
                Poll::Pending => {
                    let begun = self.inbox.len();
                    if (begun > 0 || self.owes) && !self.body.owe(begun) {
                        return Poll::Ready(Err(Failure::full().into()));
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Ok(None)) => return Poll::Ready(self.end()),
                Poll::Ready(Err(Gone::Reset)) => return Poll::Ready(Err(Lost::Reset.into())),
                Poll::Ready(Err(Gone::Stalled)) => return Poll::Ready(Err(Failure::stalled().into())),
                Poll::Ready(Ok(Some(chunk))) => self.inbox.push(chunk),
            }
        }
    }

    /// Inflates a message: at once where it is short, else in a thread.
    fn inflate(&mut self, pool: &Pool, zipped: Message) -> Result<Option<Message>, Failure> {
        let quota = Arc::clone(self.body.quota());
        let mut inflating = Inflating::new(zipped.bytes, self.max_message_bytes, quota);
        if inflating.step()? {
            return Ok(Some(inflating.into_message()));
        }
        let (sender, inflated) = oneshot::channel();
        self.inflating = Some(inflated);
        pool.run(move || {
            let _held = zipped.held;
            let whole = loop {
                // A caller that went away needs none of it.
                if sender.is_closed() {
                    return;
                }
                match inflating.step() {
                    Ok(true) => break Ok(inflating.into_message()),
                    Ok(false) => {}
                    Err(failure) => break Err(failure),
                }
            };
            let _ = sender.send(whole);
        });
        Ok(None)
    }

    /// Whether all that the caller sends has come and been taken.
    fn has_ended(&self) -> bool {
        self.body.has_ended() && self.inbox.is_empty()
    }

    fn end(&self) -> Result<Option<Message>, Cut> {
        if self.inbox.is_empty() {
            Ok(None)
        } else {
            Err(Failure::plain(status::INTERNAL, "the last message is cut off").into())
        }
    }

    /// Messages that are here together.
    pub fn poll_together(&mut self, pool: &Pool, cx: &mut Context<'_>) -> Poll<Together> {
        let (mut messages, mut size) = (Vec::new(), 0);
        while messages.len() < MAX_JOINT_ROWS && size < GATHER_BYTES {
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
            return Poll::Ready(Together { messages, end: Some(end) });
        }
        Poll::Ready(Together { messages, end: None })
    }

    /// The one message of a unary call, once the caller has said that it sends no more: proxies cut off
    /// an answer that comes before.
    pub fn poll_only(&mut self, pool: &Pool, cx: &mut Context<'_>) -> Poll<Result<Message, Cut>> {
        let not_one = || Failure::plain(status::UNIMPLEMENTED, "a unary call has one message").into();
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
