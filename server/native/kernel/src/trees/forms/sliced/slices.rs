//! Bit-sliced with AVX-512: 512 rows at once, or 256 or 128.

use std::arch::x86_64::*;
use std::ops::RangeInclusive;

use crate::trees::coded::Codings;
use crate::trees::element::{Element, Real};
use crate::trees::forms::sliced::evaluate::{compare, index};
use crate::trees::forms::sliced::plan::{BATCH, Plan, RANKS, Run, Table};
use crate::trees::forms::sliced::wide::{Of128, Of256, Of512, Wide};
use crate::trees::forms::sliced::{CHUNK, ColumnCoder, ROWS};
use crate::trees::forms::{Form, FormName};
use crate::trees::prefetch;
use crate::trees::processor::Processor;
use crate::trees::scratch::{Line, Scratch, numbers, numbers_mut};
use crate::trees::search::registers::{RegisterSearch, missing};

/// The most rows of a block.
const BLOCK: usize = 512;
/// Lines for a byte of each row of a block.
const BYTE_LINES: usize = BLOCK / size_of::<Line>();

/// Leaves' values are looked up byte by byte: 64 indices give the first bytes of 64 values, then the second ones.
pub(crate) struct Slices<I, S> {
    plan: Plan,
    coders: Vec<ColumnCoder<RegisterSearch>>,
    /// Of each table the first bytes of all values, filled up to whole lines, then the second ones.
    values: Vec<Line>,
    starts: Vec<usize>,
    base: Vec<S>,
    features: usize,
    input: std::marker::PhantomData<fn(I)>,
}

/// Parts of the scratch.
struct Areas<'a> {
    /// Of each column the codes of the rows.
    codes: &'a mut [Line],
    /// Of each column a bit for each row.
    missing: &'a mut [Line],
    slots: &'a mut [Line],
    ranks: &'a mut [Line],
    /// Of each tree of a batch the indices of the rows' leaves.
    leaves: &'a mut [Line],
    /// Of each target the sums of the rows, in the order of `place`.
    totals: &'a mut [Line],
}

