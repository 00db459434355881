//! Typed services, and the schema by which a version reads their rows and writes their predictions. A schema
//! is a table of the fields, made when the version is loaded.

use std::ops::Range;
use std::sync::Arc;

use crate::encodings::message::Scores;
use crate::encodings::typed_explanation::TypedExplanation;
use crate::onnx::library::GraphError;
use crate::onnx::tensor::Texts;
use crate::protocol::framing::frame;
use crate::protocol::protobuf::{self, Kind, MalformedError, Reader, Span};
use crate::protocol::reasons::ROW_REASONS;
use crate::rows::checks::RowError;
use crate::rows::request::Request;

const DOUBLE: usize = 8;
/// The field `prediction_id` of a prediction: behind all outputs, whose numbers are small.
const PREDICTION_ID: u32 = (1 << 29) - 1;
/// The field `explanation` of a prediction.
const EXPLANATION: u32 = PREDICTION_ID - 1;

/// A typed service: one for each major of a model.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TypedService {
    pub model: String,
    pub major: u64,
}

/// The versions that a typed call is for. Its path names the service, its metadata the rest.
#[derive(Debug)]
pub(crate) struct TypedTarget {
    pub service: Arc<TypedService>,
    /// A version or an alias; empty for the service's route.
    pub version: String,
    pub routing_key: String,
    /// What is to be explained: how many columns, and of which output. `None`: nothing.
    pub explain: Option<(u32, String)>,
}

/// The position of a field's value in a positional row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldSlot {
    Number(usize),
    Text(usize),
}

/// One output in a prediction.
pub(crate) struct TypedOutput {
    /// The index of the output.
    pub output: usize,
    pub number: u32,
    pub repeated: bool,
    /// For an output of classes the text of each class.
    pub labels: Option<Vec<String>>,
}

/// The typed messages of one version.
pub(crate) struct TypedSchema {
    /// By the field's number, ascending.
    slots: Vec<(u32, FieldSlot)>,
    number_count: usize,
    text_count: usize,
    /// The number of each feature's field, and the feature, by number.
    columns: Vec<(u32, usize)>,
    /// The field `version` of a prediction.
    head: Vec<u8>,
    /// By the field's number, ascending.
    outputs: Vec<TypedOutput>,
    /// For each check of the coder, and each reason, the message of a prediction's field `error`.
    refusals: Vec<[Vec<u8>; ROW_REASONS]>,
    /// For each output that can be explained.
    explanations: Vec<TypedExplanation>,
}

impl TypedSchema {
    pub(crate) fn new(
        version: &str,
        mut slots: Vec<(u32, FieldSlot)>,
        mut outputs: Vec<TypedOutput>,
        refusals: Vec<[Vec<u8>; ROW_REASONS]>,
        explanations: Vec<TypedExplanation>,
    ) -> Self {
        let numbers = slots.iter().map(|(number, _)| *number);
        let mut columns = numbers.zip(0..).collect::<Vec<_>>();
        columns.sort_unstable();
        slots.sort_unstable_by_key(|(number, _)| *number);
        outputs.sort_unstable_by_key(|field| field.number);
        let number_count = slots.iter().filter(|(_, slot)| matches!(slot, FieldSlot::Number(_))).count();
        let text_count = slots.len() - number_count;
        let mut head = Vec::new();
        protobuf::put_bytes_head(&mut head, 1, version.len());
        head.extend_from_slice(version.as_bytes());
        Self { slots, number_count, text_count, columns, head, outputs, refusals, explanations }
    }

    pub(crate) fn read_row(&self, request: &mut Request, data: &[u8]) -> Result<(), MalformedError> {
        request.clear();
        request.row_count = 1;
        self.read(request, data, 0..data.len(), protobuf::DEPTH_LIMIT)
    }

