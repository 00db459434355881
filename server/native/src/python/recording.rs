//! Records at the border to Python: the recorder's options, the sources, and what Python itself answers.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use scorewire_spool::{
    DefinedSource, Filler, Head, Lane, Options, Output, Recorder, Sizes, Source, Treatment,
};

use crate::predict::columns::Columns;
use crate::predict::recording::Recording;
use crate::protocol::reasons::ROW_REASONS;
use crate::routing::source::{RecordedSource, Sampling};

const DOUBLE: usize = size_of::<f64>();

/// Where and within which bounds the engine records.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct RecordParts {
    folder: PathBuf,
    /// The bytes of the start's UUID.
    start: [u8; 16],
    /// The version of the server.
    server: String,
    ring_bytes: usize,
    segment_bytes: u64,
    segment_seconds: f64,
    spool_bytes: u64,
    free_bytes: u64,
    /// The numbers of ROW_REASONS.
    row_reasons: [u16; ROW_REASONS],
}

/// A source that was defined. Records may be of the source as long as Python or a snapshot has it.
#[pyclass(frozen, name = "Source")]
pub(crate) struct PySource(pub Arc<DefinedSource>);

/// Source, share, whether the routing key decides, whether predictions with errors and those that are copied to
/// a shadow are always kept.
#[derive(FromPyObject)]
pub(super) struct ChoiceParts<'py>(PyRef<'py, PySource>, f64, bool, bool, bool);

/// What the spool says of a source, and what becomes of its values.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct SourceParts {
    number: u32,
    description: Vec<u8>,
    fingerprint: u64,
    shadow: bool,
    numbers: Vec<String>,
    texts: Vec<String>,
    /// For each output the values of a row, and whether they are texts.
    outputs: Vec<(usize, bool)>,
    caller: String,
    principal: String,
    routing_key: String,
    hash_key: Vec<u8>,
}

/// Source, flags, nanoseconds since the message was read, server time, model time, and of a shadow the writer and
/// the sequence number of the original.
#[derive(FromPyObject)]
pub(super) struct HeadParts<'py>(PyRef<'py, PySource>, u16, u64, u32, u32, Option<(u16, u64)>);

/// The caller's address, the name of the principal or "", and the routing key.
#[derive(FromPyObject)]
pub(super) struct NameParts(PyBackedStr, PyBackedStr, PyBackedStr);

/// The bytes of an output's doubles, or its texts.
#[derive(FromPyObject)]
enum ValueParts {
    Numbers(PyBackedBytes),
    Texts(Vec<PyBackedStr>),
}

/// The rows that Python scored: their number, the bytes of the numbers, the texts, the outputs, and the errors as
/// row, reason and feature.
#[derive(FromPyObject)]
pub(super) struct RowParts(u32, PyBackedBytes, Vec<PyBackedStr>, Vec<ValueParts>, Vec<(u32, u16, u16)>);

/// Starts a recorder with a writer for each worker and two for what Python answers.
pub(super) fn start(parts: &RecordParts, workers: usize, shared: usize) -> PyResult<Recording> {
    let seconds = Duration::try_from_secs_f64(parts.segment_seconds);
    let writers = Recording::writers(workers);
    let recorder = Recorder::start(Options {
        folder: parts.folder.clone(),
        start: parts.start,
        server: parts.server.clone(),
        engine: "native".into(),
        lanes: writers,
        ring_bytes: parts.ring_bytes,
        segment_bytes: parts.segment_bytes,
        segment_time: seconds.map_err(|error| PyValueError::new_err(error.to_string()))?,
        spool_bytes: parts.spool_bytes,
        free_bytes: parts.free_bytes,
    });
    let recorder = recorder.map_err(|error| PyOSError::new_err(error.to_string()))?;
    Ok(Recording::new(recorder, parts.start, writers, shared, parts.ring_bytes, parts.row_reasons))
}

/// Offered, sampled out, dropped as `ring_full`, `too_large`, `spool_full` and `disk`, buffered, spooled, and why
/// records are being lost.
pub(super) type RecordSums = (u64, u64, [u64; 4], u64, u64, String);

/// What became of the rows so far.
pub(super) fn sums(recording: &Recording) -> RecordSums {
    let counts = recording.recorder().counts();
    let dropped = [counts.ring_full, counts.too_large, counts.spool_full, counts.disk];
    (counts.offered, counts.sampled_out, dropped, counts.buffered, counts.spooled, counts.problem)
}

impl ChoiceParts<'_> {
    pub(super) fn source(self) -> RecordedSource {
        let Self(source, share, by_key, keep_errors, keep_shadowed) = self;
        let sampling = Sampling { share, by_key, keep_errors, keep_shadowed };
        RecordedSource { defined: Arc::clone(&source.0), sampling }
    }
}

fn treatment(name: &str) -> PyResult<Treatment> {
    match name {
        "keep" => Ok(Treatment::Keep),
        "drop" => Ok(Treatment::Drop),
        "hash" => Ok(Treatment::Hash),
        _ => Err(PyValueError::new_err(format!("values are not treated by {name}"))),
    }
}

