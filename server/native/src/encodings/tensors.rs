//! The Open Inference Protocol's encoding: a `ModelInferRequest` read to positional rows, and the answer.
//!
//! Only what most callers send is read here: tensors of plain types, either all raw or all as typed contents,
//! and no parameter except a routing key. Any other request, right or wrong, is an `UnsupportedError`: the
//! control plane reads every form of the protocol, and words the failures.

use crate::encodings::elements::UnsupportedError;
use crate::encodings::encoding::{Encoding, WireSchema};
use crate::encodings::message::{DecodeError, Decoded, MessageId, Scores};
use crate::encodings::tensor_request::read;
use crate::onnx::library::GraphError;
use crate::protocol::framing::{frame, framed};
use crate::protocol::protobuf::{self, put_text_field};
use crate::protocol::status::RpcError;

/// Requests of tensors and their answers, alone or in a stream.
pub(crate) struct Tensors {
    /// The path under which the control plane answers what is not read here.
    pub path: &'static str,
    /// Whether each answer is a `ModelStreamInferResponse`, which has a `ModelInferResponse` or an error.
    pub streamed: bool,
}

impl Tensors {
    fn not_read_here(&self) -> DecodeError {
        DecodeError::Forward(self.path)
    }
}

impl Encoding for Tensors {
    fn decode(&self, decoded: &mut Decoded, data: &[u8]) -> Result<(), DecodeError> {
        decoded.clear();
        let read = read(&mut decoded.request, &mut decoded.tensors, data);
        read.map_err(|UnsupportedError| self.not_read_here())
    }

    fn decode_rows(
        &self,
        schema: &WireSchema,
        decoded: &mut Decoded,
        data: &[u8],
        max_rows: u32,
    ) -> Result<bool, DecodeError> {
        let filled = schema.tensors.fill(decoded, data, max_rows);
        filled.map_err(|UnsupportedError| self.not_read_here())?;
        // The control plane words the failure.
        if decoded.request.row_count == 0 { Err(self.not_read_here()) } else { Ok(true) }
    }

    fn answers_row_errors(&self) -> bool {
        false
    }

    fn forwards_to(&self) -> Option<&'static str> {
        Some(self.path)
    }

    fn encode(&self, schema: &WireSchema, scores: &Scores<'_>) -> Result<Vec<u8>, GraphError> {
        let response = schema.tensors.write(scores)?;
        if !self.streamed {
            return Ok(frame(&response));
        }
        let mut out = framed(protobuf::bytes_field_len(2, response.len()));
        protobuf::put_bytes_head(&mut out, 2, response.len());
        out.extend_from_slice(&response);
        Ok(out)
    }

    fn encode_error(&self, id: MessageId, data: &[u8], error: &RpcError) -> Option<Vec<u8>> {
        if !self.streamed {
            return None;
        }
        let (mut out, mut response) = (Vec::new(), Vec::new());
        put_text_field(&mut out, 1, error.message.as_bytes());
        put_text_field(&mut response, 3, id.text.of(data));
        protobuf::put_bytes_head(&mut out, 2, response.len());
        out.extend_from_slice(&response);
        Some(frame(&out))
    }
}
