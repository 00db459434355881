//! Exercises a session with arbitrary bytes: every method, and calls of every kind. The fuzz target runs this,
//! and so do tests, over the fuzz target's corpus and over random sessions.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::transport::http2::fields::{HeaderField, HeaderFields, InitialFields};
use crate::transport::http2::session::{Http2Session, Received};
use crate::transport::quota::Reservation;

/// The client's connection preface, with empty settings.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
static INITIAL: InitialFields = InitialFields::new(const { &[HeaderField::fixed(":status", "200")] });
const TRAILERS: &[HeaderField] = &[HeaderField::fixed("grpc-status", "0")];
const MAX_STREAMS: u32 = 8;
const MAX_HEADER_BYTES: u32 = 300;
const LARGE_BYTES: usize = 100_000;
const WRITE_BYTES: usize = 1 << 14;
/// The number of places where the input is cut in two, about; all places where the input is shorter.
const MAX_CUTS: usize = 1024;

/// Gives sessions the same bytes in several ways: whole, cut in two at every byte, and in pieces of a size that
/// the first byte says. Reads the calls that the bytes begin, and answers them.
///
/// # Panics
/// The session has a bug: what it reads depends on where the bytes are cut, or it breaks a promise.
pub(crate) fn exercise(data: &[u8]) {
    let Some((&mode, bytes)) = data.split_first() else { return };
    let whole = read(mode, &[bytes]);
    for cut in (0..bytes.len()).step_by(1 + bytes.len() / MAX_CUTS) {
        let (first, second) = bytes.split_at(cut);
        let found = read(mode, &[first, second]);
        assert!(found.is_none() || found == whole, "cut at {cut}: {found:?} instead of {whole:?}");
        answer(mode, &[first, second]);
    }
    answer(mode, &bytes.chunks(1 + usize::from(mode >> 2) * 4).collect::<Vec<_>>());
}

/// A new session. It has received the client's preface where the mode is even.
fn session(mode: u8) -> Http2Session {
    let mut session = Http2Session::new(MAX_STREAMS, MAX_HEADER_BYTES).expect("there is memory");
    if mode & 1 == 0 {
        session.receive(PREFACE).expect("the preface is well formed");
        assert!(session.has_preface());
    }
    session
}

/// What a session read of a call: its header fields, whether some are missing, its body where that is whole, and
/// how it ended.
type Request = (Vec<(Vec<u8>, Vec<u8>)>, bool, Vec<u8>, Received);

/// What a session reads while it sends nothing, by stream. It must not depend on where the bytes were cut.
/// `None`: the client ended the connection between two pieces, and nothing is read after that.
fn read(mode: u8, pieces: &[&[u8]]) -> Option<BTreeMap<i32, Request>> {
    let mut session = session(mode);
    let mut found = BTreeMap::new();
    for piece in pieces {
        if !session.wants_read() {
            return None;
        }
        let received = session.receive(piece);
        let blocks = session.take_calls();
        for (id, headers) in blocks.iter() {
            let fields = headers.fields().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            let former = found.insert(id, (fields, headers.is_overlong(), Vec::new(), Received::Nothing));
            assert!(former.is_none(), "a stream begins once");
        }
        session.give_back(blocks);
        if received.is_err() {
            break;
        }
    }
    for (&id, (.., body, end)) in &mut found {
        *end = loop {
            match session.take(id, false) {
                Received::Data(data) | Received::Last(data) => body.extend_from_slice(&data),
                end => break end,
            }
        };
        // How much of a body comes before a fault in it may depend on the cuts.
        if *end != Received::End {
            body.clear();
        }
    }
    Some(found)
}

/// Answers the calls that the bytes begin, each in the way that the number of its stream says.
fn answer(mode: u8, pieces: &[&[u8]]) {
    let mut session = session(mode);
    if mode & 2 != 0 {
        session.shut_down("");
    }
    let (mut open, mut out) = (Vec::new(), Vec::new());
    for piece in pieces {
        if session.receive(piece).is_err() {
            break;
        }
        let blocks = session.take_calls();
        for (id, headers) in blocks.iter() {
            // nghttp2 refuses requests without a method.
            assert!(headers.is_overlong() || headers.grpc().method.is_some());
            open.push(id);
        }
        session.give_back(blocks);
        open.retain(|&id| answer_one(&mut session, id));
        assert!(open.len() <= MAX_STREAMS as usize);
        out.clear();
        if session.send(&mut out, WRITE_BYTES).is_err() || session.is_over() {
            break;
        }
    }
    session.ping();
    session.close();
    assert!(open.iter().all(|&id| session.take(id, false) == Received::Gone));
}

/// Answers a call in the way that the number of its stream says. True while there is more to do.
fn answer_one(session: &mut Http2Session, id: i32) -> bool {
    if !session.is_open(id) {
        return false;
    }
    match id / 2 % 6 {
        // The call gets back what it sends.
        0 => loop {
            if !session.has_capacity(id) {
                return true;
            }
            match session.take(id, false) {
                Received::Data(data) | Received::Last(data) => {
                    session.data(id, &INITIAL, data, Reservation::default())
                }
                Received::End => break session.end(id, &INITIAL, HeaderFields::Borrowed(TRAILERS)),
                Received::Nothing => return true,
                Received::Gone | Received::Stalled => break,
            }
        },
        1 => session.headers_only(id, INITIAL.fields),
        2 => session.reset(id),
        // The call is never read or answered.
        3 => return true,
        // The call is answered before its request has ended.
        4 => session.end(id, &INITIAL, HeaderFields::Borrowed(TRAILERS)),
        // The call gets more than its window may allow.
        _ => {
            session.data(id, &INITIAL, Bytes::from(vec![7; LARGE_BYTES]), Reservation::default());
            session.end(id, &INITIAL, HeaderFields::Borrowed(TRAILERS));
        }
    }
    false
}
