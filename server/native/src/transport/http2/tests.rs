//! Calls that stall, responses that are not read, and connections without calls.

use bytes::Bytes;
use libnghttp2_sys as ng;

use crate::transport::http2::exercise::PREFACE;
use crate::transport::http2::fields::{HeaderField, InitialFields};
use crate::transport::http2::frames::{DATA, END_HEADERS, HEADERS, RST_STREAM, SETTINGS, frame, read_frames};
use crate::transport::http2::session::{Http2Session, Received};
use crate::transport::quota::Reservation;

/// The fields of a POST over http to "/" of the authority "h".
const FIELDS: &[u8] = b"\x83\x86\x84\x01\x01h";
static INITIAL: InitialFields = InitialFields::new(const { &[HeaderField::fixed(":status", "200")] });
const SETTINGS_INITIAL_WINDOW: u8 = 4;

/// A session on which two calls have begun.
fn session() -> Http2Session {
    let mut session = Http2Session::new(10, 1 << 12).unwrap();
    session.receive(PREFACE).unwrap();
    for stream in [1, 3] {
        session.receive(&frame(HEADERS, END_HEADERS, stream, FIELDS)).unwrap();
    }
    session
}

/// Sends all, and returns the types and the payloads of the frames of one stream.
fn sent(session: &mut Http2Session, stream: u32) -> Vec<(u8, Vec<u8>)> {
    let mut out = Vec::new();
    session.send(&mut out, usize::MAX).unwrap();
    let frames = read_frames(&out).into_iter().filter(|(_, id, _)| *id == stream);
    frames.map(|(kind, _, payload)| (kind, payload)).collect()
}

#[test]
fn a_call_that_waits_for_the_rest_of_a_message_in_vain_is_stalled() {
    let mut session = session();
    session.set_awaited(1, true);
    assert_eq!(session.end_stalled(), 0);
    // A call that makes progress is not stalled, however long it takes.
    for _ in 0..5 {
        session.receive(&frame(DATA, 0, 1, b"more")).unwrap();
        assert_eq!(session.end_stalled(), 0);
    }
    assert_eq!(session.end_stalled(), 1);
    assert_eq!(session.end_stalled(), 0);
    assert!(matches!(session.take(1, false), Received::Data(_)));
    assert_eq!(session.take(1, false), Received::Stalled);
    // The other call waits for no message.
    assert_eq!(session.take(3, false), Received::Nothing);
}

#[test]
fn a_response_that_the_client_does_not_read_is_reset() {
    let mut session = session();
    let window = frame(SETTINGS, 0, 0, &[0, SETTINGS_INITIAL_WINDOW, 0, 0, 0, 0]);
    session.receive(&window).unwrap();
    let quota = crate::transport::quota::Quota::new(1 << 20);
    session.data(1, &INITIAL, Bytes::from_static(b"answer"), Reservation::new(&quota, 6).unwrap());
    sent(&mut session, 1);
    assert_eq!((session.end_stalled(), quota.used()), (0, 6));
    assert_eq!((session.end_stalled(), quota.used()), (1, 0));
    assert!(!session.is_open(1) && session.is_open(3));
    let calm = ng::NGHTTP2_ENHANCE_YOUR_CALM.to_be_bytes().to_vec();
    assert_eq!(sent(&mut session, 1), [(RST_STREAM, calm)]);
}

#[test]
fn a_session_is_idle_once_a_check_finds_no_calls() {
    let mut session = session();
    assert!(!session.is_idle());
    for id in [1, 3] {
        session.reset(id);
    }
    assert!(session.is_idle());
}
