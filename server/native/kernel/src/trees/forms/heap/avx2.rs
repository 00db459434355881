//! Complete trees of up to six levels, with AVX2, one row after the other: bytes of 64 nodes are shuffles of the parts
//! of the row's table, and a tree's leaf is found by two look-ups in the word of its comparisons.

use std::arch::x86_64::*;

use crate::trees::coded::{self, Codings};
use crate::trees::element::Element;
use crate::trees::forms::heap::complete::{Complete, GROUP};
use crate::trees::forms::heap::fields;
use crate::trees::forms::{Form, FormName};
use crate::trees::processor::Processor;
use crate::trees::scratch::{Line, Scratch};
use crate::trees::search::table::TableLayout;

/// What is changed of bytes, so that signed comparisons order them as unsigned ones.
const SIGN: u8 = 128;

/// The most places: parts of 16 bytes, each with its shuffle.
const PARTS: usize = 8;

/// A place as shuffles take it: the low four bits are the byte in a part, and bits 7, 6 and 5 are the part's number,
/// lowest bit first.
fn spread(place: u8) -> u8 {
    place & 15 | (place >> 4 & 1) << 7 | (place >> 5 & 1) << 6 | (place >> 6 & 1) << 5
}

struct HeapAvx2<I, S, const COUNT: usize> {
    layout: TableLayout<I>,
    trees: Complete<S>,
    features: usize,
}

/// The form; `None` without AVX2, or where the trees are too deep or read too many places.
pub(crate) fn make<I: Element, S: Element>(codings: &Codings<'_>) -> Option<Box<dyn Form<I, S>>> {
    if Processor::detected() < Processor::Avx2
        || codings.depth > 6
        || codings.columns(coded::MOST_IN_BYTE) > PARTS * 16
    {
        return None;
    }
    let layout = TableLayout::<I>::new(codings.coded(coded::MOST_IN_BYTE))?;
    let features = codings.ensemble.features;
    let parts = layout.bytes_of_table().div_ceil(16).max(1);
    let place = |split: &_| {
        let (place, bound) = layout.of(split);
        (spread(place), bound)
    };
    if parts > PARTS {
        return None;
    }
    let mut trees = Complete::new(codings, 6, place)?;
    // Bytes are compared as signed ones.
    trees.bounds.iter_mut().flat_map(|line| &mut line.0).for_each(|bound| *bound ^= SIGN);
    Some(match parts {
        1 => Box::new(HeapAvx2::<I, S, 1> { layout, trees, features }),
        2 => Box::new(HeapAvx2::<I, S, 2> { layout, trees, features }),
        3..=4 => Box::new(HeapAvx2::<I, S, 4> { layout, trees, features }),
        _ => Box::new(HeapAvx2::<I, S, 8> { layout, trees, features }),
    })
}

impl<I: Element, S: Element, const COUNT: usize> Form<I, S> for HeapAvx2<I, S, COUNT> {
    fn name(&self) -> FormName {
        FormName::HeapAvx2
    }

    fn bytes(&self) -> usize {
        self.layout.bytes() + self.trees.bytes()
    }

    fn score(&self, rows: &[I], sums: &mut [S], _: &mut Scratch) {
        let each = rows.chunks_exact(self.features).zip(sums.chunks_exact_mut(self.trees.base.len()));
        for (row, sums) in each {
            // SAFETY: `make` asked whether the processor has these features.
            unsafe { self.score_row(row, sums) };
        }
    }
}

impl<I: Element, S: Element, const COUNT: usize> HeapAvx2<I, S, COUNT> {
    #[target_feature(enable = "avx2,popcnt,bmi1,bmi2")]
    fn score_row(&self, row: &[I], sums: &mut [S]) {
        let mut table = [[0_u8; 16]; PARTS];
        self.layout.table_avx2(row, table.as_flattened_mut());
        // SAFETY: a part is a vector.
        let parts: [__m256i; COUNT] = std::array::from_fn(|part| unsafe {
            let part = _mm_loadu_si128(table[part].as_ptr().cast());
            _mm256_broadcastsi128_si256(_mm_xor_si128(part, _mm_set1_epi8(SIGN as i8)))
        });
        sums.copy_from_slice(&self.trees.base);
        let (mut target, mut total) = (0, sums[0]);
        for group in 0..self.trees.count / GROUP {
            let first = group * GROUP;
            let mut places = [0; GROUP];
            for (i, place) in places.iter_mut().enumerate() {
                // SAFETY: trees are in groups of 8, with a line of places and bounds each.
                *place = fields::place(unsafe { self.compare(&parts, first + i) });
            }
            // SAFETY: there are 64 leaves for each tree of the group, and each place is below 64.
            let leaf = |i: usize| unsafe {
                *self.trees.leaves.as_ptr().cast::<S>().add((first + i) * 64 + places[i])
            };
            self.trees.add(first, leaf, &mut target, &mut total, sums);
        }
        sums[target] = total;
    }

    /// The word of comparisons of a tree.
    ///
    /// # Safety
    /// There is such a tree.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn compare(&self, parts: &[__m256i; COUNT], tree: usize) -> u64 {
        let half = |half: usize| {
            // SAFETY: the caller says that there is such a tree; a line is two vectors.
            let (places, bounds) = unsafe {
                let load = |line: &[u8; 64]| _mm256_load_si256(line.as_ptr().add(32 * half).cast());
                let at = |lines: &[Line]| load(&lines.get_unchecked(tree).0);
                (at(&self.trees.places), at(&self.trees.bounds))
            };
            let found = look_up(parts, places);
            u64::from(_mm256_movemask_epi8(_mm256_cmpgt_epi8(found, bounds)) as u32) << (32 * half)
        };
        half(0) | half(1)
    }
}

/// The bytes of a table at places as `spread` writes them.
#[inline]
#[target_feature(enable = "avx2")]
fn look_up<const COUNT: usize>(parts: &[__m256i; COUNT], places: __m256i) -> __m256i {
    if COUNT == 1 {
        return _mm256_shuffle_epi8(parts[0], places);
    }
    // Bit 7 makes a shuffle's byte 0.
    let other = _mm256_xor_si256(places, _mm256_set1_epi8(i8::MIN));
    let pair = |at: usize| {
        let (even, odd) = (parts[2 * at], parts[(2 * at + 1) % COUNT]);
        _mm256_or_si256(_mm256_shuffle_epi8(even, places), _mm256_shuffle_epi8(odd, other))
    };
    if COUNT == 2 {
        return pair(0);
    }
    let by_bit_6 = _mm256_slli_epi16::<1>(places);
    let first = _mm256_blendv_epi8(pair(0), pair(1), by_bit_6);
    if COUNT == 4 {
        return first;
    }
    let second = _mm256_blendv_epi8(pair(2 % (COUNT / 2)), pair(3 % (COUNT / 2)), by_bit_6);
    _mm256_blendv_epi8(first, second, _mm256_slli_epi16::<2>(places))
}
