//! The session: the methods by which the engine reads, writes and answers.

use std::ptr::{self, NonNull};
use std::task::Waker;

use bytes::Bytes;
use libnghttp2_sys as ng;

use crate::transport::headers::HeaderBlocks;
use crate::transport::http2::callbacks;
use crate::transport::http2::fields::{HeaderField, HeaderFields, InitialFields, raw_fields};
use crate::transport::http2::resets::Resets;
use crate::transport::http2::state::{Http2Error, SessionState, Stream};
use crate::transport::quota::Reservation;

const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// That of a connection whose calls hold too much.
const SMALL_WINDOW_BYTES: u32 = 1 << 16;
const CONNECTION_WINDOW_BYTES: i32 = 8 << 20;
const MAX_FRAME_BYTES: u32 = 1 << 16;
const PING_ALIVE: [u8; 8] = *b"alive\0\0\0";
/// What of a request's body is here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Data(Bytes),
    /// The last of it.
    Last(Bytes),
    /// There is no more of it.
    End,
    /// Not yet.
    Nothing,
    /// The stream is gone.
    Gone,
    /// The client has sent nothing of what it owes for too long.
    Stalled,
}

/// The server's side of a connection.
pub(crate) struct Http2Session {
    raw: NonNull<ng::nghttp2_session>,
    state: NonNull<SessionState>,
}

impl Http2Session {
    /// A session that has not heard anything yet, for so many streams at a time and heads of so many
    /// bytes, counted as HTTP/2 counts them.
    ///
    /// # Errors
    /// There is no memory for it.
    pub(crate) fn new(max_streams: u32, max_head_bytes: u32) -> Result<Self, Http2Error> {
        let resets = Resets::new(max_streams);
        let state =
            SessionState { max_head_bytes: max_head_bytes as usize, resets, ..SessionState::default() };
        let state = NonNull::from(Box::leak(Box::new(state)));
        let Ok(raw) = callbacks::open(state) else {
            // SAFETY: it was leaked above, and nobody else has it.
            drop(unsafe { Box::from_raw(state.as_ptr()) });
            return Err(Http2Error);
        };
        let session = Self { raw, state };
        let entry =
            |id: ng::nghttp2_settings_id, value| ng::nghttp2_settings_entry { settings_id: id as i32, value };
        let settings = [
            entry(ng::NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, max_streams),
            entry(ng::NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES),
            entry(ng::NGHTTP2_SETTINGS_MAX_FRAME_SIZE, MAX_FRAME_BYTES),
            entry(ng::NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, max_head_bytes),
        ];
        let raw = raw.as_ptr();
        // SAFETY: the session lives, and the entries outlive the call, which copies them.
        let told = unsafe {
            ng::nghttp2_submit_settings(raw, 0, settings.as_ptr(), settings.len())
                | ng::nghttp2_session_set_local_window_size(raw, 0, 0, CONNECTION_WINDOW_BYTES)
        };
        if told == 0 { Ok(session) } else { Err(Http2Error) }
    }

    fn state(&mut self) -> &mut SessionState {
        // SAFETY: it lives as long as `self`. The callbacks refer to it only while a function of
        // nghttp2 runs; none does, as those run inside other methods that hold `self` by `&mut`.
        unsafe { self.state.as_mut() }
    }

    fn stream(&mut self, id: i32) -> Option<&mut Stream> {
        self.state().streams.get_mut(&id)
    }

