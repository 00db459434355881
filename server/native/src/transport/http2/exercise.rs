//! All that can be done with a session, on whatever bytes: for the fuzz target, for its corpus, and
//! for random sessions.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::transport::http2::fields::{HeaderField, HeaderFields, InitialFields};
use crate::transport::http2::session::{Http2Session, Received};
use crate::transport::quota::Reservation;

/// The client's preface, and settings that change nothing.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
static INITIAL: InitialFields = InitialFields::new(const { &[HeaderField::fixed(":status", "200")] });
const TRAILERS: &[HeaderField] = &[HeaderField::fixed("grpc-status", "0")];
const MAX_STREAMS: u32 = 8;
const MAX_HEAD_BYTES: u32 = 300;
const LARGE_BYTES: usize = 100_000;
const WRITE_BYTES: usize = 1 << 14;
/// Input that is longer is cut at so many of its bytes.
const MAX_CUTS: usize = 1024;

/// Gives sessions bytes: whole, cut in two at every byte, and in pieces as the first byte says; and
/// answers the calls that they begin.
///
/// # Panics
/// Only where something is wrong with the session.
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

fn greeted(mode: u8) -> Http2Session {
    let mut session = Http2Session::new(MAX_STREAMS, MAX_HEAD_BYTES).expect("there is memory");
    if mode & 1 == 0 {
        session.receive(GREETING).expect("it is well formed");
        assert!(session.is_greeted());
    }
    session
}

/// What came of a call: the fields of its head, whether some are missing, its body where that is whole,
/// and how it ended.
type Request = (Vec<(Vec<u8>, Vec<u8>)>, bool, Vec<u8>, Received);

/// What a session reads that says nothing: it must not depend on where the bytes were cut. None where
/// a client said goodbye between two pieces, behind which nothing is read.
fn read(mode: u8, pieces: &[&[u8]]) -> Option<BTreeMap<i32, Request>> {
    let mut session = greeted(mode);
    let mut found = BTreeMap::new();
    for piece in pieces {
        if !session.reads() {
            return None;
        }
        let received = session.receive(piece);
        let begun = session.begun();
        for (id, head) in begun.iter() {
            let fields = head.fields().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            let former = found.insert(id, (fields, head.is_overlong(), Vec::new(), Received::Nothing));
            assert!(former.is_none(), "a stream begins once");
        }
        session.give_back(begun);
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
        // How much of a body comes before a fault in it is found is not said.
        if *end != Received::End {
            body.clear();
        }
    }
    Some(found)
}

/// Answers the calls that the bytes begin, as the number of each says.
fn answer(mode: u8, pieces: &[&[u8]]) {
    let mut session = greeted(mode);
    if mode & 2 != 0 {
        session.shut_down("");
    }
    let (mut open, mut out) = (Vec::new(), Vec::new());
    for piece in pieces {
        if session.receive(piece).is_err() {
            break;
        }
        let begun = session.begun();
        for (id, head) in begun.iter() {
            // Requests without a method are no requests to nghttp2.
            assert!(head.is_overlong() || head.grpc().method.is_some());
            open.push(id);
        }
        session.give_back(begun);
        open.retain(|&id| goes_on(&mut session, id));
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

/// Does with a call what its number says; whether there is more to do.
fn goes_on(session: &mut Http2Session, id: i32) -> bool {
    if !session.is_open(id) {
        return false;
    }
    match id / 2 % 6 {
        // It gets back what it sends.
        0 => loop {
            if !session.has_room(id) {
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
        1 => session.refuse(id, INITIAL.fields),
        2 => session.reset(id),
        // It is never read, nor answered.
        3 => return true,
        // It is answered before it has ended.
        4 => session.end(id, &INITIAL, HeaderFields::Borrowed(TRAILERS)),
        // It gets more than it may have room for.
        _ => {
            session.data(id, &INITIAL, Bytes::from(vec![7; LARGE_BYTES]), Reservation::default());
            session.end(id, &INITIAL, HeaderFields::Borrowed(TRAILERS));
        }
    }
    false
}
