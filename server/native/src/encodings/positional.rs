//! scorewire.v1's own encoding: `PredictRequest` and `PredictResponse`, alone and in a stream.

use crate::encodings::encoding::{Encoding, WireSchema};
use crate::encodings::message::{DecodeError, Decoded, MessageId, Scores};
use crate::onnx::library::GraphError;
use crate::protocol::framing::framed;
use crate::protocol::protobuf;
use crate::protocol::status::RpcError;

/// Unary calls.
pub(crate) struct Positional;

impl Encoding for Positional {
    fn decode(&self, decoded: &mut Decoded, data: &[u8]) -> Result<(), DecodeError> {
        Ok(decoded.request.decode(data)?)
    }

    fn encode(&self, schema: &WireSchema, scores: &Scores<'_>) -> Result<Vec<u8>, GraphError> {
        schema.positional.encode(scores, None)
    }
}

/// Streams, whose messages have a correlation id.
pub(crate) struct PositionalStream;

impl Encoding for PositionalStream {
    fn decode(&self, decoded: &mut Decoded, data: &[u8]) -> Result<(), DecodeError> {
        Ok(decoded.request.decode_stream(data)?)
    }

    fn encode(&self, schema: &WireSchema, scores: &Scores<'_>) -> Result<Vec<u8>, GraphError> {
        schema.positional.encode(scores, Some(scores.decoded.request.correlation_id))
    }

    fn encode_error(&self, id: MessageId, _data: &[u8], error: &RpcError) -> Option<Vec<u8>> {
        let status = &error.status;
        let length = protobuf::varint_field_len(1, id.number) + protobuf::bytes_field_len(3, status.len());
        let mut out = framed(length);
        protobuf::put_varint_field(&mut out, 1, id.number);
        protobuf::put_bytes_head(&mut out, 3, status.len());
        out.extend_from_slice(status);
        Some(out)
    }
}
