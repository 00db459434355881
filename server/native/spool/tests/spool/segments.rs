//! Segments and the order of their blocks.

use std::fs;
use std::thread;
use std::time::Duration;

use scorewire_spool::block::kind;
use scorewire_spool::reader::{Piece, read_segment};
use scorewire_spool::{Options, ledger};

use crate::fixture::{Folder, START, check_sum, record, rows, source, wait_for};

#[test]
fn blocks_are_numbered_across_segments_and_count_what_is_before_them() {
    let folder = Folder::new();
    let recorder = folder.recorder(Options { segment_bytes: 40_000, ..folder.options() });
    for round in 1..=10_u64 {
        for _ in 0..10 {
            assert!(record(&recorder, round as usize % 2, 1, 100));
        }
        wait_for(&recorder, |counts| counts.spooled == 1000 * round);
    }
    recorder.close();
    check_sum(&recorder.counts());

    let segments = folder.headers();
    assert!(segments.len() > 2);
    for headers in &segments {
        let kinds: Vec<u16> = headers.iter().map(|header| header.kind).collect();
        assert_eq!(kinds[kinds.len() - 2..], [kind::LEDGER, kind::END]);
        // On a busy machine, the look at the ledger may come before the first rows are written.
        let others: Vec<u16> = kinds.into_iter().filter(|&each| each != kind::LEDGER).collect();
        assert_eq!(others[..3], [kind::START, kind::SOURCE, kind::ROWS]);
    }
    let (mut predictions, mut seen) = (0, 0);
    for (number, header) in segments.iter().flatten().enumerate() {
        assert_eq!((header.start, header.number), (START, number as u64));
        assert_eq!((header.predictions_before, header.rows_before), (predictions, seen));
        predictions += u64::from(header.predictions);
        seen += u64::from(header.rows);
    }
    assert_eq!((predictions, seen), (100, 10_000));
    let ends: Vec<u32> = segments
        .iter()
        .flatten()
        .filter(|header| header.kind == kind::END)
        .map(|header| header.source)
        .collect();
    assert_eq!(ends.last(), Some(&1));
    assert!(ends[..ends.len() - 1].iter().all(|&last| last == 0));
}

#[test]
fn a_segment_with_rows_is_closed_at_its_age_and_one_without_stays_open() {
    let folder = Folder::new();
    let recorder = folder.recorder(Options { segment_time: Duration::ZERO, ..folder.options() });
    wait_for(&recorder, |_| folder.segment(0).exists());
    assert!(record(&recorder, 0, 1, 1));
    wait_for(&recorder, |counts| counts.spooled == 1);
    wait_for(&recorder, |_| folder.headers()[0].last().is_some_and(|header| header.kind == kind::END));
    assert_eq!(folder.segments(), [0]);
    recorder.close();
    assert_eq!(folder.segments(), [0, 1]);
    assert_eq!(rows(&folder.headers()[0]), 1);
    assert_eq!(rows(&folder.headers()[1]), 0);
}

#[test]
fn a_recorder_that_records_nothing_leaves_a_whole_segment() {
    let folder = Folder::new();
    let recorder = folder.recorder(folder.options());
    recorder.close();
    recorder.close();
    let mut kinds: Vec<_> = folder.headers()[0].iter().map(|header| (header.kind, header.source)).collect();
    // A look at the ledger may have come before the end.
    kinds.dedup_by(|next, before| next.0 == kind::LEDGER && next == before);
    assert_eq!(kinds, [(kind::START, 0), (kind::LEDGER, 0), (kind::END, 1)]);
    assert!(!folder.spool().join(".01020304-0506-7108-810a-0b0c0d0e0000").exists());
}

#[test]
fn a_segment_that_grows_has_whole_blocks_and_a_ledger_behind_them() {
    let folder = Folder::new();
    let recorder = folder.recorder(folder.options());
    for _ in 0..5 {
        assert!(record(&recorder, 1, 1, 2));
    }
    wait_for(&recorder, |counts| counts.spooled == 10);
    let ledgers = || -> Vec<_> {
        let bytes = fs::read(folder.segment(0)).expect("a segment");
        let pieces = read_segment(&bytes, true).map(|piece| match piece {
            Piece::Block { header, body, .. } => (header.kind == kind::LEDGER).then(|| ledger::decode(body)),
            Piece::Damage { .. } => panic!("{piece:?}"),
        });
        pieces.flatten().flatten().collect()
    };
    wait_for(&recorder, |_| ledgers().last() == Some(&recorder.ledger()));
    // What the policy leaves out is told within a second also where no rows are written.
    recorder.lane(0).sampled_out(3);
    wait_for(&recorder, |_| ledgers().last().is_some_and(|writers| writers[0].sampled_out.rows == 3));
    recorder.close();
}

#[test]
fn lanes_of_many_threads_and_sources_are_spooled_once_each() {
    const LANES: usize = 4;
    const SOURCES: u32 = 300;
    const RECORDS: u32 = 6000;
    let folder = Folder::new();
    let recorder = folder.recorder(Options { lanes: LANES, ring_bytes: 1 << 16, ..folder.options() });
    let _sources: Vec<_> =
        (2..=SOURCES).map(|number| recorder.define(source(number)).expect("a source")).collect();
    thread::scope(|scope| {
        for lane in 0..LANES {
            let recorder = &recorder;
            scope.spawn(move || {
                for number in 0..RECORDS {
                    record(recorder, lane, 1 + number % SOURCES, 1 + number % 3);
                }
            });
        }
    });
    recorder.close();
    let counts = recorder.counts();
    check_sum(&counts);
    assert_eq!(counts.offered, LANES as u64 * u64::from(RECORDS) * 2);
    assert_eq!((counts.buffered, counts.too_large, counts.disk, counts.spool_full), (0, 0, 0, 0));
    assert_eq!(rows(folder.headers().iter().flatten()), counts.spooled);
    for writer in recorder.ledger() {
        assert_eq!(writer.next_sequence, u64::from(RECORDS));
        assert_eq!(writer.spooled.predictions + writer.ring_full.predictions, u64::from(RECORDS));
    }
}

#[test]
fn a_record_that_is_larger_than_a_block_is_a_block_of_its_own() {
    let folder = Folder::new();
    let recorder = folder.recorder(Options { ring_bytes: 8 << 20, ..folder.options() });
    for rows in [1, 200_000, 1, 60_000, 60_000] {
        assert!(record(&recorder, 0, 1, rows));
        wait_for(&recorder, |counts| counts.buffered == 0);
    }
    recorder.close();
    let headers = folder.headers().concat();
    let found: Vec<u32> =
        headers.iter().filter(|header| header.kind == kind::ROWS).map(|header| header.rows).collect();
    assert_eq!(found, [1, 200_000, 1, 60_000, 60_000]);
    assert!(headers.iter().any(|header| header.body_bytes > 3_200_000));
}
