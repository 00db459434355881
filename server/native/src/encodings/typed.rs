//! The typed encoding: a protobuf message per model, with a field for each feature.

use crate::encodings::encoding::{Encoding, WireSchema};
use crate::encodings::message::{DecodeError, Decoded, Scores};
use crate::onnx::library::GraphError;

/// One row in a message: unary calls, and streams.
pub(crate) struct TypedRow {
    /// Whether a row that is refused fails the call: a stream goes on with the next message.
    pub fails_call: bool,
}

impl Encoding for TypedRow {
    fn decode(&self, decoded: &mut Decoded, _data: &[u8]) -> Result<(), DecodeError> {
        decoded.clear();
        Ok(())
    }

    fn decode_rows(
        &self,
        schema: &WireSchema,
        decoded: &mut Decoded,
        data: &[u8],
        _max_rows: u32,
    ) -> Result<bool, DecodeError> {
        schema.typed.read_row(&mut decoded.request, data)?;
        Ok(true)
    }

    fn answers_row_errors(&self) -> bool {
        !self.fails_call
    }

    fn encode(&self, schema: &WireSchema, scores: &Scores<'_>) -> Result<Vec<u8>, GraphError> {
        schema.typed.write_prediction(scores)
    }
}

/// Any number of rows in the message of a unary call.
pub(crate) struct TypedRows;

impl Encoding for TypedRows {
    fn decode(&self, decoded: &mut Decoded, _data: &[u8]) -> Result<(), DecodeError> {
        decoded.clear();
        Ok(())
    }

    fn decode_rows(
        &self,
        schema: &WireSchema,
        decoded: &mut Decoded,
        data: &[u8],
        max_rows: u32,
    ) -> Result<bool, DecodeError> {
        schema.typed.read_rows(&mut decoded.request, data, max_rows)?;
        Ok(true)
    }

    fn encode(&self, schema: &WireSchema, scores: &Scores<'_>) -> Result<Vec<u8>, GraphError> {
        schema.typed.write_predictions(scores)
    }
}