    pub(crate) fn read_rows(
        &self,
        request: &mut Request,
        data: &[u8],
        max_rows: u32,
    ) -> Result<(), MalformedError> {
        request.clear();
        request.row_count = count_rows(data)?;
        if request.row_count > max_rows {
            return Ok(());
        }
        let mut reader = Reader::new(data, 0..data.len())?;
        while let Some((field, kind)) = reader.tag()? {
            match (field, kind) {
                (1, Kind::Bytes) => {
                    let row = reader.bytes()?;
                    self.read(request, data, row.range(), protobuf::DEPTH_LIMIT - 1)?;
                }
                _ => reader.skip(field, kind, protobuf::DEPTH_LIMIT)?,
            }
        }
        Ok(())
    }

    #[inline]
    fn read(
        &self,
        request: &mut Request,
        data: &[u8],
        part: Range<usize>,
        depth: u32,
    ) -> Result<(), MalformedError> {
        let (first_number, first_text) = (request.gathered.len(), request.texts.len());
        for _ in 0..self.number_count {
            request.gathered.extend_from_slice(&f64::NAN.to_le_bytes());
        }
        request.texts.resize(first_text + self.text_count, Span::default());
        let mut reader = Reader::new(data, part)?;
        // Writers write fields in the order of their numbers, so the next slot is mostly the right one.
        let mut next = 0;
        while let Some((field, kind)) = reader.tag()? {
            let found = match self.slots.get(next) {
                Some((number, _)) if *number == field => Ok(next),
                _ => self.slots.binary_search_by_key(&field, |(number, _)| *number),
            };
            let slot = found.ok().map(|index| {
                next = index + 1;
                self.slots[index].1
            });
            match (slot, kind) {
                (Some(FieldSlot::Number(position)), Kind::Fixed64) => {
                    let number = reader.take(DOUBLE)?;
                    let place = first_number + position * DOUBLE;
                    request.gathered[place..place + DOUBLE].copy_from_slice(number.of(data));
                }
                (Some(FieldSlot::Text(position)), Kind::Bytes) => {
                    request.texts[first_text + position] = reader.text()?;
                }
                _ => reader.skip(field, kind, depth)?,
            }
        }
        Ok(())
    }

    /// Writes the prediction of the only row, or its error, as a framed message.
    ///
    /// # Errors
    /// `GraphError`: a text of the model's is not UTF-8, or a class is not in the schema.
    pub(crate) fn write_prediction(&self, scores: &Scores<'_>) -> Result<Vec<u8>, GraphError> {
        let columns = OutputColumns::new(self, scores)?;
        let mut prediction = Vec::with_capacity(64);
        self.write(&mut prediction, &columns, 0, scores.errors.first())?;
        self.write_ends(&mut prediction, scores, scores.errors.is_empty().then_some(0));
        Ok(frame(&prediction))
    }

    /// Writes the predictions of all rows as a framed message.
    ///
    /// # Errors
    /// As of `write_prediction`.
    pub(crate) fn write_predictions(&self, scores: &Scores<'_>) -> Result<Vec<u8>, GraphError> {
        let columns = OutputColumns::new(self, scores)?;
        let (mut all, mut one) = (Vec::new(), Vec::with_capacity(64));
        let (mut errors, mut answered) = (scores.errors.iter().peekable(), 0);
        for row in 0..scores.row_count() {
            let error = errors.next_if(|error| error.row as usize == row);
            one.clear();
            self.write(&mut one, &columns, answered, error)?;
            self.write_ends(&mut one, scores, error.is_none().then_some(answered));
            answered += usize::from(error.is_none());
            protobuf::put_bytes_head(&mut all, 1, one.len());
            all.extend_from_slice(&one);
        }
        Ok(frame(&all))
    }

    /// Writes what a prediction has behind its outputs: the explanation of the row, by its place among those that were
    /// scored, and the id of the record.
    fn write_ends(&self, out: &mut Vec<u8>, scores: &Scores<'_>, scored: Option<usize>) {
        if let Some((rows, scored)) = scores.explained.as_ref().zip(scored) {
            let explanation = self.explanations[rows.index].encode(rows, scored, &self.columns);
            protobuf::put_bytes_head(out, EXPLANATION, explanation.len());
            out.extend_from_slice(&explanation);
        }
        protobuf::put_text_field(out, PREDICTION_ID, scores.prediction_id);
    }

