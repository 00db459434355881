use std::sync::Arc;

use bytes::Bytes;

use crate::http2::event::{Ending, Event};
use crate::http2::session::{RequestFields, Session};
use crate::http2::state::Messages;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// ":status: 200", by the static table of HPACK.
const OK: &[u8] = b"\x88";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn session() -> Session<u32> {
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "h")];
    let fields = fields.map(|(name, value)| (name, value.to_owned())).to_vec();
    let mut session = Session::new(Arc::new(RequestFields::new(fields)), 100).unwrap();
    // The server's settings.
    session.receive(&frame(4, 0, 0, b"")).unwrap();
    session
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// A literal header field without an index.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0, name.len() as u8];
    out.extend_from_slice(name.as_bytes());
    out.push(value.len() as u8);
    out.extend_from_slice(value.as_bytes());
    out
}

/// What the session sends: type, flags, stream and payload of each frame.
fn sent(session: &mut Session<u32>) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let mut out = Vec::new();
    session.send(&mut out, usize::MAX).unwrap();
    let mut rest = out.strip_prefix(PREFACE).unwrap_or(&out);
    let mut frames = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        frames.push((head[3], head[4], stream, after[..length].to_vec()));
        rest = &after[length..];
    }
    frames
}

fn events(session: &mut Session<u32>) -> Vec<Event<u32>> {
    let mut events = Vec::new();
    session.take_events(&mut events);
    events
}

#[test]
fn a_call_is_sent_and_its_answer_is_told() {
    let mut session = session();
    let id = session.call(7, Bytes::from_static(b"request")).unwrap();
    let frames = sent(&mut session);
    assert!(
        frames.iter().any(|(kind, flags, stream, _)| (*kind, *flags, *stream) == (HEADERS, END_HEADERS, 1))
    );
    assert!(frames.contains(&(DATA, END_STREAM, 1, b"request".to_vec())));
    let trailers = [field("grpc-status", "8"), field("grpc-message", "no"), field("x-other", "1")].concat();
    session.receive(&frame(HEADERS, END_HEADERS, 1, OK)).unwrap();
    session.receive(&frame(DATA, 0, 1, b"ans")).unwrap();
    session.receive(&frame(DATA, 0, 1, b"wer")).unwrap();
    assert!(events(&mut session).is_empty() && session.is_open(id));
    session.receive(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers)).unwrap();
    let ending = Ending {
        http_status: 200,
        grpc_status: Some(8),
        message: b"no".to_vec(),
        body: b"answer".to_vec(),
        ..Ending::default()
    };
    assert_eq!(events(&mut session), [Event::Ended { owner: 7, id, ending }]);
    assert!(session.is_idle() && !session.is_open(id));
}

#[test]
fn messages_of_a_stream_are_sent_as_they_are_added_and_told_as_they_are_whole() {
    let mut session = session();
    let id = session.open_stream(3).unwrap();
    sent(&mut session);
    for message in [&b"one"[..], b"two"] {
        session.send_message(id, |out| out.extend_from_slice(message));
        assert!(session.has_unsent(id));
        let data: Vec<_> = sent(&mut session).into_iter().filter(|frame| frame.0 == DATA).collect();
        assert_eq!(data, [(DATA, 0, 1, message.to_vec())]);
        assert!(!session.has_unsent(id));
    }
    session.receive(&frame(HEADERS, END_HEADERS, 1, OK)).unwrap();
    session.receive(&frame(DATA, 0, 1, b"\0\0\0\0\x02ab\0\0\0\0\0\0\0\0\0\x01")).unwrap();
    let whole = |message: &[u8]| Event::Message { owner: 3, id, message: message.to_vec() };
    assert_eq!(events(&mut session), [whole(b"\0\0\0\0\x02ab"), whole(b"\0\0\0\0\0")]);
    session.receive(&frame(DATA, 0, 1, b"c")).unwrap();
    assert_eq!(events(&mut session), [whole(b"\0\0\0\0\x01c")]);
}

#[test]
fn a_call_that_is_reset_is_forgotten() {
    let mut session = session();
    let id = session.call(1, Bytes::from_static(b"m")).unwrap();
    sent(&mut session);
    assert_eq!((session.reset(id), session.reset(id)), (Some(1), None));
    assert!(sent(&mut session).iter().any(|frame| (frame.0, frame.2) == (RST_STREAM, 1)));
    session.receive(&frame(DATA, END_STREAM, 1, b"late")).unwrap();
    assert!(events(&mut session).is_empty());
}

#[test]
fn a_stream_that_the_server_resets_ends_with_the_code() {
    let mut session = session();
    session.call(1, Bytes::from_static(b"m")).unwrap();
    sent(&mut session);
    session.receive(&frame(RST_STREAM, 0, 1, &7u32.to_be_bytes())).unwrap();
    let ending = Ending { error_code: 7, ..Ending::default() };
    assert_eq!(events(&mut session), [Event::Ended { owner: 1, id: 1, ending }]);
}

