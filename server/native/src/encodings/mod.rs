//! The encodings of prediction calls: how messages are read, and answers and errors are written.
//!
//! A message is read in two steps. `decode` reads what needs no model: the names that lead to a version, and
//! the rows where they are positional. `decode_rows` reads the rest by the schema of the version that was
//! picked. A new encoding is a file with an `impl Encoding`, and a row for each of its methods in `methods`.

pub(crate) mod elements;
pub(crate) mod methods;
pub(crate) mod positional;
pub(crate) mod tensor_request;
pub(crate) mod tensors;
pub(crate) mod typed;

use std::time::Instant;

use crate::encodings::elements::UnsupportedError;
use crate::encodings::positional::PositionalSchema;
use crate::encodings::tensor_request::TensorRequest;
use crate::encodings::tensors::TensorSchema;
use crate::encodings::typed::TypedSchema;
use crate::onnx::binding::IoBinding;
use crate::onnx::library::OrtError;
use crate::protocol::protobuf::{MalformedError, Span};
use crate::protocol::status::RpcError;
use crate::rows::checks::RowError;
use crate::rows::coding::Coder;
use crate::rows::output::Output;
use crate::rows::request::Request;
use crate::rows::runner::RunTimes;

/// Why a message cannot be read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// The bytes do not parse as the message.
    Malformed,
    /// Only the control plane reads this message, or words what is wrong with it.
    Unsupported,
}

impl From<MalformedError> for DecodeError {
    fn from(_: MalformedError) -> Self {
        Self::Malformed
    }
}

impl From<UnsupportedError> for DecodeError {
    fn from(_: UnsupportedError) -> Self {
        Self::Unsupported
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

/// What a version's messages look like in each encoding.
pub(crate) struct WireSchema {
    pub positional: PositionalSchema,
    pub typed: TypedSchema,
    pub tensors: TensorSchema,
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

    /// Nanoseconds from the decoded message to the outputs.
    pub(crate) fn server_ns(&self) -> u64 {
        nanoseconds(self.decoded, self.run.end)
    }
}

/// Nanoseconds between two times; 0 where the second is not the later one.
pub(crate) fn nanoseconds(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_nanos() as u64
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
}

impl Scores<'_> {
    /// How many rows the message has.
    pub(crate) fn row_count(&self) -> usize {
        self.decoded.request.row_count as usize
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

/// What becomes of a row that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowErrors {
    /// The answer says so; the other rows are scored.
    InAnswer,
    /// The call fails with the row's error.
    FailCall,
    /// The protocol has no errors by row, so the control plane words the failure.
    Unsupported,
}

/// How the messages of a method are read and answered.
pub(crate) trait Encoding: Sync {
    /// Reads what needs no model.
    ///
    /// # Errors
    /// `DecodeError::Malformed`: the bytes do not parse. `DecodeError::Unsupported`: only the control plane
    /// reads this message.
    fn decode(&self, decoded: &mut Decoded, data: &[u8]) -> Result<(), DecodeError>;

    /// Reads the rows by the schema of the version that was picked, where `decode` could not. More rows than
    /// `max_rows` are counted and not read.
    ///
    /// # Errors
    /// As of `decode`; `Unsupported` also where the rows do not fit the schema.
    fn decode_rows(
        &self,
        _schema: &WireSchema,
        _decoded: &mut Decoded,
        _data: &[u8],
        _max_rows: u32,
    ) -> Result<(), DecodeError> {
        Ok(())
    }

    /// Whether `decode_rows` reads the rows.
    fn needs_schema(&self) -> bool;

    /// What becomes of rows that are refused.
    fn row_errors(&self) -> RowErrors {
        RowErrors::InAnswer
    }

    /// Whether the control plane answers the messages that fail here, instead of wording the failure.
    fn forwards_failures(&self) -> bool {
        false
    }

    /// Writes the answer as a framed message.
    ///
    /// # Errors
    /// `OrtError`: an output has a value that the answer cannot hold, as a text that is not UTF-8.
    fn encode(&self, schema: &WireSchema, scores: &Scores<'_>) -> Result<Vec<u8>, OrtError>;

    /// Writes an error as the framed answer to one message of a stream. `None` where the protocol has no
    /// such answer: the call ends with the error.
    fn encode_error(&self, _id: MessageId, _data: &[u8], _error: &RpcError) -> Option<Vec<u8>> {
        None
    }
}
