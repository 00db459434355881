//! From a lane to the bytes of a segment.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use scorewire_spool::block::kind;
use scorewire_spool::reader::{Piece, read_segment, sections, texts};
use scorewire_spool::{Head, Options, Output, Recorder, Sizes, Source, Treatment, ledger};

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("scorewire-spool-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const START: [u8; 16] = [1, 2, 3, 4, 5, 6, 0x71, 8, 0x81, 10, 11, 12, 13, 14, 0, 0];
const START_NAME: &str = "01020304-0506-7108-810a-0b0c0d0e0000";

fn options(folder: &Path) -> Options {
    Options {
        folder: folder.into(),
        start: START,
        server: "0.1.0".into(),
        engine: "native".into(),
        lanes: 2,
        ring_bytes: 1 << 20,
        segment_bytes: 64 << 20,
        segment_time: Duration::from_secs(300),
        spool_bytes: 1 << 30,
        free_bytes: 0,
    }
}

fn source() -> Source {
    Source {
        number: 1,
        description: br#"{"source": 1}"#.to_vec(),
        fingerprint: 0x5f0c,
        numbers: vec![Treatment::Keep, Treatment::Drop, Treatment::Hash],
        texts: vec![Treatment::Hash, Treatment::Keep],
        outputs: vec![Output::Numbers(2), Output::Texts(1)],
        caller: Treatment::Hash,
        hash_key: b"a key of sixteen".to_vec(),
        ..Source::default()
    }
}

/// Records a prediction of one row.
fn record(recorder: &Recorder, lane: usize, secret: &str) -> bool {
    let lane = recorder.lane(lane);
    let head = Head {
        source: 1,
        sequence: lane.next(1),
        at: Instant::now(),
        server_us: 12,
        model_us: 3,
        flags: 1,
        first_row: 0,
        row_count: 1,
        original: None,
        caller: b"10.0.0.1",
        routing_key: b"key",
    };
    let sizes = Sizes {
        numbers: 24,
        texts: 2,
        text_bytes: secret.len() + 2,
        output_numbers: 2,
        output_texts: 1,
        output_text_bytes: 3,
        errors: 1,
    };
    lane.record(&head, &sizes, |filler| {
        for number in [1.5, 2.5, 3.5_f64] {
            filler.numbers(&number.to_le_bytes());
        }
        filler.text(secret.as_bytes());
        filler.text(b"CH");
        filler.outputs([0.25, 0.75]);
        filler.output_text(b"yes");
        filler.error(0, 2, 4);
    })
}

fn segment(folder: &Path, number: usize) -> Vec<u8> {
    fs::read(folder.join(format!("_spool/{START_NAME}/{number:08}.segment"))).unwrap()
}

fn kinds(segment: &[u8]) -> Vec<u16> {
    read_segment(segment, false)
        .map(|piece| match piece {
            Piece::Block { header, .. } => header.kind,
            _ => 0,
        })
        .collect()
}

#[test]
fn records_come_out_of_the_segment_as_they_were_treated() {
    let folder = Folder::new("treated");
    let recorder: Arc<Recorder> = Recorder::start(options(&folder.0)).unwrap();
    recorder.define(source()).unwrap();
    assert!(record(&recorder, 0, "anna@example.com"));
    assert!(record(&recorder, 1, ""));
    recorder.lane(0).sampled_out(7);
    recorder.close();
    let counts = recorder.counts();
    assert_eq!((counts.offered, counts.spooled, counts.sampled_out, counts.buffered), (9, 2, 7, 0));
    assert_eq!(counts.problem, "");

    let bytes = segment(&folder.0, 0);
    assert_eq!(kinds(&bytes), [kind::START, kind::SOURCE, kind::ROWS, kind::LEDGER, kind::END]);
    for hidden in [&b"anna"[..], b"10.0.0.1", &3.5_f64.to_le_bytes(), &2.5_f64.to_le_bytes()] {
        assert!(!bytes.windows(hidden.len()).any(|window| window == hidden));
    }
    for piece in read_segment(&bytes, false) {
        let Piece::Block { header, body, .. } = piece else { panic!("{piece:?}") };
        match header.kind {
            kind::ROWS => {
                assert_eq!((header.source, header.predictions, header.rows), (1, 2, 2));
                assert_eq!(header.fingerprint, 0x5f0c);
                let sections = sections(body).unwrap();
                assert_eq!(sections.len(), 19);
                assert_eq!(sections[12], [1.5_f64.to_le_bytes(), 1.5_f64.to_le_bytes()].concat());
                let found = texts(sections[13], 6).unwrap();
                assert_eq!((found[0], found[3]), (&b"CH"[..], &b"CH"[..]));
                assert_eq!(found[1], found[4]);
                assert_eq!((found[1].len(), found[2].len(), found[5].len()), (32, 32, 0));
                assert_eq!(texts(sections[11], 2).unwrap(), [b"key", b"key"]);
                assert_eq!(texts(sections[18], 2).unwrap(), [b"yes", b"yes"]);
            }
            kind::LEDGER => {
                assert_eq!(ledger::decode(body).unwrap(), recorder.ledger());
            }
            kind::END => assert_eq!(header.source, 1),
            _ => assert_eq!(body.len() % 8, 0),
        }
    }
}