impl<I: Element, S: Element> Slices<I, S> {
    /// `None` without AVX-512, or if the trees do not suit the form.
    pub(crate) fn new(codings: &Codings<'_>) -> Option<Self> {
        let ensemble = codings.ensemble;
        if Processor::detected() < Processor::Avx512 {
            return None;
        }
        let (plan, tables) = Plan::new(codings)?;
        let coders = ColumnCoder::all(codings, RegisterSearch::new::<I>);
        let (mut values, mut starts) = (Vec::new(), Vec::new());
        for table in &tables {
            starts.push(values.len());
            push_table::<S>(&mut values, table);
        }
        let base = ensemble.bases();
        let (features, input) = (ensemble.features, std::marker::PhantomData);
        Some(Self { plan, coders, values, starts, base, features, input })
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,gfni")]
    fn blocks(&self, rows: &[I], sums: &mut [S], scratch: &mut Scratch) {
        let targets = self.base.len();
        let sizes = [
            BYTE_LINES * self.coders.len(),
            self.coders.len(),
            self.plan.slots,
            RANKS,
            BYTE_LINES * BATCH,
            self.base.len() * BYTE_LINES * size_of::<S>(),
        ];
        let mut lines = scratch.lines(sizes.iter().sum());
        let mut next = |count| lines.split_off_mut(..count).expect("there are lines for all");
        let [codes, missing, slots, ranks, leaves, totals] = sizes.map(&mut next);
        let mut areas = Areas { codes, missing, slots, ranks, leaves, totals };
        for (rows, sums) in rows.chunks(BLOCK * self.features).zip(sums.chunks_mut(BLOCK * targets)) {
            match rows.len() / self.features {
                0..=128 => self.block::<Of128>(rows, sums, &mut areas),
                129..=256 => self.block::<Of256>(rows, sums, &mut areas),
                _ => self.block::<Of512>(rows, sums, &mut areas),
            }
        }
    }

    /// Scores at most as many rows as a vector has bits.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,gfni")]
    fn block<W: Wide>(&self, rows: &[I], sums: &mut [S], areas: &mut Areas<'_>) {
        let chunks = (rows.len() / self.features).div_ceil(CHUNK);
        self.code(rows, areas);
        let per_target = BYTE_LINES * size_of::<S>();
        for (totals, base) in areas.totals.chunks_exact_mut(per_target).zip(&self.base) {
            numbers_mut::<S>(totals).fill(*base);
        }
        let slots = vectors::<W>(areas.slots);
        let ranks = vectors::<W>(areas.ranks).first_chunk_mut().expect("there are `RANKS` ranks");
        for part in &self.plan.parts {
            slots[0] = slots[0].all(false);
            let mut slot = 1;
            for (column, asked) in &part.asked {
                let codes = &areas.codes[BYTE_LINES * column..BYTE_LINES * (column + 1)];
                // SAFETY: the processor has what this function needs.
                let missing = unsafe { W::of_rows(&areas.missing[*column]) };
                compare(&planes::<W>(codes), missing, asked, &mut slots[slot..slot + asked.len()]);
                slot += asked.len();
            }
            for batch in &part.batches {
                for (tree, leaves) in batch.trees.iter().zip(areas.leaves.chunks_exact_mut(BYTE_LINES)) {
                    // SAFETY: the tree is of the plan, and there are its slots; the processor as above.
                    unsafe {
                        let planes = index(&self.plan, tree, slots, ranks);
                        W::store_bytes(&planes, numbers_mut(leaves));
                    }
                }
                for run in &batch.runs {
                    let totals = &mut areas.totals[per_target * run.target..per_target * (run.target + 1)];
                    match run.levels {
                        0..=6 => self.add::<1>(run, chunks, areas.leaves, totals),
                        7 => self.add::<2>(run, chunks, areas.leaves, totals),
                        _ => self.add::<4>(run, chunks, areas.leaves, totals),
                    }
                }
            }
        }
        let targets = self.base.len();
        for (target, totals) in areas.totals.chunks_exact(per_target).enumerate() {
            let totals = numbers::<S>(totals);
            for (row, sums) in sums.chunks_exact_mut(targets).enumerate() {
                sums[target] = totals[place::<S>(row)];
            }
        }
    }

    /// Writes the codes of each column, and where values are missing.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2")]
    fn code(&self, rows: &[I], areas: &mut Areas<'_>) {
        let mut values = [I::default(); CHUNK];
        // Rows that are far apart are not fetched ahead by the processor alone.
        let rows_after = |chunk: usize| rows.chunks(CHUNK * self.features).nth(chunk);
        for (chunk, rows) in rows.chunks(CHUNK * self.features).enumerate() {
            if let Some(next) = rows_after(chunk + 1) {
                for values in next.chunks(size_of::<Line>() / size_of::<I>()) {
                    prefetch::into_first_cache(values.as_ptr());
                }
            }
            let mut known = u32::MAX;
            let mut absent = 0;
            for (at, (coder, feature)) in self.coders.iter().zip(&self.plan.features).enumerate() {
                if *feature != known {
                    known = *feature;
                    for (value, row) in values.iter_mut().zip(rows.chunks_exact(self.features)) {
                        *value = row[known as usize];
                    }
                    absent = missing(&values);
                }
                numbers_mut::<u64>(&mut areas.missing[at..=at])[chunk] = absent;
                let codes = &mut areas.codes[BYTE_LINES * at + chunk];
                match coder {
                    ColumnCoder::Thresholds(thresholds) => thresholds.below(&values, codes),
                    ColumnCoder::Set(set) => {
                        for (code, value) in codes.0.iter_mut().zip(values) {
                            *code = u8::from(!value.double().is_nan() && !set.contain(value));
                        }
                    }
                }
            }
        }
    }

    /// Adds the values of a run's leaves, in tables of `LINES` lines for each byte, to the sums of its target.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2")]
    fn add<const LINES: usize>(&self, run: &Run, chunks: usize, leaves: &[Line], totals: &mut [Line]) {
        for (chunk, totals) in totals.chunks_exact_mut(size_of::<S>()).enumerate().take(chunks) {
            let looked_up = run.adds.iter().map(|(tree, table)| {
                let start = self.starts[*table];
                (
                    load(&leaves[BYTE_LINES * tree + chunk]),
                    &self.values[start..start + LINES * size_of::<S>()],
                )
            });
            match S::REAL {
                Real::F32 => add_singles::<LINES>(looked_up, totals),
                Real::F64 => add_doubles::<LINES>(looked_up, totals),
            }
        }
    }
}

/// Adds a table in lines.
fn push_table<S: Element>(values: &mut Vec<Line>, table: &Table) {
    let lines = (1_usize << table.levels).div_ceil(size_of::<Line>());
    let start = values.len();
    values.resize(start + lines * size_of::<S>(), Line::ZERO);
    for (i, value) in table.values.iter().enumerate() {
        let bytes = value.to_le_bytes();
        let single = (*value as f32).to_le_bytes();
        let bytes = if S::REAL == Real::F32 { &single[..] } else { &bytes[..] };
        for (byte, value) in bytes.iter().enumerate() {
            values[start + lines * byte + i / 64].0[i % 64] = *value;
        }
    }
}

/// Where the sum of a row stands: as unpacking bytes leaves them.
fn place<S>(row: usize) -> usize {
    let each = 16 / size_of::<S>();
    let (chunk, lane, register) = (row / CHUNK, row % CHUNK / 16, row % 16 / each);
    chunk * CHUNK + register * 4 * each + lane * each + row % each
}

/// The lines as vectors, one for each line or more.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2")]
fn vectors<W: Wide>(lines: &mut [Line]) -> &mut [W] {
    // SAFETY: a vector is a register of bits, no longer than a line and of no greater alignment; the processor has such
    // registers.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len()) }
}

/// The planes of bits of a column's codes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2")]
fn planes<W: Wide>(codes: &[Line]) -> [W; 8] {
    // SAFETY: the processor has what this function needs.
    let mut planes = [unsafe { W::of_rows(&Line::ZERO) }; 8];
    for (bit, plane) in planes.iter_mut().enumerate() {
        let mut bits = Line::ZERO;
        for (codes, bits) in codes.iter().zip(bits.0.as_chunks_mut().0).take(W::BYTES / 8) {
            *bits = _mm512_test_epi8_mask(load(codes), _mm512_set1_epi8((1_u8 << bit) as i8)).to_le_bytes();
        }
        // SAFETY: as above.
        *plane = unsafe { W::of_rows(&bits) };
    }
    planes
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(line: &Line) -> __m512i {
    // SAFETY: a line is as long as the register.
    unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
}

/// A byte of each value: `table` has those of all, in `LINES` lines.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn bytes_at<const LINES: usize>(indices: __m512i, table: &[Line]) -> __m512i {
    let pair = |i| _mm512_permutex2var_epi8(load(&table[i]), indices, load(&table[i + 1]));
    match LINES {
        1 => _mm512_permutexvar_epi8(indices, load(&table[0])),
        2 => pair(0),
        _ => _mm512_mask_blend_epi8(_mm512_movepi8_mask(indices), pair(0), pair(2)),
    }
}

/// Four bytes of each value, side by side, of four vectors with one byte of each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn fours([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (low, high) = (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b));
    let (low_2, high_2) = (_mm512_unpacklo_epi8(c, d), _mm512_unpackhi_epi8(c, d));
    [
        _mm512_unpacklo_epi16(low, low_2),
        _mm512_unpackhi_epi16(low, low_2),
        _mm512_unpacklo_epi16(high, high_2),
        _mm512_unpackhi_epi16(high, high_2),
    ]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn add_singles<'a, const LINES: usize>(
    looked_up: impl Iterator<Item = (__m512i, &'a [Line])>,
    totals: &mut [Line],
) {
    // SAFETY: a line is as long as the register.
    let mut sums: [_; 4] = std::array::from_fn(|i| unsafe { _mm512_load_ps(totals[i].0.as_ptr().cast()) });
    for (indices, table) in looked_up {
        let byte = |i: usize| bytes_at::<LINES>(indices, &table[LINES * i..LINES * (i + 1)]);
        let values = fours([byte(0), byte(1), byte(2), byte(3)]);
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum = _mm512_add_ps(*sum, _mm512_castsi512_ps(value));
        }
    }
    for (total, sum) in totals.iter_mut().zip(sums) {
        // SAFETY: as above.
        unsafe { _mm512_store_ps(total.0.as_mut_ptr().cast(), sum) };
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn add_doubles<'a, const LINES: usize>(
    looked_up: impl Iterator<Item = (__m512i, &'a [Line])>,
    totals: &mut [Line],
) {
    // SAFETY: a line is as long as the register.
    let mut sums: [_; 8] = std::array::from_fn(|i| unsafe { _mm512_load_pd(totals[i].0.as_ptr().cast()) });
    for (indices, table) in looked_up {
        let byte = |i: usize| bytes_at::<LINES>(indices, &table[LINES * i..LINES * (i + 1)]);
        // In the order of the sums by two.
        let half = |i: usize| fours([byte(i), byte(i + 1), byte(i + 2), byte(i + 3)]);
        let (lower, upper) = (half(0), half(4));
        for i in 0..4 {
            let low = _mm512_castsi512_pd(_mm512_unpacklo_epi32(lower[i], upper[i]));
            let high = _mm512_castsi512_pd(_mm512_unpackhi_epi32(lower[i], upper[i]));
            sums[2 * i] = _mm512_add_pd(sums[2 * i], low);
            sums[2 * i + 1] = _mm512_add_pd(sums[2 * i + 1], high);
        }
    }
    for (total, sum) in totals.iter_mut().zip(sums) {
        // SAFETY: as above.
        unsafe { _mm512_store_pd(total.0.as_mut_ptr().cast(), sum) };
    }
}

impl<I: Element, S: Element> Form<I, S> for Slices<I, S> {
    fn name(&self) -> FormName {
        FormName::Slices
    }

    fn rows(&self) -> RangeInclusive<usize> {
        ROWS
    }

    fn bytes(&self) -> usize {
        self.plan.bytes()
            + ColumnCoder::bytes(&self.coders, RegisterSearch::bytes)
            + size_of_val(&self.values[..])
            + size_of_val(&self.starts[..])
            + size_of_val(&self.base[..])
    }

    fn score(&self, rows: &[I], sums: &mut [S], scratch: &mut Scratch) {
        // SAFETY: `new` asked whether the processor has these features.
        unsafe { self.blocks(rows, sums, scratch) };
    }
}
