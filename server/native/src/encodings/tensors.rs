//! The Open Inference Protocol's encoding: a `ModelInferRequest` read to positional rows, and the answer.
//!
//! Only what most callers send is read here: tensors of plain types, either all raw or all as typed contents,
//! and no parameter except a routing key. Any other request, right or wrong, is an `UnsupportedError`: the
//! control plane reads every form of the protocol, and words the failures.

use crate::encodings::encoding::{Encoding, WireSchema};
use crate::encodings::message::{DecodeError, Decoded, MessageId, Scores};
use crate::encodings::tensor_request::read;
use crate::encodings::tensor_schema::put_text;
use crate::onnx::library::OrtError;
use crate::protocol::framing::{frame, framed};
use crate::protocol::protobuf;
use crate::protocol::status::RpcError;

pub(crate) const MODEL_INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
pub(crate) const MODEL_STREAM_INFER: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

/// Unary calls.
pub(crate) struct Tensors;

impl Encoding for Tensors {
    fn decode(&self, decoded: &mut Decoded, data: &[u8]) -> Result<(), DecodeError> {
        decoded.clear();
        Ok(read(&mut decoded.request, &mut decoded.tensors, data)?)
    }

    fn decode_rows(
        &self,
        schema: &WireSchema,
        decoded: &mut Decoded,
        data: &[u8],
        max_rows: u32,
    ) -> Result<bool, DecodeError> {
        schema.tensors.fill(decoded, data, max_rows)?;
        // The control plane words the failure.
        if decoded.request.row_count == 0 { Err(DecodeError::Unsupported) } else { Ok(true) }
    }

    fn answers_row_errors(&self) -> bool {
        false
    }

    fn forwards_to(&self) -> Option<&'static str> {
        Some(MODEL_INFER)
    }

    fn encode(&self, schema: &WireSchema, scores: &Scores<'_>) -> Result<Vec<u8>, OrtError> {
        Ok(frame(&schema.tensors.write(scores)?))
    }
}

/// Streams: each answer is a `ModelInferResponse` or an error, inside a `ModelStreamInferResponse`.
pub(crate) struct TensorStream;

impl Encoding for TensorStream {
    fn decode(&self, decoded: &mut Decoded, data: &[u8]) -> Result<(), DecodeError> {
        Tensors.decode(decoded, data)
    }

    fn decode_rows(
        &self,
        schema: &WireSchema,
        decoded: &mut Decoded,
        data: &[u8],
        max_rows: u32,
    ) -> Result<bool, DecodeError> {
        Tensors.decode_rows(schema, decoded, data, max_rows)
    }

    fn answers_row_errors(&self) -> bool {
        false
    }

    fn forwards_to(&self) -> Option<&'static str> {
        Some(MODEL_STREAM_INFER)
    }

    fn encode(&self, schema: &WireSchema, scores: &Scores<'_>) -> Result<Vec<u8>, OrtError> {
        let response = schema.tensors.write(scores)?;
        let mut out = framed(protobuf::bytes_field_len(2, response.len()));
        protobuf::put_bytes_head(&mut out, 2, response.len());
        out.extend_from_slice(&response);
        Ok(out)
    }

    fn encode_error(&self, id: MessageId, data: &[u8], error: &RpcError) -> Option<Vec<u8>> {
        let (mut out, mut response) = (Vec::new(), Vec::new());
        put_text(&mut out, 1, error.message.as_bytes());
        put_text(&mut response, 3, id.text.of(data));
        protobuf::put_bytes_head(&mut out, 2, response.len());
        out.extend_from_slice(&response);
        Some(frame(&out))
    }
}
