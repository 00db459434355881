//! A version's part of the answers in scorewire.v1's own encoding.

use crate::encodings::contributions::ContributionsSchema;
use crate::encodings::message::Scores;
use crate::onnx::library::GraphError;
use crate::onnx::tensor::{Element, Tensor};
use crate::protocol::framing::{PREFIX_BYTES, framed};
use crate::protocol::protobuf;
use crate::rows::output::Output;

const DOUBLE: usize = 8;

/// What every answer of a version says.
pub(crate) struct PositionalSchema {
    /// The fields `model` and `version` of a `PredictResponse`.
    head: Vec<u8>,
    /// For each output the field `name` of an `Output`; empty for an empty name.
    names: Vec<Vec<u8>>,
    /// For each output that can be explained.
    pub contributions: Vec<ContributionsSchema>,
}

impl PositionalSchema {
    pub(crate) fn new(
        model: &str,
        version: &str,
        outputs: &[Output],
        contributions: Vec<ContributionsSchema>,
    ) -> Self {
        Self {
            head: [protobuf::text_field(1, model), protobuf::text_field(2, version)].concat(),
            names: outputs.iter().map(|output| protobuf::text_field(1, &output.name)).collect(),
            contributions,
        }
    }

    /// Writes a `PredictResponse`, inside a `PredictStreamResponse` where there is a correlation id.
    ///
    /// # Errors
    /// `GraphError`: a text of the model's is not UTF-8.
    pub(crate) fn encode(
        &self,
        scores: &Scores<'_>,
        correlation_id: Option<u64>,
    ) -> Result<Vec<u8>, GraphError> {
        let (server_us, model_us) = (u64::from(scores.times.server_us()), u64::from(scores.times.model_us()));
        let row_count = scores.row_count();
        let texts = match scores.outputs.iter().any(|output| output.texts) {
            true => texts_fields(scores)?,
            false => Vec::new(),
        };
        let contributions = scores.explained.map(|rows| self.contributions[rows.index].encode(scores, &rows));
        let numbers_len = |output: &Output| row_count * output.width * DOUBLE;
        let values_len = |i: usize, output: &Output| match output.texts {
            true => texts[i].len(),
            false => protobuf::bytes_field_len(2, numbers_len(output)),
        };
        let output_len = |i: usize, output: &Output| self.names[i].len() + values_len(i, output);
        let outputs = || scores.outputs.iter().enumerate();
        let error_len = |row: u32, rest: &[u8]| protobuf::varint_field_len(1, u64::from(row)) + rest.len();
        let errors = || scores.errors.iter().map(|error| (error.row, scores.coder.refusal(error)));
        let length = self.head.len()
            + protobuf::varint_field_len(3, row_count as u64)
            + outputs().map(|(i, output)| protobuf::bytes_field_len(4, output_len(i, output))).sum::<usize>()
            + errors().map(|(row, rest)| protobuf::bytes_field_len(5, error_len(row, rest))).sum::<usize>()
            + protobuf::varint_field_len(6, server_us)
            + protobuf::varint_field_len(7, model_us)
            + protobuf::text_field_len(8, scores.prediction_id.len())
            + contributions.as_ref().map_or(0, |message| protobuf::bytes_field_len(9, message.len()));
        let whole = match correlation_id {
            None => length,
            Some(id) => protobuf::varint_field_len(1, id) + protobuf::bytes_field_len(2, length),
        };
        let mut out = framed(whole);
        if let Some(id) = correlation_id {
            protobuf::put_varint_field(&mut out, 1, id);
            protobuf::put_bytes_head(&mut out, 2, length);
        }
        out.extend_from_slice(&self.head);
        protobuf::put_varint_field(&mut out, 3, row_count as u64);
        for (i, output) in outputs() {
            protobuf::put_bytes_head(&mut out, 4, output_len(i, output));
            out.extend_from_slice(&self.names[i]);
            if output.texts {
                out.extend_from_slice(&texts[i]);
            } else {
                protobuf::put_bytes_head(&mut out, 2, numbers_len(output));
                put_numbers(&mut out, scores, i)?;
            }
        }
        for (row, rest) in errors() {
            protobuf::put_bytes_head(&mut out, 5, error_len(row, rest));
            protobuf::put_varint_field(&mut out, 1, u64::from(row));
            out.extend_from_slice(rest);
        }
        protobuf::put_varint_field(&mut out, 6, server_us);
        protobuf::put_varint_field(&mut out, 7, model_us);
        protobuf::put_text_field(&mut out, 8, scores.prediction_id);
        if let Some(message) = contributions {
            protobuf::put_bytes_head(&mut out, 9, message.len());
            out.extend_from_slice(&message);
        }
        debug_assert_eq!(out.len(), PREFIX_BYTES + whole);
        Ok(out)
    }
}

/// For each output of texts its field `texts`, with "" for the rows with an error.
fn texts_fields(scores: &Scores<'_>) -> Result<Vec<Vec<u8>>, GraphError> {
    let field = |(i, output): (usize, &Output)| {
        let mut out = Vec::new();
        if !output.texts {
            return Ok(out);
        }
        let texts = scores.binding.map(|binding| binding.outputs()[i].texts()).transpose()?;
        for scored in scores.scored_rows() {
            for column in 0..output.width {
                let text = texts.as_ref().zip(scored);
                let text = text.map_or("", |(texts, row)| texts.get(row * output.width + column));
                protobuf::put_bytes_head(&mut out, 3, text.len());
                out.extend_from_slice(text.as_bytes());
            }
        }
        Ok(out)
    };
    scores.outputs.iter().enumerate().map(field).collect()
}

/// Appends an output's doubles, NaN for the rows with an error.
fn put_numbers(out: &mut Vec<u8>, scores: &Scores<'_>, output: usize) -> Result<(), GraphError> {
    let tensor = scores.binding.map(|binding| &binding.outputs()[output]);
    if let Some(tensor) = tensor.filter(|_| scores.errors.is_empty()) {
        return put_all(out, tensor);
    }
    scores.for_each_number(output, 0..scores.row_count(), |value| out.extend_from_slice(&value.to_le_bytes()))
}

fn put_all(out: &mut Vec<u8>, tensor: &Tensor) -> Result<(), GraphError> {
    match tensor.element() {
        Element::F64 if cfg!(target_endian = "little") => out.extend_from_slice(tensor.bytes()),
        Element::F32 => {
            for &value in tensor.values::<f32>() {
                out.extend_from_slice(&f64::from(value).to_le_bytes());
            }
        }
        _ => tensor.for_each_f64(|_, value| out.extend_from_slice(&value.to_le_bytes()))?,
    }
    Ok(())
}
