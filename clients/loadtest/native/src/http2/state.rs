//! What a session keeps of its streams, beside what nghttp2 keeps.

use std::collections::HashMap;

use bytes::Bytes;

use crate::http2::event::{Ending, Event};

/// Messages that are added as time goes on, with the prefix of each.
#[derive(Default)]
pub(super) struct Messages {
    bytes: Vec<u8>,
    /// Where the bytes begin that were not sent.
    at: usize,
    /// Whether nghttp2 waits for `Session::send_message`.
    pub(super) deferred: bool,
}

impl Messages {
    /// Where to append a message.
    pub(super) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The bytes that were not sent.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Forgets bytes that were sent. The rest moves once it is the smaller part, so that no byte moves often.
    pub(super) fn advance(&mut self, length: usize) {
        self.at += length;
        if 2 * self.at >= self.bytes.len() {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
    }
}

/// The bytes of messages that are still to be sent on a stream.
pub(super) enum Unsent {
    /// One message, which ends the request.
    Whole(Bytes),
    Growing(Messages),
}

/// One stream. `T` is what the owner of the session knows of it.
pub(super) struct Stream<T> {
    pub(super) owner: T,
    pub(super) unsent: Unsent,
    /// Bytes that came and are no whole message yet.
    pub(super) received: Vec<u8>,
    pub(super) ending: Ending,
}

/// The state of a session.
pub(super) struct SessionState<T> {
    pub(super) streams: HashMap<i32, Stream<T>, foldhash::fast::RandomState>,
    pub(super) events: Vec<Event<T>>,
    /// Whether the server has said that it takes no more streams.
    pub(super) going_away: bool,
    /// The size of the largest message that is received.
    pub(super) max_message_bytes: usize,
}

impl<T> SessionState<T> {
    /// Removes a stream that has ended, and makes an event of it.
    pub(super) fn close(&mut self, id: i32, error_code: u32) {
        if let Some(stream) = self.streams.remove(&id) {
            let mut ending = stream.ending;
            ending.error_code = error_code;
            ending.body = stream.received;
            self.events.push(Event::Ended { owner: stream.owner, id, ending });
        }
    }
}
