//! What nghttp2 tells of a connection, written into the session's state.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use libnghttp2_sys as ng;

use crate::transport::quota::Reservation;

use crate::transport::http2::fields::raw_fields;
use crate::transport::http2::state::{Http2Error, PING_LAST, SessionState, Stream};

/// Odd frames, among them those of messages that come after the call was refused.
const ODD_FRAMES: u64 = 10_000;
const ODD_FRAMES_PER_SECOND: u64 = 1_000;

/// Frames that go on with one head. One whose own head comes in several reads counts once for each.
const MAX_CONTINUATIONS: usize = 100;
/// What a field counts beside its name and value, as RFC 9113 has it.
const FIELD_OVERHEAD_BYTES: usize = 32;
/// A head that is so many times as long as allowed ends its connection; a shorter one is answered.
const MAX_EXCESS: usize = 4;
/// More than the fields of any failure take.
const MAX_SENT_HEADER_BYTES: usize = 1 << 20;

/// Makes nghttp2's part.
pub(super) fn open(state: NonNull<SessionState>) -> Result<NonNull<ng::nghttp2_session>, Http2Error> {
    let (mut callbacks, mut option, mut session) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    // SAFETY: each of the three is made before it is used, and the first two are freed once; freeing
    // null is allowed. The session copies what it needs of both. The callbacks have the signatures
    // that nghttp2 asks for, and `state` outlives the session.
    let told = unsafe {
        let mut told = ng::nghttp2_session_callbacks_new(&raw mut callbacks);
        if told == 0 {
            told = ng::nghttp2_option_new(&raw mut option);
        }
        if told == 0 {
            ng::nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, Some(on_begin_headers));
            ng::nghttp2_session_callbacks_set_on_header_callback(callbacks, Some(on_header));
            ng::nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, Some(on_invalid_header));
            ng::nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, Some(on_frame_received));
            ng::nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, Some(on_data));
            ng::nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, Some(on_frame_sent));
            ng::nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, Some(on_frame_not_sent));
            ng::nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, Some(on_stream_closed));
            // The window opens as bodies are taken, not as they arrive.
            ng::nghttp2_option_set_no_auto_window_update(option, 1);
            // The state counts them: nghttp2 would call too many an internal error.
            ng::nghttp2_option_set_stream_reset_rate_limit(option, u64::MAX, u64::MAX);
            ng::nghttp2_option_set_glitch_rate_limit(option, ODD_FRAMES, ODD_FRAMES_PER_SECOND);
            ng::nghttp2_option_set_max_continuations(option, MAX_CONTINUATIONS);
            ng::nghttp2_option_set_max_send_header_block_length(option, MAX_SENT_HEADER_BYTES);
            let user_data = state.as_ptr().cast();
            told = ng::nghttp2_session_server_new2(&raw mut session, callbacks, user_data, option);
        }
        ng::nghttp2_option_del(option);
        ng::nghttp2_session_callbacks_del(callbacks);
        told
    };
    NonNull::new(session).filter(|_| told == 0).ok_or(Http2Error)
}

/// Runs a callback: a panic must not go through nghttp2, and ends the connection.
///
/// # Safety
/// `user_data` is the session's state, to which nobody else refers.
unsafe fn callback<T>(user_data: *mut c_void, failed: T, run: impl FnOnce(&mut SessionState) -> T) -> T {
    // SAFETY: the caller's promise.
    let state = unsafe { &mut *user_data.cast::<SessionState>() };
    catch_unwind(AssertUnwindSafe(|| run(state))).unwrap_or(failed)
}

const FAILED: c_int = ng::NGHTTP2_ERR_CALLBACK_FAILURE;

/// Whether the frame is the head of a request, and not its trailers.
///
/// # Safety
/// The frame is nghttp2's.
unsafe fn is_request(frame: *const ng::nghttp2_frame) -> bool {
    // SAFETY: the caller's promise; all frames have a header, and its type tells that the frame has
    // a category, too.
    unsafe {
        (*frame).hd.type_ == ng::NGHTTP2_HEADERS as u8 && (*frame).headers.cat == ng::NGHTTP2_HCAT_REQUEST
    }
}

