//! How rows become graph inputs, as `scorewire_contract.coding` does it in Python.
//!
//! `examine` looks texts up in the vocabularies, finds the rows that the schema refuses, and counts the words
//! of the other rows. `fill` then writes only the rows without an error into the inputs, so that one bad row
//! costs its own score and no other row's.

use std::ops::Range;

use crate::onnx::binding::IoBinding;
use crate::onnx::library::GraphError;
use crate::onnx::tensor::{Element, Tensor};
use crate::protocol::protobuf::Span;
use crate::protocol::reasons::{MISSING, UNKNOWN};
use crate::rows::checks::{CheckSource, FeatureCheck, RowError};
use crate::rows::entries::{self, Entries, EntryPart, MIN_ENTRIES};
use crate::rows::request::Request;
use crate::rows::vocabulary::{Fold, Vocabulary};
use crate::rows::words::Bag;

const DOUBLE: usize = 8;
/// Elements of each buffer for which memory is kept between calls.
const KEPT: usize = 1 << 12;

/// Where one column of a graph input comes from.
pub(crate) enum GraphColumn {
    /// The position of a number in the row.
    Number(usize),
    /// The index of a vocabulary, and a value for each of its texts; the last value is for unknown texts.
    Coded(usize, Vec<f64>),
    /// The position of a text in the row.
    Text(usize, Fold),
}

/// One graph input: a tensor of shape [rows, dims...] with its columns row-major, or, for counts of words, a
/// tensor of shape [entries].
pub(crate) struct GraphInput {
    element: Element,
    columns: Vec<GraphColumn>,
    dims: Vec<i64>,
    /// Whether the columns are all numbers of the row, in their order.
    in_place: bool,
    /// For counts of words: the index of the bag, and which part of its entries.
    entries: Option<(usize, EntryPart)>,
}

impl GraphInput {
    pub(crate) fn new(
        element: Element,
        columns: Vec<GraphColumn>,
        dims: Vec<i64>,
        number_count: usize,
    ) -> Self {
        let in_order =
            |(i, column): (usize, &GraphColumn)| matches!(column, GraphColumn::Number(n) if *n == i);
        let in_place = columns.len() == number_count && columns.iter().enumerate().all(in_order);
        Self { element, columns, dims, in_place, entries: None }
    }

    /// An input for one part of a bag's entries.
    pub(crate) fn entries(bag: usize, part: EntryPart) -> Self {
        let (columns, dims) = (Vec::new(), Vec::new());
        Self { element: part.element(), columns, dims, in_place: false, entries: Some((bag, part)) }
    }
}

/// Codes the rows of one bundle.
pub(crate) struct Coder {
    pub number_count: usize,
    pub text_count: usize,
    vocabularies: Vec<Vocabulary>,
    bags: Vec<Bag>,
    inputs: Vec<GraphInput>,
    checks: Vec<FeatureCheck>,
    /// Whether no row is ever refused, so that the checks are skipped.
    free: bool,
    /// Nanoseconds that cutting texts into words may take for each byte of a message.
    pub byte_ns: f64,
}

/// The memory for coding one call, used again for the next.
#[derive(Default)]
pub(crate) struct CodingScratch {
    codes: Vec<u32>,
    folded: Vec<u8>,
    entries: Entries,
    pub errors: Vec<RowError>,
    /// The rows without an error, ascending. Not filled where `errors` is empty: then all rows are kept.
    pub kept: Vec<u32>,
}

impl CodingScratch {
    /// Frees the memory that a large call took.
    pub(crate) fn release(&mut self) {
        self.codes.clear();
        self.codes.shrink_to(KEPT);
        self.folded.clear();
        self.folded.shrink_to(KEPT);
        self.entries.release(KEPT);
        self.errors.clear();
        self.errors.shrink_to(KEPT);
        self.kept.clear();
        self.kept.shrink_to(KEPT);
    }
}

/// The rows of one call.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub count: usize,
    /// Row-major doubles, little-endian.
    pub numbers: &'a [u8],
    /// Row-major places of texts in `data`.
    pub texts: &'a [Span],
    pub data: &'a [u8],
}

impl<'a> Rows<'a> {
    /// The rows of a request that was read from `data`.
    #[inline]
    pub(crate) fn of(request: &'a Request, data: &'a [u8]) -> Self {
        let (numbers, texts) = (request.numbers(data), &request.texts);
        Self { count: request.row_count as usize, numbers, texts, data }
    }

