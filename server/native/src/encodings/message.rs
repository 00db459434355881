//! What is read of one message, and what its answer is written from.

use std::ops::Range;
use std::time::Instant;

use crate::encodings::tensor_request::TensorRequest;
use crate::onnx::binding::IoBinding;
use crate::onnx::library::GraphError;
use crate::protocol::protobuf::{MalformedError, Span};
use crate::rows::checks::RowError;
use crate::rows::coding::Coder;
use crate::rows::explainer::Explained;
use crate::rows::output::Output;
use crate::rows::request::Request;
use crate::rows::runner::RunTimes;

/// Why a message cannot be read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// The bytes do not parse as the message.
    Malformed,
    /// The control plane has to answer the message, under this path.
    Forward(&'static str),
}

impl From<MalformedError> for DecodeError {
    fn from(_: MalformedError) -> Self {
        Self::Malformed
    }
}

/// One message, as far as it was read. Its memory is used again for the next message.
#[derive(Default)]
pub(crate) struct Decoded {
    pub request: Request,
    pub tensors: TensorRequest,
}

impl Decoded {
    /// Forgets what was read.
    pub(crate) fn clear(&mut self) {
        self.request.clear();
        self.tensors.clear();
    }

    /// Frees the memory of a large message.
    pub(crate) fn release(&mut self) {
        self.request.release();
        self.tensors.clear();
    }

    /// Takes what was read, and leaves the id.
    pub(crate) fn take(&mut self) -> Self {
        let taken = std::mem::take(self);
        self.request.correlation_id = taken.request.correlation_id;
        self.tensors.id = taken.tensors.id;
        taken
    }

    /// By what an answer names the message that it answers.
    pub(crate) fn id(&self) -> MessageId {
        MessageId { number: self.request.correlation_id, text: self.tensors.id }
    }
}

/// What the caller of a stream gave to tell its messages apart.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageId {
    pub number: u64,
    /// A place in the message.
    pub text: Span,
}

/// When a message was read and its rows were scored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// When the reading began, and when it ended.
    pub begin: Instant,
    pub decoded: Instant,
    pub run: RunTimes,
}

impl Times {
    /// Nanoseconds that the graph ran.
    pub(crate) fn run_ns(&self) -> u64 {
        nanoseconds(self.run.begin, self.run.end)
    }

    /// Microseconds that the graph ran, as answers and records tell.
    pub(crate) fn model_us(&self) -> u32 {
        microseconds(self.run_ns())
    }

    /// Microseconds from the decoded message to the outputs, as answers and records tell.
    pub(crate) fn server_us(&self) -> u32 {
        microseconds(nanoseconds(self.decoded, self.run.end))
    }
}

fn microseconds(ns: u64) -> u32 {
    (ns / 1000).min(u64::from(u32::MAX)) as u32
}

/// Nanoseconds between two times; 0 where the second is not the later one.
pub(crate) fn nanoseconds(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_nanos() as u64
}

/// What the columns of one message's rows contribute to an output.
#[derive(Clone, Copy)]
pub(crate) struct ExplainedRows<'a> {
    /// The index of the explainer among those of the version.
    pub index: usize,
    /// Of the rows without an error.
    pub explained: &'a Explained,
    /// How many columns the caller wants of each row and margin; 0 for all.
    pub top_k: u32,
}

/// The outputs of one message's rows, and what an answer says beside them.
#[derive(Clone, Copy)]
pub(crate) struct Scores<'a> {
    /// The message that is answered, and what was read of it.
    pub data: &'a [u8],
    pub decoded: &'a Decoded,
    /// The outputs of the rows without an error; `None` where every row has one.
    pub binding: Option<&'a IoBinding>,
    pub outputs: &'a [Output],
    /// The output whose last column is the score.
    pub score_output: Option<usize>,
    pub coder: &'a Coder,
    /// The rows that were refused, ascending, and those that were scored: all where `errors` is empty.
    pub errors: &'a [RowError],
    pub kept: &'a [u32],
    pub times: Times,
    /// The id of the record, in ASCII; empty where the prediction is not recorded.
    pub prediction_id: &'a [u8],
    /// `None`: the caller did not ask for an explanation.
    pub explained: Option<ExplainedRows<'a>>,
}

impl Scores<'_> {
    /// How many rows the message has.
    pub(crate) fn row_count(&self) -> usize {
        self.decoded.request.row_count as usize
    }

    /// For each row its place among the rows that were scored; `None` for a row with an error.
    pub(crate) fn scored_rows(&self) -> impl Iterator<Item = Option<usize>> + Clone {
        let (mut errors, mut scored) = (self.errors.iter().peekable(), 0);
        (0..self.row_count()).map(move |row| {
            if errors.next_if(|error| error.row as usize == row).is_some() {
                return None;
            }
            scored += 1;
            Some(scored - 1)
        })
    }

    /// Calls `take` with the values of an output of numbers for a range of rows, row by row; NaN for rows with an
    /// error.
    ///
    /// # Errors
    /// `GraphError`: the output has texts, or a whole number that is not exact as a double.
    pub(crate) fn for_each_number(
        &self,
        output: usize,
        rows: Range<usize>,
        mut take: impl FnMut(f64),
    ) -> Result<(), GraphError> {
        let width = self.outputs[output].width;
        let scored = |places: Range<usize>| places.start * width..places.end * width;
        match self.binding.map(|binding| &binding.outputs()[output]) {
            None => (0..rows.len() * width).for_each(|_| take(f64::NAN)),
            Some(tensor) if self.errors.is_empty() => {
                tensor.for_each_f64_in(scored(rows), |_, value| take(value))?;
            }
            Some(tensor) => {
                let mut next = self.kept.partition_point(|&row| (row as usize) < rows.start);
                for row in rows {
                    if self.kept.get(next).is_some_and(|&kept| kept as usize == row) {
                        tensor.for_each_f64_in(scored(next..next + 1), |_, value| take(value))?;
                        next += 1;
                    } else {
                        (0..width).for_each(|_| take(f64::NAN));
                    }
                }
            }
        }
        Ok(())
    }

    /// The values of the score: the last column of its output, for each row without an error.
    pub(crate) fn for_each_score(&self, mut take: impl FnMut(f64)) {
        let (Some(binding), Some(output)) = (self.binding, self.score_output) else { return };
        let width = self.outputs[output].width;
        // Never a text output: text outputs have no score.
        let _ = binding.outputs()[output].for_each_f64(|i, value| {
            if i % width == width - 1 {
                take(value);
            }
        });
    }
}
