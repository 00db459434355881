//! The callbacks by which nghttp2 tells of a connection. They write the session's state.
//!
//! Every callback keeps these rules:
//!
//! 1. nghttp2 runs it only while a method of `Session` runs a function of nghttp2. That method does not refer to
//!    the state during that time, so the callback may change the state (see `session`).
//! 2. It runs inside `callback`, since a panic must not unwind through C: a panic becomes the failure of the
//!    callback, which ends the connection.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};

use libnghttp2_sys as ng;

use crate::http2::event::{Event, Http2Error, PREFIX_BYTES};
use crate::http2::state::{SessionState, Stream, Unsent};

const FAILED: c_int = ng::NGHTTP2_ERR_CALLBACK_FAILURE;
/// gRPC's status of a call whose response is too large.
const RESOURCE_EXHAUSTED: u32 = 8;
/// The longest value of a header field that is kept.
const MAX_VALUE_BYTES: usize = 16 << 10;

/// Makes a client's session of nghttp2 that passes `state` to the callbacks.
///
/// # Errors
/// `Http2Error`: there is no memory for the session.
pub(super) fn open<T: Clone>(
    state: NonNull<SessionState<T>>,
) -> Result<NonNull<ng::nghttp2_session>, Http2Error> {
    let (mut callbacks, mut option, mut session) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    // SAFETY: each pointer is set before it is used. The session copies what it needs of the callbacks and the
    // option, which are freed once; freeing null is allowed. The callbacks have the signatures that nghttp2 asks for, and
    // `state` outlives the session.
    let status = unsafe {
        let mut status = ng::nghttp2_session_callbacks_new(&raw mut callbacks);
        if status == 0 {
            status = ng::nghttp2_option_new(&raw mut option);
        }
        if status == 0 {
            ng::nghttp2_session_callbacks_set_on_header_callback(callbacks, Some(on_header::<T>));
            ng::nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, Some(on_frame_received::<T>));
            ng::nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, Some(on_data::<T>));
            ng::nghttp2_session_callbacks_set_on_frame_not_send_callback(
                callbacks,
                Some(on_frame_not_sent::<T>),
            );
            ng::nghttp2_session_callbacks_set_on_stream_close_callback(
                callbacks,
                Some(on_stream_closed::<T>),
            );
            // Frames that arrive after their call has timed out count as glitches, and are to be expected.
            ng::nghttp2_option_set_glitch_rate_limit(option, u64::MAX, u64::MAX);
            let user_data = state.as_ptr().cast();
            status = ng::nghttp2_session_client_new2(&raw mut session, callbacks, user_data, option);
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
unsafe fn callback<T, R>(
    user_data: *mut c_void,
    failure: R,
    run: impl FnOnce(&mut SessionState<T>) -> R,
) -> R {
    // SAFETY: the caller's promise.
    let state = unsafe { &mut *user_data.cast::<SessionState<T>>() };
    catch_unwind(AssertUnwindSafe(|| run(state))).unwrap_or(failure)
}

unsafe extern "C" fn on_header<T>(
    _: *mut ng::nghttp2_session,
    frame: *const ng::nghttp2_frame,
    name: *const u8,
    name_length: usize,
    value: *const u8,
    value_length: usize,
    _: u8,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: nghttp2 passes a frame of its own, and the state that `open` gave it. Nobody else refers to the
    // state while a callback runs (rule 1). The same holds for all callbacks below. nghttp2 passes the lengths
    // of the name and of the value; neither pointer is null.
    unsafe {
        let id = (*frame).hd.stream_id;
        let name = std::slice::from_raw_parts(name, name_length);
        let value = std::slice::from_raw_parts(value, value_length);
        if !(name == b":status" || name.starts_with(b"grpc-")) {
            return 0;
        }
        callback(user_data, FAILED, |state: &mut SessionState<T>| {
            let Some(stream) = state.streams.get_mut(&id) else { return 0 };
            let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse::<u32>().ok());
            let kept = &value[..value.len().min(MAX_VALUE_BYTES)];
            match name {
                b":status" => stream.ending.http_status = number().unwrap_or(0) as u16,
                // A status that is no number is UNKNOWN.
                b"grpc-status" => stream.ending.grpc_status = Some(number().unwrap_or(2)),
                b"grpc-message" => stream.ending.message = kept.to_vec(),
                b"grpc-status-details-bin" => stream.ending.details = kept.to_vec(),
                _ => {}
            }
            0
        })
    }
}

