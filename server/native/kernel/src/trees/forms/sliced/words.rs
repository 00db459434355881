//! Bit-sliced in plain words, for every processor: 256 rows at once, or 64.

use std::ops::RangeInclusive;

use crate::trees::coded::Codings;
use crate::trees::element::Element;
use crate::trees::forms::sliced::evaluate::{compare, index};
use crate::trees::forms::sliced::plan::{BATCH, Plan, RANKS, Run};
use crate::trees::forms::sliced::{CHUNK, ColumnCoder, ROWS};
use crate::trees::forms::{Form, FormName};
use crate::trees::processor::Processor;
use crate::trees::scratch::{Line, Scratch, numbers, numbers_mut};
use crate::trees::search::halving::Halving;

/// The words of a vector of a whole block.
const BLOCK_WORDS: usize = 4;
/// Rows whose sums are kept in registers.
const TOGETHER: usize = 16;
/// The values of a table as it is read: an index is a byte.
const TABLE: usize = 256;

/// Codes and indices, a byte for each row, are words too: that of row 8 g + j is byte g of the word j of eight. A
/// transposition of eight words, eight by eight bits, leads from those bytes to planes of bits, and back.
pub(crate) struct Words<I, S> {
    plan: Plan,
    coders: Vec<ColumnCoder<Halving<I>>>,
    /// The values of all tables, and where each begins.
    values: Vec<S>,
    starts: Vec<usize>,
    base: Vec<S>,
    features: usize,
    avx2: bool,
}

impl<I: Element, S: Element> Words<I, S> {
    /// `None` if the trees do not suit the form.
    pub(crate) fn new(codings: &Codings<'_>, processor: Processor) -> Option<Self> {
        let ensemble = codings.ensemble;
        let (plan, tables) = Plan::new(codings)?;
        let coders = ColumnCoder::all(codings, Halving::new);
        let (mut values, mut starts) = (Vec::new(), Vec::new());
        for table in &tables {
            starts.push(values.len());
            values.extend(table.values.iter().map(|value| S::of(*value)));
        }
        // Tables are read as if each had 256 values.
        values.resize(values.len() + TABLE, S::default());
        let base = ensemble.bases();
        let (features, avx2) = (ensemble.features, processor.min(Processor::detected()) >= Processor::Avx2);
        Some(Self { plan, coders, values, starts, base, features, avx2 })
    }

    #[inline(always)]
    fn blocks(&self, rows: &[I], sums: &mut [S], scratch: &mut Scratch) {
        let targets = self.base.len();
        let blocks =
            rows.chunks(64 * BLOCK_WORDS * self.features).zip(sums.chunks_mut(64 * BLOCK_WORDS * targets));
        for (rows, sums) in blocks {
            if rows.len() <= 64 * self.features {
                self.block::<1>(rows, sums, scratch);
            } else {
                self.block::<BLOCK_WORDS>(rows, sums, scratch);
            }
        }
    }

    /// Scores up to 64 N rows.
    #[inline(always)]
    fn block<const N: usize>(&self, rows: &[I], sums: &mut [S], scratch: &mut Scratch) {
        let (columns, targets) = (self.plan.features.len(), self.base.len());
        let bits = |count: usize| (count * size_of::<[u64; N]>()).div_ceil(size_of::<Line>());
        let sizes = [
            bits(8 * columns),
            bits(columns),
            bits(self.plan.slots),
            bits(RANKS),
            bits(8 * BATCH),
            targets * N * size_of::<S>(),
        ];
        let mut lines = scratch.lines(sizes.iter().sum());
        let mut next = |count| lines.split_off_mut(..count).expect("there are lines for all");
        let [codes, missing, slots, ranks, leaves, totals] = sizes.map(&mut next);
        let (missing, slots) = (numbers_mut::<[u64; N]>(missing), numbers_mut::<[u64; N]>(slots));
        self.code::<N>(rows, numbers_mut(codes), missing);
        let codes = numbers::<[u64; N]>(codes);
        let ranks = numbers_mut::<[u64; N]>(ranks).first_chunk_mut().expect("there are `RANKS` ranks");
        let totals = numbers_mut::<S>(totals);
        for (totals, base) in totals.chunks_exact_mut(64 * N).zip(&self.base) {
            totals.fill(*base);
        }
        for part in &self.plan.parts {
            slots[0] = [0; N];
            let mut slot = 1;
            for (column, asked) in &part.asked {
                let planes = std::array::from_fn(|plane| codes[8 * column + plane]);
                compare(&transposed(planes), missing[*column], asked, &mut slots[slot..slot + asked.len()]);
                slot += asked.len();
            }
            for batch in &part.batches {
                let indices = numbers_mut::<[u64; N]>(leaves);
                for (tree, indices) in batch.trees.iter().zip(indices.chunks_exact_mut(8)) {
                    // SAFETY: the tree is of the plan, and there are its slots.
                    let planes = unsafe { index(&self.plan, tree, slots, ranks) };
                    indices.copy_from_slice(&transposed(planes));
                }
                for run in &batch.runs {
                    self.add::<N>(run, leaves, &mut totals[64 * N * run.target..][..64 * N]);
                }
            }
        }
        for (row, sums) in sums.chunks_exact_mut(targets).enumerate() {
            let at = place::<N>(row);
            for (target, sum) in sums.iter_mut().enumerate() {
                *sum = totals[64 * N * target + at];
            }
        }
    }

