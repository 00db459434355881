//! The callbacks by which nghttp2 tells of a connection. They write the session's state.
//!
//! Every callback keeps these rules:
//!
//! 1. nghttp2 runs it only while a method of `Http2Session` runs a function of nghttp2. That method does not
//!    refer to the state during that time, so the callback may change the state (see `session`).
//! 2. It runs inside `callback`, since a panic must not unwind through C: a panic becomes the failure of the
//!    callback, which ends the connection.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::time::Instant;

use bytes::{Buf, Bytes};
use libnghttp2_sys as ng;

use crate::transport::headers::Flaws;
use crate::transport::http2::fields::raw_fields;
use crate::transport::http2::memory;
use crate::transport::http2::request_bytes;
use crate::transport::http2::state::{Http2Error, PING_LAST, SessionState, Stream};
use crate::transport::quota::Reservation;

/// The burst and the rate of "glitches": frames that are odd, yet not errors, such as the frames of a message
/// that arrive after its call was refused. nghttp2 ends a connection with more.
const GLITCH_BURST: u64 = 10_000;
const GLITCHES_PER_SECOND: u64 = 1_000;

/// CONTINUATION frames of one header block. nghttp2 counts a frame whose own header comes in several reads
/// once for each read.
const MAX_CONTINUATIONS: usize = 100;
/// What a field counts beside its name and value (RFC 9113, 6.5.2).
const FIELD_OVERHEAD_BYTES: usize = 32;
/// A header block of more than this times the limit ends its connection. A shorter one beyond the limit ends
/// its call.
const MAX_EXCESS: usize = 4;
/// The largest header block that is sent: more than the status of any error takes.
const MAX_SENT_HEADER_BYTES: usize = 1 << 20;

/// Makes a session of nghttp2 that passes `state` to the callbacks.
///
/// # Errors
/// `Http2Error`: there is no memory for the session.
pub(super) fn open(state: NonNull<SessionState>) -> Result<NonNull<ng::nghttp2_session>, Http2Error> {
    let (mut callbacks, mut option, mut session) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    // SAFETY: each pointer is set before it is used. The session copies what it needs of the callbacks, the option
    // and the functions for memory. The callbacks and the option are freed once; freeing null is allowed. The
    // callbacks have the signatures that nghttp2 asks for, and `state` outlives the session.
    let status = unsafe {
        let mut status = ng::nghttp2_session_callbacks_new(&raw mut callbacks);
        if status == 0 {
            status = ng::nghttp2_option_new(&raw mut option);
        }
        if status == 0 {
            ng::nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, Some(on_begin_headers));
            ng::nghttp2_session_callbacks_set_on_header_callback(callbacks, Some(on_header));
            ng::nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, Some(on_invalid_header));
            ng::nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, Some(on_frame_received));
            ng::nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, Some(on_data));
            ng::nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, Some(on_frame_sent));
            ng::nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, Some(on_frame_not_sent));
            ng::nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, Some(on_stream_closed));
            // Windows open as calls read their requests, not as bytes arrive.
            ng::nghttp2_option_set_no_auto_window_update(option, 1);
            // The state counts resets: nghttp2 would end the connection with INTERNAL_ERROR.
            ng::nghttp2_option_set_stream_reset_rate_limit(option, u64::MAX, u64::MAX);
            ng::nghttp2_option_set_glitch_rate_limit(option, GLITCH_BURST, GLITCHES_PER_SECOND);
            ng::nghttp2_option_set_max_continuations(option, MAX_CONTINUATIONS);
            ng::nghttp2_option_set_max_send_header_block_length(option, MAX_SENT_HEADER_BYTES);
            let user_data = state.as_ptr().cast();
            let mut memory = memory::functions();
            status = ng::nghttp2_session_server_new3(
                &raw mut session,
                callbacks,
                user_data,
                option,
                &raw mut memory,
            );
        }
        ng::nghttp2_option_del(option);
        ng::nghttp2_session_callbacks_del(callbacks);
        status
    };
    NonNull::new(session).filter(|_| status == 0).ok_or(Http2Error)
}

