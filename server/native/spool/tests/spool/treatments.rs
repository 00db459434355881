//! What policies make of values before they are kept.

use std::fs;
use std::io;
use std::time::Instant;

use scorewire_spool::block::kind;
use scorewire_spool::reader::{Piece, read_segment, sections, texts};
use scorewire_spool::{Head, Output, Recorder, Sizes, Source, Treatment, ledger};

use crate::fixture::Folder;

const SECRET: &str = "anna@example.com";

fn source() -> Source {
    Source {
        number: 5,
        description: br#"{"source": 5}"#.to_vec(),
        fingerprint: 0x5f0c,
        numbers: vec![Treatment::Keep, Treatment::Drop, Treatment::Hash],
        texts: vec![Treatment::Hash, Treatment::Keep],
        outputs: vec![Output::Numbers(2), Output::Texts(1)],
        caller: Treatment::Hash,
        principal: Treatment::Hash,
        hash_key: b"a key of sixteen".to_vec(),
        ..Source::default()
    }
}

/// Records a prediction of two rows. The second one has nothing where the first one has secrets.
fn record(recorder: &Recorder, lane: usize) -> bool {
    let lane = recorder.lane(lane);
    let head = Head {
        source: 5,
        at: Instant::now(),
        server_us: 12,
        model_us: 3,
        flags: 1,
        first_row: 0,
        row_count: 2,
        original: None,
        caller: b"10.0.0.1",
        principal: b"the shop of Anna",
        routing_key: b"key",
    };
    let sizes = Sizes {
        numbers: 48,
        texts: 4,
        text_bytes: SECRET.len() + 4,
        output_numbers: 4,
        output_texts: 2,
        output_text_bytes: 3,
        errors: 1,
    };
    lane.record(&head, &sizes, |filler| {
        for number in [1.5, 2.5, 3.5, f64::NAN, 2.5, f64::NAN] {
            filler.numbers(&number.to_le_bytes());
        }
        for text in [SECRET, "CH", "", "PL"] {
            filler.text(text.as_bytes());
        }
        filler.outputs([0.25, 0.75, f64::NAN, f64::NAN]);
        filler.output_text(b"yes");
        filler.output_text(b"");
        filler.error(1, 2, 4);
    })
}

#[test]
fn dropped_and_hashed_values_never_reach_the_disk() {
    let folder = Folder::new();
    let recorder = folder.recorder(folder.options());
    let _source = recorder.define(source()).expect("a source");
    assert!(record(&recorder, 0));
    assert!(record(&recorder, 1));
    recorder.lane(0).sampled_out(7);
    recorder.close();
    let counts = recorder.counts();
    assert_eq!((counts.offered, counts.spooled, counts.sampled_out, counts.buffered), (11, 4, 7, 0));
    assert_eq!(counts.problem, "");

    let bytes = fs::read(folder.segment(0)).expect("a segment");
    for hidden in
        [SECRET.as_bytes(), b"10.0.0.1", b"the shop", &3.5_f64.to_le_bytes(), &2.5_f64.to_le_bytes()]
    {
        assert!(!bytes.windows(hidden.len()).any(|window| window == hidden));
    }
    let mut kinds = Vec::new();
    for piece in read_segment(&bytes, false) {
        let Piece::Block { header, body, .. } = piece else { panic!("{piece:?}") };
        kinds.push(header.kind);
        match header.kind {
            kind::ROWS => {
                assert_eq!((header.source, header.predictions, header.rows), (5, 2, 4));
                assert_eq!((header.fingerprint, header.first_sequence), (0x5f0c, 0));
                check_columns(&sections(body).expect("columns"));
            }
            kind::LEDGER => assert_eq!(ledger::decode(body), Some(recorder.ledger())),
            kind::END => assert_eq!((header.source, body), (1, &b""[..])),
            _ => assert!(body.starts_with(b"{")),
        }
    }
    assert_eq!(kinds, [kind::START, kind::SOURCE, kind::ROWS, kind::LEDGER, kind::END]);
}

fn check_columns(sections: &[&[u8]]) {
    assert_eq!(sections.len(), 21);
    let kept: Vec<f64> = sections[12]
        .chunks_exact(8)
        .map(|number| f64::from_le_bytes(number.try_into().expect("8")))
        .collect();
    assert_eq!((kept.len(), kept[0], kept[2]), (4, 1.5, 1.5));
    assert!(kept[1].is_nan() && kept[3].is_nan());
    // The kept text, then the hashed number, then the hashed text.
    let found = texts(sections[13], 12).expect("texts");
    assert_eq!([found[0], found[3], found[4], found[5]], [&b"CH"[..], b"PL", b"", b""]);
    assert_eq!((found[1].len(), found[2].len()), (32, 32));
    assert_ne!(found[1], found[2]);
    assert_eq!(found[..6], found[6..]);
    let callers = texts(sections[10], 2).expect("callers");
    assert_eq!((callers[0].len(), callers[0]), (32, callers[1]));
    assert_eq!(texts(sections[11], 2), Some(vec![&b"key"[..], b"key"]));
    assert_eq!(sections[14], [1_u32.to_le_bytes(), 3_u32.to_le_bytes()].concat());
    // Both predictions have the same principal.
    assert!(sections[17].is_empty());
    assert_eq!(texts(sections[18], 1).expect("a principal")[0].len(), 32);
    assert_eq!(texts(sections[20], 4), Some(vec![&b"yes"[..], b"", b"yes", b""]));
}

#[test]
fn a_source_that_cannot_be_hashed_is_refused() {
    let folder = Folder::new();
    let recorder = folder.recorder(folder.options());
    for hash_key in [Vec::new(), vec![7; 65]] {
        let refused = recorder.define(Source { hash_key, ..source() }).map(drop).expect_err("no hashes");
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
    drop(recorder.define(Source { hash_key: vec![7; 64], ..source() }).expect("a source"));
}

#[test]
fn records_without_a_source_or_with_other_columns_are_dropped_and_told() {
    let folder = Folder::new();
    let recorder = folder.recorder(folder.options());
    assert!(crate::fixture::record(&recorder, 0, 9, 1));
    let _source = recorder.define(source()).expect("a source");
    assert!(crate::fixture::record(&recorder, 0, 5, 1));
    assert!(crate::fixture::record(&recorder, 0, 1, 3));
    recorder.close();
    let counts = recorder.counts();
    crate::fixture::check_sum(&counts);
    assert_eq!((counts.disk, counts.spooled), (2, 3));
    assert!(counts.problem.contains("source 5"), "{}", counts.problem);
}
