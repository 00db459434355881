//! How rows become graph inputs: scorewire_contract.coding, once more.
//!
//! Rows that the schema does not allow are found here and left out, so that one bad row costs its
//! own score and nobody else's.

use std::collections::HashMap;
use std::ops::Range;

use foldhash::fast::RandomState;

use crate::onnx::runtime::{Element, Frame, RuntimeError, Tensor};
use crate::protocol::protobuf::{Request, Span};
use crate::rows::entries::{self, Entries, MIN_ENTRIES, Part};
use crate::rows::words::Bag;

const DOUBLE: usize = 8;

/// What happens to a text before it is looked up or fed to the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    None,
    AsciiLowerStrip,
}

impl Fold {
    pub fn apply<'a>(self, text: &'a [u8], folded: &'a mut Vec<u8>) -> &'a [u8] {
        if self == Self::None {
            return text;
        }
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
        let Some(start) = text.iter().position(|byte| !blank(byte)) else {
            return &[];
        };
        let end = text.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
        let text = &text[start..end];
        if !text.iter().any(u8::is_ascii_uppercase) {
            return text;
        }
        folded.clear();
        folded.extend(text.iter().map(u8::to_ascii_lowercase));
        folded
    }
}

/// Text to index.
pub struct Vocabulary {
    text: usize,
    fold: Fold,
    // Its keys come from the bundle, so that no caller can make them collide.
    index: HashMap<Box<[u8]>, u32, RandomState>,
}

impl Vocabulary {
    pub fn new(text: usize, fold: Fold, texts: Vec<String>) -> Self {
        let entries = texts.into_iter().zip(0..).map(|(text, i)| (text.into_bytes().into_boxed_slice(), i));
        Self { text, fold, index: entries.collect() }
    }

    /// The text's index; how many texts there are for one that is none of them.
    fn look_up(&self, text: &[u8], folded: &mut Vec<u8>) -> u32 {
        let key = self.fold.apply(text, folded);
        self.index.get(key).copied().unwrap_or(self.index.len() as u32)
    }
}

/// Where one column of a graph input comes from.
pub enum Column {
    Number(usize),
    /// A vocabulary, and the value of each of its texts with that of unknown ones last.
    Coded(usize, Vec<f64>),
    Text(usize, Fold),
}

/// One graph input: a tensor of shape [rows, dims...], with the columns row-major, or one of shape
/// [entries].
pub struct Input {
    element: Element,
    columns: Vec<Column>,
    dims: Vec<i64>,
    /// The columns are all numbers, in their order.
    in_place: bool,
    /// Of which bag it has the counts, and what of them.
    entries: Option<(usize, Part)>,
}

impl Input {
    pub fn new(element: Element, columns: Vec<Column>, dims: Vec<i64>, number_count: usize) -> Self {
        let in_order = |(i, column): (usize, &Column)| matches!(column, Column::Number(n) if *n == i);
        let in_place = columns.len() == number_count && columns.iter().enumerate().all(in_order);
        Self { element, columns, dims, in_place, entries: None }
    }

    /// An input that has a part of the counts of a bag.
    pub fn entries(bag: usize, part: Part) -> Self {
        let (columns, dims) = (Vec::new(), Vec::new());
        Self { element: part.element(), columns, dims, in_place: false, entries: Some((bag, part)) }
    }
}

/// Why rows are refused, as metrics count them.
pub const ROW_REASONS: usize = 4;
const MISSING: usize = 0;
const OUT_OF_RANGE: usize = 1;
const UNKNOWN: usize = 2;
const NOT_WHOLE: usize = 3;
/// Their names in the contract; each stands at its index.
pub const ROW_REASON_NAMES: [&str; ROW_REASONS] = {
    let mut names = [""; ROW_REASONS];
    names[MISSING] = "MISSING_VALUE";
    names[OUT_OF_RANGE] = "NUMBER_OUT_OF_RANGE";
    names[UNKNOWN] = "UNKNOWN_TEXT";
    names[NOT_WHOLE] = "NUMBER_NOT_WHOLE";
    names
};
/// Room that is kept for the next call.
const KEPT: usize = 1 << 12;