    #[inline]
    fn number(&self, index: usize) -> f64 {
        let mut bytes = [0; DOUBLE];
        bytes.copy_from_slice(&self.numbers[index * DOUBLE..(index + 1) * DOUBLE]);
        f64::from_le_bytes(bytes)
    }

    #[inline]
    fn text(&self, index: usize) -> &[u8] {
        self.texts[index].of(self.data)
    }
}

impl Coder {
    /// A coder of rows with `number_count` numbers and `text_count` texts.
    pub(crate) fn new(
        (number_count, text_count): (usize, usize),
        vocabularies: Vec<Vocabulary>,
        bags: Vec<Bag>,
        inputs: Vec<GraphInput>,
        checks: Vec<FeatureCheck>,
    ) -> Self {
        let free = checks.iter().all(|check| {
            check.missing_allowed
                && match &check.source {
                    CheckSource::Number(number) => number.accepts_all(),
                    CheckSource::Text(_, known) => known.is_empty(),
                }
        });
        let byte_ns = bags.iter().map(Bag::byte_ns).sum();
        Self { number_count, text_count, vocabularies, bags, inputs, checks, free, byte_ns }
    }

    /// Whether the request has the numbers and texts of as many rows as it says.
    #[inline]
    pub(crate) fn fits(&self, rows: Rows<'_>) -> bool {
        rows.numbers.len() == rows.count * self.number_count * DOUBLE
            && rows.texts.len() == rows.count * self.text_count
    }

    /// Looks texts up, finds the rows that are refused, and counts the words of the other rows.
    pub(crate) fn examine(&self, rows: Rows<'_>, scratch: &mut CodingScratch) {
        let CodingScratch { codes, folded, entries, errors, kept } = scratch;
        codes.clear();
        errors.clear();
        kept.clear();
        for vocabulary in &self.vocabularies {
            let places = (0..rows.count).map(|row| row * self.text_count + vocabulary.text);
            codes.extend(places.map(|place| vocabulary.look_up(rows.text(place), folded)));
        }
        if !self.free {
            for row in 0..rows.count {
                if let Some((check, reason)) = self.refuse(rows, codes, row) {
                    errors.push(RowError::new(row, check, reason));
                }
            }
        }
        if !errors.is_empty() {
            let mut bad = errors.iter().map(|error| error.row).peekable();
            kept.extend((0..rows.count as u32).filter(|row| bad.next_if_eq(row).is_none()));
        }
        entries.clear(if errors.is_empty() { rows.count } else { kept.len() });
        for bag in &self.bags {
            let mut count = |row: usize| entries.count(bag, rows.text(row * self.text_count + bag.text));
            if errors.is_empty() {
                (0..rows.count).for_each(count);
            } else {
                kept.iter().for_each(|row| count(*row as usize));
            }
        }
    }

    /// The first feature that refuses a row, and why.
    #[inline]
    fn refuse(&self, rows: Rows<'_>, codes: &[u32], row: usize) -> Option<(usize, usize)> {
        self.checks.iter().enumerate().find_map(|(i, check)| {
            let reason = match &check.source {
                CheckSource::Number(wanted) => {
                    let number = rows.number(row * self.number_count + wanted.position);
                    wanted.refuse(number, check.missing_allowed)
                }
                CheckSource::Text(position, known) => {
                    if rows.text(row * self.text_count + position).is_empty() {
                        (!check.missing_allowed).then_some(MISSING)
                    } else {
                        let unknown =
                            |v: &usize| codes[v * rows.count + row] as usize == self.vocabularies[*v].len();
                        known.iter().any(unknown).then_some(UNKNOWN)
                    }
                }
            };
            reason.map(|reason| (i, reason))
        })
    }

    /// The bytes of a refused row's `RowError` without the field `row`.
    pub(crate) fn refusal(&self, error: &RowError) -> &[u8] {
        &self.checks[error.check()].refusals[error.reason()]
    }

    /// Tensors for the inputs of `count` rows.
    ///
    /// # Errors
    /// `GraphError`: there is not enough memory.
    pub(crate) fn tensors(&self, count: usize) -> Result<Vec<Tensor>, GraphError> {
        let shape = |input: &GraphInput| match input.entries {
            Some(_) => vec![MIN_ENTRIES as i64],
            None => [&[count as i64][..], &input.dims].concat(),
        };
        self.inputs.iter().map(|input| Tensor::new(input.element, &shape(input))).collect()
    }