unsafe extern "C" fn on_begin_headers(
    _: *mut ng::nghttp2_session,
    frame: *const ng::nghttp2_frame,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: nghttp2 calls this with its frame and our state, inside a method that holds the
    // session by `&mut` and does not refer to the state meanwhile; so with all callbacks below.
    unsafe {
        let request = is_request(frame);
        callback(user_data, FAILED, |state| {
            state.head_bytes = 0;
            if request {
                state.begun.begin();
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
    // SAFETY: as in `on_begin_headers`; nghttp2 says how long the name and the value are, neither of
    // which is null.
    unsafe {
        let request = is_request(frame);
        let name = std::slice::from_raw_parts(name, name_length);
        let value = std::slice::from_raw_parts(value, value_length);
        callback(user_data, FAILED, |state| {
            if state.count_field(name_length + value_length) {
                if request {
                    state.begun.push(name, value);
                }
                return 0;
            }
            refuse_field(session, state)
        })
    }
}

/// A field that HTTP does not allow is dropped by nghttp2; what it cost counts.
unsafe extern "C" fn on_invalid_header(
    session: *mut ng::nghttp2_session,
    _: *const ng::nghttp2_frame,
    _: *const u8,
    name_length: usize,
    _: *const u8,
    value_length: usize,
    _: u8,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: as in `on_begin_headers`.
    unsafe {
        callback(user_data, FAILED, |state| match state.count_field(name_length + value_length) {
            true => 0,
            false => refuse_field(session, state),
        })
    }
}

impl SessionState {
    /// Counts a field of the head that is being received; false where that is too long by now.
    fn count_field(&mut self, bytes: usize) -> bool {
        // As every field counts more than its text, so few fields are the limit, too.
        self.head_bytes += bytes + FIELD_OVERHEAD_BYTES;
        self.head_bytes <= self.max_head_bytes
    }
}

/// What becomes of a head that is too long. One far beyond the limit is a bomb: few bytes of HPACK
/// stand for many, and nghttp2 would read it to its end. The connection ends here.
///
/// # Safety
/// The session is nghttp2's, in one of its callbacks.
#[cold]
unsafe fn refuse_field(session: *mut ng::nghttp2_session, state: &SessionState) -> c_int {
    if state.head_bytes <= MAX_EXCESS * state.max_head_bytes {
        return 0;
    }
    // SAFETY: the caller's promise.
    match unsafe { calm_down(session) } {
        0 => ng::NGHTTP2_ERR_PAUSE,
        failed => failed,
    }
}

/// Ends the connection of a client that asks too much, and tells it why.
///
/// # Safety
/// The session is nghttp2's, in one of its callbacks.
#[cold]
unsafe fn calm_down(session: *mut ng::nghttp2_session) -> c_int {
    // SAFETY: the caller's promise; nghttp2 allows this in its callbacks, and reads nothing after it.
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
    // SAFETY: as in `on_begin_headers`; a frame of the type PING has eight bytes.
    unsafe {
        let ng::nghttp2_frame_hd { stream_id, type_, flags, .. } = (*frame).hd;
        let (request, type_) = (is_request(frame), ng::nghttp2_frame_type::from(type_));
        let pong = (type_ == ng::NGHTTP2_PING && flags & ng::NGHTTP2_FLAG_ACK as u8 != 0)
            .then(|| (*frame).ping.opaque_data);
        callback(user_data, FAILED, |state| {
            state.alive = true;
            state.greeted |= type_ == ng::NGHTTP2_SETTINGS;
            // A client may answer what it was not asked.
            state.last_ping_answered |= state.last_ping_sent && pong == Some(PING_LAST);
            if type_ == ng::NGHTTP2_RST_STREAM && !state.resets.add(Instant::now()) {
                return calm_down(session);
            }
            if request {
                state.begun.end(stream_id, state.head_bytes > state.max_head_bytes);
                state.called = true;
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
    // SAFETY: as in `on_begin_headers`; nghttp2 says how long the data is, which is not null.
    unsafe {
        let data = std::slice::from_raw_parts(data, length);
        callback(user_data, FAILED, |state| {
            match state.streams.get_mut(&id) {
                Some(stream) => {
                    stream.moved = true;
                    if stream.received.is_empty() {
                        stream.received = BytesMut::from(data);
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

pub(super) unsafe extern "C" fn on_read(
    session: *mut ng::nghttp2_session,
    id: i32,
    place: *mut u8,
    room: usize,
    flags: *mut u32,
    _: *mut ng::nghttp2_data_source,
    user_data: *mut c_void,
) -> ng::nghttp2_ssize {
    // SAFETY: as in `on_begin_headers`; nghttp2 has so much room for the data at the place, and
    // allows trailers to be submitted here; it copies what is not static of them.
    unsafe {
        callback(user_data, FAILED as ng::nghttp2_ssize, |state| {
            let Some(stream) = state.streams.get_mut(&id) else {
                return ng::NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE as ng::nghttp2_ssize;
            };
            let length = room.min(stream.unsent.len());
            stream.moved = true;
            ptr::copy_nonoverlapping(stream.unsent.as_ptr(), place, length);
            stream.unsent.advance(length);
            if !stream.unsent.is_empty() {
                return length as ng::nghttp2_ssize;
            }
            // Its room goes now.
            stream.unsent = Bytes::new();
            stream.held = Reservation::default();
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
    // SAFETY: as in `on_begin_headers`; nghttp2 allows frames to be submitted here, and copies the eight
    // bytes of a ping.
    unsafe {
        let ng::nghttp2_frame_hd { stream_id, type_, flags, .. } = (*frame).hd;
        if type_ == ng::NGHTTP2_GOAWAY as u8 && (*frame).goaway.last_stream_id == i32::MAX {
            // Only now: of frames that wait, nghttp2 sends pings before others.
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