/// What one feature refuses, in schema order.
pub struct Check {
    pub source: Source,
    pub missing_allowed: bool,
    /// By reason: a RowError without its row, as bytes; empty for what is never refused.
    pub refusals: [Vec<u8>; ROW_REASONS],
}

/// What a check looks at.
pub enum Source {
    Number(NumberCheck),
    /// Position of the text, and the vocabularies that must know it.
    Text(usize, Vec<usize>),
}

/// Which numbers are taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NumberCheck {
    pub position: usize,
    pub low: f64,
    pub high: f64,
    pub whole: bool,
}

impl NumberCheck {
    #[inline]
    fn refuse(self, number: f64, missing_allowed: bool) -> Option<usize> {
        if number.is_nan() {
            (!missing_allowed).then_some(MISSING)
        } else if number < self.low || number > self.high {
            Some(OUT_OF_RANGE)
        } else {
            (self.whole && number != number.floor()).then_some(NOT_WHOLE)
        }
    }

    /// Whether it takes every number.
    fn free(self) -> bool {
        self.low == f64::NEG_INFINITY && self.high == f64::INFINITY && !self.whole
    }
}

/// A row that has no score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowError {
    pub row: u32,
    check: u32,
    reason: usize,
}

impl RowError {
    /// The index of the check that refuses the row.
    pub fn check(&self) -> usize {
        self.check as usize
    }

    /// Why, as an index to count by.
    pub fn reason(&self) -> usize {
        self.reason
    }
}

/// Codes the rows of one bundle.
pub struct Coder {
    pub number_count: usize,
    pub text_count: usize,
    vocabularies: Vec<Vocabulary>,
    bags: Vec<Bag>,
    inputs: Vec<Input>,
    checks: Vec<Check>,
    /// Nothing is refused: the checks need no look.
    free: bool,
    /// What cutting texts into words may cost for each byte of a message.
    pub byte_ns: f64,
}

/// Room for one call, to be used again.
#[derive(Default)]
pub struct Room {
    codes: Vec<u32>,
    folded: Vec<u8>,
    entries: Entries,
    pub errors: Vec<RowError>,
    /// The rows without an error; all where `errors` is empty.
    pub kept: Vec<u32>,
}

