//! The trait of all encodings, and the schemas of a version that encodings read and write by.

use crate::encodings::message::{DecodeError, Decoded, MessageId, Scores};
use crate::encodings::positional_schema::PositionalSchema;
use crate::encodings::tensor_schema::TensorSchema;
use crate::encodings::typed_schema::TypedSchema;
use crate::onnx::library::GraphError;
use crate::protocol::status::RpcError;

/// What a version's messages look like in each encoding.
pub(crate) struct WireSchema {
    pub positional: PositionalSchema,
    pub typed: TypedSchema,
    pub tensors: TensorSchema,
}

/// How the messages of a method are read and answered.
pub(crate) trait Encoding: Sync {
    /// Reads what needs no model.
    ///
    /// # Errors
    /// `DecodeError::Malformed`: the bytes do not parse. `DecodeError::Forward`: only the control plane reads
    /// this message.
    fn decode(&self, decoded: &mut Decoded, data: &[u8]) -> Result<(), DecodeError>;

    /// Reads the rows by the schema of the version that was picked, where `decode` could not. True: the rows
    /// were read here. More rows than `max_rows` are counted and not read.
    ///
    /// # Errors
    /// As of `decode`; `Forward` also where the rows do not fit the schema.
    fn decode_rows(
        &self,
        _schema: &WireSchema,
        _decoded: &mut Decoded,
        _data: &[u8],
        _max_rows: u32,
    ) -> Result<bool, DecodeError> {
        Ok(false)
    }

    /// Whether an answer says which rows are refused. Without that the call fails with the row's error.
    fn answers_row_errors(&self) -> bool {
        true
    }

    /// The path under which the control plane answers the messages that fail here. `None`: the control plane
    /// only words the failure.
    fn forwards_to(&self) -> Option<&'static str> {
        None
    }

    /// Writes the answer as a framed message.
    ///
    /// # Errors
    /// `GraphError`: an output has a value that the answer cannot hold, as a text that is not UTF-8.
    fn encode(&self, schema: &WireSchema, scores: &Scores<'_>) -> Result<Vec<u8>, GraphError>;

    /// Writes an error as the framed answer to one message of a stream. `None` where the protocol has no
    /// such answer: the call ends with the error.
    fn encode_error(&self, _id: MessageId, _data: &[u8], _error: &RpcError) -> Option<Vec<u8>> {
        None
    }
}
