//! Runs the checks of the fuzz target without a fuzzer: over its corpus, and over random sessions.

use std::collections::BTreeMap;

use super::{exercise, read};
use crate::transport::http2::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame,
};

/// Enough sessions to have every kind of frame behind every other kind.
const SESSIONS: u64 = 80;
const MAX_FRAMES: u64 = 12;
/// The fields of a POST over http to the authority "h", by HPACK's static table.
const POST: &[u8] = &[0x83, 0x86, 0x01, 1, b'h'];

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

#[test]
fn random_sessions_read_the_same_wherever_they_are_cut() {
    let mut calls = 0;
    for seed in 1..=SESSIONS {
        let bytes = session(&mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        calls += read(bytes[0], &[&bytes[1..]]).unwrap().len();
        exercise(&bytes);
    }
    assert!(calls > 2 * SESSIONS as usize, "{calls} calls: most sessions are not valid");
}

#[test]
fn a_header_block_in_many_frames_may_come_byte_by_byte() {
    let block = [POST, &literal(0, b":path", b"/")].concat();
    let mut bytes = frame(HEADERS, END_STREAM, 1, &[]);
    for part in 0..8 {
        let end_headers = if part == 7 { END_HEADERS } else { 0 };
        bytes.extend(frame(CONTINUATION, end_headers, 1, if part == 7 { &block } else { &[] }));
    }
    let pieces: Vec<_> = bytes.chunks(1).collect();
    let whole = read(0, &[&bytes]);
    assert_eq!(whole.as_ref().map(BTreeMap::len), Some(1));
    assert_eq!(read(0, &pieces), whole);
}

/// Random numbers from a seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn bytes(&mut self, bound: u64) -> Vec<u8> {
        let length = self.below(bound);
        (0..length).map(|_| self.below(256) as u8).collect()
    }

    fn once_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// A mode, and the frames of a client. Most frames are well formed, and belong to calls that the client began.
fn session(random: &mut Random) -> Vec<u8> {
    // An even mode: the preface comes first.
    let mut bytes = vec![(random.below(64) as u8) << 2];
    let (mut count, mut open) = (0, Vec::new());
    for _ in 0..1 + random.below(MAX_FRAMES) {
        if open.is_empty() || random.once_in(3) {
            let (stream, ended) = (2 * count + 1, random.once_in(2));
            bytes.extend(header_block(random, stream, ended));
            count += 1;
            if !ended {
                open.push(stream);
            }
            continue;
        }
        let place = random.below(open.len() as u64) as usize;
        let stream = open[place];
        let (frame, ended) = match random.below(8) {
            0..=2 => (frame(DATA, 0, stream, &random.bytes(40)), false),
            3 => (frame(DATA, END_STREAM, stream, &random.bytes(40)), true),
            4 => (frame(HEADERS, END_HEADERS | END_STREAM, stream, &literal(0, b"trailer", b"x")), true),
            5 => (frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]), true),
            6 => (frame(PING, 0, 0, &[7; 8]), false),
            _ if random.once_in(2) => (frame(WINDOW_UPDATE, 0, stream, &[0, 0, 1, 0]), false),
            _ if random.once_in(2) => (frame(SETTINGS, 0, 0, &[]), false),
            _ => (random.bytes(20), false),
        };
        bytes.extend(frame);
        if ended {
            open.swap_remove(place);
        }
    }
    bytes
}

/// The header block of a request, in one frame or more.
fn header_block(random: &mut Random, stream: u32, ended: bool) -> Vec<u8> {
    let mut block = POST.to_vec();
    block.extend(literal(0, b":path", b"/service/Method"));
    // A field that HPACK's dynamic table keeps. Of the other fields, some refer to it and some are literal.
    block.extend(literal(0x40, b"kept", &vec![b'k'; random.below(30) as usize]));
    for _ in 0..random.below(4) {
        match random.below(2) {
            0 => block.extend(literal(0, b"name", &vec![b'v'; random.below(30) as usize])),
            _ => block.push(0x80 | 62),
        }
    }
    let mut cuts: Vec<_> = (0..random.below(3)).map(|_| random.below(block.len() as u64) as usize).collect();
    cuts.sort_unstable();
    cuts.push(block.len());
    let (mut bytes, mut start) = (Vec::new(), 0);
    for (i, end) in cuts.iter().enumerate() {
        let (kind, first) = if i == 0 { (HEADERS, u8::from(ended)) } else { (CONTINUATION, 0) };
        let last = if i == cuts.len() - 1 { END_HEADERS } else { 0 };
        bytes.extend(frame(kind, first | last, stream, &block[start..*end]));
        start = *end;
    }
    bytes
}

/// A field as a literal of HPACK.
fn literal(kind: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[kind, name.len() as u8], name, &[value.len() as u8], value].concat()
}