/// Runs the body of a callback, and returns `failure` where it panics.
///
/// # Safety
/// `user_data` is the session's state, to which nobody else refers.
unsafe fn callback<T>(user_data: *mut c_void, failure: T, run: impl FnOnce(&mut SessionState) -> T) -> T {
    // SAFETY: the caller's promise.
    let state = unsafe { &mut *user_data.cast::<SessionState>() };
    catch_unwind(AssertUnwindSafe(|| run(state))).unwrap_or(failure)
}

const FAILED: c_int = ng::NGHTTP2_ERR_CALLBACK_FAILURE;

/// Whether the frame has the headers of a request, and not its trailers.
///
/// # Safety
/// `frame` is a frame that nghttp2 passed to a callback.
unsafe fn is_request(frame: *const ng::nghttp2_frame) -> bool {
    // SAFETY: the caller's promise. All frames have a header; a frame whose header says HEADERS has a
    // category, too.
    unsafe {
        (*frame).hd.type_ == ng::NGHTTP2_HEADERS as u8 && (*frame).headers.cat == ng::NGHTTP2_HCAT_REQUEST
    }
}

unsafe extern "C" fn on_begin_headers(
    _: *mut ng::nghttp2_session,
    frame: *const ng::nghttp2_frame,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: nghttp2 passes a frame of its own and the state that `open` gave it. Nobody else refers to the
    // state while a callback runs (rule 1). The same holds for all callbacks below.
    unsafe {
        let request = is_request(frame);
        callback(user_data, FAILED, |state| {
            state.header_bytes = 0;
            state.invalid_authorization = false;
            if request {
                state.blocks.begin();
            }
            0
        })
    }
}

unsafe extern "C" fn on_header(
    session: *mut ng::nghttp2_session,
    frame: *const ng::nghttp2_frame,
    name: *const u8,
    name_length: usize,
    value: *const u8,
    value_length: usize,
    _: u8,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: as in `on_begin_headers`. nghttp2 passes the lengths of the name and of the value; neither
    // pointer is null.
    unsafe {
        let request = is_request(frame);
        let name = std::slice::from_raw_parts(name, name_length);
        let value = std::slice::from_raw_parts(value, value_length);
        callback(user_data, FAILED, |state| {
            if state.count_field(name_length + value_length) {
                if request {
                    state.blocks.push(name, value);
                }
                return 0;
            }
            refuse_field(session, state)
        })
    }
}

/// nghttp2 drops a field that HTTP does not allow. Its size counts all the same, and so does an authorization.
unsafe extern "C" fn on_invalid_header(
    session: *mut ng::nghttp2_session,
    _: *const ng::nghttp2_frame,
    name: *const u8,
    name_length: usize,
    _: *const u8,
    value_length: usize,
    _: u8,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: as in `on_header`.
    unsafe {
        let authorization = std::slice::from_raw_parts(name, name_length) == b"authorization";
        callback(user_data, FAILED, |state| {
            state.invalid_authorization |= authorization;
            match state.count_field(name_length + value_length) {
                true => 0,
                false => refuse_field(session, state),
            }
        })
    }
}

impl SessionState {
    /// Counts a field of the header block that is being received. False: the block is longer than allowed.
    fn count_field(&mut self, bytes: usize) -> bool {
        // The overhead limits the number of fields, too, however short they are.
        self.header_bytes += bytes + FIELD_OVERHEAD_BYTES;
        self.header_bytes <= self.max_header_bytes
    }
}

