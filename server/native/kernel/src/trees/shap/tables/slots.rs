//! The slots of quads for sixteen rows at once: a slot by pattern is in eight vectors, and a lookup is a permutation.

use std::arch::x86_64::*;

use crate::trees::scratch::{Line, numbers};
use crate::trees::shap::tables::{ENTRIES, Entry, SLOTS};

/// The slots of a quad, each by pattern. In each 16 patterns the first bit counts eight, and the next three one, two
/// and four.
pub(super) type Slots = [[__m512; ENTRIES / 16]; SLOTS];

/// Whether a pair of quads is the first one below a split, and whether it is the last.
pub(super) const FIRST: bool = true;
pub(super) const LATER: bool = false;
pub(super) const LAST: bool = true;
pub(super) const MORE: bool = false;

/// What rows decide in a quad: by sixteen rows, and the decisions at the two splits below its own.
#[derive(Clone, Copy)]
pub(super) struct Quad<'a> {
    pub patterns: &'a [[u8; 16]],
    pub below: [&'a [u16]; 2],
}

/// Adds a slot.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn add_slot(slot: &[__m512; 8], quad: Quad<'_>, sums: &mut [__m512]) {
    // A copy, because the compiler would read the slot again after each store.
    let (slot, [left, right]) = (*slot, quad.below);
    for (((sum, patterns), left), right) in sums.iter_mut().zip(quad.patterns).zip(left).zip(right) {
        *sum = _mm512_add_ps(*sum, look_up(&slot, index(patterns), *left, *right));
    }
}

/// Adds a slot of two quads to the sums of a split above them: to a partial sum, and that of the last pair to the
/// player's.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn add_shared<const IS_FIRST: bool, const IS_LAST: bool>(
    slots: [&[__m512; 8]; 2],
    [one, other]: [Quad<'_>; 2],
    partial: &mut [__m512],
    sums: &mut [__m512],
) {
    let count = sums.len();
    let (ones, others) = (&one.patterns[..count], &other.patterns[..count]);
    let [one_left, one_right] = one.below.map(|word| &word[..count]);
    let [other_left, other_right] = other.below.map(|word| &word[..count]);
    let partial = &mut partial[..count];
    // Copies, as above.
    let tables = [*slots[0], *slots[1]];
    for i in 0..count {
        let first = look_up(&tables[0], index(&ones[i]), one_left[i], one_right[i]);
        let second = look_up(&tables[1], index(&others[i]), other_left[i], other_right[i]);
        let mut both = _mm512_add_ps(first, second);
        if !IS_FIRST {
            both = _mm512_add_ps(partial[i], both);
        }
        *(if IS_LAST { &mut sums[i] } else { &mut partial[i] }) =
            if IS_LAST { _mm512_add_ps(sums[i], both) } else { both };
    }
}

/// Numbers as vectors.
#[inline(always)]
pub(super) fn vectors(numbers: &mut [f32]) -> &mut [__m512] {
    assert!(numbers.as_ptr().addr().is_multiple_of(64), "vectors are aligned");
    // SAFETY: a vector is sixteen numbers, and aligned.
    unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), numbers.len() / 16) }
}

/// Lines as the patterns of sixteen rows.
#[inline(always)]
pub(super) fn bytes_of(lines: &[Line]) -> &[[u8; 16]] {
    numbers::<u8>(lines).as_chunks().0
}

/// Words as the masks of sixteen rows.
#[inline(always)]
pub(super) fn numbers_of_words(words: &[u64]) -> &[u16] {
    // SAFETY: a word is four such numbers; the processor has the low ones first.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), 4 * words.len()) }
}

/// The patterns of sixteen rows.
#[inline]
#[target_feature(enable = "avx512f")]
fn index(patterns: &[u8; 16]) -> __m512i {
    // SAFETY: they are sixteen bytes.
    _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(patterns.as_ptr().cast()) })
}

/// A slot of sixteen rows, by their patterns and what they decide at the two splits below the quad's.
#[inline]
#[target_feature(enable = "avx512f")]
fn look_up(slot: &[__m512; 8], patterns: __m512i, on_left: u16, on_right: u16) -> __m512 {
    let pairs = [
        _mm512_permutex2var_ps(slot[0], patterns, slot[1]),
        _mm512_permutex2var_ps(slot[2], patterns, slot[3]),
        _mm512_permutex2var_ps(slot[4], patterns, slot[5]),
        _mm512_permutex2var_ps(slot[6], patterns, slot[7]),
    ];
    let left = _mm512_mask_blend_ps(on_left, pairs[0], pairs[1]);
    let right = _mm512_mask_blend_ps(on_left, pairs[2], pairs[3]);
    _mm512_mask_blend_ps(on_right, left, right)
}

/// Adds a slot that depends on one of the two splits only.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn add_half(table: [__m512; 4], patterns: &[[u8; 16]], words: &[u16], sums: &mut [__m512]) {
    for ((sum, patterns), word) in sums.iter_mut().zip(patterns).zip(words) {
        let patterns = index(patterns);
        let one = _mm512_permutex2var_ps(table[0], patterns, table[1]);
        let other = _mm512_permutex2var_ps(table[2], patterns, table[3]);
        *sum = _mm512_add_ps(*sum, _mm512_mask_blend_ps(*word, one, other));
    }
}

/// Where a vector takes its numbers from when blocks of `distance` slots are exchanged with another's.
const fn exchange(distance: usize) -> [[u32; 16]; 2] {
    let mut from = [[0; 16]; 2];
    let mut at = 0;
    while at < 16 {
        let is_first = at & distance == 0;
        from[0][at] = if is_first { at } else { 16 + at - distance } as u32;
        from[1][at] = if is_first { at + distance } else { 16 + at } as u32;
        at += 1;
    }
    from
}

static EXCHANGES: [[[u32; 16]; 2]; 3] = [exchange(4), exchange(2), exchange(1)];

/// Exchanges blocks of four pairs of vectors.
#[inline]
#[target_feature(enable = "avx512f")]
fn exchange_pairs(vectors: &mut [__m512; 8], from: &[[u32; 16]; 2], pairs: [(usize, usize); 4]) {
    // SAFETY: sixteen numbers are a vector.
    let (first, second) =
        unsafe { (_mm512_loadu_si512(from[0].as_ptr().cast()), _mm512_loadu_si512(from[1].as_ptr().cast())) };
    for (one, other) in pairs {
        let both = (vectors[one], vectors[other]);
        vectors[one] = _mm512_permutex2var_ps(both.0, first, both.1);
        vectors[other] = _mm512_permutex2var_ps(both.0, second, both.1);
    }
}

/// Writes the slots of a quad's entries.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transpose(entries: &[Entry], slots: &mut Slots) {
    for (part, entries) in entries.chunks_exact(16).enumerate() {
        // SAFETY: two entries are sixteen numbers.
        let mut pairs: [__m512; 8] =
            std::array::from_fn(|i| unsafe { _mm512_loadu_ps(entries[2 * i..][..2].as_ptr().cast()) });
        // Unrolled, so that the vectors stay in registers.
        exchange_pairs(&mut pairs, &EXCHANGES[0], [(0, 4), (1, 5), (2, 6), (3, 7)]);
        exchange_pairs(&mut pairs, &EXCHANGES[1], [(0, 2), (1, 3), (4, 6), (5, 7)]);
        exchange_pairs(&mut pairs, &EXCHANGES[2], [(0, 1), (2, 3), (4, 5), (6, 7)]);
        for (slots, pair) in slots.iter_mut().zip(pairs) {
            slots[part] = pair;
        }
    }
}
