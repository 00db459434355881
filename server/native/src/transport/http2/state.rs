//! What is known of a connection and its streams. Both the session and the callbacks write here.

use std::collections::{HashMap, VecDeque};
use std::task::Waker;

use bytes::{Bytes, BytesMut};

use crate::transport::headers::HeaderBlocks;
use crate::transport::http2::fields::HeaderFields;
use crate::transport::http2::resets::Resets;
use crate::transport::quota::Reservation;

pub(super) const PING_LAST: [u8; 8] = *b"last\0\0\0\0";

/// The connection has come to an end that allows no more frames.
#[derive(Debug)]
pub(crate) struct Http2Error;

/// What is known of a stream.
#[derive(Default)]
pub(super) struct Stream {
    /// What has come and was not taken. The window bounds it.
    pub(super) received: BytesMut,
    /// The client sends no more.
    pub(super) ended: bool,
    /// Whether the headers of the answer have been submitted.
    pub(super) answered: bool,
    /// What is to be sent, and how the call ends after it.
    pub(super) unsent: Bytes,
    /// What it holds of the quota.
    pub(super) held: Reservation,
    /// Whether the client owes the rest of a message.
    pub(super) expected: bool,
    /// Whether something came or went since the last look.
    pub(super) moved: bool,
    pub(super) stalled: bool,
    pub(super) end: Option<HeaderFields>,
    /// nghttp2 has asked for data when there was none.
    pub(super) deferred: bool,
    /// The task that waits for any of this to change.
    pub(super) waiting: Option<Waker>,
}

impl Stream {
    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    pub(super) fn put(&mut self, data: Bytes, held: Reservation) {
        debug_assert!(self.unsent.is_empty() && self.end.is_none());
        self.unsent = data;
        self.held = held;
        self.moved = true;
    }
}

/// What the callbacks write.
#[derive(Default)]
pub(super) struct SessionState {
    pub(super) streams: HashMap<i32, Stream, foldhash::fast::RandomState>,
    pub(super) begun: HeaderBlocks,
    /// What the head that is being received counts so far, and what it may.
    pub(super) head_bytes: usize,
    pub(super) max_head_bytes: usize,
    /// Bytes that streams had not taken when they closed; the connection's window takes them back.
    pub(super) dropped_bytes: usize,
    /// Streams that were answered before the client had ended.
    pub(super) answered_early: VecDeque<i32>,
    /// Streams whose fields are more than can be sent.
    pub(super) unsendable: Vec<i32>,
    /// Whether a call has begun since the last look.
    pub(super) called: bool,
    pub(super) greeted: bool,
    pub(super) alive: bool,
    /// Whether the ping behind which no more calls begin was sent, and whether it came back.
    pub(super) last_ping_sent: bool,
    pub(super) last_ping_answered: bool,
    /// What the last GOAWAY says beside its code.
    pub(super) shut_down_reason: &'static str,
    pub(super) resets: Resets,
    /// Whether the client was told that it asks too much, or would have been.
    pub(super) flooded: bool,
}