/// Drops a field of a header block that is too long. A block far beyond the limit is a bomb: few bytes of
/// HPACK stand for many, and nghttp2 would read the block to its end. So the connection ends here.
///
/// # Safety
/// `session` is the session that nghttp2 passed to the callback that calls this.
#[cold]
unsafe fn refuse_field(session: *mut ng::nghttp2_session, state: &SessionState) -> c_int {
    if state.header_bytes <= MAX_EXCESS * state.max_header_bytes {
        return 0;
    }
    // SAFETY: the caller's promise.
    match unsafe { calm_down(session) } {
        0 => ng::NGHTTP2_ERR_PAUSE,
        failure => failure,
    }
}

/// Ends the connection with ENHANCE_YOUR_CALM.
///
/// # Safety
/// `session` is the session that nghttp2 passed to the callback that calls this.
#[cold]
unsafe fn calm_down(session: *mut ng::nghttp2_session) -> c_int {
    // SAFETY: the caller's promise. nghttp2 allows this call in its callbacks, and reads no frame after it.
    match unsafe { ng::nghttp2_session_terminate_session(session, ng::NGHTTP2_ENHANCE_YOUR_CALM) } {
        0 => 0,
        _ => FAILED,
    }
}

unsafe extern "C" fn on_frame_received(
    session: *mut ng::nghttp2_session,
    frame: *const ng::nghttp2_frame,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: as in `on_begin_headers`. A frame whose header says PING has eight bytes of data.
    unsafe {
        let ng::nghttp2_frame_hd { stream_id, type_, flags, .. } = (*frame).hd;
        let (request, type_) = (is_request(frame), ng::nghttp2_frame_type::from(type_));
        let pong = (type_ == ng::NGHTTP2_PING && flags & ng::NGHTTP2_FLAG_ACK as u8 != 0)
            .then(|| (*frame).ping.opaque_data);
        callback(user_data, FAILED, |state| {
            state.alive = true;
            state.preface_received |= type_ == ng::NGHTTP2_SETTINGS;
            // A client may send the answer to a ping that was not sent yet.
            state.last_ping_answered |= state.last_ping_sent && pong == Some(PING_LAST);
            if type_ == ng::NGHTTP2_RST_STREAM && !state.resets.add(Instant::now()) {
                return calm_down(session);
            }
            if request {
                let overlong = state.header_bytes > state.max_header_bytes;
                state.blocks.end(stream_id, Flaws { overlong, authorization: state.invalid_authorization });
                state.call_begun = true;
                state.streams.insert(stream_id, Stream::default());
            }
            let ended = flags & ng::NGHTTP2_FLAG_END_STREAM as u8 != 0;
            if ended
                && (type_ == ng::NGHTTP2_HEADERS || type_ == ng::NGHTTP2_DATA)
                && let Some(stream) = state.streams.get_mut(&stream_id)
            {
                stream.ended = true;
                stream.wake();
            }
            0
        })
    }
}

unsafe extern "C" fn on_data(
    _: *mut ng::nghttp2_session,
    _: u8,
    id: i32,
    data: *const u8,
    length: usize,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: as in `on_begin_headers`. nghttp2 passes the length of the data; the pointer is not null.
    unsafe {
        let data = std::slice::from_raw_parts(data, length);
        callback(user_data, FAILED, |state| {
            match state.streams.get_mut(&id) {
                Some(stream) => {
                    stream.progressed = true;
                    if stream.received.is_empty() {
                        stream.received = request_bytes::copy(data);
                    } else {
                        stream.received.extend_from_slice(data);
                    }
                    stream.wake();
                }
                None => state.dropped_bytes += length,
            }
            0
        })
    }
}

