//! The id of a record, in the answers of each encoding.

use std::sync::Arc;
use std::time::Instant;

use crate::encodings::encoding::{Encoding, WireSchema};
use crate::encodings::message::{Decoded, Scores, Times};
use crate::encodings::methods::METHODS;
use crate::encodings::positional_schema::PositionalSchema;
use crate::encodings::tensor_schema::TensorSchema;
use crate::encodings::typed_schema::TypedSchema;
use crate::onnx::binding::{IoBinding, Names};
use crate::protocol::framing::{PREFIX_BYTES, prefix};
use crate::protocol::protobuf::{self, Kind, Reader};
use crate::protocol::reasons::{MISSING, ROW_REASONS};
use crate::rows::checks::{CheckSource, FeatureCheck, NumberCheck, RowError};
use crate::rows::coding::Coder;
use crate::rows::output::Output;
use crate::rows::runner::RunTimes;

const ID: &[u8] = b"0199c0de-0000-7000-8000-000000000003-18446744073709551615";

/// A message whose rows have one number and one text each, and are all refused.
pub(crate) struct RefusedRows {
    coder: Coder,
    outputs: [Output; 2],
    data: Vec<u8>,
    decoded: Decoded,
    errors: Vec<RowError>,
}

impl RefusedRows {
    pub(crate) fn new(rows: u32) -> Self {
        let number = NumberCheck { position: 0, low: 0.0, high: 1.0, whole: false };
        let check = FeatureCheck {
            source: CheckSource::Number(number),
            missing_allowed: false,
            refusals: refusals(),
        };
        let mut data = Vec::new();
        protobuf::put_varint_field(&mut data, 1, u64::from(rows));
        protobuf::put_bytes_head(&mut data, 2, rows as usize * size_of::<f64>());
        (0..rows).for_each(|_| data.extend_from_slice(&f64::NAN.to_le_bytes()));
        (0..rows).for_each(|row| protobuf::put_text_field(&mut data, 3, format!("text {row}").as_bytes()));
        let mut request = Vec::new();
        protobuf::put_text_field(&mut request, 4, b"customer-17");
        protobuf::put_text_field(&mut request, 5, &data);
        let mut decoded = Decoded::default();
        decoded.request.decode(&request).unwrap();
        decoded.request.correlation_id = 300;
        let output = |name: &str, texts| Output { name: name.into(), width: 1, texts };
        Self {
            coder: Coder::new((1, 1), vec![], vec![], vec![], vec![check]),
            outputs: [output("probability", false), output("word", true)],
            data: request,
            decoded,
            errors: (0..rows as usize).map(|row| RowError::new(row, 0, MISSING)).collect(),
        }
    }

    pub(crate) fn scores(&self) -> Scores<'_> {
        let now = Instant::now();
        Scores {
            data: &self.data,
            decoded: &self.decoded,
            binding: None,
            outputs: &self.outputs,
            score_output: None,
            coder: &self.coder,
            errors: &self.errors,
            kept: &[],
            times: Times { begin: now, decoded: now, run: RunTimes { begin: now, end: now } },
            prediction_id: &[],
            explained: None,
        }
    }
}

fn refusals() -> [Vec<u8>; ROW_REASONS] {
    std::array::from_fn(|reason| vec![0x1a, 1, b'0' + reason as u8])
}

/// The answer to a message of two rows, without the frame.
fn answer(encoding: &dyn Encoding, prediction_id: &[u8]) -> Vec<u8> {
    let rows = RefusedRows::new(2);
    let schema = WireSchema {
        positional: PositionalSchema::new("m", "1.0.0", &rows.outputs, vec![]),
        typed: TypedSchema::new("1.0.0", vec![], vec![], vec![refusals()], vec![]),
        tensors: TensorSchema::new(("m", "1.0.0"), vec![], vec![]),
    };
    let names = || Names::new::<&str>(&[]).unwrap();
    let binding = IoBinding::from_outputs(vec![], Arc::new((names(), names())));
    // The answers of tensors have no errors.
    let binding = (!encoding.answers_row_errors()).then_some(&binding);
    let framed = encoding.encode(&schema, &Scores { binding, prediction_id, ..rows.scores() }).unwrap();
    let answer = framed[PREFIX_BYTES..].to_vec();
    assert_eq!(framed[..PREFIX_BYTES], prefix(0, answer.len()));
    answer
}

/// The fields of bytes at a path of fields, as of a message.
fn fields(message: &[u8], path: &[u32]) -> Vec<Vec<u8>> {
    let Some((&wanted, rest)) = path.split_first() else { return vec![message.to_vec()] };
    let (mut reader, mut found) = (Reader::new(message, 0..message.len()).unwrap(), Vec::new());
    while let Some((field, kind)) = reader.tag().unwrap() {
        if (field, kind) == (wanted, Kind::Bytes) {
            found.extend(fields(reader.bytes().unwrap().of(message), rest));
        } else {
            reader.skip(field, kind, 1).unwrap();
        }
    }
    found
}

/// A message without the fields at a path.
fn without(message: &[u8], path: &[u32]) -> Vec<u8> {
    let (mut reader, mut out) = (Reader::new(message, 0..message.len()).unwrap(), Vec::new());
    let mut rest = message;
    while let Some((field, kind)) = reader.tag().unwrap() {
        reader.skip(field, kind, 1).unwrap();
        let (whole, behind) = rest.split_at(rest.len() - reader.left());
        rest = behind;
        match path {
            [last] if *last == field => {}
            [first, path @ ..] if *first == field => {
                let inner = without(&fields(whole, &[field])[0], path);
                protobuf::put_bytes_head(&mut out, field, inner.len());
                out.extend_from_slice(&inner);
            }
            _ => out.extend_from_slice(whole),
        }
    }
    out
}

#[test]
fn each_answer_names_its_record_and_is_otherwise_the_same() {
    for method in &METHODS {
        let (path, count): (&[u32], _) = match method.name {
            "Predict" => (&[8], 1),
            "PredictStream" => (&[2, 8], 1),
            "TypedPredict" | "TypedPredictStream" => (&[(1 << 29) - 1], 1),
            "TypedPredictBatch" => (&[1, (1 << 29) - 1], 2),
            "ModelInfer" => (&[4, 2, 3], 1),
            "ModelStreamInfer" => (&[2, 4, 2, 3], 1),
            other => panic!("where does {other} name the record?"),
        };
        let (plain, named) = (answer(method.encoding, b""), answer(method.encoding, ID));
        assert!(fields(&plain, path).is_empty(), "{method:?}");
        assert_eq!(fields(&named, path), vec![ID.to_vec(); count], "{method:?}");
        // Tensors name it in an entry of a map.
        let field = path.iter().position(|&field| field == 4).map_or(path, |map| &path[..=map]);
        assert_eq!(without(&named, field), plain, "{method:?}");
    }
    let parameter = answer(METHODS[5].encoding, ID);
    assert_eq!(fields(&parameter, &[4, 1]), [b"prediction_id".to_vec()]);
}
