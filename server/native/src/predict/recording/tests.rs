use std::path::PathBuf;
use std::time::Duration;

use scorewire_spool::{Counts, DefinedSource, Options, Output, Source, Treatment};

use super::*;
use crate::access::principal::OpenCall;
use crate::encodings::methods::METHODS;
use crate::encodings::tests::RefusedRows;
use crate::routing::source::Sampling;
use crate::transport::context::Peer;

const START: [u8; 16] = [1, 0x9a, 2, 3, 4, 5, 0x70, 6, 0x80, 7, 8, 9, 10, 11, 0, 0];
const ALL: Sampling = Sampling { share: 1.0, by_key: false, keep_errors: false, keep_shadowed: false };
const NONE: Sampling = Sampling { share: 0.0, ..ALL };
const RING_BYTES: usize = 1 << 20;
/// The writers of an I/O thread, of the threads for large batches, and of the shadow.
const WORKERS: usize = 3;

/// A recording whose spool is in a folder of the test's.
struct Recorded {
    recording: Recording,
    defined: Arc<DefinedSource>,
    folder: PathBuf,
}

impl Recorded {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("recording-{name}-{}", std::process::id()));
        let recorder = Recorder::start(Options {
            folder: folder.clone(),
            start: START,
            server: "0".into(),
            engine: "native".into(),
            lanes: Recording::writers(WORKERS),
            ring_bytes: RING_BYTES,
            segment_bytes: 1 << 26,
            segment_time: Duration::from_secs(60),
            spool_bytes: 1 << 30,
            free_bytes: 0,
        });
        let recorder = recorder.unwrap();
        let keep = Treatment::Keep;
        let outputs = vec![Output::Numbers(1), Output::Texts(1)];
        let source =
            Source { number: 1, numbers: vec![keep], texts: vec![keep], outputs, ..Source::default() };
        let defined = Arc::new(recorder.define(source).unwrap());
        let writers = Recording::writers(WORKERS);
        let recording = Recording::new(recorder, START, writers, 1, RING_BYTES, [100, 101, 102, 103]);
        Self { recording, defined, folder }
    }

    fn source(&self, sampling: Sampling) -> RecordedSource {
        RecordedSource { defined: Arc::clone(&self.defined), sampling }
    }

    /// Closes the spool, and gives what became of all rows.
    fn close(&self) -> Counts {
        self.recording.recorder().close();
        self.recording.recorder().counts()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        self.recording.recorder().close();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn call() -> Call {
    let now = std::time::Instant::now();
    let peer = Arc::new(Peer::new(([127, 0, 0, 1], 1).into(), None));
    let open = OpenCall::default();
    let method = &METHODS[0];
    Call { method, typed: None, peer, received: now, deadline: None, grant: None, open, trace: None }
}

#[test]
fn numbers_have_no_gaps_whatever_has_no_answer_or_is_left_out() {
    let (recorded, rows, call) = (Recorded::new("gaps"), RefusedRows::new(3), call());
    let (recording, scores) = (&recorded.recording, rows.scores());
    let (all, none) = (recorded.source(ALL), recorded.source(NONE));
    for worker in [0, 1] {
        let ticket = |source| recording.ticket(worker, source, &call, &scores, false);
        let sequence = || ticket(&all).map(|ticket| ticket.sequence);
        // This one has no answer in the end, so that nothing is recorded.
        assert_eq!(sequence(), Some(0));
        recording.record(&ticket(&all).unwrap(), None, &call, &scores);
        assert!(ticket(&none).is_none());
        recording.leave_out(worker, 3);
        assert_eq!(sequence(), Some(1));
    }
    let counts = recorded.close();
    assert_eq!((counts.offered, counts.sampled_out, counts.spooled), (12, 6, 6));
}

#[test]
fn a_prediction_that_is_kept_for_its_errors_has_a_flag() {
    let (recorded, rows, call) = (Recorded::new("errors"), RefusedRows::new(1), call());
    let flags = |sampling| {
        let ticket = recorded.recording.ticket(0, &recorded.source(sampling), &call, &rows.scores(), false);
        ticket.map(|ticket| ticket.flags)
    };
    assert_eq!(flags(Sampling { keep_errors: true, ..NONE }), Some(ALWAYS));
    assert_eq!(flags(ALL), Some(0));
    assert_eq!(flags(Sampling { keep_shadowed: true, ..NONE }), None);
}

#[test]
fn the_key_of_the_message_decides_where_the_policy_says_so() {
    let (recorded, rows, call) = (Recorded::new("keys"), RefusedRows::new(1), call());
    for share in [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99] {
        let source = recorded.source(Sampling { share, by_key: true, ..ALL });
        let ticket = recorded.recording.ticket(0, &source, &call, &rows.scores(), false);
        assert_eq!(ticket.is_some(), crate::routing::split::samples("customer-17", share));
    }
}

#[test]
fn a_large_call_is_recorded_in_parts_and_one_that_is_too_large_not_at_all() {
    let (recorded, call) = (Recorded::new("parts"), call());
    let all = recorded.source(ALL);
    let record = |rows: u32| {
        let rows = RefusedRows::new(rows);
        let ticket = recorded.recording.ticket(0, &all, &call, &rows.scores(), false).unwrap();
        recorded.recording.record(&ticket, None, &call, &rows.scores());
    };
    // About 40 bytes a row: several parts, of which one is smaller; and more than the ring has.
    record(15_001);
    record(100_000);
    record(1);
    let counts = recorded.close();
    assert_eq!((counts.spooled, counts.too_large + counts.ring_full), (15_002, 100_000));
}

#[test]
fn a_shadow_is_recorded_if_its_original_is() {
    let (recorded, rows, call) = (Recorded::new("shadow"), RefusedRows::new(2), call());
    let (recording, scores) = (&recorded.recording, rows.scores());
    let (all, none) = (recorded.source(ALL), recorded.source(NONE));
    let ticket = recording.ticket(0, &all, &call, &scores, true).unwrap();
    assert_eq!(ticket.original(), Original { writer: 0, sequence: 0, flags: 0 });
    recording.record_shadow(2, &none, Some(ticket.original()), &call, &scores);
    recording.record_shadow(2, &all, None, &call, &scores);
    let counts = recorded.close();
    assert_eq!((counts.offered, counts.sampled_out, counts.spooled), (4, 2, 2));
}