    fn write(
        &self,
        out: &mut Vec<u8>,
        columns: &OutputColumns<'_>,
        answered: usize,
        error: Option<&RowError>,
    ) -> Result<(), GraphError> {
        out.extend_from_slice(&self.head);
        if let Some(error) = error {
            let refusal = &self.refusals[error.check()][error.reason()];
            protobuf::put_bytes_head(out, 2, refusal.len());
            out.extend_from_slice(refusal);
            return Ok(());
        }
        for (field, column) in self.outputs.iter().zip(&columns.0) {
            column.write(out, field, answered)?;
        }
        Ok(())
    }
}

/// The number of rows, counted before memory is allocated: an empty row takes two bytes in the message, and its
/// missing values take many more here.
fn count_rows(data: &[u8]) -> Result<u32, MalformedError> {
    let (mut reader, mut count) = (Reader::new(data, 0..data.len())?, 0);
    while let Some((field, kind)) = reader.tag()? {
        count += u32::from((field, kind) == (1, Kind::Bytes));
        reader.skip(field, kind, protobuf::DEPTH_LIMIT)?;
    }
    Ok(count)
}

/// The values of the outputs that a schema writes, in the schema's order.
struct OutputColumns<'a>(Vec<OutputColumn<'a>>);

enum OutputColumn<'a> {
    Numbers { width: usize, values: Vec<f64>, labels: Option<&'a [String]> },
    Texts { width: usize, values: Texts },
}

impl<'a> OutputColumns<'a> {
    fn new(schema: &'a TypedSchema, scores: &Scores<'_>) -> Result<Self, GraphError> {
        let Some(binding) = scores.binding else { return Ok(Self(Vec::new())) };
        let column = |field: &'a TypedOutput| {
            let (tensor, output) = (&binding.outputs()[field.output], &scores.outputs[field.output]);
            let width = output.width;
            if output.texts {
                return Ok(OutputColumn::Texts { width, values: tensor.texts()? });
            }
            let mut values = Vec::with_capacity(tensor.count());
            tensor.for_each_f64(|_, value| values.push(value))?;
            Ok(OutputColumn::Numbers { width, values, labels: field.labels.as_deref() })
        };
        schema.outputs.iter().map(column).collect::<Result<_, _>>().map(Self)
    }
}