impl SourceParts {
    pub(super) fn source(self) -> PyResult<Source> {
        let all = |names: Vec<String>| names.iter().map(|name| treatment(name)).collect::<PyResult<Vec<_>>>();
        let output = |(width, texts)| if texts { Output::Texts(width) } else { Output::Numbers(width) };
        Ok(Source {
            number: self.number,
            description: self.description,
            fingerprint: self.fingerprint,
            shadow: self.shadow,
            numbers: all(self.numbers)?,
            texts: all(self.texts)?,
            outputs: self.outputs.into_iter().map(output).collect(),
            caller: treatment(&self.caller)?,
            principal: treatment(&self.principal)?,
            routing_key: treatment(&self.routing_key)?,
            hash_key: self.hash_key,
        })
    }
}

/// Records a prediction that Python answered, or a copy that a shadow scored there.
///
/// # Errors
/// `ValueError`: the rows have no whole number of values.
pub(super) fn record(
    recording: &Recording,
    lane: &Lane,
    head: HeadParts<'_>,
    rows: RowParts,
    NameParts(caller, principal, routing_key): &NameParts,
) -> PyResult<()> {
    let HeadParts(source, flags, age_ns, server_us, model_us, original) = head;
    let columns = PythonRows::new(rows)?;
    let now = Instant::now();
    let head = Head {
        source: source.0.number(),
        at: now.checked_sub(Duration::from_nanos(age_ns)).unwrap_or(now),
        server_us,
        model_us,
        flags,
        first_row: 0,
        row_count: columns.count as u32,
        original,
        caller: caller.as_bytes(),
        principal: principal.as_bytes(),
        routing_key: routing_key.as_bytes(),
    };
    recording.record_python(lane, head, &columns);
    Ok(())
}

/// Rows that Python scored.
struct PythonRows {
    count: usize,
    numbers: PyBackedBytes,
    texts: Vec<PyBackedStr>,
    outputs: Vec<ValueParts>,
    errors: Vec<(u32, u16, u16)>,
}

impl PythonRows {
    fn new(RowParts(count, numbers, texts, outputs, errors): RowParts) -> PyResult<Self> {
        let count = count as usize;
        let whole = |length: usize, unit: usize| count > 0 && length.is_multiple_of(count * unit);
        let fits = |values: &ValueParts| match values {
            ValueParts::Numbers(bytes) => whole(bytes.len(), DOUBLE),
            ValueParts::Texts(texts) => whole(texts.len(), 1),
        };
        let ascending = errors.is_sorted_by(|a, b| a.0 < b.0)
            && errors.last().is_none_or(|last| (last.0 as usize) < count);
        if !(whole(numbers.len(), DOUBLE) && whole(texts.len(), 1) && outputs.iter().all(fits) && ascending) {
            return Err(PyValueError::new_err("these are not the values of whole rows"));
        }
        Ok(Self { count, numbers, texts, outputs, errors })
    }

    /// The values of a range of rows among those of all rows.
    fn part<'a, T>(&self, values: &'a [T], part: &Range<usize>) -> &'a [T] {
        let width = values.len() / self.count;
        &values[part.start * width..part.end * width]
    }

    fn errors(&self, part: &Range<usize>) -> &[(u32, u16, u16)] {
        let before = |row: usize| self.errors.partition_point(|error| (error.0 as usize) < row);
        &self.errors[before(part.start)..before(part.end)]
    }
}

impl Columns for PythonRows {
    fn sizes(&self, part: Range<usize>) -> Sizes {
        let texts = self.part(&self.texts, &part);
        let bytes = |texts: &[PyBackedStr]| texts.iter().map(|text| text.len()).sum::<usize>();
        let mut sizes = Sizes {
            numbers: self.part(&self.numbers, &part).len(),
            texts: texts.len(),
            text_bytes: bytes(texts),
            errors: self.errors(&part).len(),
            ..Sizes::default()
        };
        for values in &self.outputs {
            match values {
                ValueParts::Numbers(all) => sizes.output_numbers += self.part(all, &part).len() / DOUBLE,
                ValueParts::Texts(all) => {
                    let texts = self.part(all, &part);
                    sizes.output_texts += texts.len();
                    sizes.output_text_bytes += bytes(texts);
                }
            }
        }
        sizes
    }

    fn fill(&self, part: Range<usize>, filler: &mut Filler<'_>) {
        filler.numbers(self.part(&self.numbers, &part));
        self.part(&self.texts, &part).iter().for_each(|text| filler.text(text.as_bytes()));
        for values in &self.outputs {
            match values {
                ValueParts::Numbers(all) => filler.outputs(doubles(self.part(all, &part))),
                ValueParts::Texts(all) => {
                    self.part(all, &part).iter().for_each(|text| filler.output_text(text.as_bytes()));
                }
            }
        }
        for &(row, reason, feature) in self.errors(&part) {
            filler.error(row - part.start as u32, reason, feature);
        }
    }
}

fn doubles(bytes: &[u8]) -> impl Iterator<Item = f64> {
    bytes.chunks_exact(DOUBLE).map(|chunk| {
        let mut number = [0; DOUBLE];
        number.copy_from_slice(chunk);
        f64::from_le_bytes(number)
    })
}
