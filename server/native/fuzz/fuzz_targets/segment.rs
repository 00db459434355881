//! `cargo +nightly fuzz run segment`: reads arbitrary bytes as a segment of the spool of records.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scorewire_spool::ledger;
use scorewire_spool::reader::{Piece, read_segment, sections, texts};

fuzz_target!(|data: &[u8]| {
    let mut end = 0;
    for piece in read_segment(data, false) {
        // The pieces are the segment.
        let (offset, length) = match piece {
            Piece::Block { offset, body, .. } => (offset, 96 + body.len()),
            Piece::Damage { offset, bytes, .. } => (offset, bytes.len()),
        };
        assert_eq!(offset, end);
        assert!(length > 0);
        end += length;
    }
    assert_eq!(end, data.len());
    assert!(read_segment(data, true).count() <= read_segment(data, false).count());
    // Few bytes are whole blocks, so bodies are read by themselves too.
    ledger::decode(data);
    for section in sections(data).unwrap_or_default() {
        for count in [0, 1, 7] {
            texts(section, count);
        }
    }
});