#[test]
fn a_server_that_goes_away_refuses_the_calls_that_it_has_not_seen() {
    let mut session = session();
    session.call(1, Bytes::from_static(b"m")).unwrap();
    session.call(2, Bytes::from_static(b"m")).unwrap();
    sent(&mut session);
    session.call(3, Bytes::from_static(b"m")).unwrap();
    assert!(!session.is_closing());
    session.receive(&frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).unwrap();
    assert!(session.is_closing());
    sent(&mut session);
    assert!(!session.is_idle());
    let owners: Vec<_> = events(&mut session)
        .into_iter()
        .map(|event| match event {
            Event::Ended { owner, ending, .. } => (owner, ending.error_code),
            Event::Message { .. } => panic!("no message was sent"),
        })
        .collect();
    assert_eq!(owners, [(2, 7), (3, 7)]);
    assert_eq!(session.take_owners(), [1]);
}

#[test]
fn a_response_that_is_too_large_ends_its_call() {
    let mut session = session();
    session.call(1, Bytes::from_static(b"m")).unwrap();
    sent(&mut session);
    session.receive(&frame(HEADERS, END_HEADERS, 1, OK)).unwrap();
    session.receive(&frame(DATA, 0, 1, &[0; 106])).unwrap();
    let ended = events(&mut session);
    assert!(matches!(&ended[..], [Event::Ended { owner: 1, ending, .. }] if ending.grpc_status == Some(8)));
}

#[test]
fn bytes_that_are_not_http2_end_the_session() {
    let mut session = session();
    assert!(!session.is_over());
    session.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    assert!(sent(&mut session).iter().any(|frame| frame.0 == GOAWAY));
    assert!(session.is_over());
}

#[test]
fn the_servers_last_frame_ends_a_stream_whose_request_goes_on() {
    let trailers = [OK, &field("grpc-status", "14")].concat();
    let mut session = session();
    session.open_stream(1).unwrap();
    // Larger than the window.
    session.call(2, Bytes::from(vec![0; 100_000])).unwrap();
    sent(&mut session);
    for (owner, id) in [(1, 1), (2, 3)] {
        session.receive(&frame(HEADERS, END_HEADERS | END_STREAM, id as u32, &trailers)).unwrap();
        let ending = Ending { http_status: 200, grpc_status: Some(14), ..Ending::default() };
        assert_eq!(events(&mut session), [Event::Ended { owner, id, ending }]);
        let no_error = (RST_STREAM, 0, id as u32, vec![0; 4]);
        assert!(sent(&mut session).contains(&no_error));
    }
    assert!(session.is_idle() && events(&mut session).is_empty());
}

#[test]
fn messages_that_were_sent_are_forgotten_though_one_always_waits() {
    let mut messages = Messages::default();
    messages.end().extend_from_slice(&[1; 1_000]);
    for number in 0..100u8 {
        messages.end().extend_from_slice(&[number; 1_000]);
        for _ in 0..10 {
            messages.advance(100);
        }
        assert_eq!(messages.unsent(), [number; 1_000]);
        assert!(messages.end().len() <= 2_000);
    }
    messages.advance(1_000);
    assert!(messages.end().is_empty());
}

/// The bytes of a whole conversation: a unary call's answer, a message of a stream, and the end of the stream.
fn conversation() -> Vec<u8> {
    let trailers = [field("grpc-status", "0"), field("grpc-status-details-bin", "CAg")].concat();
    [
        frame(HEADERS, END_HEADERS, 1, OK),
        frame(HEADERS, END_HEADERS, 3, OK),
        frame(DATA, 0, 1, b"\0\0\0\0\x01a"),
        frame(DATA, 0, 3, b"\0\0\0\0\x02bc\0\0\0"),
        frame(DATA, 0, 3, b"\0\x01d"),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers),
        frame(HEADERS, END_HEADERS | END_STREAM, 3, &trailers),
    ]
    .concat()
}

fn answered(pieces: &[&[u8]]) -> Vec<Event<u32>> {
    let mut session = session();
    session.call(1, Bytes::from_static(b"m")).unwrap();
    session.open_stream(2).unwrap();
    sent(&mut session);
    let mut all = Vec::new();
    for piece in pieces {
        session.receive(piece).unwrap();
        all.append(&mut events(&mut session));
    }
    all
}

#[test]
fn bytes_that_come_in_pieces_tell_the_same() {
    let bytes = conversation();
    let whole = answered(&[&bytes]);
    assert_eq!(whole.len(), 4);
    for cut in 0..bytes.len() {
        assert_eq!(answered(&[&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(answered(&single), whole);
}

#[test]
fn bytes_that_are_damaged_end_the_session_or_a_stream_and_nothing_else() {
    let bytes = conversation();
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut session = session();
            session.call(1, Bytes::from_static(b"m")).unwrap();
            session.open_stream(2).unwrap();
            sent(&mut session);
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << bit;
            let _ = session.receive(&damaged);
            let _ = session.send(&mut Vec::new(), usize::MAX);
            let told = events(&mut session).into_iter().filter(|event| matches!(event, Event::Ended { .. }));
            // Each call ends once, or is still open.
            assert_eq!(told.count() + session.take_owners().len(), 2, "place {place}, bit {bit}");
        }
    }
}