    /// Writes the codes of each column, 64 N bytes, and where values are missing.
    #[inline(always)]
    fn code<const N: usize>(&self, rows: &[I], codes: &mut [u8], missing: &mut [[u64; N]]) {
        missing.fill([0; N]);
        let mut values = [I::default(); CHUNK];
        for (word, rows) in rows.chunks(CHUNK * self.features).enumerate() {
            let mut known = u32::MAX;
            let mut absent = 0;
            for (at, (coder, feature)) in self.coders.iter().zip(&self.plan.features).enumerate() {
                if *feature != known {
                    known = *feature;
                    absent = 0;
                    for (i, (value, row)) in
                        values.iter_mut().zip(rows.chunks_exact(self.features)).enumerate()
                    {
                        *value = row[known as usize];
                        absent |= u64::from(value.double().is_nan()) << i;
                    }
                }
                missing[at][word] = absent;
                let codes = &mut codes[64 * N * at..64 * N * (at + 1)];
                for (group, values) in values.as_chunks::<8>().0.iter().enumerate() {
                    let found = match coder {
                        ColumnCoder::Thresholds(thresholds) => thresholds.below(values),
                        ColumnCoder::Set(set) => {
                            values.map(|value| usize::from(!value.double().is_nan() && !set.contain(value)))
                        }
                    };
                    for (j, code) in found.into_iter().enumerate() {
                        codes[place::<N>(64 * word + 8 * group + j)] = code as u8;
                    }
                }
            }
        }
    }

    /// Adds the values of a run's leaves to the sums of its target.
    #[inline(always)]
    fn add<const N: usize>(&self, run: &Run, leaves: &[Line], totals: &mut [S]) {
        let leaves = numbers::<u8>(leaves);
        for (group, totals) in totals.as_chunks_mut::<TOGETHER>().0.iter_mut().enumerate() {
            let mut sums = *totals;
            for (tree, table) in &run.adds {
                let indices = &leaves[64 * N * tree + TOGETHER * group..][..TOGETHER];
                let start = self.starts[*table];
                let table = self.values[start..].first_chunk::<TABLE>().expect("tables are filled up");
                for (sum, index) in sums.iter_mut().zip(indices) {
                    *sum += table[usize::from(*index)];
                }
            }
            *totals = sums;
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn blocks_avx2(&self, rows: &[I], sums: &mut [S], scratch: &mut Scratch) {
        self.blocks(rows, sums, scratch);
    }
}

/// Where the byte of a row stands among those of eight planes.
#[inline(always)]
fn place<const N: usize>(row: usize) -> usize {
    let byte = if cfg!(target_endian = "big") { 7 - row / 8 % 8 } else { row / 8 % 8 };
    row % 8 * 8 * N + row / 64 * 8 + byte
}

/// Exchanges bit i of word j, in each byte, with bit j of word i.
#[inline(always)]
fn transposed<const N: usize>(mut words: [[u64; N]; 8]) -> [[u64; N]; 8] {
    for (by, mask) in [(4, 0x0f0f_0f0f_0f0f_0f0f), (2, 0x3333_3333_3333_3333), (1, 0x5555_5555_5555_5555)] {
        for i in (0..8).filter(|i| i & by == 0) {
            let (low, high) = (words[i], words[i + by]);
            let differ: [u64; N] = std::array::from_fn(|k| (low[k] >> by ^ high[k]) & mask);
            words[i] = std::array::from_fn(|k| low[k] ^ differ[k] << by);
            words[i + by] = std::array::from_fn(|k| high[k] ^ differ[k]);
        }
    }
    words
}

impl<I: Element, S: Element> Form<I, S> for Words<I, S> {
    fn name(&self) -> FormName {
        FormName::Words
    }

    fn rows(&self) -> RangeInclusive<usize> {
        ROWS
    }

    fn bytes(&self) -> usize {
        self.plan.bytes()
            + ColumnCoder::bytes(&self.coders, Halving::bytes)
            + size_of_val(&self.values[..])
            + size_of_val(&self.starts[..])
            + size_of_val(&self.base[..])
    }

    fn score(&self, rows: &[I], sums: &mut [S], scratch: &mut Scratch) {
        #[cfg(target_arch = "x86_64")]
        if self.avx2 {
            // SAFETY: `new` asked whether the processor has these features.
            unsafe { self.blocks_avx2(rows, sums, scratch) };
            return;
        }
        self.blocks(rows, sums, scratch);
    }
}
