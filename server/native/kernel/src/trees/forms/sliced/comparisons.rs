//! What the trees ask of columns, and which of it is kept at once.

use crate::trees::coded::{CodedTree, Column};

/// The most vectors of comparisons that are kept at once, of 64 bytes each: with more, caches lose them between trees;
/// with fewer, comparisons are made again for other trees. Tests have few, so that ensembles have several parts.
pub(super) const MOST_SLOTS: usize = if cfg!(test) { 400 } else { 16_384 };

/// Whether a code is at least `least`, from 1 on: then a row goes to `on_false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Comparison {
    /// Whether a missing value goes to `on_true`. It comes first in the order, so that few branches change their way.
    pub missing_true: bool,
    pub least: u8,
}

/// All comparisons that trees may ask, numbered in the order of the columns.
pub(super) struct Comparisons {
    /// The number of each column's first, and of all.
    firsts: Vec<usize>,
}

/// The slots of the comparisons of a part, by their numbers.
pub(super) struct Slots<'a> {
    pub comparisons: &'a Comparisons,
    pub slots: Vec<u32>,
}

impl Slots<'_> {
    pub(super) fn of(&self, tree: &CodedTree, split: u32) -> u32 {
        self.slots[self.comparisons.number(tree, split)]
    }
}

impl Comparisons {
    pub(super) fn new(columns: &[Column]) -> Self {
        let mut firsts = vec![0];
        for (i, column) in columns.iter().enumerate() {
            firsts.push(firsts[i] + 2 * column.largest());
        }
        Self { firsts }
    }

    pub(super) fn count(&self) -> usize {
        self.firsts[self.firsts.len() - 1]
    }

    /// The column and the comparison of a number.
    pub(super) fn of(&self, number: usize) -> (usize, Comparison) {
        let column = self.firsts.partition_point(|first| *first <= number) - 1;
        let (first, end) = (self.firsts[column], self.firsts[column + 1]);
        let (half, i) = ((end - first) / 2, number - first);
        (column, Comparison { missing_true: i >= half, least: (i % half) as u8 + 1 })
    }

    /// The number of what a split asks.
    fn number(&self, tree: &CodedTree, split: u32) -> usize {
        let (column, comparison) = comparison(tree, split);
        let (first, end) = (self.firsts[column], self.firsts[column + 1]);
        let half = if comparison.missing_true { (end - first) / 2 } else { 0 };
        first + half + usize::from(comparison.least) - 1
    }

    /// How many of the trees have comparisons that are kept at once, from the first on, and the numbers of these
    /// comparisons, ascending. In `asked` each number is false, before and afterwards.
    pub(super) fn first_part(
        &self,
        trees: &[CodedTree],
        order: &[usize],
        asked: &mut [bool],
    ) -> (usize, Vec<usize>) {
        let (mut count, mut kept) = (0, Vec::new());
        for tree in order {
            let tree = &trees[*tree];
            let before = kept.len();
            let numbers = (0..tree.splits.len() as u32).map(|split| self.number(tree, split));
            kept.extend(numbers.filter(|number| !std::mem::replace(&mut asked[*number], true)));
            if count > 0 && kept.len() > MOST_SLOTS {
                kept.drain(before..).for_each(|number| asked[number] = false);
                break;
            }
            count += 1;
        }
        kept.iter().for_each(|number| asked[*number] = false);
        kept.sort_unstable();
        (count, kept)
    }
}

fn comparison(tree: &CodedTree, split: u32) -> (usize, Comparison) {
    let split = &tree.splits[split as usize];
    // A column has at most 255 thresholds, so that a bound is at most 254.
    (split.column, Comparison { least: split.bound as u8 + 1, missing_true: split.missing_true })
}