    /// Fills in the counts of words for all rows of a binding at once. `rows` gives for each row, in the
    /// binding's order, the scratch that has its entries and its index among the rows kept there.
    ///
    /// # Errors
    /// `GraphError`: there is not enough memory.
    pub(crate) fn fill_entries<'a>(
        &self,
        binding: &mut IoBinding,
        rows: impl Iterator<Item = (&'a CodingScratch, usize)> + Clone,
    ) -> Result<(), GraphError> {
        for (place, input) in self.inputs.iter().enumerate() {
            if let Some((bag, part)) = input.entries {
                let rows = rows.clone().map(|(scratch, row)| scratch.entries.of(bag, row));
                entries::fill(binding, place, part, self.bags[bag].terms.count(), rows)?;
            }
        }
        Ok(())
    }

    /// Writes kept rows into the inputs of a binding, from its row `at` on, except counts of words. `kept` is
    /// the range among the rows that `examine` kept.
    ///
    /// # Errors
    /// `GraphError`: onnxruntime refuses a text.
    pub(crate) fn fill(
        &self,
        rows: Rows<'_>,
        kept: Range<usize>,
        scratch: &mut CodingScratch,
        binding: &mut IoBinding,
        at: usize,
    ) -> Result<(), GraphError> {
        for (input, tensor) in self.inputs.iter().zip(binding.inputs_mut()) {
            if input.entries.is_some() {
                continue;
            }
            let numbers = Numbers { coder: self, input, rows, scratch, kept: kept.clone(), at };
            match input.element {
                Element::F32 => numbers.fill(tensor.values_mut(), |v| v as f32),
                Element::F64 => numbers.fill(tensor.values_mut(), |v| v),
                Element::I8 => numbers.fill(tensor.values_mut(), |v| v as i8),
                Element::I16 => numbers.fill(tensor.values_mut(), |v| v as i16),
                Element::I32 => numbers.fill(tensor.values_mut(), |v| v as i32),
                Element::I64 => numbers.fill(tensor.values_mut(), |v| v as i64),
                Element::U8 => numbers.fill(tensor.values_mut(), |v| v as u8),
                Element::U16 => numbers.fill(tensor.values_mut(), |v| v as u16),
                Element::U32 => numbers.fill(tensor.values_mut(), |v| v as u32),
                Element::U64 => numbers.fill(tensor.values_mut(), |v| v as u64),
                Element::Bool => numbers.fill(tensor.bools_mut(), |v| v != 0.0),
                Element::Text => self.fill_texts(input, rows, kept.clone(), scratch, tensor, at)?,
            }
        }
        Ok(())
    }

    fn fill_texts(
        &self,
        input: &GraphInput,
        rows: Rows<'_>,
        range: Range<usize>,
        scratch: &mut CodingScratch,
        tensor: &mut Tensor,
        at: usize,
    ) -> Result<(), GraphError> {
        let CodingScratch { folded, errors, kept, .. } = scratch;
        for (i, row) in (at..).zip(range.map(|i| if errors.is_empty() { i } else { kept[i] as usize })) {
            for (j, column) in input.columns.iter().enumerate() {
                if let GraphColumn::Text(position, fold) = column {
                    let text = fold.apply(rows.text(row * self.text_count + position), folded);
                    tensor.set_text(i * input.columns.len() + j, text)?;
                }
            }
        }
        Ok(())
    }
}

/// The numbers of one graph input.
struct Numbers<'a> {
    coder: &'a Coder,
    input: &'a GraphInput,
    rows: Rows<'a>,
    scratch: &'a CodingScratch,
    kept: Range<usize>,
    at: usize,
}

impl Numbers<'_> {
    #[inline]
    fn fill<T>(self, out: &mut [T], cast: impl Fn(f64) -> T) {
        let Self { coder, input, rows, scratch, kept, at } = self;
        let out = &mut out[at * input.columns.len()..];
        let all = scratch.errors.is_empty();
        if all && input.in_place {
            let width = coder.number_count * DOUBLE;
            let numbers = &rows.numbers[kept.start * width..kept.end * width];
            for (place, bytes) in out.iter_mut().zip(numbers.chunks_exact(DOUBLE)) {
                let mut number = [0; DOUBLE];
                number.copy_from_slice(bytes);
                *place = cast(f64::from_le_bytes(number));
            }
            return;
        }
        for (line, i) in out.chunks_exact_mut(input.columns.len()).zip(kept) {
            let row = if all { i } else { scratch.kept[i] as usize };
            for (place, column) in line.iter_mut().zip(&input.columns) {
                *place = cast(match column {
                    GraphColumn::Number(position) => rows.number(row * coder.number_count + position),
                    GraphColumn::Coded(vocabulary, values) => {
                        values[scratch.codes[vocabulary * rows.count + row] as usize]
                    }
                    GraphColumn::Text(..) => f64::NAN,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
