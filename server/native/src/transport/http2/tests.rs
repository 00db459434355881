//! Calls that stall, responses that are not read, and connections without calls.

use bytes::Bytes;
use libnghttp2_sys as ng;

use crate::transport::http2::fields::{HeaderField, InitialFields};
use crate::transport::http2::session::{Http2Session, Received};
use crate::transport::quota::Reservation;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The fields of a POST over http to "/" of the authority "h".
const FIELDS: &[u8] = b"\x83\x86\x84\x01\x01h";
static INITIAL: InitialFields = InitialFields::new(const { &[HeaderField::fixed(":status", "200")] });
const END_HEADERS: u8 = 4;
const SETTINGS_INITIAL_WINDOW: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
    out.extend_from_slice(payload);
    out
}

/// A session on which two calls have begun.
fn session() -> Http2Session {
    let mut session = Http2Session::new(10, 1 << 12).unwrap();
    session.receive(PREFACE).unwrap();
    for stream in [1, 3] {
        session.receive(&frame(1, END_HEADERS, stream, FIELDS)).unwrap();
    }
    session
}

/// Sends all, and returns the types and the payloads of the frames of one stream.
fn sent(session: &mut Http2Session, stream: u8) -> Vec<(u8, Vec<u8>)> {
    let mut out = Vec::new();
    session.send(&mut out, usize::MAX).unwrap();
    let mut frames = Vec::new();
    let mut rest = &out[..];
    while let Some((header, after)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        if header[8] == stream {
            frames.push((header[3], after[..length].to_vec()));
        }
        rest = &after[length..];
    }
    frames
}

#[test]
fn a_call_that_waits_for_the_rest_of_a_message_in_vain_is_stalled() {
    let mut session = session();
    session.set_awaited(1, true);
    assert_eq!(session.end_stalled(), 0);
    // A call that makes progress is not stalled, however long it takes.
    for _ in 0..5 {
        session.receive(&frame(0, 0, 1, b"more")).unwrap();
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
    let window = frame(4, 0, 0, &[0, SETTINGS_INITIAL_WINDOW, 0, 0, 0, 0]);
    session.receive(&window).unwrap();
    let quota = crate::transport::quota::Quota::new(1 << 20);
    session.data(1, &INITIAL, Bytes::from_static(b"answer"), Reservation::new(&quota, 6).unwrap());
    sent(&mut session, 1);
    assert_eq!((session.end_stalled(), quota.used()), (0, 6));
    assert_eq!((session.end_stalled(), quota.used()), (1, 0));
    assert!(!session.is_open(1) && session.is_open(3));
    let calm = ng::NGHTTP2_ENHANCE_YOUR_CALM.to_be_bytes().to_vec();
    assert_eq!(sent(&mut session, 1), [(3, calm)]);
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
