//! Leaves are ruled out, with AVX-512: a vector has the bits of 16 trees of up to 32 leaves, or a word of 64 bits of 8
//! trees. An exclusion asks one split for each byte of it, 64 at once, and rules leaves out.

use std::arch::x86_64::*;
use std::ops::Range;

use crate::trees::coded::CodedTree;
use crate::trees::element::Element;
use crate::trees::forms::masks::order::Order;
use crate::trees::scratch::Line;
use crate::trees::search::bytes::{ByteCoder, look_up};

/// Bytes of a vector.
const LANES: usize = 64;

/// 64 splits, each of which may rule out leaves of one byte.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
struct Exclusion {
    places: Line,
    bounds: Line,
    /// The leaves that a split rules out.
    leaves: Line,
}

impl Exclusion {
    /// Nothing is above the bound, so nothing is ruled out.
    const IDLE: Self = Self { places: Line::ZERO, bounds: Line([255; 64]), leaves: Line::ZERO };
}

/// A split, seen from one byte of leaves.
#[derive(Debug, Clone, Copy)]
struct Ask {
    place: u8,
    bound: u8,
    leaves: u8,
    flip: bool,
}

/// The exclusions of many trees.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exclusions {
    all: Vec<Exclusion>,
    /// For each exclusion the splits that rule out where the byte is not above the bound.
    flips: Vec<u64>,
    /// For each vector the end of its exclusions.
    ends: Vec<usize>,
}

/// Trees whose splits are asked together: 16 of up to 32 leaves, or 8.
#[derive(Debug, Clone)]
pub(crate) struct TreeGroup {
    /// Whether a tree has 32 bits of one vector, and not 64 bits of each.
    pub is_narrow: bool,
    /// Leaves of a byte, in its highest bits.
    each: usize,
    /// The first exclusion.
    first: usize,
    /// The vectors.
    ends: Range<usize>,
}

impl TreeGroup {
    /// How many of the next trees are asked together, by their numbers of leaves.
    pub(crate) fn size(mut leaves: impl Iterator<Item = usize>) -> usize {
        if leaves.by_ref().take(16).all(|leaves| leaves <= 32) { 16 } else { 8 }
    }
}

