//! An HTTP/2 session: the methods by which the engine reads, writes and answers.
//!
//! A `Http2Session` owns two things: nghttp2's session, and the `SessionState` that the callbacks write. The
//! `unsafe` code of this folder rests on these rules:
//!
//! 1. Both are made in `new` and freed in `drop`, nghttp2's session first. So both live as long as the
//!    `Http2Session`, which is what "the session lives" means below.
//! 2. Functions of nghttp2 that may run callbacks are called from methods that hold the `Http2Session` by
//!    `&mut`. So no other method runs meanwhile.
//! 3. A method holds no reference to the state while a function of nghttp2 runs. So the callbacks are the
//!    only code that refers to the state then.
//! 4. nghttp2 copies all that it is given but static names and values, and keeps no pointer into it.

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
/// The window of a stream while a quota is under pressure.
const SMALL_WINDOW_BYTES: u32 = 1 << 16;
const CONNECTION_WINDOW_BYTES: i32 = 8 << 20;
const MAX_FRAME_BYTES: u32 = 1 << 16;
/// The payload of the ping that asks for a sign of life.
const PING_ALIVE: [u8; 8] = *b"alive\0\0\0";

/// What `take` finds of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Data, with more to come.
    Data(Bytes),
    /// The last data.
    Last(Bytes),
    /// The request has ended, and all its data was taken.
    End,
    /// No data has come since the last time.
    Nothing,
    /// The stream is closed.
    Gone,
    /// The client has not sent the rest of a message in time.
    Stalled,
}

/// The server's side of an HTTP/2 connection.
pub(crate) struct Http2Session {
    raw: NonNull<ng::nghttp2_session>,
    state: NonNull<SessionState>,
}

impl Http2Session {
    /// A new session, for up to `max_streams` open streams and header blocks of up to `max_header_bytes`, which
    /// are counted as HTTP/2 counts them.
    ///
    /// # Errors
    /// `Http2Error`: there is no memory for the session.
    pub(crate) fn new(max_streams: u32, max_header_bytes: u32) -> Result<Self, Http2Error> {
        let resets = Resets::new(max_streams);
        let state =
            SessionState { max_header_bytes: max_header_bytes as usize, resets, ..SessionState::default() };
        let state = NonNull::from(Box::leak(Box::new(state)));
        let Ok(raw) = callbacks::open(state) else {
            // SAFETY: the state was leaked above, and nobody else has it.
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
            entry(ng::NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, max_header_bytes),
        ];
        let raw = raw.as_ptr();
        // SAFETY: the session lives, and the entries outlive the call, which copies them.
        let status = unsafe {
            ng::nghttp2_submit_settings(raw, 0, settings.as_ptr(), settings.len())
                | ng::nghttp2_session_set_local_window_size(raw, 0, 0, CONNECTION_WINDOW_BYTES)
        };
        if status == 0 { Ok(session) } else { Err(Http2Error) }
    }

    fn state(&mut self) -> &mut SessionState {
        // SAFETY: the state lives as long as `self`. Callbacks refer to it only while a function of nghttp2
        // runs, and such a function runs inside another method that holds `self` by `&mut`: not now.
        unsafe { self.state.as_mut() }
    }

    fn stream(&mut self, id: i32) -> Option<&mut Stream> {
        self.state().streams.get_mut(&id)
    }

