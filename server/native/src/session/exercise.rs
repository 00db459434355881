//! All that can be done with a session, on whatever bytes: for the fuzz target, and for its corpus.

use bytes::Bytes;

use super::{Field, Fields, Received, Session};

/// The client's preface, and settings that change nothing.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const HEAD: &[Field] = &[Field::fixed(":status", "200")];
const TRAILERS: &[Field] = &[Field::fixed("grpc-status", "0")];
const MAX_STREAMS: u32 = 8;
const LARGE_BYTES: usize = 100_000;
const WRITE_BYTES: usize = 1 << 14;

/// Gives a session bytes, in pieces as the first byte says, and answers the calls that they begin.
///
/// # Panics
/// Only where something is wrong with the session.
pub fn exercise(data: &[u8]) {
    let Some((&mode, bytes)) = data.split_first() else { return };
    let mut session = Session::new(MAX_STREAMS).expect("there is memory");
    if mode & 1 == 0 {
        session.receive(GREETING).expect("it is well formed");
        assert!(session.is_greeted());
    }
    if mode & 2 != 0 {
        session.shut_down();
    }
    let (mut open, mut out) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(1 + usize::from(mode >> 2) * 4) {
        if session.receive(piece).is_err() {
            break;
        }
        let begun = session.begun();
        for (id, head) in begun.iter() {
            // Requests without a method are no requests to nghttp2.
            assert!(head.is_overlong() || head.get(":method").is_some());
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
    assert!(open.iter().all(|&id| session.take(id) == Received::Gone));
}

/// Does with a call what its number says; whether there is more to do.
fn goes_on(session: &mut Session, id: i32) -> bool {
    if !session.is_open(id) {
        return false;
    }
    match id / 2 % 6 {
        // It gets back what it sends.
        0 => loop {
            if !session.has_room(id) {
                return true;
            }
            match session.take(id) {
                Received::Data(data) => session.data(id, HEAD, data),
                Received::End => break session.end(id, HEAD, Fields::Borrowed(TRAILERS)),
                Received::Nothing => return true,
                Received::Gone => break,
            }
        },
        1 => session.refuse(id, HEAD),
        2 => session.reset(id),
        // It is never read, nor answered.
        3 => return true,
        // It is answered before it has ended.
        4 => session.end(id, HEAD, Fields::Borrowed(TRAILERS)),
        // It gets more than it may have room for.
        _ => {
            session.data(id, HEAD, Bytes::from(vec![7; LARGE_BYTES]));
            session.end(id, HEAD, Fields::Borrowed(TRAILERS));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The corpus of the fuzz target, through the same checks where there is no fuzzer.
    #[test]
    fn no_bytes_of_the_corpus_harm_a_session() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/session");
        let mut count = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            exercise(&std::fs::read(file.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 10);
    }
}
