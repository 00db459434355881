//! Spools that cannot be written: records are dropped and counted, and writing goes on once it can.

use std::fs;

use scorewire_spool::block::kind;
use scorewire_spool::{Options, Recorder};

use crate::fixture::{Folder, check_sum, record, rows, wait_for};

#[test]
fn a_folder_that_cannot_be_made_is_told_and_tried_again() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path()).expect("a folder");
    fs::write(folder.spool(), "in the way").expect("a file");
    let recorder = folder.recorder(folder.options());
    let counts = wait_for(&recorder, |counts| !counts.problem.is_empty());
    assert!(counts.problem.starts_with("the spool cannot be written"), "{}", counts.problem);
    assert!(record(&recorder, 0, 1, 10));
    wait_for(&recorder, |counts| counts.disk == 10);

    fs::remove_file(folder.spool()).expect("a file");
    wait_for(&recorder, |counts| {
        record(&recorder, 0, 1, 10);
        counts.spooled > 0 && counts.problem.is_empty()
    });
    recorder.close();
    let counts = recorder.counts();
    check_sum(&counts);
    assert!(counts.disk >= 10);
    assert_eq!(rows(folder.headers().iter().flatten()), counts.spooled);
}

#[test]
fn a_folder_that_is_removed_is_made_again() {
    let folder = Folder::new();
    let recorder = folder.recorder(folder.options());
    assert!(record(&recorder, 0, 1, 3));
    wait_for(&recorder, |counts| counts.spooled == 3);
    fs::remove_dir_all(folder.spool()).expect("the spool");
    assert!(record(&recorder, 0, 1, 5));
    wait_for(&recorder, |counts| counts.spooled == 8);
    assert!(folder.start().join("lock").exists());
    recorder.close();
    check_sum(&recorder.counts());
    assert_eq!(recorder.counts().problem, "");
    assert_eq!(folder.segments(), [1]);
    let headers = folder.headers().concat();
    // The next block tells what is lost.
    assert_eq!((headers[0].kind, headers[0].rows_before), (kind::START, 3));
    assert_eq!(rows(&headers), 5);
}

#[test]
fn a_segment_that_is_replaced_is_left_alone() {
    let folder = Folder::new();
    let recorder = folder.recorder(folder.options());
    assert!(record(&recorder, 0, 1, 3));
    wait_for(&recorder, |counts| counts.spooled == 3);
    fs::remove_file(folder.segment(0)).expect("a segment");
    fs::write(folder.segment(0), "").expect("a file");
    assert!(record(&recorder, 0, 1, 5));
    recorder.close();
    assert_eq!(folder.segments(), [0, 1]);
    assert_eq!(fs::read(folder.segment(0)).expect("a file"), b"");
    assert_eq!(rows(&folder.headers()[1]), 5);
}

#[test]
fn a_segment_whose_number_is_taken_gets_the_next_one() {
    let folder = Folder::new();
    fs::create_dir_all(folder.start()).expect("a folder");
    fs::write(folder.segment(0), "another file").expect("a file");
    let recorder = folder.recorder(folder.options());
    wait_for(&recorder, |_| folder.segment(1).exists());
    wait_for(&recorder, |counts| {
        record(&recorder, 0, 1, 5);
        counts.spooled > 0 && counts.problem.is_empty()
    });
    recorder.close();
    assert_eq!(fs::read(folder.segment(0)).expect("a file"), b"another file");
    check_sum(&recorder.counts());
}

#[test]
fn a_start_is_spooled_by_one_recorder() {
    let folder = Folder::new();
    let first = folder.recorder(folder.options());
    wait_for(&first, |_| folder.segment(0).exists());
    let second = folder.recorder(folder.options());
    wait_for(&second, |counts| !counts.problem.is_empty());
    assert!(record(&second, 0, 1, 5));
    wait_for(&second, |counts| counts.disk == 5);
    assert!(record(&first, 0, 1, 2));
    first.close();
    assert_eq!(folder.headers().len(), 1);
    assert_eq!(rows(folder.headers().iter().flatten()), 2);
    drop(first);
    drop(second);
}

#[test]
fn a_recorder_without_lanes_is_refused() {
    let folder = Folder::new();
    for lanes in [0, 65_536] {
        assert!(Recorder::start(Options { lanes, ..folder.options() }).is_err());
    }
}
