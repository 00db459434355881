//! Rows of one source as the columns of a block.

use crate::little_endian::u64_at;
use crate::record::Record;
use crate::source::{HASH_DIGITS, Hasher, Output, Source, Treatment};
use crate::texts::{MISSING, RepeatedTexts, TextColumn};

/// The sections before those of the outputs.
pub(crate) const FIXED_SECTIONS: usize = 19;

/// A source with what treating its values takes.
pub(crate) struct Shape {
    pub source: Source,
    hasher: Hasher,
    /// Whether all numbers are kept, and all texts, so that they are copied as they are.
    keeps_numbers: bool,
    keeps_texts: bool,
    /// Hashes of a row.
    hashes: usize,
    output_numbers: usize,
    output_texts: usize,
}

impl Shape {
    /// `source`: checked by `Source::check`.
    pub(crate) fn new(source: Source) -> Self {
        let keeps = |treatments: &[Treatment]| treatments.iter().all(|&how| how == Treatment::Keep);
        let hashed =
            |treatments: &[Treatment]| treatments.iter().filter(|&&how| how == Treatment::Hash).count();
        let mut widths = (0, 0);
        for output in &source.outputs {
            match output {
                Output::Numbers(width) => widths.0 += width,
                Output::Texts(width) => widths.1 += width,
            }
        }
        Self {
            hasher: Hasher::new(&source.hash_key),
            keeps_numbers: keeps(&source.numbers),
            keeps_texts: keeps(&source.texts),
            hashes: hashed(&source.numbers) + hashed(&source.texts),
            output_numbers: widths.0,
            output_texts: widths.1,
            source,
        }
    }

    /// Whether a record has as many values as the source says.
    pub(crate) fn fits(&self, record: &Record<'_>) -> bool {
        let rows = record.row_count as usize;
        record.numbers.len() == rows * self.source.numbers.len() * 8
            && record.texts.ends.len() == rows * self.source.texts.len() * 4
            && record.outputs.len() == rows * self.output_numbers * 8
            && record.output_texts.ends.len() == rows * self.output_texts * 4
    }

    /// The most bytes that a record adds to the body of a block.
    pub(crate) fn most_bytes(&self, record: &Record<'_>) -> usize {
        let texts = record.texts.ends.len() + record.texts.bytes.len();
        let outputs = record.outputs.len() + record.output_texts.ends.len() + record.output_texts.bytes.len();
        let names = [record.caller, record.principal, record.routing_key];
        let names: usize = names.iter().map(|name| name.len().max(HASH_DIGITS)).sum();
        let hashes = record.row_count as usize * self.hashes * (4 + HASH_DIGITS);
        64 + names + record.numbers.len() + texts + hashes + record.errors.len() + outputs
    }
}

enum OutputColumn {
    Numbers(Vec<u8>),
    Texts(TextColumn),
}

/// The columns of a block of rows that is being built. Its memory is used again.
#[derive(Default)]
pub(crate) struct Columns {
    pub predictions: u32,
    pub rows: u32,
    pub first_sequence: u64,
    /// For each writer, its predictions, counted with their first part, and its rows.
    pub by_writer: Vec<(u64, u64)>,
    /// At least the bytes of the body.
    bytes: usize,
    sequence: Vec<u8>,
    at_us: Vec<u8>,
    server_us: Vec<u8>,
    model_us: Vec<u8>,
    first_row: Vec<u8>,
    row_count: Vec<u8>,
    writer: Vec<u8>,
    flags: Vec<u8>,
    original_sequence: Vec<u8>,
    original_writer: Vec<u8>,
    caller: TextColumn,
    routing_key: TextColumn,
    numbers: Vec<u8>,
    texts: TextColumn,
    error_row: Vec<u8>,
    error_reason: Vec<u8>,
    error_feature: Vec<u8>,
    principal: RepeatedTexts,
    outputs: Vec<OutputColumn>,
}