    /// Reads bytes that the client has sent.
    ///
    /// # Errors
    /// `Http2Error`: the bytes are not HTTP/2, a callback failed, or the client flooded the server.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(), Http2Error> {
        // SAFETY: the session lives, and the bytes outlive the call, which keeps no reference to them.
        let read = unsafe { ng::nghttp2_session_mem_recv2(self.raw.as_ptr(), bytes.as_ptr(), bytes.len()) };
        if read < 0 {
            self.state().flooded |= read == ng::NGHTTP2_ERR_FLOODED as ng::nghttp2_ssize;
            return Err(Http2Error);
        }
        if std::mem::take(&mut self.state().last_ping_answered) {
            // The client has read the first GOAWAY, and begins no more calls.
            self.submit_last_goaway();
        }
        self.return_dropped_window();
        Ok(())
    }

    /// Appends the bytes that are to be sent, until there are no more or `out` has at least `goal` bytes.
    ///
    /// # Errors
    /// `Http2Error`: nghttp2 has no memory, or a callback failed.
    pub(crate) fn send(&mut self, out: &mut Vec<u8>, goal: usize) -> Result<(), Http2Error> {
        while out.len() < goal {
            let mut data = ptr::null();
            // SAFETY: the session lives. It sets `data` to bytes that it keeps until its next call.
            let length = unsafe { ng::nghttp2_session_mem_send2(self.raw.as_ptr(), &raw mut data) };
            let length = usize::try_from(length).map_err(|_| Http2Error)?;
            if length > 0 {
                // SAFETY: nghttp2 has just said that `length` bytes are at `data`.
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
        self.return_dropped_window();
        Ok(())
    }

    /// Whether the session expects more bytes of the client.
    pub(crate) fn wants_read(&mut self) -> bool {
        // SAFETY: the session lives.
        unsafe { ng::nghttp2_session_want_read(self.raw.as_ptr()) != 0 }
    }

    /// Whether the connection is over: the session expects no more bytes, and has none to send.
    pub(crate) fn is_over(&mut self) -> bool {
        // SAFETY: the session lives.
        !self.wants_read() && unsafe { ng::nghttp2_session_want_write(self.raw.as_ptr()) == 0 }
    }

    /// Takes the headers of the calls that have begun since the last time. `give_back` returns their memory.
    pub(crate) fn take_calls(&mut self) -> HeaderBlocks {
        self.state().blocks.take()
    }

    /// Uses the memory of blocks that `take_calls` returned for the next calls.
    pub(crate) fn give_back(&mut self, used: HeaderBlocks) {
        self.state().blocks.give_back(used);
    }

    /// Whether the connection ends since the client flooded the server.
    pub(crate) fn is_flooded(&mut self) -> bool {
        self.state().flooded
    }

    /// Whether the client's connection preface has come, with its settings.
    pub(crate) fn has_preface(&mut self) -> bool {
        self.state().preface_received
    }

    /// Sends a ping, to ask the client for a sign of life.
    pub(crate) fn ping(&mut self) {
        self.state().alive = false;
        self.submit_ping(&PING_ALIVE);
    }

    /// Whether the client has sent a frame since `ping`.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.state().alive
    }

    /// Tells the client to begin no more calls, and why, for its log.
    ///
    /// Calls that the client begins before it knows are answered. So the first GOAWAY names no last stream. A
    /// ping follows it, whose answer says that the client has read the GOAWAY. Then a second GOAWAY names the
    /// last stream (RFC 9113, 6.8).
    pub(crate) fn shut_down(&mut self, reason: &'static str) {
        self.state().shut_down_reason = reason;
        // SAFETY: the session lives. Without memory for the frame, no frame is sent.
        unsafe { ng::nghttp2_submit_shutdown_notice(self.raw.as_ptr()) };
    }

    /// Ends every open call with these trailers, and takes no more calls. `initial` are the headers of a call
    /// that has not been answered yet.
    pub(crate) fn end_all(&mut self, initial: &InitialFields, trailers: &HeaderFields) {
        let open = self.state().streams.iter_mut().filter(|(_, stream)| stream.end.is_none());
        let open: Vec<_> = open.map(|(id, stream)| (*id, stream.answered)).collect();
        for (id, answered) in open {
            if answered {
                self.end(id, initial, trailers.clone());
            } else {
                self.headers_only(id, &[initial.fields, trailers].concat());
            }
            if let Some(stream) = self.stream(id) {
                stream.wake();
            }
        }
        self.submit_last_goaway();
    }

    /// Forgets all streams. Tasks that wait for a stream are woken, and find it gone.
    pub(crate) fn close(&mut self) {
        for (_, mut stream) in self.state().streams.drain() {
            stream.wake();
        }
    }

    /// Takes the data that has come of a request. The client gets window for as much data again: on the
    /// connection always, on the stream unless `withhold` is set.
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
        // SAFETY: the session lives. An error means that there is no memory for a WINDOW_UPDATE. Then the client
        // has a smaller window.
        unsafe {
            if withhold {
                ng::nghttp2_session_consume_connection(self.raw.as_ptr(), data.len());
            } else {
                ng::nghttp2_session_consume(self.raw.as_ptr(), id, data.len());
            }
        }
        if ended { Received::Last(data) } else { Received::Data(data) }
    }

    /// Gives all streams a small window, or the usual window again. A stream with more data in flight than a
    /// small window allows gets no more window until that data was taken.
    pub(crate) fn set_small_windows(&mut self, small: bool) {
        let value = if small { SMALL_WINDOW_BYTES } else { STREAM_WINDOW_BYTES };
        let settings_id = ng::NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE as i32;
        let entry = ng::nghttp2_settings_entry { settings_id, value };
        // SAFETY: the session lives, and copies the entry. Without memory for the frame, the windows stay as
        // they are.
        unsafe { ng::nghttp2_submit_settings(self.raw.as_ptr(), 0, &raw const entry, 1) };
    }

    /// Gives a stream the usual window while the others have a small one.
    pub(crate) fn restore_window(&mut self, id: i32) {
        // SAFETY: the session lives. Where the stream is closed, or there is no memory for the frame, the window
        // stays as it is.
        unsafe {
            ng::nghttp2_session_set_local_window_size(self.raw.as_ptr(), 0, id, STREAM_WINDOW_BYTES as i32)
        };
    }

    /// Opens the window of a stream by bytes that `take` has withheld.
    pub(crate) fn open_window(&mut self, id: i32, bytes: usize) {
        // SAFETY: the session lives. An error means what it means in `take`, or that the stream is closed.
        unsafe { ng::nghttp2_session_consume_stream(self.raw.as_ptr(), id, bytes) };
    }

    /// Notes whether a call waits for the rest of a message.
    pub(crate) fn set_awaited(&mut self, id: i32, awaited: bool) {
        if let Some(stream) = self.stream(id) {
            stream.awaited = awaited;
            stream.progressed = true;
        }
    }

    /// Ends the calls that made no progress since the last time: the client did not send the rest of a message,
    /// or did not read the response. Returns the number of calls.
    pub(crate) fn end_stalled(&mut self) -> u64 {
        let (mut stalled, mut unread) = (0, Vec::new());
        for (&id, stream) in &mut self.state().streams {
            let progressed = std::mem::take(&mut stream.progressed);
            if progressed || stream.stalled {
                continue;
            }
            if !stream.unsent.is_empty() {
                unread.push(id);
            } else if stream.awaited && !stream.ended {
                stream.stalled = true;
                stream.wake();
                stalled += 1;
            }
        }
        for &id in &unread {
            if let Some(mut stream) = self.state().streams.remove(&id) {
                self.state().dropped_bytes += stream.received.len();
                stream.wake();
            }
            self.submit_reset(id, ng::NGHTTP2_ENHANCE_YOUR_CALM);
        }
        stalled + unread.len() as u64
    }

    /// Whether no call has begun since the last time, and none is open.
    pub(crate) fn is_idle(&mut self) -> bool {
        let state = self.state();
        !std::mem::take(&mut state.call_begun) && state.streams.is_empty()
    }

    /// Whether a call can still be answered: its stream is open, and the end of its response was not given.
    pub(crate) fn is_open(&mut self, id: i32) -> bool {
        self.stream(id).is_some_and(|stream| stream.end.is_none())
    }

    /// Whether all data of a response that was given was sent, or the stream is closed.
    pub(crate) fn has_capacity(&mut self, id: i32) -> bool {
        self.stream(id).is_none_or(|stream| stream.unsent.is_empty())
    }

    /// Sets the task that is woken when a stream changes. A stream wakes one task.
    pub(crate) fn set_waker(&mut self, id: i32, waker: &Waker) {
        if let Some(stream) = self.stream(id) {
            match &mut stream.waker {
                Some(current) => current.clone_from(waker),
                None => stream.waker = Some(waker.clone()),
            }
        }
    }

    /// Answers with one block of headers that ends the response.
    pub(crate) fn headers_only(&mut self, id: i32, fields: &[HeaderField]) {
        if let Some(stream) = self.stream(id)
            && !stream.answered
        {
            stream.answered = true;
            stream.end = Some(HeaderFields::default());
            let (raw, count) = raw_fields(fields);
            self.submit_response(id, &raw[..count], ptr::null());
        }
    }

    /// Sends data, behind the initial fields where it is the first. `reservation` is dropped once the data was
    /// sent. All earlier data of the stream was sent.
    pub(crate) fn data(&mut self, id: i32, initial: &InitialFields, data: Bytes, reservation: Reservation) {
        self.change(id, initial, |stream| stream.queue_data(data, reservation));
    }

    /// Ends a response behind its data.
    pub(crate) fn end(&mut self, id: i32, initial: &InitialFields, trailers: HeaderFields) {
        self.change(id, initial, |stream| stream.end = Some(trailers));
    }

    /// Sends the last data of a response, and ends the response.
    pub(crate) fn finish(
        &mut self,
        id: i32,
        initial: &InitialFields,
        data: Bytes,
        reservation: Reservation,
        trailers: HeaderFields,
    ) {
        self.change(id, initial, |stream| {
            stream.queue_data(data, reservation);
            stream.end = Some(trailers);
        });
    }

    /// Resets a stream with CANCEL.
    pub(crate) fn reset(&mut self, id: i32) {
        if let Some(mut stream) = self.state().streams.remove(&id) {
            stream.wake();
            self.state().dropped_bytes += stream.received.len();
            self.submit_reset(id, ng::NGHTTP2_CANCEL);
        }
    }

    /// Changes what a stream is to send, and makes nghttp2 ask for it through `on_read`.
    fn change(&mut self, id: i32, initial: &InitialFields, change: impl FnOnce(&mut Stream)) {
        let Some(stream) = self.stream(id) else { return };
        change(stream);
        if !std::mem::replace(&mut stream.answered, true) {
            let source = ng::nghttp2_data_source { fd: 0 };
            let provider = ng::nghttp2_data_provider2 { source, read_callback: Some(callbacks::on_read) };
            self.submit_response(id, initial.raw(), &raw const provider);
        } else if std::mem::take(&mut stream.deferred) {
            // SAFETY: the session lives. The call fails where the stream is closed, which needs no data.
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
        // SAFETY: the session lives, and copies what is neither static nor a function. The call fails without
        // memory, or where the stream is closed: `on_stream_closed` tells of that.
        unsafe { ng::nghttp2_submit_response2(self.raw.as_ptr(), id, fields, count, provider) };
    }

    fn submit_reset(&mut self, id: i32, code: ng::nghttp2_error_code) {
        // SAFETY: the session lives. Without memory for the frame, no frame is sent.
        unsafe { ng::nghttp2_submit_rst_stream(self.raw.as_ptr(), 0, id, code) };
    }

    /// Tells the client which stream is the last. The connection is over when that stream is closed.
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

    /// Gives the connection's window the bytes back that no call will take.
    fn return_dropped_window(&mut self) {
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
        // SAFETY: nobody else has the session or the state. nghttp2 is not used after this, and the session,
        // which refers to the state, is freed first.
        unsafe {
            ng::nghttp2_session_del(self.raw.as_ptr());
            drop(Box::from_raw(self.state.as_ptr()));
        }
    }
}
