//! `cargo run --release -p scorewire_spool --example speed [RECORDS] [FOLDER]`: what a record costs the thread that
//! answers and the spool's thread, each measured alone.
//!
//! A record has 30 numbers, 2 texts and 2 outputs. Records come in rounds that fit in the ring.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use scorewire_spool::{Head, Options, Output, Recorder, Sizes, Source, Treatment};

const NUMBERS: usize = 30;
const TEXTS: [&[u8]; 2] = [b"Switzerland", b"premium"];
/// The records of a round fit in the ring.
const ROUND: usize = 10_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let records: usize =
        arguments.next().map_or(1_000_000, |count| count.parse().expect("a number of records"));
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = folder.join(format!("scorewire-speed-{}", std::process::id()));
    let recorder = Recorder::start(Options {
        folder: folder.clone(),
        start: *b"0123456789abcd\0\0",
        server: "0".into(),
        engine: "native".into(),
        lanes: 1,
        ring_bytes: 8 << 20,
        segment_bytes: 64 << 20,
        segment_time: Duration::from_secs(300),
        spool_bytes: 8 << 30,
        free_bytes: 0,
    })
    .expect("a thread");
    let source = Source {
        number: 1,
        description: b"{}".to_vec(),
        numbers: vec![Treatment::Keep; NUMBERS],
        texts: vec![Treatment::Keep; TEXTS.len()],
        outputs: vec![Output::Numbers(2)],
        ..Source::default()
    };
    let _source = recorder.define(source).expect("a source");

    let lane = recorder.lane(0);
    let numbers: Vec<u8> = (0..NUMBERS).flat_map(|value| (value as f64).to_le_bytes()).collect();
    let sizes = Sizes {
        numbers: numbers.len(),
        texts: TEXTS.len(),
        text_bytes: TEXTS.iter().map(|text| text.len()).sum(),
        output_numbers: 2,
        ..Sizes::default()
    };
    let (mut recording, mut spooling, mut kept) = (Duration::ZERO, Duration::ZERO, 0);
    while kept < records {
        let at = Instant::now();
        for _ in 0..ROUND {
            let head = Head {
                source: 1,
                at,
                server_us: 20,
                model_us: 7,
                flags: 0,
                first_row: 0,
                row_count: 1,
                original: None,
                caller: b"10.0.0.1",
                principal: b"shop",
                routing_key: b"customer-4711",
            };
            kept += usize::from(lane.record(&head, &sizes, |filler| {
                filler.numbers(&numbers);
                TEXTS.iter().for_each(|text| filler.text(text));
                filler.outputs([0.25, 0.75]);
            }));
        }
        recording += at.elapsed();
        let before = processor_time();
        while recorder.counts().buffered > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        spooling += processor_time() - before;
    }
    recorder.close();
    let counts = recorder.counts();
    println!("{counts:?}");
    println!("record:  {:6.0} ns", recording.as_nanos() as f64 / kept as f64);
    println!(
        "spool:   {:6.0} ns of processor time, with the waiting thread's",
        spooling.as_nanos() as f64 / kept as f64
    );
    std::fs::remove_dir_all(folder).expect("the folder can be removed");
}

/// The processor time of all threads of this process.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