impl Columns {
    /// Makes the columns ready for a source.
    pub(crate) fn begin(&mut self, shape: &Shape) {
        self.clear();
        self.bytes = 8 + (FIXED_SECTIONS + shape.source.outputs.len()) * 16;
        self.outputs.truncate(shape.source.outputs.len());
        for (at, output) in shape.source.outputs.iter().enumerate() {
            match (output, self.outputs.get_mut(at)) {
                (Output::Numbers(_), Some(OutputColumn::Numbers(numbers))) => numbers.clear(),
                (Output::Texts(_), Some(OutputColumn::Texts(texts))) => texts.clear(),
                (_, found) => {
                    let column = match output {
                        Output::Numbers(_) => OutputColumn::Numbers(Vec::new()),
                        Output::Texts(_) => OutputColumn::Texts(TextColumn::default()),
                    };
                    match found {
                        Some(old) => *old = column,
                        None => self.outputs.push(column),
                    }
                }
            }
        }
    }

    fn clear(&mut self) {
        (self.predictions, self.rows, self.first_sequence) = (0, 0, 0);
        self.by_writer.clear();
        self.fixed_mut().into_iter().for_each(Vec::clear);
        [&mut self.caller, &mut self.routing_key, &mut self.texts].into_iter().for_each(TextColumn::clear);
        self.principal.clear();
    }

    /// The columns of values with a fixed size.
    fn fixed_mut(&mut self) -> [&mut Vec<u8>; 14] {
        [
            &mut self.sequence,
            &mut self.at_us,
            &mut self.server_us,
            &mut self.model_us,
            &mut self.first_row,
            &mut self.row_count,
            &mut self.writer,
            &mut self.flags,
            &mut self.original_sequence,
            &mut self.original_writer,
            &mut self.numbers,
            &mut self.error_row,
            &mut self.error_reason,
            &mut self.error_feature,
        ]
    }

    /// The bytes of its memory.
    pub(crate) fn capacity(&mut self) -> usize {
        let fixed: usize = self.fixed_mut().into_iter().map(|column| column.capacity()).sum();
        let texts = [&self.caller, &self.routing_key, &self.texts];
        let outputs = self.outputs.iter().map(|column| match column {
            OutputColumn::Numbers(numbers) => numbers.capacity(),
            OutputColumn::Texts(texts) => texts.capacity(),
        });
        size_of::<Self>()
            + fixed
            + self.principal.capacity()
            + texts.map(TextColumn::capacity).iter().sum::<usize>()
            + outputs.sum::<usize>()
    }

    /// At least the bytes of the body.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a record, for which `Shape::fits`, after its values are treated. `at_us`: since 1970.
    pub(crate) fn push(&mut self, shape: &Shape, record: &Record<'_>, writer: u16, at_us: i64) {
        self.bytes += shape.most_bytes(record);
        self.first_sequence =
            if self.predictions == 0 { record.sequence } else { self.first_sequence.min(record.sequence) };
        if self.by_writer.len() <= usize::from(writer) {
            self.by_writer.resize(usize::from(writer) + 1, (0, 0));
        }
        let (predictions, rows) = &mut self.by_writer[usize::from(writer)];
        *predictions += u64::from(record.first_row == 0);
        *rows += u64::from(record.row_count);

        self.sequence.extend_from_slice(&record.sequence.to_le_bytes());
        self.at_us.extend_from_slice(&at_us.to_le_bytes());
        self.server_us.extend_from_slice(&record.server_us.to_le_bytes());
        self.model_us.extend_from_slice(&record.model_us.to_le_bytes());
        self.first_row.extend_from_slice(&record.first_row.to_le_bytes());
        self.row_count.extend_from_slice(&record.row_count.to_le_bytes());
        self.writer.extend_from_slice(&writer.to_le_bytes());
        self.flags.extend_from_slice(&record.flags.to_le_bytes());
        if shape.source.shadow {
            self.original_sequence.extend_from_slice(&record.original_sequence.to_le_bytes());
            self.original_writer.extend_from_slice(&record.original_writer.to_le_bytes());
        }
        self.caller.push_treated(shape.source.caller, record.caller, &shape.hasher);
        self.routing_key.push_treated(shape.source.routing_key, record.routing_key, &shape.hasher);
        self.principal.push_treated(shape.source.principal, record.principal, &shape.hasher);
        for error in record.errors.chunks_exact(8) {
            let word = u64_at(error, 0);
            self.error_row.extend_from_slice(&(self.rows + word as u32).to_le_bytes());
            self.error_reason.extend_from_slice(&((word >> 32) as u16).to_le_bytes());
            self.error_feature.extend_from_slice(&((word >> 48) as u16).to_le_bytes());
        }
        self.push_numbers(shape, record);
        self.push_texts(shape, record);
        self.push_outputs(shape, record);
        self.predictions += 1;
        self.rows += record.row_count;
    }

