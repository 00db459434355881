//! The state of a session and its streams, which nghttp2 does not keep. `session` says who may write it when.

use std::collections::{HashMap, VecDeque};
use std::task::Waker;

use bytes::{Bytes, BytesMut};

use crate::transport::headers::HeaderBlocks;
use crate::transport::http2::fields::HeaderFields;
use crate::transport::http2::resets::Resets;
use crate::transport::quota::Reservation;

/// The payload of the ping that follows the first GOAWAY.
pub(super) const PING_LAST: [u8; 8] = *b"last\0\0\0\0";

/// The connection cannot receive or send any more frames.
#[derive(Debug)]
pub(crate) struct Http2Error;

/// The state of one stream.
#[derive(Default)]
pub(super) struct Stream {
    /// Data that has come and that the call has not read. The stream's window bounds it.
    pub(super) received: BytesMut,
    /// Whether the client has ended its side of the stream.
    pub(super) ended: bool,
    /// Whether the headers of the response were submitted.
    pub(super) answered: bool,
    /// Data of the response that was not sent yet.
    pub(super) unsent: Bytes,
    /// What `unsent` holds of the quota.
    pub(super) reservation: Reservation,
    /// Whether the call waits for the rest of a message.
    pub(super) awaited: bool,
    /// Whether data came or was sent since the last check for stalled calls.
    pub(super) progressed: bool,
    /// Whether the client did not send the rest of a message in time.
    pub(super) stalled: bool,
    /// The trailers, once the end of the response was given. Empty where the headers end the response.
    pub(super) end: Option<HeaderFields>,
    /// Whether nghttp2 asked for data when there was none. It must be told when there is.
    pub(super) deferred: bool,
    /// Wakes the task that waits for a change of this stream.
    pub(super) waker: Option<Waker>,
}

impl Stream {
    /// Wakes the task that waits for a change of this stream.
    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Sets the data that is sent next. All earlier data was sent.
    pub(super) fn queue_data(&mut self, data: Bytes, reservation: Reservation) {
        debug_assert!(self.unsent.is_empty() && self.end.is_none());
        self.unsent = data;
        self.reservation = reservation;
        self.progressed = true;
    }
}

/// The state of a session.
#[derive(Default)]
pub(super) struct SessionState {
    pub(super) streams: HashMap<i32, Stream, foldhash::fast::RandomState>,
    pub(super) blocks: HeaderBlocks,
    /// The size of the header block that is being received, so far.
    pub(super) header_bytes: usize,
    /// The largest size of a header block, counted as HTTP/2 counts it.
    pub(super) max_header_bytes: usize,
    /// Whether the header block that is being received has an `authorization` that HTTP does not allow.
    pub(super) invalid_authorization: bool,
    /// Bytes that no call will read, of streams that are closed. The connection's window gets them back.
    pub(super) dropped_bytes: usize,
    /// Streams whose response has ended before their request did. They are reset with NO_ERROR.
    pub(super) answered_early: VecDeque<i32>,
    /// Streams whose header fields are longer than nghttp2 sends. They are reset.
    pub(super) unsendable: Vec<i32>,
    /// Whether a call has begun since the last check for idle connections.
    pub(super) call_begun: bool,
    /// Whether the client's connection preface has come: its first SETTINGS frame.
    pub(super) preface_received: bool,
    /// Whether a frame has come since the last ping of `Http2Session::ping`.
    pub(super) alive: bool,
    /// Whether the ping that follows the first GOAWAY was sent, and whether the client has answered it.
    pub(super) last_ping_sent: bool,
    pub(super) last_ping_answered: bool,
    /// The debug data of the last GOAWAY: why the connection ends.
    pub(super) shut_down_reason: &'static str,
    pub(super) resets: Resets,
    /// Whether the connection ends with ENHANCE_YOUR_CALM, or would have ended so.
    pub(super) flooded: bool,
}
