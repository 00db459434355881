//! The tensors of a version: how requests are read to positional rows, and answers are written.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::encodings::elements::{Result, UnsupportedError, put_raw};
use crate::encodings::message::{Decoded, Scores};
use crate::encodings::tensor_request::{SentTensor, TensorRequest};
use crate::onnx::library::GraphError;
use crate::protocol::protobuf::{self, Span, put_text_field};
use crate::rows::request::Request;

const DOUBLE: usize = 8;

/// A tensor that a version takes.
pub(crate) struct TensorInput {
    pub name: String,
    pub texts: bool,
    pub dims: Vec<usize>,
    /// Whether a request may lack it.
    pub optional: bool,
    /// Its first value's position in a row, among the numbers or among the texts.
    pub start: usize,
}

/// A tensor that a version answers with.
pub(crate) struct TensorOutput {
    pub name: String,
    pub datatype: String,
    pub dims: Vec<usize>,
}

/// The tensors of one version.
pub(crate) struct TensorSchema {
    inputs: Vec<TensorInput>,
    // Its keys come from the bundle, so that no caller can make them collide.
    by_name: HashMap<Vec<u8>, usize, RandomState>,
    outputs: Vec<TensorOutput>,
    number_count: usize,
    text_count: usize,
    /// The fields `model_name` and `model_version` of an answer.
    head: Vec<u8>,
}

impl TensorSchema {
    pub(crate) fn new(names: (&str, &str), inputs: Vec<TensorInput>, outputs: Vec<TensorOutput>) -> Self {
        let count = |texts: bool| {
            let widths = inputs.iter().filter(|input| input.texts == texts).map(TensorInput::width);
            widths.sum()
        };
        let mut head = Vec::new();
        for (field, text) in [(1, names.0), (2, names.1)] {
            protobuf::put_bytes_head(&mut head, field, text.len());
            head.extend_from_slice(text.as_bytes());
        }
        let by_name =
            inputs.iter().zip(0..).map(|(input, index)| (input.name.clone().into_bytes(), index)).collect();
        Self { number_count: count(false), text_count: count(true), inputs, by_name, outputs, head }
    }

    /// Puts the tensors of a request into its positional rows.
    ///
    /// # Errors
    /// `UnsupportedError`: the tensors are not those of this version, have a form that is not read here, or
    /// have more than `max_rows` rows.
    pub(crate) fn fill(&self, decoded: &mut Decoded, data: &[u8], max_rows: u32) -> Result<()> {
        let Decoded { request, tensors: parts } = decoded;
        let rows = parts.inputs[0].rows;
        request.row_count =
            u32::try_from(rows).ok().filter(|rows| *rows <= max_rows).ok_or(UnsupportedError)?;
        self.check_wanted(parts, data)?;
        if let ([sent], 0) = (&parts.inputs[..], self.text_count)
            && !self.by_name.contains_key(sent.name.of(data))
        {
            return self.fill_all(request, data, sent);
        }
        // All that is said is checked against what is there, before room is made for the rows.
        let found = self.find(parts, rows, data)?;
        for _ in 0..rows * self.number_count {
            request.gathered.extend_from_slice(&f64::NAN.to_le_bytes());
        }
        request.texts.resize(rows * self.text_count, Span::default());
        for (input, sent) in found.iter().map(|&index| &self.inputs[index]).zip(&parts.inputs) {
            let (width, start) = (input.width(), input.start);
            let datatype = sent.datatype.text(data);
            let (elements, count) = sent.elements(datatype)?;
            if input.texts {
                let (texts, per_row) = (&mut request.texts, self.text_count);
                elements.for_each_text(datatype, data, count, |i, text| {
                    texts[i / width * per_row + start + i % width] = text
                })?;
            } else {
                let (numbers, per_row) = (&mut request.gathered, self.number_count);
                elements.for_each_number(datatype, data, count, |i, number| {
                    let place = (i / width * per_row + start + i % width) * DOUBLE;
                    numbers[place..place + DOUBLE].copy_from_slice(&number.to_le_bytes());
                })?;
            }
        }
        Ok(())
    }

    /// Whether each output that a request asks for is there, and is asked for once.
    fn check_wanted(&self, parts: &TensorRequest, data: &[u8]) -> Result<()> {
        if parts.wanted.len() > self.outputs.len() {
            return Err(UnsupportedError);
        }
        for (i, wanted) in parts.wanted.iter().enumerate() {
            let is = |other: &Span| other.of(data) == wanted.of(data);
            let known = self.outputs.iter().any(|output| output.name.as_bytes() == wanted.of(data));
            if !known || parts.wanted[..i].iter().any(is) {
                return Err(UnsupportedError);
            }
        }
        Ok(())
    }

