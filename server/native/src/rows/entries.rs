//! The counts of words of the rows kept of one call, and how graphs are given them.

use std::ops::Range;

use crate::onnx::binding::IoBinding;
use crate::onnx::library::OrtError;
use crate::onnx::tensor::{Element, Plain, Tensor};
use crate::rows::words::{Bag, WordScratch};

/// Entries are filled up to a power of two of at least so many, that graphs meet few shapes.
pub(crate) const MIN_ENTRIES: usize = 16;

/// What a tensor has of each entry.
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
    /// Where those of each text end.
    ends: Vec<usize>,
    kept_count: usize,
    scratch: WordScratch,
}

impl Entries {
    /// Begins a call of which so many rows are kept.
    pub(crate) fn clear(&mut self, kept_count: usize) {
        self.found.clear();
        self.ends.clear();
        self.kept_count = kept_count;
    }

    /// Counts the next text: all kept rows of a bag, then those of the next.
    pub(crate) fn count(&mut self, bag: &Bag, text: &[u8]) {
        bag.count(text, &mut self.scratch, &mut self.found);
        self.ends.push(self.found.len());
    }

    /// The counts of the text of a row, by its place among those kept.
    pub(crate) fn of(&self, bag: usize, row: usize) -> &[(u32, f64)] {
        let text = bag * self.kept_count + row;
        let start = if text == 0 { 0 } else { self.ends[text - 1] };
        &self.found[Range { start, end: self.ends[text] }]
    }

    /// Gives up what is beyond some elements.
    pub(crate) fn release(&mut self, kept: usize) {
        self.clear(0);
        self.found.shrink_to(kept);
        self.ends.shrink_to(kept);
        self.scratch.release(kept);
    }
}

/// Fills a frame's input with a part of the entries of its rows; `width` is the number of places.
///
/// # Errors
/// There is not enough memory.
pub(crate) fn fill<'a>(
    frame: &mut IoBinding,
    input: usize,
    part: EntryPart,
    width: usize,
    rows: impl Iterator<Item = &'a [(u32, f64)]> + Clone,
) -> Result<(), OrtError> {
    let count = rows.clone().map(<[_]>::len).sum::<usize>();
    let size = count.next_power_of_two().max(MIN_ENTRIES);
    if frame.inputs_mut()[input].count() != size {
        frame.set_input(input, Tensor::new(part.element(), &[size as i64])?);
    }
    let tensor = &mut frame.inputs_mut()[input];
    let entries = rows.enumerate().flat_map(|(row, found)| found.iter().map(move |entry| (row, *entry)));
    match part {
        EntryPart::Row => put(tensor, entries.map(|(row, _)| row as i64), 0),
        EntryPart::Place => put(tensor, entries.map(|(_, (place, _))| i64::from(place)), width as i64),
        EntryPart::Count => put(tensor, entries.map(|(_, (_, count))| count), 0.0),
    }
    Ok(())
}

/// Writes the values, and `idle` behind them.
fn put<T: Plain>(tensor: &mut Tensor, values: impl Iterator<Item = T>, idle: T) {
    for (place, value) in tensor.values_mut().iter_mut().zip(values.chain(std::iter::repeat(idle))) {
        *place = value;
    }
}