    /// Takes what the client has sent.
    ///
    /// # Errors
    /// It speaks no HTTP/2, or too much nonsense.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(), Http2Error> {
        // SAFETY: the session lives, and the bytes outlive the call, which keeps no reference to them.
        let read = unsafe { ng::nghttp2_session_mem_recv2(self.raw.as_ptr(), bytes.as_ptr(), bytes.len()) };
        if read < 0 {
            self.state().flooded |= read == ng::NGHTTP2_ERR_FLOODED as ng::nghttp2_ssize;
            return Err(Http2Error);
        }
        if std::mem::take(&mut self.state().last_ping_answered) {
            // The client knows by now that it is to begin no more calls.
            self.submit_last_goaway();
        }
        self.take_back();
        Ok(())
    }

    /// Appends what is to be sent, until there is no more or it is as much as wanted.
    ///
    /// # Errors
    /// nghttp2 can send no more.
    pub(crate) fn send(&mut self, out: &mut Vec<u8>, wanted: usize) -> Result<(), Http2Error> {
        while out.len() < wanted {
            let mut data = ptr::null();
            // SAFETY: the session lives; `data` is set to what the session holds until its next call.
            let length = unsafe { ng::nghttp2_session_mem_send2(self.raw.as_ptr(), &raw mut data) };
            let length = usize::try_from(length).map_err(|_| Http2Error)?;
            if length > 0 {
                // SAFETY: nghttp2 has just said that so many bytes are there.
                out.extend_from_slice(unsafe { std::slice::from_raw_parts(data, length) });
            } else if self.state().answered_early.is_empty() && self.state().unsendable.is_empty() {
                break;
            }
            while let Some(id) = self.state().unsendable.pop() {
                self.reset(id);
            }
            while let Some(id) = self.state().answered_early.pop_front() {
                self.submit_reset(id, ng::NGHTTP2_NO_ERROR);
            }
        }
        self.take_back();
        Ok(())
    }

    /// Whether there is more to be received.
    pub(crate) fn reads(&mut self) -> bool {
        // SAFETY: the session lives.
        unsafe { ng::nghttp2_session_want_read(self.raw.as_ptr()) != 0 }
    }

    /// Whether there is nothing more to be received or sent.
    pub(crate) fn is_over(&mut self) -> bool {
        // SAFETY: the session lives.
        !self.reads() && unsafe { ng::nghttp2_session_want_write(self.raw.as_ptr()) == 0 }
    }

    /// The calls that have begun since the last time; `give_back` is to follow.
    pub(crate) fn begun(&mut self) -> HeaderBlocks {
        self.state().begun.take()
    }

    /// Uses the room of what `begun` gave for the next calls.
    pub(crate) fn give_back(&mut self, begun: HeaderBlocks) {
        self.state().begun.give_back(begun);
    }

    /// Whether the connection ends since the client asked too much.
    pub(crate) fn is_flooded(&mut self) -> bool {
        self.state().flooded
    }

    /// Whether the client has told its settings.
    pub(crate) fn is_greeted(&mut self) -> bool {
        self.state().greeted
    }

    /// Asks the client for a sign of life.
    pub(crate) fn ping(&mut self) {
        self.state().alive = false;
        self.submit_ping(&PING_ALIVE);
    }

    /// Whether the client gave a sign of life since `ping`.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.state().alive
    }

    /// Lets the client begin no more calls, for a reason that its log may show. Those that it began
    /// before it knew are answered: the first GOAWAY names no last stream, and the answer to the ping
    /// behind it says that the client has read it (RFC 9113, 6.8).
    pub(crate) fn shut_down(&mut self, reason: &'static str) {
        self.state().shut_down_reason = reason;
        // SAFETY: the session lives. Without memory for the frame the client is told nothing.
        unsafe { ng::nghttp2_submit_shutdown_notice(self.raw.as_ptr()) };
    }

    /// Ends every call that is open in the same way, and takes no more.
    pub(crate) fn end_all(&mut self, initial: &InitialFields, trailers: &HeaderFields) {
        let open = self.state().streams.iter_mut().filter(|(_, stream)| stream.end.is_none());
        let open: Vec<_> = open.map(|(id, stream)| (*id, stream.answered)).collect();
        for (id, answered) in open {
            if answered {
                self.end(id, initial, trailers.clone());
            } else {
                self.refuse(id, &[initial.fields, trailers].concat());
            }
            if let Some(stream) = self.stream(id) {
                stream.wake();
            }
        }
        self.submit_last_goaway();
    }

    /// Forgets all streams; whoever waits for one finds it gone.
    pub(crate) fn close(&mut self) {
        for (_, mut stream) in self.state().streams.drain() {
            stream.wake();
        }
    }

    /// Takes what has come of a request. The client gets room for as much again, but for the stream
    /// where that is withheld.
    pub(crate) fn take(&mut self, id: i32, withhold: bool) -> Received {
        let Some(stream) = self.stream(id) else {
            return Received::Gone;
        };
        if stream.received.is_empty() {
            return match stream {
                Stream { ended: true, .. } => Received::End,
                Stream { stalled: true, .. } => Received::Stalled,
                _ => Received::Nothing,
            };
        }
        let (data, ended) = (std::mem::take(&mut stream.received).freeze(), stream.ended);
        // SAFETY: the session lives. An error means that there is no memory for the frame that
        // makes room; then the client has less room.
        unsafe {
            if withhold {
                ng::nghttp2_session_consume_connection(self.raw.as_ptr(), data.len());
            } else {
                ng::nghttp2_session_consume(self.raw.as_ptr(), id, data.len());
            }
        }
        if ended { Received::Last(data) } else { Received::Data(data) }
    }

    /// Gives all streams a small window, or the usual one again. One that has more in use than the
    /// small one gets nothing more until that was taken.
    pub(crate) fn narrow(&mut self, narrow: bool) {
        let value = if narrow { SMALL_WINDOW_BYTES } else { STREAM_WINDOW_BYTES };
        let settings_id = ng::NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE as i32;
        let entry = ng::nghttp2_settings_entry { settings_id, value };
        // SAFETY: the session lives, and copies the entry. Without memory for the frame the windows
        // stay as they are.
        unsafe { ng::nghttp2_submit_settings(self.raw.as_ptr(), 0, &raw const entry, 1) };
    }

    /// Gives a stream the usual window while the others have a small one.
    pub(crate) fn widen(&mut self, id: i32) {
        // SAFETY: the session lives. Where the stream is gone, or without memory for the frame, the
        // window stays as it is.
        unsafe {
            ng::nghttp2_session_set_local_window_size(self.raw.as_ptr(), 0, id, STREAM_WINDOW_BYTES as i32)
        };
    }

    /// Gives a client room on a stream that was withheld.
    pub(crate) fn open_window(&mut self, id: i32, bytes: usize) {
        // SAFETY: the session lives. An error means as much as in `take`, or that the stream is gone.
        unsafe { ng::nghttp2_session_consume_stream(self.raw.as_ptr(), id, bytes) };
    }

    /// Whether the client owes the rest of a message.
    pub(crate) fn expect(&mut self, id: i32, expected: bool) {
        if let Some(stream) = self.stream(id) {
            stream.expected = expected;
            stream.moved = true;
        }
    }

    /// Ends what has not moved since the last look: a message that has begun, an answer that nobody
    /// takes. Returns how many.
    pub(crate) fn end_stalled(&mut self) -> u64 {
        let (mut stalled, mut stuck) = (0, Vec::new());
        for (&id, stream) in &mut self.state().streams {
            let moved = std::mem::take(&mut stream.moved);
            if moved || stream.stalled {
                continue;
            }
            if !stream.unsent.is_empty() {
                stuck.push(id);
            } else if stream.expected && !stream.ended {
                stream.stalled = true;
                stream.wake();
                stalled += 1;
            }
        }
        for &id in &stuck {
            if let Some(mut stream) = self.state().streams.remove(&id) {
                self.state().dropped_bytes += stream.received.len();
                stream.wake();
            }
            self.submit_reset(id, ng::NGHTTP2_ENHANCE_YOUR_CALM);
        }
        stalled + stuck.len() as u64
    }

    /// Whether there has been no call since the last look, and there is none.
    pub(crate) fn is_idle(&mut self) -> bool {
        let state = self.state();
        !std::mem::take(&mut state.called) && state.streams.is_empty()
    }

    /// Whether a stream can still be answered.
    pub(crate) fn is_open(&mut self, id: i32) -> bool {
        self.stream(id).is_some_and(|stream| stream.end.is_none())
    }

    /// Whether a stream has sent all that it was given.
    pub(crate) fn has_room(&mut self, id: i32) -> bool {
        self.stream(id).is_none_or(|stream| stream.unsent.is_empty())
    }

    /// Has a task woken when something about a stream changes; it is the only one.
    pub(crate) fn wait(&mut self, id: i32, waker: &Waker) {
        if let Some(stream) = self.stream(id) {
            match &mut stream.waiting {
                Some(waiting) => waiting.clone_from(waker),
                None => stream.waiting = Some(waker.clone()),
            }
        }
    }

    /// Answers with headers alone.
    pub(crate) fn refuse(&mut self, id: i32, fields: &[HeaderField]) {
        if let Some(stream) = self.stream(id)
            && !stream.answered
        {
            stream.answered = true;
            stream.end = Some(HeaderFields::default());
            let (raw, count) = raw_fields(fields);
            self.submit_response(id, &raw[..count], ptr::null());
        }
    }

    /// Sends data, after the initial fields where nothing has been sent before; it holds something until it
    /// has gone. The stream has room for it.
    pub(crate) fn data(&mut self, id: i32, initial: &InitialFields, data: Bytes, held: Reservation) {
        self.change(id, initial, |stream| stream.put(data, held));
    }

    /// Ends a stream after its data.
    pub(crate) fn end(&mut self, id: i32, initial: &InitialFields, trailers: HeaderFields) {
        self.change(id, initial, |stream| stream.end = Some(trailers));
    }

    /// Sends data as the last, and ends the stream.
    pub(crate) fn finish(
        &mut self,
        id: i32,
        initial: &InitialFields,
        data: Bytes,
        held: Reservation,
        trailers: HeaderFields,
    ) {
        self.change(id, initial, |stream| {
            stream.put(data, held);
            stream.end = Some(trailers);
        });
    }

    /// Breaks a stream off.
    pub(crate) fn reset(&mut self, id: i32) {
        if let Some(mut stream) = self.state().streams.remove(&id) {
            stream.wake();
            self.state().dropped_bytes += stream.received.len();
            self.submit_reset(id, ng::NGHTTP2_CANCEL);
        }
    }

    /// Changes what a stream is to send, and has nghttp2 ask for it.
    fn change(&mut self, id: i32, initial: &InitialFields, change: impl FnOnce(&mut Stream)) {
        let Some(stream) = self.stream(id) else { return };
        change(stream);
        if !std::mem::replace(&mut stream.answered, true) {
            let source = ng::nghttp2_data_source { fd: 0 };
            let provider = ng::nghttp2_data_provider2 { source, read_callback: Some(callbacks::on_read) };
            self.submit_response(id, initial.raw(), &raw const provider);
        } else if std::mem::take(&mut stream.deferred) {
            // SAFETY: the session lives. It fails where the stream is gone, which needs no data.
            unsafe { ng::nghttp2_session_resume_data(self.raw.as_ptr(), id) };
        }
    }

    fn submit_response(
        &mut self,
        id: i32,
        fields: &[ng::nghttp2_nv],
        provider: *const ng::nghttp2_data_provider2,
    ) {
        let (fields, count) = (fields.as_ptr(), fields.len());
        // SAFETY: the session lives; the call copies what is neither static nor a function. It fails
        // without memory, or where the stream is gone: its end is told by its callback.
        unsafe { ng::nghttp2_submit_response2(self.raw.as_ptr(), id, fields, count, provider) };
    }

    fn submit_reset(&mut self, id: i32, code: ng::nghttp2_error_code) {
        // SAFETY: the session lives. Without memory for the frame the client is told nothing.
        unsafe { ng::nghttp2_submit_rst_stream(self.raw.as_ptr(), 0, id, code) };
    }

    /// Tells the client which call is the last; the connection is over with it.
    fn submit_last_goaway(&mut self) {
        let reason = self.state().shut_down_reason;
        // SAFETY: the session lives, and copies the reason.
        unsafe {
            let last = ng::nghttp2_session_get_last_proc_stream_id(self.raw.as_ptr());
            let code = ng::NGHTTP2_NO_ERROR;
            ng::nghttp2_submit_goaway(self.raw.as_ptr(), 0, last, code, reason.as_ptr(), reason.len());
        }
    }

    fn submit_ping(&mut self, data: &[u8; 8]) {
        // SAFETY: the session lives, and copies the eight bytes.
        unsafe { ng::nghttp2_submit_ping(self.raw.as_ptr(), 0, data.as_ptr()) };
    }

    /// Gives the connection's window back what no stream will take.
    fn take_back(&mut self) {
        let dropped = std::mem::take(&mut self.state().dropped_bytes);
        if dropped > 0 {
            // SAFETY: the session lives.
            unsafe { ng::nghttp2_session_consume_connection(self.raw.as_ptr(), dropped) };
        }
    }
}

impl Drop for Http2Session {
    fn drop(&mut self) {
        self.close();
        // SAFETY: both are ours alone, nghttp2 is not used after this, and it has no reference to
        // the state that outlives it.
        unsafe {
            ng::nghttp2_session_del(self.raw.as_ptr());
            drop(Box::from_raw(self.state.as_ptr()));
        }
    }
}