impl Exclusions {
    /// The bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.all.len() * (size_of::<Exclusion>() + size_of::<u64>()) + self.ends.len() * size_of::<usize>()
    }

    /// Adds the exclusions of the next trees, whose number `TreeGroup::size` says.
    pub(crate) fn push<I: Element>(
        &mut self,
        trees: &[CodedTree],
        orders: &[Order],
        coder: &ByteCoder<I>,
    ) -> TreeGroup {
        let most = trees.iter().map(|tree| tree.leaves.len()).max().unwrap_or(0);
        let is_narrow = TreeGroup::size(trees.iter().map(|tree| tree.leaves.len())) == 16;
        // The bytes of a tree in a vector, and vectors. Leaves are spread over all bytes, so that each has few.
        let width = if is_narrow { 4 } else { 8 };
        let vectors = most.div_ceil(width * 8).max(1);
        let each = most.div_ceil(width * vectors).max(1);
        let mut asks: Vec<Vec<Ask>> = vec![Vec::new(); vectors * LANES];
        for (k, (tree, order)) in trees.iter().zip(orders).enumerate() {
            for (split, ruled) in tree.splits.iter().zip(&order.ruled) {
                let (place, bound) = coder.place(split);
                for byte in ruled.leaves.start / each..ruled.leaves.end.div_ceil(each) {
                    let is_out = |bit: &usize| ruled.leaves.contains(&(byte * each + bit));
                    let leaves = (0..each).filter(is_out).map(|bit| 128 >> bit).sum();
                    // The first leaf is the highest bit of a word, which is in its last byte.
                    let lane = k * width + width - 1 - byte % width;
                    asks[byte / width * LANES + lane].push(Ask { place, bound, leaves, flip: ruled.flip });
                }
            }
        }
        let (first, before) = (self.all.len(), self.ends.len());
        for lanes in asks.chunks_exact(LANES) {
            for i in 0..lanes.iter().map(Vec::len).max().unwrap_or(0) {
                let (mut exclusion, mut flips) = (Exclusion::IDLE, 0);
                for (lane, asks) in lanes.iter().enumerate() {
                    let Some(ask) = asks.get(i) else { continue };
                    exclusion.places.0[lane] = ask.place;
                    exclusion.bounds.0[lane] = ask.bound;
                    exclusion.leaves.0[lane] = ask.leaves;
                    flips |= u64::from(ask.flip) << lane;
                }
                self.all.push(exclusion);
                self.flips.push(flips);
            }
            self.ends.push(self.all.len());
        }
        TreeGroup { is_narrow, each, first, ends: before..self.ends.len() }
    }

    /// Calls `take` for each row with the leaf of each of 16 trees, or of 8 trees and 0 for 8 others. (As there is one
    /// instance for each `take`, compilers make it a part of its caller.)
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512cd")]
    pub(crate) fn leaves<const LINES: usize, const ROWS: usize>(
        &self,
        group: &TreeGroup,
        tables: &[[__m512i; LINES]; ROWS],
        take: impl FnMut(__m512i),
    ) {
        // Bits that are no leaves are ruled out.
        let unused = _mm512_set1_epi8((255_u32 >> group.each) as i8);
        let mut first = group.first;
        let mut found = [_mm512_setzero_si512(); ROWS];
        if group.is_narrow {
            for end in &self.ends[group.ends.clone()] {
                found = self.left(first..*end, unused, tables).map(|left| _mm512_lzcnt_epi32(left));
            }
        } else {
            let mut before = _mm512_setzero_si512();
            for end in &self.ends[group.ends.clone()] {
                for (found, left) in found.iter_mut().zip(self.left(first..*end, unused, tables)) {
                    let is_open = _mm512_cmpeq_epi64_mask(*found, before);
                    *found = _mm512_mask_add_epi64(*found, is_open, *found, _mm512_lzcnt_epi64(left));
                }
                (first, before) = (*end, _mm512_add_epi64(before, _mm512_set1_epi64(64)));
            }
            found = found.map(|found| _mm512_zextsi256_si512(_mm512_cvtepi64_epi32(found)));
        }
        // From bits to leaves.
        let unused = _mm512_set1_epi32(8 - group.each as i32);
        let leaves = found
            .map(|found| _mm512_sub_epi32(found, _mm512_mullo_epi16(_mm512_srli_epi32::<3>(found), unused)));
        leaves.into_iter().for_each(take);
    }

    /// The bits of leaves that are left after some exclusions, for each row.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn left<const LINES: usize, const ROWS: usize>(
        &self,
        exclusions: Range<usize>,
        unused: __m512i,
        tables: &[[__m512i; LINES]; ROWS],
    ) -> [__m512i; ROWS] {
        // SAFETY: a line is a vector, aligned to one.
        let load = |line: &Line| unsafe { _mm512_load_si512((&raw const *line).cast()) };
        let mut ruled = [unused; ROWS];
        for (exclusion, flips) in self.all[exclusions.clone()].iter().zip(&self.flips[exclusions]) {
            let (places, bounds, leaves) =
                (load(&exclusion.places), load(&exclusion.bounds), load(&exclusion.leaves));
            for (ruled, table) in ruled.iter_mut().zip(tables) {
                let out = _mm512_cmpgt_epu8_mask(look_up(table, places), bounds) ^ flips;
                *ruled = _mm512_or_si512(*ruled, _mm512_maskz_mov_epi8(out, leaves));
            }
        }
        ruled.map(|ruled| _mm512_xor_si512(ruled, _mm512_set1_epi8(-1)))
    }
}
