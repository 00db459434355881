//! Complete trees of up to eight levels, with AVX-512: the bytes of 63 nodes are one permutation of the row's table,
//! and their comparisons with the bounds are one 64-bit word.
//!
//! Few rows go one by one, in eight trees at once. More rows go by sixteen through each tree of up to six levels.

use std::arch::x86_64::*;
use std::ops::Range;

use crate::trees::coded::{self, Codings};
use crate::trees::element::{Element, Real};
use crate::trees::forms::heap::complete::{Complete, GROUP, Tail};
use crate::trees::forms::heap::fields::Fields;
use crate::trees::forms::heap::pick;
use crate::trees::forms::{Form, FormName};
use crate::trees::prefetch;
use crate::trees::scratch::Scratch;
use crate::trees::search::bytes::{ByteCoder, PLACES, look_up};

/// Groups of trees whose words are computed before the first of them descends: a vector load waits for stores of its
/// parts that have just been made.
const AHEAD: usize = 4;

/// Groups that are fetched before the first of their tails is read.
const FETCHED: usize = 2;

/// Groups of trees whose words and places are kept.
const RING: usize = 8;

/// Rows that go through a tree together.
const ROWS: usize = 16;

/// The fewest rows left over that are worth a group of their own.
const WORTH: usize = 12;

/// Groups of rows whose tables are made at once, with tables of one line.
const ROW_GROUPS: usize = 16;

/// Trees that all groups of rows go through before others.
const CACHED: usize = 64;

/// What eight trees have: words, places or leaves.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Numbers([u64; GROUP]);

