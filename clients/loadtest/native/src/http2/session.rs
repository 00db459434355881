//! A client's session of HTTP/2.
//!
//! The state belongs to the callbacks while a function of nghttp2 runs, and to the methods here at all other
//! times. So no method holds a reference to the state while it calls nghttp2.

use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use bytes::Bytes;
use libnghttp2_sys as ng;

use crate::http2::callbacks;
use crate::http2::event::{Ending, Event, Http2Error, PREFIX_BYTES};
use crate::http2::state::{Messages, SessionState, Stream, Unsent};

/// The windows of a stream and of the connection, as large as those that the benchmarks give h2load.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: i32 = 1 << 23;
/// Stream ids end at 2^31. A session with ids beyond this is replaced by a new one.
const LAST_STREAM_ID: u32 = 1 << 30;

/// The header fields of requests.
#[derive(Debug)]
pub(crate) struct RequestFields(Vec<(&'static str, String)>);

impl RequestFields {
    pub(crate) fn new(fields: Vec<(&'static str, String)>) -> Self {
        Self(fields)
    }

    /// The fields in nghttp2's form. nghttp2 copies neither names nor values.
    fn raw(&self) -> Vec<ng::nghttp2_nv> {
        let flags = (ng::NGHTTP2_NV_FLAG_NO_COPY_NAME | ng::NGHTTP2_NV_FLAG_NO_COPY_VALUE) as u8;
        let fields = self.0.iter();
        fields
            .map(|(name, value)| ng::nghttp2_nv {
                name: name.as_ptr().cast_mut(),
                value: value.as_ptr().cast_mut(),
                namelen: name.len(),
                valuelen: value.len(),
                flags,
            })
            .collect()
    }
}

/// One session. `T` is what the owner knows of a stream.
pub(crate) struct Session<T> {
    raw: NonNull<ng::nghttp2_session>,
    state: NonNull<SessionState<T>>,
    fields: Vec<ng::nghttp2_nv>,
    /// What `fields` refers to.
    _kept: Arc<RequestFields>,
    _owned: PhantomData<SessionState<T>>,
}

impl<T: Clone> Session<T> {
    /// A session whose requests all have the same header fields.
    ///
    /// # Errors
    /// `Http2Error`: there is no memory for the session.
    pub(crate) fn new(fields: Arc<RequestFields>, max_message_bytes: usize) -> Result<Self, Http2Error> {
        let state = SessionState {
            streams: Default::default(),
            events: Vec::new(),
            going_away: false,
            max_message_bytes: max_message_bytes + PREFIX_BYTES,
        };
        let state = NonNull::from(Box::leak(Box::new(state)));
        let raw = match callbacks::open(state) {
            Ok(raw) => raw,
            Err(error) => {
                // SAFETY: nobody else has the state.
                drop(unsafe { Box::from_raw(state.as_ptr()) });
                return Err(error);
            }
        };
        let session = Self { raw, state, fields: fields.raw(), _kept: fields, _owned: PhantomData };
        let settings = [
            (ng::NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW),
            (ng::NGHTTP2_SETTINGS_ENABLE_PUSH, 0),
        ]
        .map(|(id, value)| ng::nghttp2_settings_entry { settings_id: id as i32, value });
        // SAFETY: the session lives, and copies the settings.
        let status = unsafe {
            let status = ng::nghttp2_submit_settings(raw.as_ptr(), 0, settings.as_ptr(), settings.len());
            status | ng::nghttp2_session_set_local_window_size(raw.as_ptr(), 0, 0, CONNECTION_WINDOW)
        };
        if status == 0 { Ok(session) } else { Err(Http2Error) }
    }

    fn state(&mut self) -> &mut SessionState<T> {
        // SAFETY: the state lives as long as `self`, and no function of nghttp2 runs meanwhile.
        unsafe { self.state.as_mut() }
    }

    /// Begins a call whose only message is `message`, with its prefix. Returns the stream's id.
    ///
    /// # Errors
    /// `Http2Error`: the session takes no more streams.
    pub(crate) fn call(&mut self, owner: T, message: Bytes) -> Result<i32, Http2Error> {
        self.begin(owner, Unsent::Whole(message))
    }

    /// Begins a stream of messages, which `send_message` adds. Returns the stream's id.
    ///
    /// # Errors
    /// `Http2Error`: the session takes no more streams.
    pub(crate) fn open_stream(&mut self, owner: T) -> Result<i32, Http2Error> {
        self.begin(owner, Unsent::Growing(Messages::default()))
    }

    fn begin(&mut self, owner: T, unsent: Unsent) -> Result<i32, Http2Error> {
        let source = ng::nghttp2_data_source { ptr: ptr::null_mut() };
        let provider = ng::nghttp2_data_provider2 { source, read_callback: Some(callbacks::on_read::<T>) };
        // SAFETY: the session lives, and copies the provider and the array of fields. What the fields refer to
        // lives as long as the session.
        let id = unsafe {
            ng::nghttp2_submit_request2(
                self.raw.as_ptr(),
                ptr::null(),
                self.fields.as_ptr(),
                self.fields.len(),
                &raw const provider,
                ptr::null_mut(),
            )
        };
        if id < 0 {
            return Err(Http2Error);
        }
        let stream = Stream { owner, unsent, received: Vec::new(), ending: Ending::default() };
        self.state().streams.insert(id, stream);
        Ok(id)
    }

    /// Adds a message to a stream; `write` appends it, prefix and all.
    pub(crate) fn send_message(&mut self, id: i32, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(stream) = self.state().streams.get_mut(&id) else { return };
        let Unsent::Growing(messages) = &mut stream.unsent else { return };
        write(messages.end());
        if std::mem::take(&mut messages.deferred) {
            // SAFETY: the session lives. The call fails where the stream is closed, which needs no data.
            unsafe { ng::nghttp2_session_resume_data(self.raw.as_ptr(), id) };
        }
    }

    /// Whether messages of a stream wait to be sent.
    pub(crate) fn has_unsent(&mut self, id: i32) -> bool {
        self.state().streams.get(&id).is_some_and(|stream| match &stream.unsent {
            Unsent::Whole(message) => !message.is_empty(),
            Unsent::Growing(messages) => !messages.unsent().is_empty(),
        })
    }

    pub(crate) fn is_open(&mut self, id: i32) -> bool {
        self.state().streams.contains_key(&id)
    }

    /// Resets a stream with CANCEL, and forgets it. Returns its owner; `None` where it has ended already.
    pub(crate) fn reset(&mut self, id: i32) -> Option<T> {
        let stream = self.state().streams.remove(&id)?;
        // SAFETY: the session lives. Without memory for the frame, no frame is sent.
        unsafe { ng::nghttp2_submit_rst_stream(self.raw.as_ptr(), 0, id, ng::NGHTTP2_CANCEL) };
        Some(stream.owner)
    }

    /// Takes bytes that came from the server.
    ///
    /// # Errors
    /// `Http2Error`: they are not HTTP/2, and the connection is over.
    pub(crate) fn receive(&mut self, data: &[u8]) -> Result<(), Http2Error> {
        // SAFETY: the session lives, and reads the data only.
        let taken = unsafe { ng::nghttp2_session_mem_recv2(self.raw.as_ptr(), data.as_ptr(), data.len()) };
        if usize::try_from(taken) == Ok(data.len()) { Ok(()) } else { Err(Http2Error) }
    }

    /// Appends bytes for the server, about as many as `limit`.
    ///
    /// # Errors
    /// `Http2Error`: the connection is over.
    pub(crate) fn send(&mut self, out: &mut Vec<u8>, limit: usize) -> Result<(), Http2Error> {
        while out.len() < limit {
            let mut data = ptr::null();
            // SAFETY: the session lives. The bytes that it points to live until the next call.
            unsafe {
                let length = ng::nghttp2_session_mem_send2(self.raw.as_ptr(), &raw mut data);
                let Ok(length) = usize::try_from(length) else { return Err(Http2Error) };
                if length == 0 {
                    break;
                }
                out.extend_from_slice(std::slice::from_raw_parts(data, length));
            }
        }
        Ok(())
    }

    /// Moves what happened since the last time to `events`, which is empty.
    pub(crate) fn take_events(&mut self, events: &mut Vec<Event<T>>) {
        std::mem::swap(&mut self.state().events, events);
    }

    /// Whether new streams should go to another session: the server goes away, or stream ids run out.
    pub(crate) fn is_closing(&mut self) -> bool {
        // SAFETY: the session lives.
        let next = unsafe { ng::nghttp2_session_get_next_stream_id(self.raw.as_ptr()) };
        self.state().going_away || next > LAST_STREAM_ID
    }

    /// Whether there is nothing more to receive or to send, for instance after an error of the protocol.
    pub(crate) fn is_over(&self) -> bool {
        // SAFETY: the session lives.
        unsafe {
            ng::nghttp2_session_want_read(self.raw.as_ptr()) == 0
                && ng::nghttp2_session_want_write(self.raw.as_ptr()) == 0
        }
    }

    /// Whether no stream is open, and there is nothing to tell.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.state().streams.is_empty() && self.state().events.is_empty()
    }

    /// Forgets all streams, and returns their owners.
    pub(crate) fn take_owners(&mut self) -> Vec<T> {
        self.state().streams.drain().map(|(_, stream)| stream.owner).collect()
    }
}

impl<T> Drop for Session<T> {
    fn drop(&mut self) {
        // SAFETY: nobody else has the session or the state. The session, which refers to the state and to the
        // fields, is freed first.
        unsafe {
            ng::nghttp2_session_del(self.raw.as_ptr());
            drop(Box::from_raw(self.state.as_ptr()));
        }
    }
}