/// The last frame of the server ends a stream, even if the request has not been sent whole: nghttp2 keeps a
/// stream until both sides have ended.
unsafe extern "C" fn on_frame_received<T>(
    session: *mut ng::nghttp2_session,
    frame: *const ng::nghttp2_frame,
    user_data: *mut c_void,
) -> c_int {
    const GOAWAY: u8 = ng::NGHTTP2_GOAWAY as u8;
    const HEADERS: u8 = ng::NGHTTP2_HEADERS as u8;
    const DATA: u8 = ng::NGHTTP2_DATA as u8;
    // SAFETY: as in `on_header`. nghttp2 allows a reset to be submitted here.
    unsafe {
        let ng::nghttp2_frame_hd { stream_id: id, type_, flags, .. } = (*frame).hd;
        callback(user_data, FAILED, |state: &mut SessionState<T>| {
            match type_ {
                GOAWAY => state.going_away = true,
                HEADERS | DATA
                    if flags & ng::NGHTTP2_FLAG_END_STREAM as u8 != 0
                        && ng::nghttp2_session_get_stream_local_close(session, id) == 0 =>
                {
                    ng::nghttp2_submit_rst_stream(session, 0, id, ng::NGHTTP2_NO_ERROR);
                    state.close(id, ng::NGHTTP2_NO_ERROR);
                }
                _ => {}
            }
            0
        })
    }
}

unsafe extern "C" fn on_data<T: Clone>(
    session: *mut ng::nghttp2_session,
    _: u8,
    id: i32,
    data: *const u8,
    length: usize,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: as in `on_header`. nghttp2 passes the length of the data; the pointer is not null. nghttp2 allows
    // a reset to be submitted here.
    unsafe {
        let data = std::slice::from_raw_parts(data, length);
        callback(user_data, FAILED, |state: &mut SessionState<T>| {
            let Some(stream) = state.streams.get_mut(&id) else { return 0 };
            if stream.received.len() + length > state.max_message_bytes {
                stream.ending.grpc_status = Some(RESOURCE_EXHAUSTED);
                stream.ending.message = b"the response is larger than the generator takes".to_vec();
                ng::nghttp2_submit_rst_stream(session, 0, id, ng::NGHTTP2_ENHANCE_YOUR_CALM);
                state.close(id, ng::NGHTTP2_ENHANCE_YOUR_CALM);
                return 0;
            }
            stream.received.extend_from_slice(data);
            if matches!(stream.unsent, Unsent::Growing(_)) {
                take_messages(id, stream, &mut state.events);
            }
            0
        })
    }
}

/// Makes an event of each whole message of a stream.
fn take_messages<T: Clone>(id: i32, stream: &mut Stream<T>, events: &mut Vec<Event<T>>) {
    let mut at = 0;
    while let Some(prefix) = stream.received[at..].first_chunk::<PREFIX_BYTES>() {
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        let end = at + PREFIX_BYTES + length;
        if end > stream.received.len() {
            break;
        }
        let message = stream.received[at..end].to_vec();
        events.push(Event::Message { owner: stream.owner.clone(), id, message });
        at = end;
    }
    stream.received.drain(..at);
}

/// Gives nghttp2 the next bytes of a request.
pub(super) unsafe extern "C" fn on_read<T>(
    _: *mut ng::nghttp2_session,
    id: i32,
    buffer: *mut u8,
    capacity: usize,
    flags: *mut u32,
    _: *mut ng::nghttp2_data_source,
    user_data: *mut c_void,
) -> ng::nghttp2_ssize {
    // SAFETY: as in `on_header`. The buffer has room for `capacity` bytes, and is not a part of the messages.
    unsafe {
        callback(user_data, FAILED as ng::nghttp2_ssize, |state: &mut SessionState<T>| {
            let Some(stream) = state.streams.get_mut(&id) else {
                return ng::NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE as ng::nghttp2_ssize;
            };
            let length;
            match &mut stream.unsent {
                Unsent::Whole(message) => {
                    length = capacity.min(message.len());
                    ptr::copy_nonoverlapping(message.as_ptr(), buffer, length);
                    bytes::Buf::advance(message, length);
                    if message.is_empty() {
                        *flags |= ng::NGHTTP2_DATA_FLAG_EOF;
                    }
                }
                Unsent::Growing(messages) => {
                    length = capacity.min(messages.unsent().len());
                    if length == 0 {
                        messages.deferred = true;
                        return ng::NGHTTP2_ERR_DEFERRED as ng::nghttp2_ssize;
                    }
                    ptr::copy_nonoverlapping(messages.unsent().as_ptr(), buffer, length);
                    messages.advance(length);
                }
            }
            length as ng::nghttp2_ssize
        })
    }
}

/// A request that nghttp2 cannot send any more has failed, for instance after the server's GOAWAY.
unsafe extern "C" fn on_frame_not_sent<T>(
    _: *mut ng::nghttp2_session,
    frame: *const ng::nghttp2_frame,
    _: c_int,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: as in `on_header`.
    unsafe {
        let ng::nghttp2_frame_hd { stream_id, type_, .. } = (*frame).hd;
        if type_ != ng::NGHTTP2_HEADERS as u8 {
            return 0;
        }
        callback(user_data, FAILED, |state: &mut SessionState<T>| {
            state.close(stream_id, ng::NGHTTP2_REFUSED_STREAM);
            0
        })
    }
}

unsafe extern "C" fn on_stream_closed<T>(
    _: *mut ng::nghttp2_session,
    id: i32,
    error_code: u32,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: as in `on_header`.
    unsafe {
        callback(user_data, FAILED, |state: &mut SessionState<T>| {
            state.close(id, error_code);
            0
        })
    }
}
