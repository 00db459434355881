//! The bytes of answers, with the head of a gRPC message before them.

use crate::onnx::runtime::{Element, Frame, RuntimeError};
use crate::protocol::protobuf;
use crate::routing::snapshot::{Output, Version};
use crate::rows::coding::Room;

/// The head of a gRPC message: a flag and the length.
pub const HEAD: usize = 5;

/// What an answer says of how long it took.
#[derive(Clone, Copy)]
pub struct Times {
    pub server_ns: u64,
    pub model_ns: u64,
}

/// Writes a PredictResponse, in a PredictStreamResponse where there is a correlation id.
///
/// # Errors
/// A text of the model's is not UTF-8.
pub fn encode(
    version: &Version,
    row_count: usize,
    frame: Option<&Frame>,
    room: &Room,
    times: Times,
    correlation_id: Option<u64>,
) -> Result<Vec<u8>, RuntimeError> {
    let microseconds = |ns: u64| (ns / 1000).min(u64::from(u32::MAX));
    let (server_us, model_us) = (microseconds(times.server_ns), microseconds(times.model_ns));
    let texts = match version.outputs.iter().any(|output| output.texts) {
        true => texts_fields(version, row_count, frame, room)?,
        false => Vec::new(),
    };
    let numbers_len = |output: &Output| row_count * output.width * 8;
    let values_len = |i: usize, output: &Output| match output.texts {
        true => texts[i].len(),
        false => protobuf::bytes_field_len(2, numbers_len(output)),
    };
    let output_len = |i: usize, output: &Output| output.name_field().len() + values_len(i, output);
    let outputs = || version.outputs.iter().enumerate();
    let error_len = |row: u32, rest: &[u8]| protobuf::varint_field_len(1, u64::from(row)) + rest.len();
    let errors = || room.errors.iter().map(|error| (error.row, version.coder.refusal(error).0));
    let length = version.head.len()
        + protobuf::varint_field_len(3, row_count as u64)
        + outputs().map(|(i, output)| protobuf::bytes_field_len(4, output_len(i, output))).sum::<usize>()
        + errors().map(|(row, rest)| protobuf::bytes_field_len(5, error_len(row, rest))).sum::<usize>()
        + protobuf::varint_field_len(6, server_us)
        + protobuf::varint_field_len(7, model_us);
    let whole = match correlation_id {
        None => length,
        Some(id) => protobuf::varint_field_len(1, id) + protobuf::bytes_field_len(2, length),
    };
    let mut out = headed(whole);
    if let Some(id) = correlation_id {
        protobuf::put_varint_field(&mut out, 1, id);
        protobuf::put_bytes_head(&mut out, 2, length);
    }
    out.extend_from_slice(&version.head);
    protobuf::put_varint_field(&mut out, 3, row_count as u64);
    for (i, output) in outputs() {
        protobuf::put_bytes_head(&mut out, 4, output_len(i, output));
        out.extend_from_slice(output.name_field());
        if output.texts {
            out.extend_from_slice(&texts[i]);
        } else {
            protobuf::put_bytes_head(&mut out, 2, numbers_len(output));
            put_numbers(&mut out, output.width, row_count, frame.map(|frame| (frame, i)), room)?;
        }
    }
    for (row, rest) in errors() {
        protobuf::put_bytes_head(&mut out, 5, error_len(row, rest));
        protobuf::put_varint_field(&mut out, 1, u64::from(row));
        out.extend_from_slice(rest);
    }
    protobuf::put_varint_field(&mut out, 6, server_us);
    protobuf::put_varint_field(&mut out, 7, model_us);
    debug_assert_eq!(out.len(), HEAD + whole);
    Ok(out)
}

/// Room for a message of this length, with the head of a gRPC message in it.
pub fn headed(length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + length);
    out.push(0);
    out.extend_from_slice(&(length as u32).to_be_bytes());
    out
}

/// For each output of texts its field `texts`, with "" for the rows with an error.
fn texts_fields(
    version: &Version,
    row_count: usize,
    frame: Option<&Frame>,
    room: &Room,
) -> Result<Vec<Vec<u8>>, RuntimeError> {
    let field = |(i, output): (usize, &Output)| {
        let mut out = Vec::new();
        if !output.texts {
            return Ok(out);
        }
        let texts = frame.map(|frame| frame.outputs()[i].texts()).transpose()?;
        let mut bad = room.errors.iter().map(|error| error.row as usize).peekable();
        let mut answered = 0;
        for row in 0..row_count {
            let good = bad.next_if_eq(&row).is_none();
            for _ in 0..output.width {
                let text = texts.as_ref().filter(|_| good).map_or("", |texts| texts.get(answered));
                answered += usize::from(good);
                protobuf::put_bytes_head(&mut out, 3, text.len());
                out.extend_from_slice(text.as_bytes());
            }
        }
        Ok(out)
    };
    version.outputs.iter().enumerate().map(field).collect()
}

/// Appends an output's doubles, NaN for the rows with an error.
fn put_numbers(
    out: &mut Vec<u8>,
    width: usize,
    row_count: usize,
    source: Option<(&Frame, usize)>,
    room: &Room,
) -> Result<(), RuntimeError> {
    let start = out.len();
    let tensor = source.map(|(frame, i)| &frame.outputs()[i]);
    match tensor {
        Some(tensor) if room.errors.is_empty() => {
            match tensor.element() {
                Element::F64 if cfg!(target_endian = "little") => out.extend_from_slice(tensor.bytes()),
                Element::F32 => {
                    for &value in tensor.values::<f32>() {
                        out.extend_from_slice(&f64::from(value).to_le_bytes());
                    }
                }
                _ => tensor.for_each_f64(|_, value| out.extend_from_slice(&value.to_le_bytes()))?,
            };
        }
        _ => {
            out.resize(start + row_count * width * 8, 0);
            let numbers = &mut out[start..];
            for place in numbers.chunks_exact_mut(8) {
                place.copy_from_slice(&f64::NAN.to_le_bytes());
            }
            if let Some(tensor) = tensor {
                tensor.for_each_f64(|i, value| {
                    let place = (room.kept[i / width] as usize * width + i % width) * 8;
                    numbers[place..place + 8].copy_from_slice(&value.to_le_bytes());
                })?;
            }
        }
    }
    Ok(())
}

/// Writes a PredictStreamResponse with the reason why there are no scores, and a message's head.
pub fn encode_stream_error(correlation_id: u64, status: &[u8]) -> Vec<u8> {
    let whole = protobuf::varint_field_len(1, correlation_id) + protobuf::bytes_field_len(3, status.len());
    let mut out = headed(whole);
    protobuf::put_varint_field(&mut out, 1, correlation_id);
    protobuf::put_bytes_head(&mut out, 3, status.len());
    out.extend_from_slice(status);
    out
}