impl Room {
    /// Gives the room up that a huge call took.
    pub fn release(&mut self) {
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
pub struct Rows<'a> {
    pub count: usize,
    /// Row-major doubles, little-endian.
    pub numbers: &'a [u8],
    /// Row-major places of texts in `data`.
    pub texts: &'a [Span],
    pub data: &'a [u8],
}

impl<'a> Rows<'a> {
    /// The rows of a request that came in these bytes.
    #[inline]
    pub fn of(request: &'a Request, data: &'a [u8]) -> Self {
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
    pub fn new(
        number_count: usize,
        text_count: usize,
        vocabularies: Vec<Vocabulary>,
        bags: Vec<Bag>,
        inputs: Vec<Input>,
        checks: Vec<Check>,
    ) -> Self {
        let free = checks.iter().all(|check| {
            check.missing_allowed
                && match &check.source {
                    Source::Number(number) => number.free(),
                    Source::Text(_, known) => known.is_empty(),
                }
        });
        let byte_ns = bags.iter().map(Bag::byte_ns).sum();
        Self { number_count, text_count, vocabularies, bags, inputs, checks, free, byte_ns }
    }

    /// Whether the rows have as many numbers and texts as they should.
    #[inline]
    pub fn fits(&self, rows: Rows<'_>) -> bool {
        rows.numbers.len() == rows.count * self.number_count * DOUBLE
            && rows.texts.len() == rows.count * self.text_count
    }

    /// Looks texts up, finds the rows that are refused, and counts the words of the others.
    pub fn examine(&self, rows: Rows<'_>, room: &mut Room) {
        let Room { codes, folded, entries, errors, kept } = room;
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
                    errors.push(RowError { row: row as u32, check: check as u32, reason });
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
                Source::Number(wanted) => {
                    let number = rows.number(row * self.number_count + wanted.position);
                    wanted.refuse(number, check.missing_allowed)
                }
                Source::Text(position, known) => {
                    if rows.text(row * self.text_count + position).is_empty() {
                        (!check.missing_allowed).then_some(MISSING)
                    } else {
                        let unknown = |v: &usize| {
                            codes[v * rows.count + row] as usize == self.vocabularies[*v].index.len()
                        };
                        known.iter().any(unknown).then_some(UNKNOWN)
                    }
                }
            };
            reason.map(|reason| (i, reason))
        })
    }

    /// A refused row's RowError but for its row, as bytes, and the reason as an index to count by.
    pub fn refusal(&self, error: &RowError) -> (&[u8], usize) {
        (&self.checks[error.check as usize].refusals[error.reason], error.reason)
    }

    /// The tensors that so many rows are filled into.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn tensors(&self, count: usize) -> Result<Vec<Tensor>, RuntimeError> {
        let shape = |input: &Input| match input.entries {
            Some(_) => vec![MIN_ENTRIES as i64],
            None => [&[count as i64][..], &input.dims].concat(),
        };
        self.inputs.iter().map(|input| Tensor::new(input.element, &shape(input))).collect()
    }

    /// Fills the counts of words of the rows of a frame, all at once; `rows` are the rooms and the places
    /// among the rows kept in them, in the order in which the frame has them.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn fill_entries<'a>(
        &self,
        frame: &mut Frame,
        rows: impl Iterator<Item = (&'a Room, usize)> + Clone,
    ) -> Result<(), RuntimeError> {
        for (place, input) in self.inputs.iter().enumerate() {
            if let Some((bag, part)) = input.entries {
                let rows = rows.clone().map(|(room, row)| room.entries.of(bag, row));
                entries::fill(frame, place, part, self.bags[bag].places.count(), rows)?;
            }
        }
        Ok(())
    }

    /// Fills those of the rows that `examine` kept into the tensors of a frame, from its row `at` on,
    /// but for counts of words.
    ///
    /// # Errors
    /// onnxruntime refuses a text.
    pub fn fill(
        &self,
        rows: Rows<'_>,
        kept: Range<usize>,
        room: &mut Room,
        frame: &mut Frame,
        at: usize,
    ) -> Result<(), RuntimeError> {
        for (input, tensor) in self.inputs.iter().zip(frame.inputs_mut()) {
            if input.entries.is_some() {
                continue;
            }
            let numbers = Numbers { coder: self, input, rows, room, kept: kept.clone(), at };
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
                Element::Text => self.fill_texts(input, rows, kept.clone(), room, tensor, at)?,
            }
        }
        Ok(())
    }

    fn fill_texts(
        &self,
        input: &Input,
        rows: Rows<'_>,
        range: Range<usize>,
        room: &mut Room,
        tensor: &mut Tensor,
        at: usize,
    ) -> Result<(), RuntimeError> {
        let Room { folded, errors, kept, .. } = room;
        for (i, row) in (at..).zip(range.map(|i| if errors.is_empty() { i } else { kept[i] as usize })) {
            for (j, column) in input.columns.iter().enumerate() {
                if let Column::Text(position, fold) = column {
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
    input: &'a Input,
    rows: Rows<'a>,
    room: &'a Room,
    kept: Range<usize>,
    at: usize,
}

impl Numbers<'_> {
    #[inline]
    fn fill<T>(self, out: &mut [T], cast: impl Fn(f64) -> T) {
        let Self { coder, input, rows, room, kept, at } = self;
        let out = &mut out[at * input.columns.len()..];
        let all = room.errors.is_empty();
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
            let row = if all { i } else { room.kept[i] as usize };
            for (place, column) in line.iter_mut().zip(&input.columns) {
                *place = cast(match column {
                    Column::Number(position) => rows.number(row * coder.number_count + position),
                    Column::Coded(vocabulary, values) => {
                        values[room.codes[vocabulary * rows.count + row] as usize]
                    }
                    Column::Text(..) => f64::NAN,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