impl OutputColumn<'_> {
    fn write(&self, out: &mut Vec<u8>, field: &TypedOutput, row: usize) -> Result<(), GraphError> {
        let put_text = |out: &mut Vec<u8>, text: &str| {
            protobuf::put_bytes_head(out, field.number, text.len());
            out.extend_from_slice(text.as_bytes());
        };
        match self {
            Self::Texts { width, values } => {
                (row * width..(row + 1) * width).for_each(|i| put_text(out, values.get(i)));
            }
            Self::Numbers { width, values, labels: Some(labels) } => {
                for &class in &values[row * width..(row + 1) * width] {
                    let label = labels.get(class as usize).filter(|_| class >= 0.0);
                    put_text(out, label.ok_or_else(|| GraphError(format!("there is no class {class}")))?);
                }
            }
            Self::Numbers { width, values, labels: None } => {
                let values = &values[row * width..(row + 1) * width];
                if field.repeated {
                    if !values.is_empty() {
                        protobuf::put_bytes_head(out, field.number, values.len() * DOUBLE);
                    }
                } else {
                    protobuf::put_tag(out, field.number, Kind::Fixed64);
                }
                values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> TypedSchema {
        let slots = vec![(40, FieldSlot::Text(0)), (2, FieldSlot::Number(0)), (3, FieldSlot::Number(1))];
        TypedSchema::new("1.0.0", slots, Vec::new(), Vec::new(), Vec::new())
    }

    fn number(field: u64, value: f64) -> Vec<u8> {
        let mut out = Vec::new();
        protobuf::put_varint(&mut out, field << 3 | 1);
        out.extend_from_slice(&value.to_le_bytes());
        out
    }

    fn text(field: u64, value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        protobuf::put_varint(&mut out, field << 3 | 2);
        protobuf::put_varint(&mut out, value.len() as u64);
        out.extend_from_slice(value);
        out
    }

    fn numbers(request: &Request, data: &[u8]) -> Vec<f64> {
        let chunks = request.numbers(data).chunks_exact(DOUBLE);
        chunks.map(|chunk| f64::from_le_bytes(chunk.try_into().unwrap())).collect()
    }

    fn texts<'a>(request: &Request, data: &'a [u8]) -> Vec<&'a str> {
        request.texts.iter().map(|text| text.text(data)).collect()
    }

    #[test]
    fn fields_are_read_in_any_order_and_the_last_counts() {
        let mut request = Request::default();
        let data =
            [text(40, b"de"), number(3, 1.5), number(3, 2.5), text(40, b"pe"), number(2, -1.0)].concat();
        table().read_row(&mut request, &data).unwrap();
        assert_eq!((request.row_count, numbers(&request, &data)), (1, vec![-1.0, 2.5]));
        assert_eq!(texts(&request, &data), ["pe"]);
    }

    #[test]
    fn a_field_that_is_absent_or_of_another_kind_is_missing() {
        let mut request = Request::default();
        let data = [text(2, b"x"), number(40, 1.0), number(9, 1.0), vec![0x18, 5]].concat();
        table().read_row(&mut request, &data).unwrap();
        assert!(numbers(&request, &data).iter().all(|number| number.is_nan()));
        assert_eq!(texts(&request, &data), [""]);
    }

    #[test]
    fn rows_are_read_one_after_the_other() {
        let mut request = Request::default();
        let rows =
            [text(1, &[number(2, 1.0), text(40, b"a")].concat()), text(1, b""), text(1, &number(3, 4.0))];
        let data = rows.concat();
        table().read_rows(&mut request, &data, 10).unwrap();
        let found = numbers(&request, &data);
        assert_eq!((request.row_count, found[0], found[5]), (3, 1.0, 4.0));
        assert!(found[1..5].iter().all(|number| number.is_nan()));
        assert_eq!(texts(&request, &data), ["a", "", ""]);
        table().read_rows(&mut request, &data, 1).unwrap();
        assert_eq!((request.row_count, numbers(&request, &data).len(), request.texts.len()), (3, 0, 0));
    }

    #[test]
    fn no_change_of_a_byte_and_no_cut_makes_it_panic() {
        let mut request = Request::default();
        let row = [number(2, 1.0), text(40, b"de"), number(3, 4.0)].concat();
        let message = [text(1, &row), text(1, b""), text(1, &row)].concat();
        for at in 0..message.len() {
            let _ = table().read_rows(&mut request, &message[..at], 10);
            for byte in [0, 1, 0x7f, 0x80, 0xff, message[at] ^ 1, message[at] ^ 0x20] {
                let mut changed = message.clone();
                changed[at] = byte;
                if table().read_rows(&mut request, &changed, 10).is_ok() {
                    let rows = (request.row_count as usize).min(10);
                    assert_eq!(request.numbers(&changed).len(), rows * 2 * DOUBLE);
                    assert_eq!(texts(&request, &changed).len(), rows);
                }
            }
        }
    }

    #[test]
    fn what_is_no_row_is_malformed() {
        let mut request = Request::default();
        let cases = [b"\xff".to_vec(), text(40, b"\xff"), number(2, 1.0)[..5].to_vec(), vec![0x0c]];
        for data in cases {
            assert_eq!(table().read_row(&mut request, &data), Err(MalformedError), "{data:?}");
            assert_eq!(table().read_rows(&mut request, &text(1, &data), 10), Err(MalformedError));
        }
    }
}
