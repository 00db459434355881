//! The messages of a call, as they arrive and inflated.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::failure::{self, Failure};
use crate::grpc::Lost;
use crate::gzip::Inflating;
use crate::inbox::{Inbox, Message};
use crate::link::Body;
use crate::pool::Pool;
use crate::snapshot::MAX_JOINT_ROWS;

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
    /// A message that a thread inflates.
    inflating: Option<oneshot::Receiver<Result<Bytes, Failure>>>,
    /// The message of a unary call whose caller has not ended.
    only: Option<Message>,
}

impl Incoming {
    pub fn new(body: Body, max_message_bytes: usize, gzip: bool) -> Self {
        let inbox = Inbox::new(max_message_bytes, gzip);
        Self { body, inbox, max_message_bytes, inflating: None, only: None }
    }

    /// The next message; None at the end.
    pub fn poll_message(&mut self, pool: &Pool, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Cut>> {
        loop {
            if let Some(inflating) = &mut self.inflating {
                let inflated = ready!(Pin::new(inflating).poll(cx));
                self.inflating = None;
                // The threads end only with the server.
                let inflated = inflated.map_err(|_| Lost::Reset)?;
                return Poll::Ready(Ok(Some(Message { bytes: inflated?, zipped: true })));
            }
            if let Some(message) = self.inbox.next_message()? {
                if !message.zipped {
                    return Poll::Ready(Ok(Some(message)));
                }
                if let Some(bytes) = self.inflate(pool, message.bytes)? {
                    return Poll::Ready(Ok(Some(Message { bytes, zipped: true })));
                }
                continue;
            }
            match self.body.poll_data(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(None)) => return Poll::Ready(self.end()),
                Poll::Ready(Err(gone)) => return Poll::Ready(Err(Cut::Lost(gone.into()))),
                Poll::Ready(Ok(Some(chunk))) => self.inbox.push(chunk),
            }
        }
    }

    /// Inflates a message: at once where it is short, else in a thread.
    fn inflate(&mut self, pool: &Pool, zipped: Bytes) -> Result<Option<Bytes>, Failure> {
        let mut inflating = Inflating::new(zipped, self.max_message_bytes);
        if inflating.step()? {
            return Ok(Some(inflating.into_bytes()));
        }
        let (sender, inflated) = oneshot::channel();
        self.inflating = Some(inflated);
        pool.run(move || {
            let whole = loop {
                // A caller that went away needs none of it.
                if sender.is_closed() {
                    return;
                }
                match inflating.step() {
                    Ok(true) => break Ok(inflating.into_bytes()),
                    Ok(false) => {}
                    Err(failure) => break Err(failure),
                }
            };
            let _ = sender.send(whole);
        });
        Ok(None)
    }

    fn end(&self) -> Result<Option<Message>, Cut> {
        if self.inbox.is_empty() {
            Ok(None)
        } else {
            Err(Failure::plain(failure::INTERNAL, "the last message is cut off").into())
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
        let not_one = || Failure::plain(failure::UNIMPLEMENTED, "a unary call has one message").into();
        loop {
            match ready!(self.poll_message(pool, cx))? {
                Some(_) if self.only.is_some() => return Poll::Ready(Err(not_one())),
                Some(message) => self.only = Some(message),
                None => return Poll::Ready(self.only.take().ok_or_else(not_one)),
            }
        }
    }
}
