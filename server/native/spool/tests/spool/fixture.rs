//! A recorder in a folder of its own, and what it wrote.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use scorewire_spool::block::{Header, kind};
use scorewire_spool::reader::{Piece, read_segment};
use scorewire_spool::{Counts, DefinedSource, Head, Options, Output, Recorder, Sizes, Source, Treatment};

pub(crate) const START: [u8; 16] = [1, 2, 3, 4, 5, 6, 0x71, 8, 0x81, 10, 11, 12, 13, 14, 0, 0];
const START_NAME: &str = "01020304-0506-7108-810a-0b0c0d0e0000";

/// A folder of records, which is removed in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("scorewire-spool-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.0.join("_spool")
    }

    /// The folder of the start.
    pub(crate) fn start(&self) -> PathBuf {
        self.spool().join(START_NAME)
    }

    /// Settings that no test reaches unless it changes them.
    pub(crate) fn options(&self) -> Options {
        Options {
            folder: self.0.clone(),
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

    /// A recorder that knows `source(1)`.
    pub(crate) fn recorder(&self, options: Options) -> Recording {
        let recorder = Recorder::start(options).expect("a thread");
        let _source = recorder.define(source(1)).expect("a source");
        Recording { recorder, _source }
    }

    pub(crate) fn segment(&self, number: usize) -> PathBuf {
        self.start().join(format!("{number:08}.segment"))
    }

    /// The numbers of the segments that are there.
    pub(crate) fn segments(&self) -> Vec<usize> {
        let entries = fs::read_dir(self.start()).expect("the folder of the start");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
        let mut numbers: Vec<usize> =
            names.filter_map(|name| name.strip_suffix(".segment")?.parse().ok()).collect();
        numbers.sort_unstable();
        numbers
    }

    /// The headers of all blocks, by segment. None is damaged.
    pub(crate) fn headers(&self) -> Vec<Vec<Header>> {
        let read = |number| fs::read(self.segment(number)).expect("a segment");
        self.segments().into_iter().map(|number| headers(&read(number))).collect()
    }
}

/// A recorder and its source.
pub(crate) struct Recording {
    recorder: Arc<Recorder>,
    _source: DefinedSource,
}

impl Deref for Recording {
    type Target = Recorder;

    fn deref(&self) -> &Recorder {
        &self.recorder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn headers(segment: &[u8]) -> Vec<Header> {
    let pieces = read_segment(segment, false);
    pieces
        .map(|piece| if let Piece::Block { header, .. } = piece { header } else { panic!("{piece:?}") })
        .collect()
}

/// The rows in blocks.
pub(crate) fn rows<'a>(headers: impl IntoIterator<Item = &'a Header>) -> u64 {
    headers.into_iter().filter(|header| header.kind == kind::ROWS).map(|header| u64::from(header.rows)).sum()
}

/// One number is kept and one output is a number.
pub(crate) fn source(number: u32) -> Source {
    Source {
        number,
        description: format!(r#"{{"source": {number}}}"#).into_bytes(),
        numbers: vec![Treatment::Keep],
        outputs: vec![Output::Numbers(1)],
        ..Source::default()
    }
}

/// Records a prediction with so many rows of a source like `source`.
pub(crate) fn record(recorder: &Recorder, lane: usize, source: u32, rows: u32) -> bool {
    let lane = recorder.lane(lane);
    let head = Head {
        source,
        at: Instant::now(),
        server_us: 12,
        model_us: 3,
        flags: 0,
        first_row: 0,
        row_count: rows,
        original: None,
        caller: b"10.0.0.1",
        principal: b"shop",
        routing_key: b"key",
    };
    let numbers = rows as usize;
    let sizes = Sizes { numbers: 8 * numbers, output_numbers: numbers, ..Sizes::default() };
    lane.record(&head, &sizes, |filler| {
        for row in 0..rows {
            filler.numbers(&f64::from(row).to_le_bytes());
        }
        filler.outputs((0..rows).map(|row| 0.5 * f64::from(row)));
    })
}

/// Waits until the counts are as they should be.
pub(crate) fn wait_for(recorder: &Recorder, expected: impl Fn(&Counts) -> bool) -> Counts {
    let begin = Instant::now();
    loop {
        let counts = recorder.counts();
        if expected(&counts) {
            return counts;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{counts:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Fails unless each row is counted once.
pub(crate) fn check_sum(counts: &Counts) {
    let Counts { offered, sampled_out, ring_full, too_large, spool_full, disk, buffered, spooled, .. } =
        *counts;
    let sum = sampled_out + ring_full + too_large + spool_full + disk + buffered + spooled;
    assert_eq!(offered, sum, "{counts:?}");
}