impl Numbers {
    const ZERO: Self = Self([0; GROUP]);

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(&self) -> __m512i {
        // SAFETY: eight numbers are a vector, and aligned as one.
        unsafe { _mm512_load_si512(self.0.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store(&mut self, numbers: __m512i) {
        // SAFETY: eight numbers are a vector, and aligned as one.
        unsafe { _mm512_store_si512(self.0.as_mut_ptr().cast(), numbers) }
    }
}

struct Heap<I, S, const LINES: usize, const DEEP: bool> {
    coder: ByteCoder<I>,
    trees: Complete<S>,
    features: usize,
}

/// The form; `None` without AVX-512, or where the trees are too deep or read too many places.
pub(crate) fn make<I: Element, S: Element>(codings: &Codings<'_>) -> Option<Box<dyn Form<I, S>>> {
    if codings.depth > 8 || codings.columns(coded::MOST_IN_BYTE) > PLACES {
        return None;
    }
    let (ensemble, coded) = (codings.ensemble, codings.coded(coded::MOST_IN_BYTE));
    let coder = ByteCoder::new(coded, ensemble.features)?;
    let trees = Complete::new(codings, 8, |split| coder.place(split))?;
    let features = ensemble.features;
    Some(match (coder.lines(), trees.deep) {
        (1, false) => Box::new(Heap::<I, S, 1, false> { coder, trees, features }),
        (2, false) => Box::new(Heap::<I, S, 2, false> { coder, trees, features }),
        (_, false) => Box::new(Heap::<I, S, 4, false> { coder, trees, features }),
        (1, true) => Box::new(Heap::<I, S, 1, true> { coder, trees, features }),
        (2, true) => Box::new(Heap::<I, S, 2, true> { coder, trees, features }),
        (_, true) => Box::new(Heap::<I, S, 4, true> { coder, trees, features }),
    })
}

impl<I: Element, S: Element, const LINES: usize, const DEEP: bool> Form<I, S> for Heap<I, S, LINES, DEEP> {
    fn name(&self) -> FormName {
        FormName::Heap
    }

    fn bytes(&self) -> usize {
        self.coder.bytes() + self.trees.bytes()
    }

    fn score(&self, rows: &[I], sums: &mut [S], scratch: &mut Scratch) {
        let (count, targets) = (rows.len() / self.features, self.trees.base.len());
        assert!(sums.len() >= count * targets, "each row has sums");
        let left = count % ROWS;
        let together = if DEEP {
            0
        } else if left < WORTH {
            count - left
        } else {
            count
        };
        let (first, last) = rows.split_at(together * self.features);
        let (first_sums, last_sums) = sums.split_at_mut(together * targets);
        // SAFETY: the coder is only made where AVX-512 is supported.
        unsafe {
            if together > 0 {
                self.score_rows(first, first_sums, scratch);
            }
            for (row, sums) in last.chunks_exact(self.features).zip(last_sums.chunks_exact_mut(targets)) {
                self.score_row(row, sums);
            }
        }
    }
}

impl<I: Element, S: Element, const LINES: usize, const DEEP: bool> Heap<I, S, LINES, DEEP> {
    /// The word of comparisons of a tree.
    ///
    /// # Safety
    /// There is such a tree.
    #[inline]
    #[target_feature(
        enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,popcnt,bmi1,bmi2,lzcnt"
    )]
    unsafe fn compare(&self, table: &[__m512i; LINES], tree: usize) -> u64 {
        // SAFETY: the caller says that there is such a tree; a line is a vector.
        let (places, bounds) = unsafe {
            (
                _mm512_load_si512(self.trees.places.as_ptr().add(tree).cast()),
                _mm512_load_si512(self.trees.bounds.as_ptr().add(tree).cast()),
            )
        };
        _mm512_cmpgt_epu8_mask(look_up(table, places), bounds)
    }

    /// The sums of one row.
    #[target_feature(
        enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,popcnt,bmi1,bmi2,lzcnt"
    )]
    fn score_row(&self, row: &[I], sums: &mut [S]) {
        let table = self.coder.table::<LINES>(row);
        let fields = Fields::new();
        sums.copy_from_slice(&self.trees.base);
        let (mut target, mut total) = (0, sums[0]);
        let (mut words, mut places) = ([Numbers::ZERO; RING], [Numbers::ZERO; RING]);
        let groups = self.trees.count / GROUP;
        let behind = AHEAD + if DEEP { FETCHED } else { 0 };
        for step in 0..groups + behind {
            if step < groups {
                for (i, word) in words[step % RING].0.iter_mut().enumerate() {
                    // SAFETY: trees are in groups of eight.
                    *word = unsafe { self.compare(&table, step * GROUP + i) };
                }
            }
            if let Some(group) = step.checked_sub(AHEAD).filter(|group| *group < groups) {
                let found = fields.descend(words[group % RING].load());
                places[group % RING].store(found);
                if DEEP {
                    self.fetch(group, &mut places[group % RING]);
                }
            }
            if let Some(group) = step.checked_sub(behind) {
                let places = &places[group % RING];
                // SAFETY: there is such a group, and the descent ends in one of 64 places.
                unsafe {
                    if DEEP {
                        let tails = self.tails(group).add(Tail::<S>::LEAVES);
                        let leaves = self.finish(&table, group, places);
                        let leaf = |i: usize| *tails.add(i * 64 * Tail::<S>::STRIDE + leaves.0[i] as usize);
                        self.trees.add(group * GROUP, leaf, &mut target, &mut total, sums);
                    } else {
                        let leaves = self.trees.leaves.as_ptr().cast::<S>().add(group * GROUP * 64);
                        let leaf = |i: usize| *leaves.add(i * 64 + places.0[i] as usize);
                        self.trees.add(group * GROUP, leaf, &mut target, &mut total, sums);
                    }
                }
            }
        }
        sums[target] = total;
    }

    /// Where the tails of a group of trees begin, if there is such a group of deep trees.
    #[inline]
    fn tails(&self, group: usize) -> *const S {
        self.trees.tails.as_ptr().cast::<S>().wrapping_add(group * GROUP * 64 * Tail::<S>::STRIDE)
    }

    /// From the places of a group of trees to where their tails begin among those of each tree, which are fetched.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn fetch(&self, group: usize, places: &mut Numbers) {
        places.store(_mm512_mullo_epi32(places.load(), _mm512_set1_epi64(Tail::<S>::STRIDE as i64)));
        let tails = self.tails(group);
        for (i, start) in places.0.iter().enumerate() {
            prefetch::into_first_cache(tails.wrapping_add(i * 64 * Tail::<S>::STRIDE + *start as usize));
        }
    }

    /// The leaves of a group of trees, by where their tails begin.
    ///
    /// # Safety
    /// Deep trees have such a group, whose tails begin there.
    #[inline]
    #[target_feature(
        enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,popcnt,bmi1,bmi2,lzcnt"
    )]
    unsafe fn finish(&self, table: &[__m512i; LINES], group: usize, starts: &Numbers) -> Numbers {
        /// The nodes of a tail, as a mask of bytes.
        const NODES: u64 = 0x0707_0707_0707_0707;
        /// A leaf in each byte, by the bits of the three nodes.
        const LEAVES: i64 = 0x0301_0300_0201_0200;
        let tails = self.tails(group);
        // SAFETY: the caller says so; a tail begins with a word.
        let tail = |i: usize| unsafe {
            tails.add(i * 64 * Tail::<S>::STRIDE + starts.0[i] as usize).cast::<i64>().read_unaligned()
        };
        let nodes = _mm512_setr_epi64(tail(0), tail(1), tail(2), tail(3), tail(4), tail(5), tail(6), tail(7));
        let bounds = _mm512_srli_epi64::<32>(nodes);
        let above = _mm512_mask_cmpgt_epu8_mask(NODES, look_up(table, nodes), bounds);
        let bits = _mm512_cvtepu8_epi64(_mm_cvtsi64_si128(above as i64));
        let leaves = _mm512_shuffle_epi8(_mm512_set1_epi64(LEAVES), bits);
        let mut found = Numbers::ZERO;
        found.store(_mm512_add_epi64(starts.load(), leaves));
        found
    }

    /// The sums of many rows, sixteen at a time.
    #[target_feature(
        enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,popcnt,bmi1,bmi2,lzcnt"
    )]
    fn score_rows(&self, rows: &[I], sums: &mut [S], scratch: &mut Scratch) {
        let targets = self.trees.base.len();
        let part = ROW_GROUPS / LINES * ROWS;
        // Tables, and then sums.
        let lines = scratch.lines(part * LINES + part * size_of::<S>() / 64).as_mut_ptr();
        let tables = lines.cast::<[__m512i; LINES]>();
        // SAFETY: there are lines after the tables.
        let totals = unsafe { lines.add(part * LINES).cast::<S>() };
        let each = rows.chunks(part * self.features).zip(sums.chunks_mut(part * targets));
        for (rows, sums) in each {
            let count = rows.len() / self.features;
            let groups = count.div_ceil(ROWS);
            for i in 0..groups * ROWS {
                let row = &rows[i.min(count - 1) * self.features..][..self.features];
                // SAFETY: there are `part` tables.
                unsafe { tables.add(i).write(self.coder.table::<LINES>(row)) };
            }
            let mut first = 0;
            for (target, end) in self.trees.ends.iter().enumerate() {
                // SAFETY: there are `part` totals and tables, and all ends are of trees.
                unsafe {
                    (0..groups * ROWS).for_each(|i| totals.add(i).write(self.trees.base[target]));
                    for from in (first..*end).step_by(CACHED) {
                        for i in (0..groups).map(|group| group * ROWS) {
                            self.score_group(tables.add(i), from..(*end).min(from + CACHED), totals.add(i));
                        }
                    }
                    let totals = std::slice::from_raw_parts(totals, count);
                    for (sums, total) in sums.chunks_exact_mut(targets).zip(totals) {
                        sums[target] = *total;
                    }
                }
                first = *end;
            }
        }
    }

    /// Adds the leaves of some trees to sixteen sums.
    ///
    /// # Safety
    /// There are such trees, and sixteen tables and totals.
    #[inline]
    #[target_feature(
        enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,popcnt,bmi1,bmi2,lzcnt"
    )]
    unsafe fn score_group(&self, tables: *const [__m512i; LINES], trees: Range<usize>, totals: *mut S) {
        let fields = Fields::new();
        // SAFETY: the caller says that there are sixteen tables.
        let tables: [[__m512i; LINES]; ROWS] = unsafe { *tables.cast() };
        let mut words = [[Numbers::ZERO; 2]; GROUP];
        for first in trees.clone().step_by(GROUP) {
            let count = GROUP.min(trees.end - first);
            for (i, words) in words.iter_mut().enumerate().take(count) {
                for (row, table) in tables.iter().enumerate() {
                    // SAFETY: the caller says that there is such a tree.
                    words[row / 8].0[row % 8] = unsafe { self.compare(table, first + i) };
                }
            }
            for (i, words) in words.iter().enumerate().take(count) {
                let places = words.map(|words| fields.descend(words.load()));
                // SAFETY: each tree has 64 leaves, and the caller says that there are sixteen totals.
                unsafe { add(totals, self.trees.leaves.as_ptr().add((first + i) * 4).cast(), places) };
            }
        }
    }
}

/// Adds leaves of one tree to sixteen sums.
///
/// # Safety
/// The tree has 64 leaves, and there are sixteen totals, all aligned to vectors.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn add<S: Element>(totals: *mut S, leaves: *const S, places: [__m512i; 2]) {
    // SAFETY: the caller says so, and the type of the sums is that of `REAL`.
    unsafe {
        match S::REAL {
            Real::F32 => {
                let places = _mm512_inserti64x4::<1>(
                    _mm512_castsi256_si512(_mm512_cvtepi64_epi32(places[0])),
                    _mm512_cvtepi64_epi32(places[1]),
                );
                let totals = totals.cast::<f32>();
                let sum = _mm512_add_ps(_mm512_load_ps(totals), pick::floats(leaves.cast(), places));
                _mm512_store_ps(totals, sum);
            }
            Real::F64 => {
                for (i, places) in places.into_iter().enumerate() {
                    let totals = totals.cast::<f64>().add(8 * i);
                    let sum = _mm512_add_pd(_mm512_load_pd(totals), pick::doubles(leaves.cast(), places));
                    _mm512_store_pd(totals, sum);
                }
            }
        }
    }
}