/// Gives nghttp2 the next data of a response, and its trailers behind the last data.
pub(super) unsafe extern "C" fn on_read(
    session: *mut ng::nghttp2_session,
    id: i32,
    buffer: *mut u8,
    capacity: usize,
    flags: *mut u32,
    _: *mut ng::nghttp2_data_source,
    user_data: *mut c_void,
) -> ng::nghttp2_ssize {
    // SAFETY: as in `on_begin_headers`. The buffer has room for `capacity` bytes. nghttp2 allows trailers to be
    // submitted here, and copies the parts of them that are not static.
    unsafe {
        callback(user_data, FAILED as ng::nghttp2_ssize, |state| {
            let Some(stream) = state.streams.get_mut(&id) else {
                return ng::NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE as ng::nghttp2_ssize;
            };
            let length = capacity.min(stream.unsent.len());
            stream.progressed = true;
            ptr::copy_nonoverlapping(stream.unsent.as_ptr(), buffer, length);
            stream.unsent.advance(length);
            if !stream.unsent.is_empty() {
                return length as ng::nghttp2_ssize;
            }
            // All data is with nghttp2: its memory and its share of the quota are free now.
            stream.unsent = Bytes::new();
            stream.reservation = Reservation::default();
            if let Some(trailers) = &stream.end {
                *flags |= ng::NGHTTP2_DATA_FLAG_EOF | ng::NGHTTP2_DATA_FLAG_NO_END_STREAM;
                let (raw, count) = raw_fields(trailers);
                if ng::nghttp2_submit_trailer(session, id, raw.as_ptr(), count) != 0 {
                    return FAILED as ng::nghttp2_ssize;
                }
            } else if length == 0 {
                stream.deferred = true;
                return ng::NGHTTP2_ERR_DEFERRED as ng::nghttp2_ssize;
            } else {
                stream.wake();
            }
            length as ng::nghttp2_ssize
        })
    }
}

unsafe extern "C" fn on_frame_sent(
    session: *mut ng::nghttp2_session,
    frame: *const ng::nghttp2_frame,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: as in `on_begin_headers`. nghttp2 allows frames to be submitted here, and copies the eight bytes
    // of a ping.
    unsafe {
        let ng::nghttp2_frame_hd { stream_id, type_, flags, .. } = (*frame).hd;
        if type_ == ng::NGHTTP2_GOAWAY as u8 && (*frame).goaway.last_stream_id == i32::MAX {
            // The ping is submitted only now, since nghttp2 sends a ping before all other frames that wait.
            ng::nghttp2_submit_ping(session, 0, PING_LAST.as_ptr());
            return callback(user_data, FAILED, |state| {
                state.last_ping_sent = true;
                0
            });
        }
        if type_ == ng::NGHTTP2_GOAWAY as u8 {
            let calm = (*frame).goaway.error_code == ng::NGHTTP2_ENHANCE_YOUR_CALM;
            return callback(user_data, FAILED, |state| {
                state.flooded |= calm;
                0
            });
        }
        if type_ != ng::NGHTTP2_HEADERS as u8 || flags & ng::NGHTTP2_FLAG_END_STREAM as u8 == 0 {
            return 0;
        }
        callback(user_data, FAILED, |state| {
            if state.streams.get(&stream_id).is_some_and(|stream| !stream.ended) {
                state.answered_early.push_back(stream_id);
            }
            0
        })
    }
}

unsafe extern "C" fn on_frame_not_sent(
    _: *mut ng::nghttp2_session,
    frame: *const ng::nghttp2_frame,
    _: c_int,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: as in `on_begin_headers`.
    unsafe {
        let ng::nghttp2_frame_hd { stream_id, type_, .. } = (*frame).hd;
        callback(user_data, FAILED, |state| {
            if type_ == ng::NGHTTP2_HEADERS as u8 && state.streams.contains_key(&stream_id) {
                state.unsendable.push(stream_id);
            }
            0
        })
    }
}

unsafe extern "C" fn on_stream_closed(
    _: *mut ng::nghttp2_session,
    id: i32,
    _: u32,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: as in `on_begin_headers`.
    unsafe {
        callback(user_data, FAILED, |state| {
            if let Some(mut stream) = state.streams.remove(&id) {
                state.dropped_bytes += stream.received.len();
                stream.wake();
            }
            0
        })
    }
}