    fn push_numbers(&mut self, shape: &Shape, record: &Record<'_>) {
        if shape.keeps_numbers {
            return self.numbers.extend_from_slice(record.numbers);
        }
        for row in record.numbers.chunks_exact(8 * shape.source.numbers.len()) {
            for (number, how) in row.chunks_exact(8).zip(&shape.source.numbers) {
                if *how == Treatment::Keep {
                    self.numbers.extend_from_slice(number);
                }
            }
        }
    }

    /// Adds the kept texts of each row, then its hashed numbers, then its hashed texts.
    fn push_texts(&mut self, shape: &Shape, record: &Record<'_>) {
        if shape.keeps_texts && shape.hashes == 0 {
            return self.texts.extend(record.texts);
        }
        let Shape { source, hasher, .. } = shape;
        for row in 0..record.row_count as usize {
            let texts = || source.texts.iter().enumerate();
            let text = |index: usize| record.texts.get(row * source.texts.len() + index);
            for (index, _) in texts().filter(|(_, how)| **how == Treatment::Keep) {
                self.texts.push(text(index));
            }
            for (index, how) in source.numbers.iter().enumerate().filter(|(_, how)| **how == Treatment::Hash)
            {
                let at = 8 * (row * source.numbers.len() + index);
                let number = &record.numbers[at..at + 8];
                let missing = f64::from_bits(u64_at(number, 0)).is_nan();
                self.texts.push_treated(*how, if missing { MISSING } else { number }, hasher);
            }
            for (index, how) in texts().filter(|(_, how)| **how == Treatment::Hash) {
                self.texts.push_treated(*how, text(index), hasher);
            }
        }
    }

    fn push_outputs(&mut self, shape: &Shape, record: &Record<'_>) {
        let rows = record.row_count as usize;
        let mut numbers = record.outputs;
        let mut texts = record.output_texts.iter();
        for (output, column) in shape.source.outputs.iter().zip(&mut self.outputs) {
            match (output, column) {
                (Output::Numbers(width), OutputColumn::Numbers(column)) => {
                    let (here, rest) = numbers.split_at(8 * width * rows);
                    column.extend_from_slice(here);
                    numbers = rest;
                }
                (Output::Texts(width), OutputColumn::Texts(column)) => {
                    texts.by_ref().take(width * rows).for_each(|text| column.push(text));
                }
                _ => debug_assert!(false, "the columns were made for another source"),
            }
        }
    }

    /// The body of the block, in pieces. `table` gets what is before the sections.
    pub(crate) fn body<'a>(&'a self, table: &'a mut Vec<u8>) -> Vec<&'a [u8]> {
        const PADDING: [u8; 8] = [0; 8];
        let none: &[u8] = &[];
        let mut sections: Vec<[&[u8]; 2]> = Vec::with_capacity(FIXED_SECTIONS + self.outputs.len());
        sections.extend(
            [
                &self.sequence,
                &self.at_us,
                &self.server_us,
                &self.model_us,
                &self.first_row,
                &self.row_count,
                &self.writer,
                &self.flags,
                &self.original_sequence,
                &self.original_writer,
            ]
            .map(|column| [column.as_slice(), none]),
        );
        sections.extend([self.caller.section(), self.routing_key.section(), [&self.numbers, none]]);
        sections.push(self.texts.section());
        sections.extend(
            [&self.error_row, &self.error_reason, &self.error_feature].map(|column| [&column[..], none]),
        );
        sections.extend(self.principal.sections());
        sections.extend(self.outputs.iter().map(|column| match column {
            OutputColumn::Numbers(numbers) => [numbers.as_slice(), none],
            OutputColumn::Texts(texts) => texts.section(),
        }));

        table.clear();
        table.extend_from_slice(&(sections.len() as u64).to_le_bytes());
        for [first, second] in &sections {
            table.extend_from_slice(&((first.len() + second.len()) as u64).to_le_bytes());
        }
        let mut pieces = Vec::with_capacity(1 + 3 * sections.len());
        pieces.push(table.as_slice());
        for [first, second] in sections {
            let length = first.len() + second.len();
            let padding = &PADDING[..length.next_multiple_of(8) - length];
            pieces.extend([first, second, padding].into_iter().filter(|piece| !piece.is_empty()));
        }
        pieces
    }
}