    /// The index of the input that each tensor of a request is for. All have so many rows and the
    /// elements that their shapes say, and none is there twice or missing.
    fn find(&self, parts: &TensorRequest, rows: usize, data: &[u8]) -> Result<Vec<usize>> {
        let mut seen = vec![false; self.inputs.len()];
        let mut found = Vec::with_capacity(parts.inputs.len());
        for (i, sent) in parts.inputs.iter().enumerate() {
            let name = sent.name.of(data);
            // Most callers send the inputs in their order.
            let in_order = self.inputs.get(i).is_some_and(|input| input.name.as_bytes() == name).then_some(i);
            let index = in_order.or_else(|| self.by_name.get(name).copied()).ok_or(UnsupportedError)?;
            let input = &self.inputs[index];
            let fits = sent.dims() == input.dims || (input.width() == 1 && sent.rest == 1);
            if sent.rows != rows || !fits || std::mem::replace(&mut seen[index], true) {
                return Err(UnsupportedError);
            }
            sent.elements(sent.datatype.text(data))?;
            found.push(index);
        }
        let there = |(input, seen): (&TensorInput, bool)| input.optional || seen;
        if self.inputs.iter().zip(seen).all(there) { Ok(found) } else { Err(UnsupportedError) }
    }

    /// Takes one tensor of all features.
    fn fill_all(&self, request: &mut Request, data: &[u8], sent: &SentTensor) -> Result<()> {
        if sent.dims() != [self.number_count] {
            return Err(UnsupportedError);
        }
        let datatype = sent.datatype.text(data);
        let (elements, count) = sent.elements(datatype)?;
        if let Some(run) = elements.doubles(datatype, count) {
            request.take_run(run);
            return Ok(());
        }
        let numbers = &mut request.gathered;
        elements.for_each_number(datatype, data, count, |_, number| {
            numbers.extend_from_slice(&number.to_le_bytes());
        })
    }

    /// Writes a `ModelInferResponse`.
    ///
    /// # Errors
    /// `GraphError`: a text of the model's is not UTF-8, or there are no outputs.
    pub(crate) fn write(&self, scores: &Scores<'_>) -> std::result::Result<Vec<u8>, GraphError> {
        let (parts, data) = (&scores.decoded.tensors, scores.data);
        let binding = scores.binding.ok_or_else(|| GraphError("there are no rows".into()))?;
        let place = |name: &Span| self.outputs.iter().position(|output| output.name == name.text(data));
        let chosen = if parts.wanted.is_empty() {
            (0..self.outputs.len()).collect()
        } else {
            parts.wanted.iter().filter_map(place).collect::<Vec<_>>()
        };
        let mut out = self.head.clone();
        put_text_field(&mut out, 3, parts.id.of(data));
        put_prediction_id(&mut out, scores.prediction_id);
        let mut field = Vec::new();
        for &index in &chosen {
            let output = &self.outputs[index];
            field.clear();
            put_text_field(&mut field, 1, output.name.as_bytes());
            put_text_field(&mut field, 2, output.datatype.as_bytes());
            let sizes = || std::iter::once(scores.row_count()).chain(output.dims.iter().copied());
            let length = sizes().map(|size| protobuf::varint_len(size as u64)).sum();
            protobuf::put_bytes_head(&mut field, 3, length);
            sizes().for_each(|size| protobuf::put_varint(&mut field, size as u64));
            protobuf::put_bytes_head(&mut out, 5, field.len());
            out.extend_from_slice(&field);
        }
        for &index in &chosen {
            field.clear();
            put_raw(&mut field, &self.outputs[index].datatype, binding, index)?;
            protobuf::put_bytes_head(&mut out, 6, field.len());
            out.extend_from_slice(&field);
        }
        Ok(out)
    }
}

impl TensorInput {
    fn width(&self) -> usize {
        self.dims.iter().product()
    }
}

/// Appends the parameter `prediction_id` of an answer, unless the prediction is not recorded.
fn put_prediction_id(out: &mut Vec<u8>, id: &[u8]) {
    const NAME: &[u8] = b"prediction_id";
    if id.is_empty() {
        return;
    }
    let value = protobuf::bytes_field_len(3, id.len());
    let entry = protobuf::bytes_field_len(1, NAME.len()) + protobuf::bytes_field_len(2, value);
    protobuf::put_bytes_head(out, 4, entry);
    put_text_field(out, 1, NAME);
    protobuf::put_bytes_head(out, 2, value);
    put_text_field(out, 3, id);
}
