//! The bounds of the spool and of the disk.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use scorewire_spool::Options;
use scorewire_spool::block::kind;

use crate::fixture::{Folder, check_sum, record, rows, source, wait_for};

#[test]
fn a_full_spool_drops_records_until_segments_are_gone() {
    let folder = Folder::new();
    let recorder = folder.recorder(Options { spool_bytes: 100_000, ..folder.options() });
    let counts = wait_for(&recorder, |counts| {
        record(&recorder, 0, 1, 100);
        counts.spool_full > 0 && !counts.problem.is_empty()
    });
    assert!(counts.problem.contains("limit of 100000 bytes"), "{}", counts.problem);
    // The segment is closed, so that the shipper can move it.
    wait_for(&recorder, |_| folder.headers()[0].last().is_some_and(|header| header.kind == kind::END));
    let spooled = recorder.counts().spooled;
    assert_eq!(rows(&folder.headers()[0]), spooled);

    fs::remove_file(folder.segment(0)).expect("a segment");
    wait_for(&recorder, |counts| {
        record(&recorder, 0, 1, 100);
        counts.problem.is_empty() && counts.spooled > spooled
    });
    recorder.close();
    let counts = recorder.counts();
    check_sum(&counts);
    assert_eq!(rows(folder.headers().iter().flatten()), counts.spooled - spooled);
}

#[test]
fn spools_of_other_starts_count() {
    let folder = Folder::new();
    let other = folder.spool().join("another-start");
    fs::create_dir_all(&other).expect("a folder");
    fs::write(other.join("00000000.segment"), vec![0; 100_000]).expect("a file");
    let recorder = folder.recorder(Options { spool_bytes: 100_000, ..folder.options() });
    wait_for(&recorder, |counts| !counts.problem.is_empty());
    assert!(record(&recorder, 0, 1, 100));
    recorder.close();
    let counts = recorder.counts();
    check_sum(&counts);
    assert_eq!((counts.spool_full, counts.spooled), (100, 0));
}

#[test]
fn the_disk_keeps_its_free_space_and_the_ledger_tells_what_was_dropped() {
    let folder = Folder::new();
    let recorder = folder.recorder(Options { free_bytes: u64::MAX - 1, ..folder.options() });
    wait_for(&recorder, |counts| counts.problem.contains("bytes free"));
    assert!(record(&recorder, 0, 1, 3));
    recorder.close();
    let counts = recorder.counts();
    check_sum(&counts);
    assert_eq!((counts.spool_full, counts.spooled), (3, 0));
    let mut kinds: Vec<u16> = folder.headers().concat().iter().map(|header| header.kind).collect();
    // A look at the ledger may have come before the end.
    kinds.dedup_by(|next, before| *next == kind::LEDGER && next == before);
    assert_eq!(kinds, [kind::START, kind::LEDGER, kind::END]);
}

#[test]
fn a_full_ring_drops_records_and_nobody_waits() {
    let folder = Folder::new();
    let recorder = folder.recorder(Options { ring_bytes: 1 << 16, ..folder.options() });
    let (mut recorded, mut kept) = (0, 0);
    while recorder.counts().ring_full == 0 {
        kept += u64::from(record(&recorder, 0, 1, 1000)) * 1000;
        recorded += 1000;
    }
    recorder.close();
    let counts = recorder.counts();
    check_sum(&counts);
    assert_eq!((counts.spooled, counts.ring_full), (kept, recorded - kept));
    assert_eq!(rows(folder.headers().iter().flatten()), kept);
}

#[test]
fn records_are_spooled_while_others_are_recorded() {
    let folder = Folder::new();
    let recorder = folder.recorder(folder.options());
    thread::scope(|scope| {
        let recorder = &recorder;
        let recording = scope.spawn(move || {
            for _ in 0..200 {
                record(recorder, 0, 1, 10);
                thread::sleep(Duration::from_micros(500));
            }
        });
        while !recording.is_finished() {
            let counts = recorder.counts();
            assert!(counts.spooled + counts.buffered <= counts.offered, "{counts:?}");
        }
    });
    recorder.close();
    assert_eq!(recorder.counts().spooled, 2000);
}

#[test]
fn a_source_is_forgotten_once_nothing_can_be_recorded_of_it() {
    let folder = Folder::new();
    let recorder = folder.recorder(folder.options());
    let define = || recorder.define(source(2)).expect("a source");
    for round in 1..=20 {
        let (first, second) = (define(), define());
        drop(first);
        assert!(record(&recorder, 0, 2, 1));
        drop(second);
        // What was recorded before is written.
        wait_for(&recorder, |counts| counts.spooled == round);
        assert_eq!(recorder.counts().disk, 0);
    }
    wait_for(&recorder, |counts| {
        record(&recorder, 0, 2, 1);
        counts.disk > 0
    });
    let _again = define();
    let spooled = recorder.counts().spooled;
    assert!(record(&recorder, 0, 2, 1));
    recorder.close();
    assert!(recorder.counts().spooled > spooled);
    check_sum(&recorder.counts());
}

#[test]
fn what_is_recorded_during_and_after_a_close_is_written_or_counted_as_dropped() {
    for _ in 0..5 {
        let folder = Folder::new();
        let recorder = folder.recorder(folder.options());
        let recorded = AtomicU64::new(0);
        let stopped = AtomicBool::new(false);
        thread::scope(|scope| {
            for lane in 0..2 {
                let (recorder, recorded, stopped) = (&recorder, &recorded, &stopped);
                scope.spawn(move || {
                    while !stopped.load(Relaxed) {
                        recorded.fetch_add(u64::from(record(recorder, lane, 1, 1)), Relaxed);
                    }
                });
            }
            wait_for(&recorder, |counts| counts.offered > 100);
            recorder.close();
            let offered = recorder.counts().offered;
            wait_for(&recorder, |counts| counts.offered > offered + 100);
            stopped.store(true, Relaxed);
        });
        let counts = recorder.counts();
        check_sum(&counts);
        assert_eq!((counts.buffered, counts.spooled), (0, recorded.into_inner()));
        assert_eq!(rows(folder.headers().iter().flatten()), counts.spooled);
    }
}
