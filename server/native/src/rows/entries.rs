//! Counts of words: the entries of a call's rows, and how they become inputs of a graph.
//!
//! An entry is one term of one text: its row, its place among the terms, and its count. A graph takes the
//! three parts as three inputs of equal length.

use std::ops::Range;

use crate::onnx::binding::IoBinding;
use crate::onnx::library::GraphError;
use crate::onnx::tensor::{Element, Plain, Tensor};
use crate::rows::words::{Bag, WordScratch};

/// Inputs are padded to a power of two of entries, and to at least this many, so that graphs see few shapes.
pub(crate) const MIN_ENTRIES: usize = 16;

/// One part of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryPart {
    Row,
    Place,
    Count,
}

impl EntryPart {
    pub(crate) fn element(self) -> Element {
        if self == Self::Count { Element::F64 } else { Element::I64 }
    }
}

/// The terms of texts and their counts: one text of a bag after the other.
#[derive(Default)]
pub(crate) struct Entries {
    found: Vec<(u32, f64)>,
    /// Where the entries of each text end.
    ends: Vec<usize>,
    kept_count: usize,
    scratch: WordScratch,
}

impl Entries {
    /// Begins a call with `kept_count` rows that are kept.
    pub(crate) fn clear(&mut self, kept_count: usize) {
        self.found.clear();
        self.ends.clear();
        self.kept_count = kept_count;
    }

    /// Counts the words of the next text. Texts come bag by bag, and within a bag in the order of the kept rows.
    pub(crate) fn count(&mut self, bag: &Bag, text: &[u8]) {
        bag.count(text, &mut self.scratch, &mut self.found);
        self.ends.push(self.found.len());
    }

    /// The places and counts of one text, by the index of its row among the kept rows.
    pub(crate) fn of(&self, bag: usize, row: usize) -> &[(u32, f64)] {
        let text = bag * self.kept_count + row;
        let start = if text == 0 { 0 } else { self.ends[text - 1] };
        &self.found[Range { start, end: self.ends[text] }]
    }

    /// Frees memory beyond `kept` elements.
    pub(crate) fn release(&mut self, kept: usize) {
        self.clear(0);
        self.found.shrink_to(kept);
        self.ends.shrink_to(kept);
        self.scratch.release(kept);
    }
}

/// Fills an input of a binding with one part of its rows' entries. `width` is the number of places; padding
/// has that place, which the graph ignores.
///
/// # Errors
/// `GraphError`: there is not enough memory.
pub(crate) fn fill<'a>(
    binding: &mut IoBinding,
    input: usize,
    part: EntryPart,
    width: usize,
    rows: impl Iterator<Item = &'a [(u32, f64)]> + Clone,
) -> Result<(), GraphError> {
    let count = rows.clone().map(<[_]>::len).sum::<usize>();
    let size = count.next_power_of_two().max(MIN_ENTRIES);
    if binding.inputs_mut()[input].count() != size {
        binding.set_input(input, Tensor::new(part.element(), &[size as i64])?);
    }
    let tensor = &mut binding.inputs_mut()[input];
    let entries = rows.enumerate().flat_map(|(row, found)| found.iter().map(move |entry| (row, *entry)));
    match part {
        EntryPart::Row => put(tensor, entries.map(|(row, _)| row as i64), 0),
        EntryPart::Place => put(tensor, entries.map(|(_, (place, _))| i64::from(place)), width as i64),
        EntryPart::Count => put(tensor, entries.map(|(_, (_, count))| count), 0.0),
    }
    Ok(())
}

/// Writes the values, and then `padding` up to the end.
fn put<T: Plain>(tensor: &mut Tensor, values: impl Iterator<Item = T>, padding: T) {
    for (place, value) in tensor.values_mut().iter_mut().zip(values.chain(std::iter::repeat(padding))) {
        *place = value;
    }
}
